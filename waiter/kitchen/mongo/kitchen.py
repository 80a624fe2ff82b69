"""The kitchen that a fleet shares: a MongoDB database.

What it promises stands in `contract`; this room joins the rooms beside it: the connection and its errors, documents,
updates, claims, outcomes, what can be seen and what can be steered. Loading and shifts are here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from typing import Self

from pymongo.read_concern import ReadConcern

from waiter import processes
from waiter.kitchen.contract import (
    ALL,
    LEASE_S,
    LOST_SHOWN_S,
    MAX_LOSSES,
    UNCHANGED,
    Backlog,
    Durations,
    FailureGroup,
    Position,
    Reclaimed,
    Row,
    Throughput,
    Timeline,
    Told,
    Unchanged,
)
from waiter.kitchen.mongo import admin, batches, failures, held, leases, paging, queries, schema, sweeps
from waiter.kitchen.mongo import outcomes as outcomes_
from waiter.kitchen.mongo import timeline as timelines
from waiter.kitchen.mongo.claims import Claims
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import (
    Document,
    order_from,
    shift_from,
    vitals_document,
)
from waiter.kitchen.mongo.pieces import Loading
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import PORTION
from waiter.kitchen.timeline import read_timeline
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


def _no_shift() -> float:
    return 0.0


class MongoKitchen:
    """A store of orders in a MongoDB database; see `contract.Kitchen`."""

    def __init__(
        self,
        url: str,
        db: str = "simplewaiter",
        *,
        create: bool = True,
        ahead: Callable[[], float] = _no_shift,
        lease_s: float = LEASE_S,
        timeout_s: float = 10.0,
    ) -> None:
        """Connect, and make the indexes if they are missing; without `create` a missing kitchen is KitchenMissing.

        `url` is a mongodb:// or mongodb+srv:// address or a bare host[:port]; a database that it names wins over `db`.
        `ahead` seconds are added to every reading of the server's clock.
        """
        self.lease_s = lease_s
        self._to = Connection(url, db, ahead, timeout_s)
        try:
            with self._to.translate_errors():
                schema.prepare(self._to, create=create)
        except BaseException:
            self._to.close()
            raise
        self._claims, self._loading = Claims(self._to), Loading(self._to)
        self._id: str | None = None
        self._is_owner = True
        self._here = processes.here()

    @property
    def url(self) -> str:
        return self._to.url

    @property
    def id(self) -> str:
        self._id = self._id or self._to.kept_id()
        return self._id

    def close(self) -> None:
        if self._is_owner:
            self._to.close()

    def beside(self) -> MongoKitchen:
        """Over the same connection, in turns: see `Connection.share`."""
        self._to.share()
        other = copy(self)
        other._is_owner, other._claims, other._loading = False, Claims(self._to), Loading(self._to)
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def now(self) -> float:
        with self._to.translate_errors():
            return self._to.time()

    # Loading

    def batches(self) -> list[Batch]:
        with self._to.translate_errors():
            return batches.batches(self._to)

    def batch(self, batch_id: str) -> Batch | None:
        with self._to.translate_errors():
            return batches.batch(self._to, batch_id)

    def batches_of(self, digests: Collection[str]) -> list[Batch]:
        with self._to.translate_errors():
            return batches.batches_of(self._to, digests)

    def batch_lengths(self, above: int, up_to: int) -> list[int]:
        with self._to.translate_errors():
            return batches.batch_lengths(self._to, above, up_to)

    def latest_batch(self, source: str) -> Batch | None:
        with self._to.translate_errors():
            return batches.latest_batch(self._to, source)

    def open_batch(self, batch: Batch) -> None:
        with self._to.translate_errors():
            batches.open_batch(self._to, batch)

    def renew_batch(self, batch: Batch) -> None:
        with self._to.translate_errors():
            batches.renew_batch(self._to, batch)

    def add(self, batch_id: str, rows: Iterable[Row], priority: int = 0) -> int:
        return sum(self.add_portions(batch_id, batches.portions(rows), priority))

    def add_portions(self, batch_id: str, portions: Iterable[Sequence[Row]], priority: int = 0) -> Iterator[int]:
        return admin.announcing(self._to, batches.add(self._to, self._loading, batch_id, portions, priority))

    def bind_batch(
        self, batch_id: str, command: Sequence[str], instead_of: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        with self._to.translate_errors():
            bound = batches.bind(self._to, batch_id, command, instead_of)
        admin.announce_change(self._to)
        return bound

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
        facts = {"name": name, "command": command, "weight": weight, "pause_reason": pause_reason}
        facts |= {"after": after, "after_any": after_any, "after_row": after_row}
        with self._to.translate_errors():
            batches.amend(self._to, batch_id, {key: v for key, v in facts.items() if not isinstance(v, Unchanged)})
        admin.announce_change(self._to)

    def batch_progress(self, window_s: float) -> dict[str, BatchProgress]:
        with self._to.patiently():
            return queries.batch_progress(self._to, window_s)

    def remove_batch(self, batch_id: str) -> int:
        removed = batches.remove_batch(self._to, batch_id)
        admin.announce_change(self._to)
        return removed

    # Shifts

    def check_in(self, waiter: str, host: str, pid: int, vitals: Vitals | None = None) -> Shift:
        token, now = os.urandom(16).hex(), self._to.now
        facts: Document = {
            "waiter": {"$literal": printable(waiter)},
            "host": {"$literal": printable(host)},
            "pid": pid,
            **{name: {"$literal": value} for name, value in leases.signs(pid, self._here).items()},
            "is_open": True,
            "since": now,
            **self._alive(vitals or Vitals(), self.lease_s),
        }
        with self._to.translate_errors():
            self._to.shifts.update_one({"_id": token}, [{"$set": facts}], upsert=True)
            admin.follow_pause(self._to, token)
            return shift_from(self._to.shifts.find_one({"_id": token}) or {})

    def _alive(self, vitals: Vitals, lease_s: float) -> Document:
        now = self._to.now
        return {
            "heartbeat_at": now,
            "lease_until": {"$add": [now, lease_s]},
            "lease_s": lease_s,
            "missed_at": "$$REMOVE",
            "vitals": {"$literal": vitals_document(vitals)},
        }

    def heartbeat(self, shift: Shift, vitals: Vitals, lease_s: float | None = None) -> Notice:
        with self._to.translate_errors():
            stored = leases.renew(self._to, shift.token, self._alive(vitals, lease_s or self.lease_s))
            if stored is None:
                return Notice(is_lost=True)
            return Notice(
                is_paused=stored.get("is_paused", False),
                is_draining=stored.get("is_draining", False),
                cancelled=self._cancelled(shift) if "has_cancelled" in stored else (),
                fleet_size=self._to.fleet_size,
                is_sweep_overdue=sweeps.is_overdue(self._to, stored["now"], self.lease_s),
            )

    def _cancelled(self, shift: Shift) -> tuple[str, ...]:
        marked = {"shift": shift.token, "status": "RUNNING", "is_cancel_asked": True}
        return tuple(order["_id"] for order in self._to.orders.find(marked, {"_id": 1}))

    def change_token(self) -> object:
        with self._to.translate_errors():
            told = self._to.state.find_one({"_id": "news"})
            if told is None:
                raise self._to.gone()
            # What the next heartbeat tells.
            self._to.fleet_size, self._to.swept_at = int(told.get("shifts", 0)), told.get("swept_at")
            return told.get("n")

    def check_out(self, shift: Shift, vitals: Vitals | None = None) -> None:
        told = {} if vitals is None else {"vitals": {"$literal": vitals_document(vitals)}}
        with self._to.translate_errors():
            # Orders first: were the shift closed before, a sweep beside us could take them for lost.
            outcomes_.release_all(self._to, shift)
            left: Document = {"left_at": self._to.now, **leases.ENDED, **told}
            self._to.shifts.update_one({"_id": shift.token, "is_open": True}, [{"$set": left}])

    def shifts(self, include_left: bool = False) -> list[Shift]:
        recently = {"$expr": {"$gt": ["$lost_at", {"$subtract": [self._to.now, LOST_SHOWN_S]}]}}
        wanted: list[Document] = [{"is_open": True}, {"lost_at": {"$gt": 0}, **recently}]
        if include_left:
            wanted.append({"left_at": {"$gt": 0}})
        with self._to.translate_errors():
            found = self._to.shifts.find({"$or": wanted}).sort("since")
            return [leases.as_it_is(shift_from(stored), stored, self._here) for stored in found]

    def knows(self, token: str) -> bool:
        with self._to.translate_errors():
            return self._to.shifts.find_one({"_id": token}, {"_id": 1}) is not None

    # Delivery

    def claim(self, shift: Shift, limit: int, exclude: Sequence[str] = (), scope: Scope = ALL) -> list[Order]:
        if limit <= 0:
            return []
        with self._to.translate_errors():
            return self._claims.claim(shift, limit, exclude, scope)

    def peek(self, scope: Scope = ALL) -> Order | None:
        with self._to.translate_errors():
            return self._claims.peek(scope)

    def held(self, shift: Shift) -> list[Order]:
        with self._to.translate_errors():
            orders = self._to.orders.with_options(read_concern=ReadConcern("majority"))
            held = orders.find({"shift": shift.token, "status": "RUNNING"}, dict.fromkeys(("history", "late"), 0))
            return [order_from(order) for order in sorted(held, key=lambda order: order["seq"])]

    def finish(self, shift: Shift, outcomes: Sequence[Outcome]) -> list[FinishResult]:
        with self._to.translate_errors():
            return outcomes_.finish(self._to, shift, outcomes)

    def release(self, shift: Shift, orders: Sequence[Order]) -> int:
        with self._to.translate_errors():
            return outcomes_.release(self._to, shift, orders)

    def reclaim(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        with self._to.translate_errors():
            return sweeps.reclaim(self._to, self._here, self.lease_s, max_losses)

    def sweep(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        with self._to.translate_errors():
            return sweeps.sweep(self._to, self._here, self.lease_s, max_losses)

    def backlog(self, scope: Scope = ALL) -> Backlog:
        with self._to.translate_errors():
            self._claims.spans.are_others(scope)
            return queries.backlog(self._to, scope, self._claims.spans.of(scope))

    def is_only_running(self, scope: Scope = ALL) -> bool:
        with self._to.translate_errors():
            self._claims.spans.are_others(scope)
            return queries.is_only_running(self._to, scope, self._claims.spans.of(scope))

    def release_rows(self) -> int:
        with self._to.patiently():
            return held.repair(self._to)

    def held_rows(self) -> dict[str, int]:
        with self._to.patiently():
            return held.held_rows(self._to)

    # Seeing

    def counts(self, selector: Selector | None = None) -> Counts:
        return queries.counts(self._to, selector)

    def find(
        self, selector: Selector, *, sort: str = "age", limit: int | None = None, with_details: bool = False
    ) -> Iterator[Order]:
        if limit is not None and limit <= PORTION:
            return paging.first(self._to, selector, sort, limit, with_details=with_details)
        return queries.find(self._to, selector, sort, limit, with_details)

    def page(self, selector: Selector, *, sort: str, limit: int, after: Position | None = None) -> list[Order]:
        with self._to.patiently():
            return paging.page(self._to, selector, sort, limit, after)

    def throughput(self, window_s: float) -> Throughput:
        with self._to.patiently():
            return queries.throughput(self._to, window_s)

    def durations(self, since: float, bounds: Sequence[float]) -> Durations:
        with self._to.patiently():
            return queries.durations(self._to, since, bounds)

    def timeline(
        self, since: float | None = None, step_s: float | None = None, batch: str | None = None, *, not_begun: int = 0
    ) -> Timeline:
        with self._to.patiently():
            of = None if batch is None else queries.named_batches(self._to, batch)
            return read_timeline(timelines.Source(self._to, of), self._to.time(), since, step_s, not_begun)

    def failure_groups(self, selector: Selector | None = None) -> list[FailureGroup]:
        with self._to.patiently():
            return failures.failure_groups(self._to, selector)

    def commands(self, selector: Selector | None = None) -> dict[str, int]:
        with self._to.patiently():
            return queries.commands(self._to, selector)

    # Steering

    def reset(self, selector: Selector, *, from_living: bool = False, told: Told | None = None) -> int:
        return admin.reset(self._to, selector, self._here, self.lease_s, from_living, told)

    def cancel(self, selector: Selector, *, told: Told | None = None) -> int:
        return admin.cancel(self._to, selector, told)

    def set_priority(self, selector: Selector, priority: int, *, told: Told | None = None) -> int:
        return admin.set_priority(self._to, selector, priority, told)

    def pause(self, waiter: str | None = None, reason: str | None = None) -> int:
        return admin.pause(self._to, waiter, reason)

    def resume(self, waiter: str | None = None) -> int:
        return admin.resume(self._to, waiter)

    def drain(self, waiter: str) -> int:
        return admin.drain(self._to, waiter)

    def clean(self, selector: Selector | None = None, *, told: Told | None = None) -> int:
        return admin.clean(self._to, selector, told)

    def ledger(self, prefix: str = "") -> dict[str, str]:
        return admin.ledger(self._to, prefix)

    def enter(self, key: str, text: str, *, instead_of: str | None = None) -> bool:
        return admin.enter(self._to, key, text, instead_of)
