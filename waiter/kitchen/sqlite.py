"""The kitchen in an SQLite file: one machine, nothing to set up.

Every method is one transaction; WAL and synchronous=FULL make it durable when it returns. Leases are kept on a
clock that nobody sets, and a waiter whose process is dead is seen at once. The statements live here; `sqlite_rows`
turns rows into values, `sqlite_file` opens the file.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Self

from waiter.errors import ShiftLost, UsageError
from waiter.kitchen import liveness, sqlite_steering
from waiter.kitchen.contract import (
    CLAIM_LIMIT,
    LEASE_S,
    MAX_LOSSES,
    FailureGroup,
    Outlook,
    Rescued,
    Row,
    Throughput,
    loss_delay_s,
)
from waiter.kitchen.sqlite_file import connect, speaking_of
from waiter.kitchen.sqlite_rows import (
    FROM,
    LIGHT,
    ROW_BITS,
    SORTS,
    WHOLE,
    appended,
    condition,
    finish_event,
    order_from,
    reason_from,
    seq_of,
    shift_from,
    some_argument_has,
    text,
)
from waiter.orders import (
    Batch,
    Counts,
    Event,
    Notice,
    Order,
    Outcome,
    Reason,
    Selector,
    Shift,
    Status,
    Verdict,
    Vitals,
    error_group,
)

_LOST_WORDS = "its waiter died while it ran"
_LOST_FOR_S = 86_400.0

_FINISH = """
UPDATE orders SET status = iif(:status = 'READY' AND is_cancel_asked, 'CANCELLED', :status), due = :due, failures = failures + :failed, losses = losses + :lost, shift = NULL,
    waiter = iif(:status = 'READY', NULL, waiter), host = iif(:status = 'READY', NULL, host),
    start = iif(:status = 'READY', NULL, :start), stop = iif(:status = 'READY', NULL, :stop), is_cancel_asked = 0,
    exit_code = :exit_code, signal = :signal, reason = :reason, error = :error, error_group = :error_group,
    tail = :tail, result = :result, command = :command, peak_memory = :peak_memory,
    history = iif(history IS NULL, '[', substr(history, 1, length(history) - 1) || ',') || :event || ']'
WHERE seq = :seq AND shift = :shift AND attempt = :attempt AND status = 'RUNNING'
"""

_RELEASE = """
UPDATE orders SET status = iif(is_cancel_asked, 'CANCELLED', 'READY'), stop = iif(is_cancel_asked, :now, NULL),
    attempt = attempt - 1, due = NULL, shift = NULL, waiter = NULL, host = NULL, start = NULL, is_cancel_asked = 0
