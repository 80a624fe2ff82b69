"""What a waiter has in hand: what it delivers with, the orders that it holds, and what it has counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from waiter.delivery.runner.client import Job, Runner
from waiter.orders import Order, Shift, Status


class Executor(Protocol):
    """What turns orders into jobs: a command's argv, or a Python function."""

    def check(self, orders: Iterable[Order]) -> None:
        """Raise UsageError if none of these orders can be started, as its command asks for what they lack."""

    def job(self, order: Order) -> Job:
        """Raises NoSuchArgument, or ValueError, when this order can never be started."""

    def start_runner(self) -> Runner: ...

    def version(self) -> str:
        """The hash of what delivers the orders."""

    @property
    def title(self) -> str:
        """What is run, in a few words."""


@dataclass(slots=True)
class Counters:
    """What one waiter has counted."""

    delivered: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    late: int = 0
    claimed: int = 0
    failed_in_a_row: int = 0
    runner_deaths: int = 0

    def count(self, status: Status) -> None:
        """An attempt ended, and this is where its order stands now."""
        if status is Status.DONE:
            self.delivered += 1
            self.failed_in_a_row = 0
        elif status is Status.CANCELLED:
            self.cancelled += 1
        else:
            self.failed_in_a_row += 1
            self.failed += status is Status.ERROR
            self.retried += status is Status.READY


@dataclass(frozen=True, slots=True)
class HeldOrder:
    """An order that this waiter has, from the claim until its outcome is on its way."""

    order: Order
    shift: Shift
    argv: Sequence[str | bytes] | None  # None: it waits until nothing else runs
    claimed_at: float  # on `boottime()`
