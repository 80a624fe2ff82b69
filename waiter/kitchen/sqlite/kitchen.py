"""The kitchen in an SQLite file: one machine, nothing to set up.

Every method is one transaction; WAL and synchronous=FULL make it durable when it returns. Leases are kept on a
clock that nobody sets, and a waiter whose process is dead is seen at once. `session` holds the open file, `batches`
what is loaded; `rows` turns rows into values.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from waiter import processes
from waiter.errors import ShiftLost
from waiter.kitchen.contract import (
    ALL,
    CLAIM_LIMIT,
    LOST_SHOWN_S,
    MAX_LOSSES,
    Backlog,
    Durations,
    FailureGroup,
    Position,
    Reclaimed,
    Throughput,
    Timeline,
    Told,
    loss_delay_s,
)
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import PORTION, is_of_batches, unknown_batch, unknown_position
from waiter.kitchen.sqlite import admin, held, leases, paging, queries, tally
from waiter.kitchen.sqlite import outcomes as outcomes_
from waiter.kitchen.sqlite import scope as scopes
from waiter.kitchen.sqlite import timeline as timelines
from waiter.kitchen.sqlite.batches import BatchStore, numbers_of, order_ids
from waiter.kitchen.sqlite.file import keeps_tally, knows_stages, translate_errors
from waiter.kitchen.sqlite.rows import (
    EVERYTHING,
    FROM,
    LIGHT,
    Condition,
    batches_of_orders,
    condition,
    named,
    order_by,
    order_from,
    seq_of,
    shift_from,
)
from waiter.kitchen.timeline import read_timeline
from waiter.orders import (
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

_NAMED = """
SELECT id, name, number FROM batches WHERE id IN (SELECT value FROM json_each(?)) OR id = ? OR name = ? ORDER BY number
"""


class SqliteKitchen(BatchStore):
    """A store of orders in an SQLite file; see `contract.Kitchen`."""

    # Shifts

    def check_in(self, waiter: str, host: str, pid: int, vitals: Vitals | None = None) -> Shift:
        token = os.urandom(16).hex()
        with self._writing() as db:
            paused = db.execute("SELECT value FROM state WHERE name = 'paused'").fetchone()
            facts = {
                "token": token,
                "waiter": printable(waiter),
                "host": printable(host),
                "pid": pid,
                "pid_started": processes.start_time(pid),
                "namespace": self._here.namespace,
                "boot": self._here.boot,
                "since": self.now(),
                "lease_ends": self._steady() + self.lease_s,
                "heartbeat_at": self.now(),
                "is_paused": paused is not None,
                "pause_reason": None if paused is None else paused["value"],
                "vitals": json.dumps(dataclasses.asdict(vitals or Vitals())),
            }
            names = ", ".join(facts)
            db.execute(f"INSERT INTO shifts ({names}) VALUES ({', '.join(f':{name}' for name in facts)})", facts)
            return self._shift(db, token)

    def _shift(self, db: sqlite3.Connection, token: str) -> Shift:
        stored = db.execute("SELECT * FROM shifts WHERE token = ?", (token,)).fetchone()
        return shift_from(stored, self.now() - self._steady())

    def heartbeat(self, shift: Shift, vitals: Vitals, lease_s: float | None = None) -> Notice:
        facts = (
            self._steady() + (lease_s or self.lease_s),
            self.now(),
            json.dumps(dataclasses.asdict(vitals)),
            shift.token,
        )
        with self._writing() as db:
            stored = db.execute(
                "UPDATE shifts SET lease_ends = ?, heartbeat_at = ?, vitals = ? WHERE token = ? "
                "AND left_at IS NULL AND lost_at IS NULL RETURNING is_paused, is_draining",
                facts,
            ).fetchone()
            cancelled = db.execute(
                f"SELECT {LIGHT} {FROM} WHERE shift = ? AND status = 'RUNNING' AND is_cancel_asked", (shift.token,)
            ).fetchall()
        if stored is None:
            return Notice(is_lost=True)
        return Notice(
            is_paused=bool(stored["is_paused"]),
            is_draining=bool(stored["is_draining"]),
            cancelled=tuple(order_from(row).id for row in cancelled),
        )

    def change_token(self) -> object:
        rows = self._read("SELECT value FROM state WHERE name = 'news'")
        return rows[0]["value"] if rows else None

    def check_out(self, shift: Shift, vitals: Vitals | None = None) -> None:
        told = None if vitals is None else json.dumps(dataclasses.asdict(vitals))
        with self._writing() as db:
            db.execute(outcomes_.RELEASE, {"shift": shift.token, "now": self.now()})
            db.execute(
                "UPDATE shifts SET left_at = ?, vitals = ifnull(?, vitals) "
                "WHERE token = ? AND left_at IS NULL AND lost_at IS NULL",
                (self.now(), told, shift.token),
            )

    def shifts(self, include_left: bool = False) -> list[Shift]:
        offset = self.now() - self._steady()
        rows = self._read(
            "SELECT * FROM shifts WHERE (left_at IS NULL AND lost_at IS NULL) OR lost_at > ? "
            "OR (? AND left_at IS NOT NULL) ORDER BY since, token",
            (self.now() - LOST_SHOWN_S, include_left),
        )
        looker = self._looker()
        return [leases.as_it_is(shift_from(row, offset), row, looker) for row in rows]

    def knows(self, token: str) -> bool:
        return bool(self._read("SELECT 1 FROM shifts WHERE token = ?", (token,)))

    def _looker(self) -> leases.Looker:
        return leases.Looker(self._here, self._steady(), self.now(), self.lease_s)

    # Delivery

    def claim(self, shift: Shift, limit: int, exclude: Sequence[str] = (), scope: Scope = ALL) -> list[Order]:
        if limit <= 0:
            return []
        with self._writing() as db:
            if not self._may_claim(db, shift):
                return []
            now = self.now()
            db.execute(outcomes_.FALL_DUE, (now,))
            seqs = outcomes_.candidates(self._first_but(db, scope, min(limit, CLAIM_LIMIT), exclude))
            orders = outcomes_.take(db, shift, seqs, now) if seqs else []
        return sorted(orders, key=lambda order: -order.priority)

    def peek(self, scope: Scope = ALL) -> Order | None:
        with translate_errors(self.path):
            first = self._first(self._db, scope, 1)
        found = self._read(f"SELECT {LIGHT} {FROM} WHERE seq = ?", (first[0]["seq"],)) if first else []
        return order_from(found[0]) if found else None

    def _first_but(self, db: sqlite3.Connection, scope: Scope, limit: int, exclude: Sequence[str]) -> list[sqlite3.Row]:
        rows = self._first(db, scope, limit)
        if order_ids(db, rows).isdisjoint(exclude):  # as usual: what a waiter holds is RUNNING
            return rows
        excluded = set(self._seqs(db, exclude))
        return [row for row in self._first(db, scope, limit + len(excluded)) if row["seq"] not in excluded][:limit]

    def _first(self, db: sqlite3.Connection, scope: Scope, limit: int) -> list[sqlite3.Row]:
        if scope == ALL:
            return outcomes_.first(db, limit)

        def read(sql: str, parameters: Mapping[str, Any] = EVERYTHING.values) -> list[sqlite3.Row]:
            return db.execute(sql, parameters).fetchall()

        rows = scopes.first_in(read, scope, self._spans.of(scope), limit)
        if not rows and self._spans.are_others(scope):
            rows = scopes.first_in(read, scope, self._spans.of(scope), limit)
        return rows

    def _may_claim(self, db: sqlite3.Connection, shift: Shift) -> bool:
        stored = db.execute("SELECT * FROM shifts WHERE token = ?", (shift.token,)).fetchone()
        if stored is None or stored["lost_at"] is not None or stored["left_at"] is not None:
            raise ShiftLost(shift.waiter)
        return not stored["is_paused"] and not stored["is_draining"] and stored["lease_ends"] > self._steady()

    def _seqs(self, db: sqlite3.Connection, order_ids: Sequence[str]) -> list[int]:
        numbers = numbers_of(db, order_ids)
        return [seq for order_id in order_ids if (seq := seq_of(order_id, numbers)) is not None]

    def held(self, shift: Shift) -> list[Order]:
        rows = self._read(f"SELECT {LIGHT} {FROM} WHERE shift = ? AND status = 'RUNNING' ORDER BY seq", (shift.token,))
        return [order_from(row) for row in rows]

    def finish(self, shift: Shift, outcomes: Sequence[Outcome]) -> list[FinishResult]:
        try:
            return self._finish(shift, outcomes, outcomes_.finish_all)
        except outcomes_.SomeAreNot:
            return self._finish(shift, outcomes, outcomes_.finish_each)

    def _finish(self, shift: Shift, outcomes: Sequence[Outcome], record: outcomes_.Recorder) -> list[FinishResult]:
        with self._writing() as db:
            numbers, now = numbers_of(db, [outcome.order_id for outcome in outcomes]), self.now()
            ended = [(outcome, seq_of(outcome.order_id, numbers)) for outcome in outcomes]
            results = record(db, shift, ended, now)
            if knows_stages(self._db):
                held.let_go(db, outcomes_.done(ended, results), numbers)
            return results

    def release(self, shift: Shift, orders: Sequence[Order]) -> int:
        with self._writing() as db:
            numbers, now = numbers_of(db, [order.id for order in orders]), self.now()
            facts = (
                {"shift": shift.token, "now": now, "seq": seq_of(order.id, numbers), "start": order.start}
                for order in orders
            )
            return db.executemany(f"{outcomes_.RELEASE} AND seq = :seq AND start = :start", facts).rowcount

    def reclaim(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        if self._db.is_read_only or not self._is_anybody_missed():
            return Reclaimed()  # the usual case takes no lock
        with self._writing() as db:
            look, now = self._declare_lost(db), self.now()
            orders = db.execute(f"SELECT * {outcomes_.ORPHANS}", (json.dumps(look.living),)).fetchall()
            ends = [
                outcomes_.lose(db, order, max_losses, now, loss_delay_s(order["losses"] + 1, self._rng))
                for order in orders
            ]
        names = tuple(row["waiter"] for row in look.dead)
        return Reclaimed(ends.count(Status.READY), ends.count(Status.ERROR), names, look.missed, look.missed_s)

    def sweep(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        return self.reclaim(max_losses)  # a look at the processes of one machine, without a lock

    def _is_anybody_missed(self) -> bool:
        rows, looker = self._read(f"SELECT * {leases.OPEN}"), self._looker()
        living = json.dumps([row["token"] for row in rows])
        return any(map(looker.misses, rows)) or bool(self._read(f"SELECT 1 {outcomes_.ORPHANS} LIMIT 1", (living,)))

    def _declare_lost(self, db: sqlite3.Connection) -> leases.Look:
        look = leases.look(db, self._looker())
        now = self.now()
        db.executemany("UPDATE shifts SET lost_at = ? WHERE token = ?", [(now, row["token"]) for row in look.dead])
        return look

    def backlog(self, scope: Scope = ALL) -> Backlog:
        if scope == ALL:
            return queries.backlog(self._read, self.now())
        self._spans.are_others(scope)
        return scopes.backlog(self._read, scope, self._spans.of(scope), self.now())

    def is_only_running(self, scope: Scope = ALL) -> bool:
        return self.backlog(scope).is_only_running

    # Seeing

    def _condition(self, selector: Selector | None) -> Condition:
        if selector is None or selector == Selector():
            return EVERYTHING
        ids = [*batches_of_orders(selector.ids), *map(printable, selector.waiting or ())]
        batches = self._read(_NAMED, (json.dumps(ids), *[printable(selector.batch)] * 2))
        if selector.batch is not None and not named(selector.batch, batches):
            raise unknown_batch(selector.batch, self._batch_names())
        return condition(selector, batches, self.now())

    def _numbers_of(self, batch: str | None) -> list[int] | None:
        """The numbers of the batches of that id or name; None: of all."""
        if batch is None:
            return None
        return [int(row["number"]) for row in self._read(_NAMED, ("[]", *[printable(batch)] * 2))]

    def counts(self, selector: Selector | None = None) -> Counts:
        chosen = self._condition(selector)
        wanted = selector or Selector()
        if is_of_batches(wanted) and keeps_tally(self._db):
            return tally.counts(self._read, self._numbers_of(wanted.batch), wanted.statuses)
        return queries.counts(self._read, selector, chosen)

    def find(
        self, selector: Selector, *, sort: str = "age", limit: int | None = None, with_details: bool = False
    ) -> Iterator[Order]:
        chosen, ordered = self._condition(selector), order_by(sort, self.now())
        if limit is not None and limit <= PORTION and not (with_details or selector.batch):
            return iter(self.page(selector, sort=sort, limit=limit))
        return self._stream(queries.find(self._db, selector, chosen, ordered, limit, with_details))

    def _stream(self, orders: Iterator[Order]) -> Iterator[Order]:
        with translate_errors(self.path):
            yield from orders

    def page(self, selector: Selector, *, sort: str, limit: int, after: Position | None = None) -> list[Order]:
        place = None if after is None else paging.Place(after.value, self._seq(after.order_id))
        return paging.page(self._read, selector, self._condition(selector), sort, self.now(), max(0, limit), place)

    def _seq(self, order_id: str) -> int:
        with translate_errors(self.path):
            numbers = numbers_of(self._db, [order_id])
        if (seq := seq_of(order_id, numbers)) is None:
            raise unknown_position(order_id)
        return seq

    def throughput(self, window_s: float) -> Throughput:
        return queries.throughput(self._read, self.now(), window_s)

    def durations(self, since: float, bounds: Sequence[float]) -> Durations:
        return queries.durations(self._read, since, bounds)

    def timeline(
        self, since: float | None = None, step_s: float | None = None, batch: str | None = None, *, not_begun: int = 0
    ) -> Timeline:
        of, numbers = EVERYTHING, None
        if batch is not None:
            of = self._condition(Selector(batch=batch))
            numbers = self._numbers_of(batch)
        return read_timeline(timelines.Source(self._read, of, numbers), self.now(), since, step_s, not_begun)

    def failure_groups(self, selector: Selector | None = None) -> list[FailureGroup]:
        return queries.failure_groups(self._read, self._condition(selector))

    def commands(self, selector: Selector | None = None) -> dict[str, int]:
        chosen = self._condition(selector)
        wanted = selector or Selector()
        if is_of_batches(wanted) and not wanted.statuses and keeps_tally(self._db):
            return tally.commands(self._read, self._numbers_of(wanted.batch))
        return queries.commands(self._read, chosen)

    # Steering

    def reset(self, selector: Selector, *, from_living: bool = False, told: Told | None = None) -> int:  # noqa: ARG002 - one step
        chosen = self._condition(selector)
        with self._writing(is_change=True) as db:
            # Asked under the lock: a shift that begins just now is not taken for a dead one.
            living = [] if from_living else self._declare_lost(db).living
            changed = admin.reset(db, chosen, living, self.now())
            if knows_stages(self._db):
                held.hold_again(db)
            return changed

    def cancel(self, selector: Selector, *, told: Told | None = None) -> int:  # noqa: ARG002 - one step
        chosen = self._condition(selector)
        with self._writing(is_change=True) as db:
            return admin.cancel(db, chosen, self.now())

    def set_priority(self, selector: Selector, priority: int, *, told: Told | None = None) -> int:  # noqa: ARG002 - one step
        chosen = self._condition(selector)
        sql = (
            f"UPDATE orders SET priority = :priority WHERE status = 'READY' AND priority <> :priority AND {chosen.sql}"
        )
        with self._writing(is_change=True) as db:
            return db.execute(sql, {**chosen.values, "priority": priority}).rowcount

    def pause(self, waiter: str | None = None, reason: str | None = None) -> int:
        with self._writing(is_change=True) as db:
            return admin.pause(db, waiter, reason)

    def resume(self, waiter: str | None = None) -> int:
        with self._writing(is_change=True) as db:
            return admin.resume(db, waiter)

    def drain(self, waiter: str) -> int:
        with self._writing(is_change=True) as db:
            return admin.drain(db, waiter)

    def clean(self, selector: Selector | None = None, *, told: Told | None = None) -> int:  # noqa: ARG002 - one step
        chosen = self._condition(selector)
        with self._writing(is_change=True) as db:
            removed = admin.clean(db, chosen, is_everything=selector is None)
            if knows_stages(self._db):
                held.repair(db)
            return removed

    def ledger(self, prefix: str = "") -> dict[str, str]:
        return admin.ledger(self._read, prefix)

    def enter(self, key: str, text: str, *, instead_of: str | None = None) -> bool:
        with self._writing() as db:
            return admin.enter(db, key, text, instead_of)
