"""What every kitchen promises, method by method: what is atomic, whose clock, what is raised.

Two kitchens keep it, `sqlite` and `mongo`, and one suite, tests/contract, holds both to it. Numbers in brackets are
those of docs/promises.md, under its heading "The promises"; the legal changes of an order stand in `transitions`.

Every method may raise `KitchenUnreachable` (what was asked may or may not have happened) and `KitchenError` (asking
again will not help). A kitchen object belongs to one thread; a waiter's heartbeat has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum
from typing import Protocol, Self

from waiter.kitchen.answers import Backlog as Backlog
from waiter.kitchen.answers import Durations as Durations
from waiter.kitchen.answers import Reclaimed as Reclaimed
from waiter.kitchen.intervals import BEATS_PER_LEASE as BEATS_PER_LEASE
from waiter.kitchen.intervals import LEASE_S as LEASE_S
from waiter.kitchen.intervals import beat_of_fleet_s as beat_of_fleet_s
from waiter.kitchen.intervals import grace_s as grace_s
from waiter.kitchen.intervals import lease_of_fleet_s as lease_of_fleet_s
from waiter.kitchen.intervals import loss_delay_s as loss_delay_s
from waiter.kitchen.intervals import sweep_s as sweep_s
from waiter.kitchen.paging import Position as Position
from waiter.kitchen.paging import position_of as position_of
from waiter.kitchen.timeline import PER_DECADE as PER_DECADE
from waiter.kitchen.timeline import Finished as Finished
from waiter.kitchen.timeline import Timeline as Timeline
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
    Vitals,
)
from waiter.orders import FailureGroup as FailureGroup
from waiter.orders import Throughput as Throughput

MAX_LOSSES = 5
"""How many waiters an order may take down before it ends in ERROR."""

LOST_SHOWN_S = 86_400.0
"""How long `shifts` goes on showing one that was lost."""

CLAIM_LIMIT = 256
"""The most orders that one claim takes."""

SPANS_AT_ONCE = 50
"""In so many places between orders of others a claim looks for those of its batches at once."""

ALL = Scope()


class Unchanged(Enum):
    """What `amend_batch` is to leave as it is."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED

Told = Callable[[int], None]
"""Is told of a change of many orders, where it goes step by step: how many more were changed."""

