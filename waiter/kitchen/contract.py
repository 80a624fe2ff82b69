"""What every kitchen promises, method by method: what is atomic, whose clock, what is raised.

Two kitchens keep it, `sqlite` and `mongo`, and one suite, tests/contract, holds both to it. Numbers in brackets are
those of docs/promises.md, under its heading "The promises"; the legal changes of an order stand in `transitions`.

Every method may raise `KitchenUnreachable` (what was asked may or may not have happened) and `KitchenError` (asking
again will not help). A kitchen object belongs to one thread; a waiter's heartbeat opens its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Protocol, Self

from waiter.orders import (
    Batch,
    BatchProgress,
    Counts,
    FinishResult,
    Notice,
    Order,
    Outcome,
    Scope,
    Selector,
    Shift,
    Status,
    Vitals,
)
from waiter.orders import FailureGroup as FailureGroup
from waiter.orders import Throughput as Throughput

LEASE_S = 60.0
"""How long a shift lives without a heartbeat."""

BEATS_PER_LEASE = 4
"""How often a waiter renews its lease in its time (every 15 s): three beats may fail before the lease is in danger."""


def sweep_s(lease_s: float) -> float:
    """How often a waiter looks for the dead: with every heartbeat."""
    return lease_s / BEATS_PER_LEASE


def grace_s(lease_s: float) -> float:
    """How long who is missed may still say that it lives, from the first look that missed it.

    Less than a sweep, so that the next one decides; much more than a heartbeat needs once the kitchen is back.
    """
    return lease_s / 5


MAX_LOSSES = 5
"""How many waiters an order may take down before it ends in ERROR."""

LOST_SHOWN_S = 86_400.0
"""How long `shifts` goes on showing one that was lost."""

CLAIM_LIMIT = 64
"""The most orders that one claim takes."""

SPANS_AT_ONCE = 50
"""In so many places between orders of others a claim looks for those of its batches at once."""

ALL = Scope()


class Unchanged(Enum):
    """What `amend_batch` is to leave as it is."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED

Row = tuple[int, Sequence[str], Sequence[str] | None]
"""Row number, arguments, names or None."""


MOST_DOUBLINGS = 7
"""From here on a lost order waits up to 10 minutes, however often it is lost again."""


def loss_delay_s(losses: int, rng: Random) -> float:
    """Seconds to wait before an order that was lost `losses` times is offered again.

    Full jitter between 0 and min(600, 5 * 2**losses): waiters that died together do not come back together.
    """
    return rng.uniform(0, min(600.0, 5.0 * 2.0 ** min(losses, MOST_DOUBLINGS)))


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a waiter that got nothing may hope for."""

    ready: int  # claimable now, counted up to CLAIM_LIMIT
    next_due_s: float | None  # seconds until a waiting READY order falls due
    running: int  # in the hands of anybody, counted up to CLAIM_LIMIT

    @property
    def is_empty(self) -> bool:
        """Nothing is READY, now or later."""
        return not self.ready and self.next_due_s is None

    @property
    def is_done(self) -> bool:
        """Nothing is READY or RUNNING: every order has found its end."""
        return self.is_empty and not self.running


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What one sweep did."""

    ready: int = 0  # orders of dead shifts offered again
    failed: int = 0  # orders that reached `max_losses`
    shifts: tuple[str, ...] = ()  # names of the waiters that were found lost
    missed: tuple[str, ...] = ()  # names of those whose lease ran out, and who may still say that they live
    missed_s: float = 0.0  # so long from now: then a sweep decides

    def __bool__(self) -> bool:
        return bool(self.ready or self.failed or self.shifts)


