"""What a waiter has in hand: what it delivers with, what it has counted, and what its parts share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

from waiter.delivery.absence import KitchenAbsence, UnansweredClaims
from waiter.delivery.batch_scope import BatchScope
from waiter.delivery.brake import Brake
from waiter.delivery.claim_timer import ClaimTimer
from waiter.delivery.current_shift import CurrentShift
from waiter.delivery.held_orders import HeldOrders
from waiter.delivery.listener import KITCHEN_LOST, Listener
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.outbox import Outbox
from waiter.delivery.outcomes import Halt
from waiter.delivery.prefetch import Prefetch
from waiter.delivery.resources.limits import grown, memory_limit
from waiter.delivery.resources.share import HostShare
from waiter.delivery.runner.client import Job, Runner
from waiter.delivery.shutdown import Shutdown, Stop
from waiter.errors import KitchenError
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass, field
from waiter.needs import Needs
from waiter.orders import Order, Status

if TYPE_CHECKING:  # few waiters keep one
    from waiter.delivery.joblog import Joblog


class Executor(Protocol):
    """What turns orders into jobs: a command's argv, or a Python function."""

    def check(self, orders: Iterable[Order]) -> None:
        """Raise UsageError if none of these orders can be started, as its command asks for what they lack."""

    def job(self, order: Order) -> Job:
        """Raises NoSuchArgument, or ValueError, when this order can never be started."""

    def start_runner(self) -> Runner: ...

    def version(self, order: Order | None = None) -> str:
        """The hash of what delivers this order, or all of them; empty where that is not one thing."""

    @property
    def words(self) -> Sequence[str] | None:
        """What batches are bound to whose orders it takes; None: it has a command for each bound batch."""

    def missing(self, order: Order) -> str | None:
        """Why the order's command cannot run on this machine; None if it can."""

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


@dataclass(slots=True)
class Work:
    """What the parts of one waiter share. Only the thread of its loop changes it. Times are on `boottime()`."""

    options: DeliveryOptions
    executor: Executor
    kitchen: Kitchen
    runner: Runner  # another one when it has died
    listener: Listener
    shutdown: Shutdown
    absence: KitchenAbsence
    outbox: Outbox
    prefetch: Prefetch
    halt: Halt | None
    scope: BatchScope
    brake: Brake
    began_at: float
    idle_since: float
    held: HeldOrders = field(default_factory=HeldOrders)
    counters: Counters = field(default_factory=Counters)
    timer: ClaimTimer = field(default_factory=ClaimTimer)
    unanswered: UnansweredClaims = field(default_factory=UnansweredClaims)
    rng: Random = field(default_factory=Random)
    share: HostShare = field(default_factory=lambda: HostShare(None, None, lambda: None))
    versions: dict[str, str] = field(default_factory=dict)  # by batch, of what delivers it, as of this turn of the loop
    waits_for: str | None = None  # why it starts nothing, in a few words; None: it does, or is full
    joblog: Joblog | None = None
    checked_in: CurrentShift | None = None  # None: the kitchen has not let it in
    unstartable: str | None = None  # why no command can be run
    why_left: str = ""

    @property
    def current(self) -> CurrentShift:
        """The shift that it works in. Raises RuntimeError before the first."""
        if self.checked_in is None:
            raise RuntimeError("no shift has begun")
        return self.checked_in

    def version(self, order: Order) -> str:
        """The hash of what delivers the order: its files are looked at once for all that has ended meanwhile."""
        if order.batch not in self.versions:
            self.versions[order.batch] = self.executor.version(order)
        return self.versions[order.batch]

    def needs(self, order: Order) -> Needs:
        """What the order needs of the host, on this try."""
        needs = self.scope.needs_of(order).over(self.share.usual)
        return grown(needs, order.failures, self.options, self.share.host.memory)

    def memory_limit(self, order: Order, failures: int = 0) -> int | None:
        """The most bytes that the order's processes may have, on this try or after so many more failures."""
        if self.options.mem_limit is None:
            return None
        needs, failures = self.scope.needs_of(order).over(self.share.usual), order.failures + failures
        return memory_limit(needs, failures, self.options, self.share.host.memory)

    def has_more_memory(self, order: Order) -> bool:
        """Whether another try would have more than this one, as --retry-mem wants it."""
        return (self.memory_limit(order, 1) or 0) > (self.memory_limit(order) or 0)

    def brief_runner(self) -> None:
        """Tell the runner until when it may start commands, and how long one may take."""
        self.runner.set_deadline(self.current.heartbeat.lease_ends)
        self.runner.set_timeout(self.prefetch.timeout_s(self.options.timeout))

    def lose_kitchen(self, error: KitchenError) -> None:
        """Leave once what runs has ended: waiting does not fix this, and no command is to pay for it."""
        if self.absence.lost_by is None:  # else it is said, and the heartbeat goes on saying it
            self.absence.lose(error)
            self.shutdown.request(Stop.DRAIN, KITCHEN_LOST)
