"""Who is told what a waiter does: the command line prints it, a Python program may do as it likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from waiter.orders import Order, Outcome, Shift


class Listener:
    """Does nothing with what it hears. All calls come from the waiter's own thread."""

    def checked_in(self, shift: Shift) -> None:
        """A shift has begun: the first, or another one after this waiter's lease had expired."""

    def claimed(self, orders: Sequence[Order]) -> None:
        """These orders are this waiter's now."""

    def given_back(self, order: Order) -> None:
        """It was claimed, and goes back to the kitchen without having begun."""

    def output(self, order: Order, stream: int, chunk: bytes) -> None:
        """Output of an order's command: `stream` is 1 or 2, whole orders or pieces as `grouping` says."""

    def finished(self, order: Order, outcome: Outcome) -> None:
        """An attempt ended; the kitchen hears of it next."""

    def late(self, order: Order, outcome: Outcome) -> None:
        """The kitchen had given the order to somebody else: the outcome is kept, and changes nothing."""

    def draining(self, why: str) -> None:
        """The waiter takes no more orders: it finishes what it runs and leaves. May be said more than once."""

    def noted(self, message: str) -> None:
        """Something that the user should know: the kitchen is away, a lease was lost, the waiter pauses."""


KITCHEN_LOST = "kitchen lost"
"""Why a waiter went home that its kitchen did not answer for too long."""

SUCCEEDED = "succeeded"
"""Why a waiter went home whose `--halt` asked for so many delivered orders and no more."""


BRAKED = "the command only fails"
"""Why a waiter went home whose command failed with every one of its first orders."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What one waiter did in its stay."""

    delivered: int = 0
    failed: int = 0  # ended in ERROR
    retried: int = 0  # failed, and will be tried again
    cancelled: int = 0
    late: int = 0  # outcomes that came too late
    spooled: int = 0  # outcomes still on disk, for the next waiter of this machine
    refused: int = 0  # outcomes that the kitchen refused for good, set aside on this machine's disk
    seconds: float = 0.0
    left_because: str = "done"
    is_joblog_lost: bool = False  # its disk took no more lines

    @property
    def exit_code(self) -> int:
        """0: all well; 1: failed orders, refused outcomes, a lost joblog; 3: the kitchen was lost; 130: interrupted."""
        if self.spooled or self.left_because == KITCHEN_LOST:
            return 3
        if self.left_because == "interrupted":
            return 130
        if self.left_because == BRAKED:
            return 1
        if self.left_because == SUCCEEDED:  # as GNU parallel: what failed before is no matter
            return int(self.is_joblog_lost)
        return 1 if self.failed or self.cancelled or self.refused or self.is_joblog_lost else 0