class Kitchen(Protocol):
    """A store of orders."""

    lease_s: float
    """How long a shift lives without a heartbeat: LEASE_S, but in tests."""

    @property
    def url(self) -> str:
        """Where it is, in words that may be shown: never with a password [16]."""

    @property
    def id(self) -> str:
        """A random name, 32 hexadecimal digits, that the kitchen has kept since somebody first asked for it.

        The same for whoever opens it, under whatever address; and no other kitchen has it.
        """

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def now(self) -> float:
        """The kitchen's clock, seconds since 1970."""

    # Loading. Batches and rows name their orders, so every step can be repeated without harm [1].

    def batches(self) -> list[Batch]:
        """All batches, oldest first."""

    # What a load asks of them: an index answers, however many batches there are.

    def batch(self, batch_id: str) -> Batch | None:
        """The batch with that id."""

    def batches_of(self, digests: Collection[str]) -> list[Batch]:
        """The batches that have one of these digests, or had it before they grew, oldest first."""

    def batch_lengths(self, above: int, up_to: int) -> list[int]:
        """The numbers of orders, more than `above` and no more than `up_to`, that some batch has: each once, rising."""

    def latest_batch(self, source: str) -> Batch | None:
        """The last of the batches that were loaded from there."""

    def open_batch(self, batch: Batch) -> None:
        """Create the batch, or set its facts anew (`is_complete` included) when its id exists."""

    def renew_batch(self, batch: Batch) -> None:
        """Set the facts of a batch that exists anew. Raises NoSuchBatch, and makes none, if somebody deleted it."""

    def add(self, batch_id: str, rows: Iterable[Row], priority: int = 0) -> int:
        """Make each row a READY order with id `batch_id-row`; rows that are orders already are left alone.

        All or nothing on SQLite; on MongoDB a failure may leave some of the rows, which adding again completes.
        Returns how many were new, durable when it returns. Raises NoSuchBatch if the batch was deleted, if need be
        meanwhile; then nothing of it stays.
        """

    # What a batch is for: whose command takes its orders. Waiters look again after each change.

    def bind_batch(
        self, batch_id: str, command: Sequence[str], instead_of: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Bind the batch to the words of a command unless it is bound to others than `instead_of`.

        Returns the words that it is bound to: of several that bind it at the same time one wins. Raises NoSuchBatch.
        """

    def amend_batch(
        self,
        batch_id: str,
        *,
        name: str | Unchanged | None = UNCHANGED,
        command: Sequence[str] | Unchanged | None = UNCHANGED,
        weight: int | Unchanged | None = UNCHANGED,
        pause_reason: str | Unchanged | None = UNCHANGED,
    ) -> None:
        """Give the batch another name, command, weight or reason to pause; None takes it away.

        A command that is given so is reserved: no other takes its place by itself. Raises NoSuchBatch.
        """

    def batch_progress(self, window_s: float) -> dict[str, BatchProgress]:
        """How far each batch is, by its id, and what was finished of it in the last `window_s` seconds."""

    def remove_batch(self, batch_id: str) -> int:
        """Delete the batch and its orders, whatever their status. Returns how many orders."""

    # Shifts. One lease per shift, not per order: heartbeats cost O(waiters), whatever the slots.

    def check_in(self, waiter: str, host: str, pid: int, vitals: Vitals | None = None) -> Shift:
        """Begin a shift with a new random 128-bit token and a lease of LEASE_S."""

    def heartbeat(self, shift: Shift, vitals: Vitals) -> Notice:
        """Renew the lease to now + LEASE_S on the kitchen's clock and hear what the kitchen has to say.

        A shift that was declared lost, has left or is unknown is never renewed: `Notice.is_lost` [7].
        """

    def change_token(self) -> object:
        """A token that changes when somebody loaded, reset, cancelled, paused or resumed: cheap enough to ask every
        second.

        It may change more often than that. A waiter that sees another token than before asks again for work and
        notices.
        """

    def check_out(self, shift: Shift, vitals: Vitals | None = None) -> None:
        """End a shift, with the last it has to tell. Orders that it still holds become READY, their attempt
        uncounted [4]."""

    def shifts(self, include_left: bool = False) -> list[Shift]:
        """Shifts that are checked in, with those lost in the last day; `include_left`: those that went home too.

        The `lease_until` of one that nobody has declared lost yet is past when its lease ran out, and as soon as its
        process on this machine is gone. On SQLite who provably lives has a lease, however late its heartbeat is.
        """

    def knows(self, token: str) -> bool:
        """Whether the shift with this token was checked in here. `clean` may have made it forget one that left."""

    # Delivery.

    def claim(self, shift: Shift, limit: int, exclude: Sequence[str] = (), scope: Scope = ALL) -> list[Order]:
        """Take up to `limit` READY orders in `scope` that are due, highest priority first, then oldest batch, then row.

        An index finds those of some batches, however many orders of others come first. Where a scope has batches in
        more than `SPANS_AT_ONCE` places between others, the order holds among those of so many places at a time.

        Atomic per order: RUNNING with the shift's token and names, `attempt` + 1, `start` now, and no other shift
        can get it [5, 8]. An order that was lost before is claimed alone. The strict order bends by a window of a
        few hundred orders where many claim at once. A shift that is lost, paused or draining gets none: `ShiftLost`
        if lost, else an empty list. An order that has grown too large for the kitchen to hand out ends in ERROR and
        keeps nobody from the others. After `KitchenUnreachable` the orders may be taken: ask `held` and run only
        what it names.
        """

    def held(self, shift: Shift) -> list[Order]:
        """The RUNNING orders that carry the shift's token, confirmed by a majority."""

    def finish(self, shift: Shift, outcomes: Sequence[Outcome]) -> list[FinishResult]:
        """Record outcomes; each applies if its order is RUNNING with this shift's token and that attempt [2, 3, 7].

        An outcome that does not apply is KNOWN if the order's history has it (the reply was lost), else it is kept
        in the order's `late` (once) and LATE. Both lists keep their first and their last `EVENTS_KEPT` events.
        READY outcomes fall due `delay_s` from now on the kitchen's clock, with `failures` + 1 (`losses` + 1 when the
        reason is LOST; INTERRUPTED counts neither). Orders with a cancel asked become CANCELLED instead of READY.
        Accepted is durable (majority, fsync). An order that does not exist any more is LATE.
        """

    def release(self, shift: Shift, orders: Sequence[Order]) -> int:
        """Give orders back: READY, due at once, attempt - 1, as if never claimed. Returns how many were still held.

        It undoes the claim that gave these orders (their `start` tells it apart) and no later one: a release whose
        reply was lost may be repeated, and may take effect when the same shift has the order, and its attempt, again.
        """

    def reclaim(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        """Declare shifts lost whose process on this machine is dead, or whose lease ran out, and take their orders
        back.

        Who was not there cannot know whether the kitchen was away, or whether everybody slept. So a lease that ran
        out needs two looks: the first marks the shift as missed (as soon as it is a sweep from its end), a heartbeat
        takes the mark away, and one that still has it `grace_s` later is lost. `Reclaimed.missed` names who may still
        say that it lives. Leases are compared by the kitchen's clock alone [14]; on SQLite that is the machine's
        steady clock, so a shift of another boot (a container, the time before a reboot) is lost when its heartbeat
        was seen unchanged for a lease. On SQLite a process that provably lives is late, never lost.

        RUNNING orders whose shift is not alive become READY with `losses` + 1 and a delay (`loss_delay_s`), or
        ERROR with reason LOST at `max_losses`; those with a cancel asked become CANCELLED. The rule needs no
        memory: a token that no shift document knows is dead too. Any number of waiters may do it at the same time
        [9, 11].
        """

    def backlog(self, scope: Scope = ALL) -> Backlog:
        """What is READY, due later and RUNNING in `scope`, at a cost that does not grow with the kitchen."""

    # Seeing.

    def counts(self, selector: Selector | None = None) -> Counts:
        """Orders by status."""

    def find(
        self, selector: Selector, *, sort: str = "age", limit: int | None = None, with_details: bool = False
    ) -> Iterator[Order]:
        """Stream the orders that match, in little memory. `sort` is age, -age, start, -start, stop, -stop, duration
        or -duration.

        They are read in portions, each as it is then, and nothing is open in between: who reads may take hours. No
        order comes twice, and none is missing that was there, and matched, all along. Sorted by anything but age, the
        places are those at the beginning, which cost 8 bytes for each order.
        Without `with_details` the tail, result, history and late lists are left out (None and empty).
        """

    def throughput(self, window_s: float) -> Throughput:
        """What was finished in the last `window_s` seconds."""

    def failure_groups(self, selector: Selector | None = None) -> list[FailureGroup]:
        """Orders in ERROR by `error_group`, largest first."""

    def commands(self, selector: Selector | None = None) -> dict[str, int]:
        """How many DONE and ERROR orders each version (hash) of the command delivered, most first."""

    # Steering. Each returns how many orders (or shifts) it changed.

    def reset(self, selector: Selector, *, from_living: bool = False) -> int:
        """Make orders READY again, attempts, failures and losses kept in the history and counted from zero again.

        `attempt` itself goes on rising [4]. Applies to every order that the selector matches, except READY ones,
        and RUNNING ones unless their shift is not alive, or `from_living`: then the living shift loses the order,
        and its outcome will be late [7].
        """

    def cancel(self, selector: Selector) -> int:
        """READY orders become CANCELLED; RUNNING ones are marked, and their waiter hears of it with its next
        heartbeat.
        """

    def set_priority(self, selector: Selector, priority: int) -> int:
        """Give READY orders another priority."""

    def pause(self, waiter: str | None = None, reason: str | None = None) -> int:
        """Let the waiter of that name, or all (those to come included), claim nothing more."""

    def resume(self, waiter: str | None = None) -> int:
        """Undo `pause`."""

    def drain(self, waiter: str) -> int:
        """Ask the waiter of that name to finish what it runs and go home."""

    def clean(self, selector: Selector | None = None) -> int:
        """Delete the matching orders, RUNNING ones included; without a selector everything, batches and shifts that
        left too.
        """


STATUS_WORDS = ", ".join(Status)
"""The statuses, for messages and help texts."""