Row = tuple[int, Sequence[str], Sequence[str] | None]
"""Row number, arguments, names or None. Arguments may be `TypedArguments`, whose kinds the order is to have as well."""


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

    def beside(self) -> Kitchen | None:
        """This kitchen for another thread, over what is open already; None: that thread opens it anew.

        What hangs in one thread holds up none of the other. Closing it leaves this one open, and not the other way.
        """

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
        """Create the batch, or set its facts anew (`is_complete` included) when its id exists.

        For whom a new one waits it knows before its first order is there.
        """

    def renew_batch(self, batch: Batch) -> None:
        """Set the facts of a batch that exists anew. Raises NoSuchBatch, and makes none, if somebody deleted it."""

    def add(self, batch_id: str, rows: Iterable[Row], priority: int = 0) -> int:
        """Make each row a READY order with id `batch_id-row`; rows that are orders already are left alone.

        All or nothing on SQLite; on MongoDB a failure may leave some of the rows, which adding again completes.
        Returns how many were new, durable when it returns. Raises NoSuchBatch if the batch was deleted, if need be
        meanwhile; then nothing of it stays.
        """

    def add_portions(self, batch_id: str, portions: Iterable[Sequence[Row]], priority: int = 0) -> Iterator[int]:
        """`add` one portion after the other, and yield how many rows of each were new; later ones may be on the way.

        What cannot add while it reads the next rows adds in turns.
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
        after: Sequence[str] | Unchanged = UNCHANGED,
        after_any: Sequence[str] | Unchanged = UNCHANGED,
        after_row: Unchanged | None = UNCHANGED,
    ) -> None:
        """Give the batch another name, command, weight, reason to pause, or others to wait for; None takes it away.

        Without `after_row` what was held of it may be taken.

        A command that is given so is reserved: no other takes its place by itself. Raises NoSuchBatch.
        """

    def batch_progress(self, window_s: float) -> dict[str, BatchProgress]:
        """How far each batch is, by its id, and what was finished of it in the last `window_s` seconds.

        Its own window begins with the first of these orders, if that is later, and is a second at least: a batch that
        has just begun is as fast as it is.
        """

    def remove_batch(self, batch_id: str) -> int:
        """Delete the batch and its orders, whatever their status. Returns how many orders."""

    # Shifts. One lease per shift, not per order: heartbeats cost O(waiters), whatever the slots.

    def check_in(self, waiter: str, host: str, pid: int, vitals: Vitals | None = None) -> Shift:
        """Begin a shift with a new random 128-bit token and a lease of LEASE_S."""

    def heartbeat(self, shift: Shift, vitals: Vitals, lease_s: float | None = None) -> Notice:
        """Renew the lease to now + `lease_s` on the kitchen's clock and hear what the kitchen has to say.

        None: the kitchen's own `lease_s`. Who believes to have more than that left of its lease must ask for as much:
        an answer may get lost. Only a waiter that was told of a large fleet (`Notice.fleet_size`) asks for another.
        A shift that was declared lost, has left or is unknown is never renewed: `Notice.is_lost` [7].
        """

    def change_token(self) -> object:
        """A token that changes when somebody loaded, reset, cancelled, paused or resumed: cheap enough to ask every
        second.

        It may change more often than that. A waiter that sees another token than before asks again for work and
        notices.
        """

    def check_out(self, shift: Shift, vitals: Vitals | None = None) -> None:
        """End a shift, with its last vitals. Orders that it still holds become READY, their attempt
        uncounted [4]."""

    def shifts(self, include_left: bool = False) -> list[Shift]:
        """Shifts that are checked in, with those lost in the last day; `include_left`: those that left too.

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
        can get it [5, 8]. An order that was lost before is claimed alone. The strict order bends where many claim at
        once: for a second a waiter may go on further down, by up to 512 orders for each that it wants. A shift that is
        lost, paused or draining gets none: `ShiftLost` if lost, else an empty list. An order that has grown too large
        for the kitchen to hand out ends in ERROR and keeps nobody from the others. After `KitchenUnreachable` the
        orders may be taken: ask `held` and run only what it names.
        """

    def peek(self, scope: Scope = ALL) -> Order | None:
        """The order in `scope` that a claim would take first, were nobody faster; nothing changes.

        One that has only just fallen due may be missed.
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

    def sweep(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        """`reclaim` for a fleet in which everybody asks for it: who asks first in each `turn_s` does it for all.

        Nobody holds that turn, so nobody keeps it by dying. Who asks meanwhile takes back what belonged to the dead of
        its own machine, and hears when the next turn is (`Reclaimed.next_s`). A token that no shift has may stay
        unnoticed for `STRAYS_S`. A kitchen whose `reclaim` is cheap may do that each time.
        """

    def backlog(self, scope: Scope = ALL) -> Backlog:
        """What is READY, due later and RUNNING in `scope`, at a cost that does not grow with the kitchen."""

    def is_only_running(self, scope: Scope = ALL) -> bool:
        """Whether something is RUNNING in `scope`, and nothing READY, now or later, but for what is held.

        It is what waiters ask again and again that wait for the orders of others, so it costs little; False may be said
        where that is hard to know.
        """

    # Batches joined row by row (`Batch.after_row`): an order of such a batch is added HELD unless the one of its row
    # in the other batch is DONE. When that one is, `finish` lets it go; a `reset` of that one holds it again if READY.

    def release_rows(self) -> int:
        """Let go what is held in vain: the other order is DONE (who finished it died before it said so), or its batch
        was deleted. Returns how many. Where rows can be held in vain, each sweep of a fleet looks at some of them.
        """

    def held_rows(self) -> dict[str, int]:
        """How many orders are held of each batch of which some are, by its id."""

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

    def page(self, selector: Selector, *, sort: str, limit: int, after: Position | None = None) -> list[Order]:
        """The first orders that match, or those that come after a position, in the order of `find`, without details.

        What was shown before is not read again. Raises UsageError for a position in a batch that does not exist.
        """

    def throughput(self, window_s: float) -> Throughput:
        """What was finished in the last `window_s` seconds, and what is ahead of a clock that was set back by no more
        than these. More than `timeline.MOST_COUNTED` orders are estimated."""

    def durations(self, since: float, bounds: Sequence[float]) -> Durations:
        """How long the orders took that stopped later than `since`, by rising bounds in seconds."""

    def timeline(
        self, since: float | None = None, step_s: float | None = None, batch: str | None = None, *, not_begun: int = 0
    ) -> Timeline:
        """How the work went, step by step, of all or of one batch (its id or name): see `timeline.Timeline`.

        None: since the first order that ended began, until the last one has if nothing runs any more, in about
        `timeline.STEPS` round steps. It counts the last attempt of each order. Of the RUNNING orders so many are
        `not_begun`, claimed ahead and in no slot, which only their waiters know. An index answers; of many orders so
        few are looked at that it costs no more than some ten thousand. What stopped ahead of now, as a clock was set
        back, stands at its own time: then the steps go on until there. Raises NoSuchBatch, and UsageError for more
        than `MOST_STEPS` steps.
        """

    def failure_groups(self, selector: Selector | None = None) -> list[FailureGroup]:
        """Orders in ERROR by `error_group`, largest first."""

    def commands(self, selector: Selector | None = None) -> dict[str, int]:
        """How many DONE and ERROR orders each version (hash) of the command delivered, most first."""

    # Steering. Each returns how many orders (or shifts) it changed.

    def reset(self, selector: Selector, *, from_living: bool = False, told: Told | None = None) -> int:
        """Make orders READY again, attempts, failures and losses kept in the history and counted from zero again.

        `attempt` itself goes on rising [4]. Applies to every order that the selector matches, except READY ones,
        and RUNNING ones unless their shift is not alive, or `from_living`: then the living shift loses the order,
        and its outcome will be late [7].
        """

    def cancel(self, selector: Selector, *, told: Told | None = None) -> int:
        """READY orders become CANCELLED; RUNNING ones are marked, and their waiter hears of it with its next
        heartbeat.
        """

    def set_priority(self, selector: Selector, priority: int, *, told: Told | None = None) -> int:
        """Give READY orders another priority."""

    def pause(self, waiter: str | None = None, reason: str | None = None) -> int:
        """Let the waiter of that name, or all (those to come included), claim nothing more."""

    def resume(self, waiter: str | None = None) -> int:
        """Undo `pause`."""

    def drain(self, waiter: str) -> int:
        """Ask the waiter of that name to finish its running orders and leave."""

    def clean(self, selector: Selector | None = None, *, told: Told | None = None) -> int:
        """Delete the matching orders, RUNNING ones included; without a selector everything, batches and shifts that
        left too, but not the ledger."""

    # The ledger: what a fleet's verbs write down of machines before and after they ask for them.

    def ledger(self, prefix: str = "") -> dict[str, str]:
        """The entries whose key begins with `prefix`: text by key, sorted by key, confirmed by a majority."""

    def enter(self, key: str, text: str, *, instead_of: str | None = None) -> bool:
        """Write an entry, durably, if its text is still `instead_of` (None: there is none yet). Whether it was written;
        after `KitchenUnreachable` it may have been. No entry is ever removed."""
