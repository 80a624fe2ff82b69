"""Orders, shifts and outcomes: the values that every other room exchanges.

Frozen, without I/O and without a clock. Times are seconds since 1970 on the kitchen's clock unless a name says
otherwise; durations are seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import NoReturn

from waiter.errors import UsageError
from waiter.light_dataclass import dataclass, field
from waiter.typed_arguments import value_of

EVENTS_KEPT = 200
"""How many of the first events a history or late list keeps, and how many of the last: an order that is tried for ever
stays small enough for a kitchen to hold."""


HELD = 1e15
"""`due` of a READY order that waits for the order of the same row in another batch: no clock ever gets there."""


class Status(StrEnum):
    """Where an order stands."""

    READY = "READY"
    RUNNING = "RUNNING"
    DONE = "DONE"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Nothing happens to the order any more unless somebody resets it."""
        return self in (Status.DONE, Status.ERROR, Status.CANCELLED)


class Reason(StrEnum):
    """Why an attempt did not end well."""

    EXIT = "exit"  # its exit code counts as a failure
    SIGNAL = "signal"  # a signal that the waiter did not send ended it
    TIMEOUT = "timeout"
    MEMORY = "memory"  # its processes had more of it than they may
    LOST = "lost"  # its waiter, or the runner under it, died
    UNSTARTABLE = "unstartable"  # the kernel takes no such arguments
    CANCELLED = "cancelled"  # somebody asked for it
    INTERRUPTED = "interrupted"  # the waiter was told to stop at once


