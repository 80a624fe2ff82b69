"""Who is told what a waiter does: the command line prints it, a Python program may do as it likes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from signal import SIGINT

from waiter.errors import ExitCode
from waiter.light_dataclass import dataclass
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

    def waits(self, sentence: str, hint: str | None) -> None:
        """A batch waits for others; with a hint, its turn does not come by itself."""
        self.noted(f"{sentence}\nhint: {hint}" if hint else sentence)


class PassOn(Listener):
    """Passes the output of worker processes on to this process's own, and says on stderr what the user should know."""

    def output(self, order: Order, stream: int, chunk: bytes) -> None:  # noqa: ARG002 - whose it is makes no difference
        out = sys.stdout if stream == 1 else sys.stderr
        out.write(chunk.decode("utf-8", "replace"))
        out.flush()

    def noted(self, message: str) -> None:
        sys.stderr.write(f"{message}\n")


KITCHEN_LOST = "kitchen lost"
"""Why a waiter left that its kitchen did not answer for too long."""

SUCCEEDED = "succeeded"
"""Why a waiter left whose `--halt` asked for so many delivered orders and no more."""


BRAKED = "the first orders all failed"
"""Why a waiter left whose command failed with every one of its first orders."""

DRAINED = "drained"
"""Why a waiter left that was told to, by one signal or by its kitchen: what ran ended."""

INTERRUPTED = "interrupted"
"""Why a waiter left that was told to by two signals: what ran was stopped."""

HALTED = "halted"
"""Why a waiter left whose `--halt` was reached."""

LIMITS = ("max orders", "max time", "idle")
"""Why a waiter that was told how far to go leaves orders behind."""


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
    signal: int | None = None  # the first that told it to leave
    left: int | None = 0  # orders READY or RUNNING of those that it might take; None: the kitchen did not tell
    in_error: int = 0  # if there was nothing to deliver: orders of these that stay in ERROR until somebody resets them

    @property
    def exit_code(self) -> int:
        """How `waiter deliver` ends: see `ending`."""
        return self.ending(self.left).value

    def ending(self, left: int | None, *, is_service: bool = True) -> ExitCode:
        """The exit code, if `left` orders are left, None for who knows how many.

        To a service TERM and a drain are how it ends well, whatever failed before; to who waits for the end of a `run`
        they interrupt it, as Ctrl-C does both.
        """
        is_broken = bool(self.refused or self.is_joblog_lost)
        if self.spooled or self.left_because == KITCHEN_LOST:
            return ExitCode.KITCHEN
        if left != 0 and self._is_interrupted(is_service=is_service):
            return ExitCode.INTERRUPTED
        if left != 0 and self.left_because in LIMITS:
            return ExitCode.LIMIT
        # As GNU parallel: where enough were delivered, what failed before is no matter.
        if self.left_because == SUCCEEDED or (is_service and self._is_drained and self.signal != SIGINT):
            return ExitCode.FAILED if is_broken else ExitCode.OK
        if self.failed or self.cancelled or is_broken or self.left_because == BRAKED:
            return ExitCode.FAILED
        if left and self.left_because == HALTED:
            return ExitCode.LIMIT
        return ExitCode.INTERRUPTED if left and not is_service else ExitCode.OK

    @property
    def _is_drained(self) -> bool:
        return self.left_because == DRAINED

    def _is_interrupted(self, *, is_service: bool) -> bool:
        return self.left_because == INTERRUPTED or (self._is_drained and (self.signal == SIGINT or not is_service))