WHERE shift = :shift AND status = 'RUNNING'
"""


def _no_shift() -> float:
    return 0.0


class SqliteKitchen:
    """A store of orders in an SQLite file; see `contract.Kitchen`."""

    def __init__(self, path: Path, *, ahead: Callable[[], float] = _no_shift, lease_s: float = LEASE_S) -> None:
        """Open the file, making it if it is not there. `ahead` seconds are added to every reading of a clock."""
        self.path = path
        self.lease_s = lease_s
        self._ahead = ahead
        self._rng = Random()
        self._boot = liveness.boot_id()
        self._db = self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = connect(self.path)
        db.row_factory = sqlite3.Row
        db.create_function("some_argument_has", 2, some_argument_has, deterministic=True)
        return db

    @property
    def url(self) -> str:
        return str(self.path)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def now(self) -> float:
        return time.time() + self._ahead()

    def _steady(self) -> float:
        return liveness.steady_clock() + self._ahead()

    @contextmanager
    def _writing(self, *, is_news: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction that writes. `is_news`: waiters should look again."""
        with speaking_of(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                if is_news:
                    self._db.execute(
                        "INSERT INTO state VALUES ('news', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
                    )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with speaking_of(self.path):
            return self._db.execute(sql, parameters).fetchall()

    # Loading

    def batches(self) -> list[Batch]:
        rows = self._read("SELECT * FROM batches ORDER BY number")
        return [Batch(**{**row, "is_complete": bool(row["is_complete"])}) for row in map(_without_number, rows)]

    def open_batch(self, batch: Batch) -> None:
        facts = {name: text(v) if isinstance(v, str) else v for name, v in dataclasses.asdict(batch).items()}
        sets = ", ".join(f"{name} = excluded.{name}" for name in facts if name != "id")
        with self._writing() as db:
            db.execute(
                f"INSERT INTO batches ({', '.join(facts)}) VALUES ({', '.join(f':{name}' for name in facts)}) "
                f"ON CONFLICT (id) DO UPDATE SET {sets}",
                facts,
            )

    def add(self, batch_id: str, rows: Iterable[Row], priority: int = 0) -> int:
        with self._writing(is_news=True) as db:
            base = self._batch_number(db, batch_id) << ROW_BITS
            before = db.total_changes
            db.executemany(
                "INSERT INTO orders (seq, arguments, names, priority) VALUES (?, ?, ?, ?) ON CONFLICT (seq) DO NOTHING",
                (
                    (base + number, json.dumps(arguments), None if names is None else json.dumps(names), priority)
                    for number, arguments, names in rows
                ),
            )
            return db.total_changes - before

    def _batch_number(self, db: sqlite3.Connection, batch_id: str) -> int:
        found = db.execute("SELECT number FROM batches WHERE id = ?", (batch_id,)).fetchone()
        if found is None:
            raise UsageError(f"no such batch: {batch_id}")
        return int(found["number"])

    def remove_batch(self, batch_id: str) -> int:
        with self._writing(is_news=True) as db:
            number = self._batch_number(db, batch_id)
            span = (number << ROW_BITS, (number + 1) << ROW_BITS)
            removed = db.execute("DELETE FROM orders WHERE seq >= ? AND seq < ?", span).rowcount
            db.execute("DELETE FROM batches WHERE number = ?", (number,))
            return removed

    # Shifts

    def check_in(self, waiter: str, host: str, pid: int, vitals: Vitals | None = None) -> Shift:
        token = secrets.token_hex(16)
        with self._writing() as db:
            paused = db.execute("SELECT value FROM state WHERE name = 'paused'").fetchone()
            facts = {
                "token": token,
                "waiter": text(waiter),
                "host": text(host),
                "pid": pid,
                "pid_started": liveness.start_time(pid),
                "namespace": liveness.namespace(),
                "boot": self._boot,
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

    def heartbeat(self, shift: Shift, vitals: Vitals) -> Notice:
        facts = (self._steady() + self.lease_s, self.now(), json.dumps(dataclasses.asdict(vitals)), shift.token)
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

    def news(self) -> object:
        rows = self._read("SELECT value FROM state WHERE name = 'news'")
        return rows[0]["value"] if rows else None

    def check_out(self, shift: Shift) -> None:
        with self._writing() as db:
            db.execute(_RELEASE, {"shift": shift.token, "now": self.now()})
            db.execute(
                "UPDATE shifts SET left_at = ? WHERE token = ? AND left_at IS NULL AND lost_at IS NULL",
                (self.now(), shift.token),
            )

    def shifts(self, include_left: bool = False) -> list[Shift]:
        offset = self.now() - self._steady()
        rows = self._read(
            "SELECT * FROM shifts WHERE (left_at IS NULL AND lost_at IS NULL) OR lost_at > ? "
            "OR (? AND left_at IS NOT NULL) ORDER BY since, token",
            (self.now() - _LOST_FOR_S, include_left),
        )
        return [shift_from(row, offset) for row in rows]

    # Delivery

    def claim(self, shift: Shift, limit: int, exclude: Sequence[str] = ()) -> list[Order]:
        if limit <= 0:
            return []
        with self._writing() as db:
            if not self._may_claim(db, shift):
                return []
            now = self.now()
            db.execute("UPDATE orders SET due = NULL WHERE status = 'READY' AND due IS NOT NULL AND due <= ?", (now,))
            seqs = self._candidates(db, min(limit, CLAIM_LIMIT), set(self._seqs(db, exclude)))
            if not seqs:
                return []
            chosen = json.dumps(seqs)
            db.execute(
                "UPDATE orders SET status = 'RUNNING', shift = ?, waiter = ?, host = ?, attempt = attempt + 1, "
                "start = ?, stop = NULL WHERE seq IN (SELECT value FROM json_each(?))",
                (shift.token, text(shift.waiter), text(shift.host), now, chosen),
            )
            rows = db.execute(f"SELECT {LIGHT} {FROM} WHERE seq IN (SELECT value FROM json_each(?))", (chosen,))
            orders = [order_from(row) for row in rows]
        return sorted(orders, key=lambda order: -order.priority)

    def _may_claim(self, db: sqlite3.Connection, shift: Shift) -> bool:
        stored = db.execute("SELECT * FROM shifts WHERE token = ?", (shift.token,)).fetchone()
        if stored is None or stored["lost_at"] is not None or stored["left_at"] is not None:
            raise ShiftLost(f"The kitchen gave waiter {shift.waiter} up: its orders belong to others now.")
        return not stored["is_paused"] and not stored["is_draining"] and stored["lease_ends"] > self._steady()

    def _candidates(self, db: sqlite3.Connection, limit: int, excluded: set[int]) -> list[int]:
        rows = db.execute(
            "SELECT seq, losses FROM orders WHERE status = 'READY' AND due IS NULL ORDER BY priority DESC, seq LIMIT ?",
            (limit + len(excluded),),
        ).fetchall()
        rows = [row for row in rows if row["seq"] not in excluded][:limit]
        if rows and rows[0]["losses"]:
            return [rows[0]["seq"]]
        lost_at = next((index for index, row in enumerate(rows) if row["losses"]), len(rows))
        return [row["seq"] for row in rows[:lost_at]]

    def _seqs(self, db: sqlite3.Connection, order_ids: Sequence[str]) -> list[int]:
        if not order_ids:
            return []
        ids = {order_id.rpartition("-")[0] for order_id in order_ids}
        rows = db.execute(
            "SELECT id, number FROM batches WHERE id IN (SELECT value FROM json_each(?))", (json.dumps([*ids]),)
        )
        numbers = {row["id"]: int(row["number"]) for row in rows}
        return [seq for order_id in order_ids if (seq := seq_of(order_id, numbers)) is not None]

    def held(self, shift: Shift) -> list[Order]:
        rows = self._read(f"SELECT {LIGHT} {FROM} WHERE shift = ? AND status = 'RUNNING' ORDER BY seq", (shift.token,))
        return [order_from(row) for row in rows]

    def finish(self, shift: Shift, outcomes: Sequence[Outcome]) -> list[Verdict]:
        with self._writing() as db:
            numbers: dict[str, int] = {}
            for batch in {outcome.order_id.rpartition("-")[0] for outcome in outcomes}:
                if (row := db.execute("SELECT number FROM batches WHERE id = ?", (batch,)).fetchone()) is not None:
                    numbers[batch] = int(row["number"])
            return [self._finish(db, shift, outcome, seq_of(outcome.order_id, numbers)) for outcome in outcomes]

    def _finish(self, db: sqlite3.Connection, shift: Shift, outcome: Outcome, seq: int | None) -> Verdict:
        now = self.now()
        event = finish_event(outcome, shift, now)
        is_bad = outcome.status in (Status.READY, Status.ERROR)
        facts = {
            "seq": seq,
            "shift": shift.token,
            "attempt": outcome.attempt,
            "status": outcome.status.value,
            "due": now + outcome.delay_s if outcome.status is Status.READY and outcome.delay_s > 0 else None,
            "failed": int(is_bad and outcome.reason not in (Reason.LOST, Reason.INTERRUPTED)),
            "lost": int(outcome.reason is Reason.LOST),
            "start": outcome.start,
            "stop": outcome.stop,
            "exit_code": outcome.exit_code,
            "signal": outcome.signal,
            "reason": outcome.reason and outcome.reason.value,
            "error": text(outcome.error),
            "error_group": outcome.error_group,
            "tail": text(outcome.tail),
            "result": text(outcome.result),
            "command": outcome.command,
            "peak_memory": outcome.peak_memory,
            "event": appended(None, event)[1:-1],
        }
        if db.execute(_FINISH, facts).rowcount == 1:
            return Verdict.ACCEPTED
        return self._known_or_late(db, seq, event)

    def _known_or_late(self, db: sqlite3.Connection, seq: int | None, event: Event) -> Verdict:
        stored = db.execute("SELECT history, late FROM orders WHERE seq = ?", (seq,)).fetchone()
        if stored is None:
            return Verdict.LATE
        mine = {"what": "finish", "attempt": event.attempt, "shift": event.shift}
        for column, verdict in (("history", Verdict.KNOWN), ("late", Verdict.LATE)):
            if any(mine.items() <= known.items() for known in json.loads(stored[column] or "[]")):
                return verdict
        db.execute("UPDATE orders SET late = ? WHERE seq = ?", (appended(stored["late"], event), seq))
        return Verdict.LATE

    def release(self, shift: Shift, order_ids: Sequence[str]) -> int:
        with self._writing() as db:
            chosen = json.dumps(self._seqs(db, order_ids))
            facts = {"shift": shift.token, "now": self.now(), "chosen": chosen}
            return db.execute(_RELEASE + " AND seq IN (SELECT value FROM json_each(:chosen))", facts).rowcount

    def rescue(self, max_losses: int = MAX_LOSSES) -> Rescued:
        living, dead = self._living_and_dead()
        orphaned = (
            "SELECT 1 FROM orders WHERE status = 'RUNNING' AND shift NOT IN (SELECT value FROM json_each(?)) LIMIT 1"
        )
        if not dead and not self._read(orphaned, (json.dumps(living),)):
            return Rescued()  # the usual case takes no lock
        with self._writing() as db:
            living, dead = self._living_and_dead()
            now = self.now()
            db.executemany("UPDATE shifts SET lost_at = ? WHERE token = ?", [(now, row["token"]) for row in dead])
            orders = db.execute(
                "SELECT * FROM orders WHERE status = 'RUNNING' AND shift NOT IN (SELECT value FROM json_each(?))",
                (json.dumps(living),),
            ).fetchall()
            ends = [self._lose(db, order, max_losses, now) for order in orders]
        names = tuple(row["waiter"] for row in dead)
        return Rescued(ready=ends.count(Status.READY), failed=ends.count(Status.ERROR), shifts=names)

    def _living_and_dead(self) -> tuple[list[str], list[sqlite3.Row]]:
        rows = self._read("SELECT * FROM shifts WHERE left_at IS NULL AND lost_at IS NULL")
        dead = [row for row in rows if self._is_gone(row)]
        return [row["token"] for row in rows if row not in dead], dead

    def _is_gone(self, shift: sqlite3.Row) -> bool:
        if shift["boot"] != self._boot or shift["lease_ends"] <= self._steady():
            return True
        return liveness.is_dead(shift["pid"], shift["pid_started"], shift["namespace"])

    def _lose(self, db: sqlite3.Connection, order: sqlite3.Row, max_losses: int, now: float) -> Status:
        """Take one order back from a shift that is gone."""
        losses = order["losses"] + 1
        status, due = Status.READY, now + loss_delay_s(losses, self._rng)
        if order["is_cancel_asked"]:
            status = Status.CANCELLED
        elif losses >= max_losses:
            status = Status.ERROR
        is_over = status is not Status.READY
        event = Event(
            what="lost",
            at=now,
            status=status,
            attempt=order["attempt"],
            shift=order["shift"],
            waiter=order["waiter"],
            start=order["start"],
            stop=now,
            reason=Reason.LOST,
            error=_LOST_WORDS,
        )
        db.execute(
            "UPDATE orders SET status = ?, losses = ?, due = ?, shift = NULL, is_cancel_asked = 0, waiter = ?, "
            "host = ?, start = ?, stop = ?, exit_code = NULL, signal = NULL, reason = ?, error = ?, error_group = ?, history = ? "
            "WHERE seq = ?",
            (
                status.value,
                losses,
                None if is_over else due,
                order["waiter"] if is_over else None,
                order["host"] if is_over else None,
                order["start"] if is_over else None,
                now if is_over else None,
                Reason.CANCELLED.value if status is Status.CANCELLED else Reason.LOST.value,
                _LOST_WORDS,
                error_group(_LOST_WORDS, Reason.LOST, None, None),
                appended(order["history"], event),
                order["seq"],
            ),
        )
        return status

    def outlook(self) -> Outlook:
        now = self.now()
        few = f"SELECT count(*) AS n FROM (SELECT 1 FROM orders WHERE %s LIMIT {CLAIM_LIMIT})"
        ready = self._read(few % "status = 'READY' AND due IS NULL")[0]["n"]
        running = self._read(few % "status = 'RUNNING'")[0]["n"]
        overdue = self._read(few % "status = 'READY' AND due IS NOT NULL AND due <= ?", (now,))[0]["n"]
        waits = self._read(
            "SELECT min(due) AS due FROM orders WHERE status = 'READY' AND due IS NOT NULL AND due > ?", (now,)
        )
        due = waits[0]["due"]
        return Outlook(min(CLAIM_LIMIT, ready + overdue), None if due is None else due - now, running)

    # Seeing

    def _condition(self, selector: Selector | None) -> tuple[str, list[Any]]:
        if selector is None or selector == Selector():
            return "1", []
        batches = self._read("SELECT id, name, number FROM batches")
        if selector.batch is not None and not any(selector.batch in (row["id"], row["name"]) for row in batches):
            raise UsageError(f"no such batch: {selector.batch}")
        return condition(selector, batches, self.now())

    def counts(self, selector: Selector | None = None) -> Counts:
        where, values = self._condition(selector)
        rows = self._read(f"SELECT status, count(*) AS n FROM orders WHERE {where} GROUP BY status", values)
        return Counts({Status(row["status"]): row["n"] for row in rows})

    def find(
        self, selector: Selector, *, sort: str = "age", limit: int | None = None, is_whole: bool = False
    ) -> Iterator[Order]:
        where, values = self._condition(selector)
        column = SORTS[sort.removeprefix("-")]
        direction = "DESC" if sort.startswith("-") else "ASC"
        where = where.replace("priority", "orders.priority")
        sql = f"SELECT {WHOLE if is_whole else LIGHT} {FROM} WHERE {where} ORDER BY {column} {direction}, seq LIMIT ?"
        # A connection of its own: who reads may write to the kitchen meanwhile.
        with speaking_of(self.path):
            db = self._connect()
            try:
                for row in db.execute(sql, [*values, -1 if limit is None else limit]):
                    yield order_from(row)
            finally:
                db.close()

    def throughput(self, window_s: float) -> Throughput:
        rows = self._read(
            "SELECT status, count(*) AS n, total(stop - start) AS seconds FROM orders INDEXED BY by_stop "
            "WHERE stop IS NOT NULL AND stop >= ? AND status IN ('DONE', 'ERROR') GROUP BY status",
            (self.now() - window_s,),
        )
        counts = {row["status"]: row["n"] for row in rows}
        total = sum(counts.values())
        mean_s = sum(row["seconds"] for row in rows) / total if total else None
        return Throughput(window_s, counts.get("DONE", 0), counts.get("ERROR", 0), mean_s)

    def failure_groups(self, selector: Selector | None = None) -> list[FailureGroup]:
        where, values = self._condition(selector)
        where = f"{where} AND status = 'ERROR' AND error_group IS NOT NULL"
        hosts: dict[str, list[str]] = {}
        for row in self._read(f"SELECT DISTINCT error_group, host FROM orders WHERE {where} ORDER BY host", values):
            if row["host"] is not None:
                hosts.setdefault(row["error_group"], []).append(row["host"])
        # max() makes SQLite take the other columns from the latest row of each group.
        groups = self._read(
            f"SELECT error_group, count(*) AS n, min(stop) AS first, max(stop) AS last, seq, error, exit_code, signal, "
            f"reason FROM orders WHERE {where} GROUP BY error_group ORDER BY n DESC, error_group",
            values,
        )
        return [self._failure_group(row, tuple(hosts.get(row["error_group"], ()))) for row in groups]

    def _failure_group(self, row: sqlite3.Row, hosts: tuple[str, ...]) -> FailureGroup:
        batch = self._read("SELECT id FROM batches WHERE number = ?", (row["seq"] >> ROW_BITS,))[0]["id"]
        return FailureGroup(
            group=row["error_group"],
            count=row["n"],
            message=row["error"] or "",
            exit_code=row["exit_code"],
            signal=row["signal"],
            reason=reason_from(row["reason"]),
            hosts=hosts,
            first=row["first"],
            last=row["last"],
            example=f"{batch}-{row['seq'] & ((1 << ROW_BITS) - 1)}",
        )

    def commands(self) -> dict[str, int]:
        rows = self._read(
            "SELECT command, count(*) AS n FROM orders WHERE status IN ('DONE', 'ERROR') AND command IS NOT NULL "
            "GROUP BY command"
        )
        return {row["command"]: row["n"] for row in rows}

    # Steering

    def reset(self, selector: Selector, *, from_living: bool = False) -> int:
        where, values = self._condition(selector)
        living = [] if from_living else self._living_and_dead()[0]
        with self._writing(is_news=True) as db:
            return sqlite_steering.reset(db, where, values, living, self.now())

    def cancel(self, selector: Selector) -> int:
        where, values = self._condition(selector)
        with self._writing(is_news=True) as db:
            return sqlite_steering.cancel(db, where, values, self.now())

    def set_priority(self, selector: Selector, priority: int) -> int:
        where, values = self._condition(selector)
        with self._writing(is_news=True) as db:
            sql = f"UPDATE orders SET priority = ? WHERE status = 'READY' AND {where}"
            return db.execute(sql, [priority, *values]).rowcount

    def pause(self, waiter: str | None = None, reason: str | None = None) -> int:
        with self._writing(is_news=True) as db:
            return sqlite_steering.pause(db, waiter, reason)

    def resume(self, waiter: str | None = None) -> int:
        with self._writing(is_news=True) as db:
            return sqlite_steering.resume(db, waiter)

    def drain(self, waiter: str) -> int:
        with self._writing(is_news=True) as db:
            return sqlite_steering.drain(db, waiter)

    def clean(self, selector: Selector | None = None) -> int:
        where, values = self._condition(selector)
        with self._writing(is_news=True) as db:
            return sqlite_steering.clean(db, where, values, is_everything=selector is None)


def _without_number(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() if name != "number"}  # noqa: SIM118 - a Row iterates over values