def _refuse(constant: str) -> NoReturn:
    """NaN is no JSON: whoever reads ours must be able to."""
    raise ValueError(constant)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an order's history.

    `what` is "finish" (an accepted outcome), "lost", "reset", "cancel" or "refused" (the kitchen could not hand it
    out); the facts of an attempt are None where they do not apply. One that is "dropped" stands for `dropped` events
    between the first and the last `EVENTS_KEPT`, and has the time, status and attempt of the last of them.
    """

    what: str
    at: float
    status: Status  # the order's status after it
    attempt: int
    shift: str | None = None
    waiter: str | None = None
    start: float | None = None
    stop: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: Reason | None = None
    error: str | None = None
    command: str | None = None
    dropped: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One piece of work: a list of string arguments, and what became of it.

    Arguments that are no UTF-8 hold surrogate escapes, as `os.fsdecode` makes them. `names` are the columns of a header
    or the keys of a JSON object, one for each argument.
    """

    id: str
    batch: str
    row: int
    arguments: tuple[str, ...]
    names: tuple[str, ...] | None = None
    status: Status = Status.READY
    priority: int = 0  # higher goes first
    attempt: int = 0  # how often it was claimed, without those that were given back
    failures: int = 0  # accepted outcomes that failed since it was loaded or reset
    losses: int = 0  # waiters that died on it since it was loaded or reset
    due: float | None = None  # None: at once
    waiter: str | None = None  # who has it, or had it last: also while it is READY for another try
    host: str | None = None
    shift: str | None = None  # set while RUNNING, and only then
    is_cancel_asked: bool = False  # RUNNING, and somebody wants it to stop
    start: float | None = None
    stop: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: Reason | None = None
    error: str | None = None  # what failed, in one line; the command's own words if it left any
    error_group: str | None = None  # see `failure_groups.error_group`
    tail: str | None = None  # the end of the output
    result: str | None = None  # what the command handed back
    command: str | None = None  # hash of the command's file
    peak_memory: int | None = None  # bytes
    history: tuple[Event, ...] = ()
    late: tuple[Event, ...] = ()  # outcomes of shifts that had lost the order
    kinds: str | None = None  # what the arguments were, see `typed_arguments`; None: text
    earlier: tuple[tuple[str, str], ...] = ()  # `stage.name` and value, of its row in earlier stages; see `earlier`

    @property
    def is_held(self) -> bool:
        """It waits for the order of the same row in another batch."""
        return self.status is Status.READY and self.due is not None and self.due >= HELD

    @property
    def named(self) -> Mapping[str, str]:
        """The arguments by name; empty when they have none."""
        return dict(zip(self.names or (), self.arguments, strict=bool(self.names)))

    @property
    def typed_arguments(self) -> tuple[object, ...]:
        """The arguments as a row of Python's or of JSON gave them: numbers, lists, None. Others are text."""
        return tuple(map(value_of, self.arguments, self.kinds)) if self.kinds else self.arguments

    @property
    def typed_named(self) -> Mapping[str, object]:
        """The same by name; empty when they have none."""
        return dict(zip(self.names or (), self.typed_arguments, strict=bool(self.names)))

    @property
    def value(self) -> object:
        """The result as what its JSON stands for, a dictionary or a number, say; text that is no JSON as it is."""
        try:
            return None if self.result is None else json.loads(self.result, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return self.result


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt at an order ended, and what that makes of the order.

    `status` is DONE, ERROR, CANCELLED, or READY for another try after `delay_s`. With reason LOST the kitchen counts a
    loss, otherwise anything but DONE and CANCELLED counts a failure.
    """

    order_id: str
    attempt: int
    status: Status
    start: float
    stop: float
    exit_code: int | None = None  # None: it never started, or a signal ended it
    signal: int | None = None
    reason: Reason | None = None
    delay_s: float = 0.0
    error: str | None = None
    error_group: str | None = None
    tail: str | None = None
    result: str | None = None
    command: str | None = None
    peak_memory: int | None = None

    @property
    def duration_s(self) -> float:
        return self.stop - self.start


class FinishResult(StrEnum):
    """What the kitchen made of an outcome."""

    ACCEPTED = "accepted"
    KNOWN = "known"  # it had been accepted before: the reply was lost
    LATE = "late"  # the order belongs to somebody else, or to nobody, by now; kept in its `late`


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a waiter tells of itself with each heartbeat."""

    slots: int = 1
    busy: int = 0
    delivered: int = 0
    failed: int = 0
    memory: int = 0  # bytes, the waiter with its runner
    load: float = 0.0  # the host's, over a minute
    running: tuple[str, ...] = ()  # ids of the orders in its slots, 64 at most
    claimed: int = 0  # orders that it has besides, and that wait for a slot
    is_draining: bool = False  # it was told to leave: it finishes what it runs and takes nothing more
    command: str | None = None  # the command line, shortened
    command_hash: str | None = None
    version: str | None = None
    waits_for: str | None = None  # why nothing more starts, though there are free slots
    is_guarded: bool | None = None  # whether the guard of a launched machine lives; None: there is none to be


USUAL_LEASE_S = 60.0
"""A lease is longer in a fleet of thousands, and heartbeats as much rarer."""

LATE_S = 45.0
"""Without a heartbeat for so long, at least two of them are missing, of one every 15 s; in a large fleet one is."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One waiter's stay. Its token fences the orders that it claims."""

    token: str
    waiter: str
    host: str
    pid: int
    since: float
    lease_until: float  # kitchen's clock
    heartbeat_at: float
    left_at: float | None = None  # it checked out
    lost_at: float | None = None  # it was declared lost
    is_paused: bool = False
    pause_reason: str | None = None
    is_draining: bool = False  # somebody asked it to leave
    vitals: Vitals = field(default_factory=Vitals)
    lease_s: float = USUAL_LEASE_S  # how long its lease is from one heartbeat on

    def ended(self) -> Shift:
        """The open shift when its process is dead: its lease ended with its last heartbeat, whatever is stored."""
        return replace(self, lease_until=min(self.lease_until, self.heartbeat_at))

    @property
    def is_leaving(self) -> bool:
        """It takes no more orders, whoever told it: the kitchen, or a signal on its host."""
        return self.is_draining or self.vitals.is_draining

    def is_late(self, now: float) -> bool:
        """Whether its heartbeat is overdue, by the kitchen's clock."""
        return now - self.heartbeat_at > LATE_S * max(1.0, self.lease_s / USUAL_LEASE_S)


@dataclass(frozen=True, slots=True)
class Notice:
    """What the kitchen has to say to a waiter, brought back by its heartbeat."""

    is_lost: bool = False
    is_paused: bool = False
    is_draining: bool = False
    cancelled: tuple[str, ...] = ()  # ids of its orders that somebody wants stopped
    fleet_size: int = 0  # waiters at work, as counted by the last sweep; 0: this kitchen counts none
    is_sweep_overdue: bool = False  # nobody of them has looked for the dead for too long: so many are dead


@dataclass(frozen=True, slots=True)
class Batch:
    """The orders of one load.

    `digest` is that of all its rows (`intake`): the same input again is recognised by it, and a longer one by its
    beginning. `earlier` are those that it had before it grew, the latest first.
    """

    id: str
    name: str | None
    source: str
    digest: str
    rows: int  # of the input, bad and blank ones included
    orders: int
    priority: int
    loaded_at: float  # while it is not complete: when its load was last known to go on
    is_complete: bool
    earlier: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None  # the words of the command that it is for; None: of any
    is_reserved: bool = False  # somebody said so; else the first command that took its orders has it
    weight: int | None = None  # its share of the claims beside other batches; None: priority and age decide
    pause_reason: str | None = None  # no waiter takes its orders while there is one
    after: tuple[str, ...] = ()  # ids of batches: its orders wait until all of theirs are DONE
    after_any: tuple[str, ...] = ()  # the same, but until they have ended, however
    needs_from: str | None = None  # the column of its rows, by name or number, that says what each order needs
    after_row: str | None = None  # id of a batch: each order waits until the order of the same row there is DONE


BINDING = ("command", "is_reserved", "weight", "pause_reason", "after", "after_any", "after_row", "needs_from")
"""The fields of a batch that loading more of it leaves as they are."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which orders a waiter takes, of those that are READY and due. The default: all of them."""

    batches: tuple[str, ...] | None = None  # ids; None: of any batch
    match: str | None = None  # some argument contains it
    priority_min: int | None = None
    is_strict: bool = False  # strictly in their order, however many claim at once


def is_in_scope(order: Order, scope: Scope) -> bool:
    """Whether a waiter with this scope may take the order, its status aside."""
    return not (
        (scope.batches is not None and order.batch not in scope.batches)
        or (scope.match is not None and not any(scope.match in argument for argument in order.arguments))
        or (scope.priority_min is not None and order.priority < scope.priority_min)
    )


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is."""

    counts: Counts
    recent: Throughput  # of its orders alone


@dataclass(frozen=True, slots=True)
class Counts:
    """How many orders stand where."""

    by_status: Mapping[Status, int]

    def __getitem__(self, status: Status) -> int:
        return self.by_status.get(status, 0)

    @property
    def total(self) -> int:
        return sum(self.by_status.values())

    @property
    def finished(self) -> int:
        return sum(n for status, n in self.by_status.items() if status.is_final)


@dataclass(frozen=True, slots=True)
class Throughput:
    """What was finished in the last `window_s` seconds, by anybody."""

    window_s: float
    done: int
    failed: int
    mean_s: float | None  # mean duration of the orders finished in it


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one kind (`failure_groups.error_group`)."""

    group: str
    count: int
    message: str  # of the example
    exit_code: int | None
    signal: int | None
    reason: Reason | None
    hosts: tuple[str, ...]
    first: float
    last: float
    example: str  # id of the latest one


@dataclass(frozen=True, slots=True)
class Selector:
    """Which orders a verb means. Every field that is set must hold; an empty selector means all."""

    ids: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    batch: str | None = None  # its id or its name
    waiter: str | None = None
    host: str | None = None
    since: float | None = None  # started or stopped at or after this
    longer_than_s: float | None = None  # ran (or has been running) longer
    match: str | None = None  # some argument contains it
    error_group: str | None = None
    except_command: str | None = None  # delivered by another version of the command
    waiting: tuple[str, ...] | None = None
    """Beside those of `statuses`: READY orders that are held, or of these batches (ids), which wait for others."""

    def __post_init__(self) -> None:
        """Take statuses as Python users write them: one of them, names, a list. Raises UsageError for another one."""
        given: object = self.statuses
        try:
            statuses = tuple(map(Status, [given] if isinstance(given, str) else self.statuses))
        except ValueError as error:
            raise UsageError(f"Selector: {error}\nhint: statuses are {', '.join(Status)}") from None
        object.__setattr__(self, "statuses", statuses)
