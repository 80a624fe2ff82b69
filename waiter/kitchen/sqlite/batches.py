"""Batches of an SQLite kitchen and the orders in them: made, found, bound to a command, deleted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from waiter.kitchen.contract import UNCHANGED, Row, Unchanged
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import unknown_batch
from waiter.kitchen.sqlite import held, queries, tally
from waiter.kitchen.sqlite.file import HAS_LOOK_UPS, keeps_tally, translate_errors, upgraded
from waiter.kitchen.sqlite.rows import (
    ROW_BITS,
    after_facts,
    batch_facts,
    batch_from,
    batches_of_orders,
    names_text,
    portions,
)
from waiter.kitchen.sqlite.session import Session
from waiter.orders import Batch, BatchProgress

_INSERT = """
INSERT INTO orders (seq, arguments, names, priority) SELECT :base + key, value, :names, :priority
FROM json_each(:arguments) WHERE true ON CONFLICT (seq) DO NOTHING
"""

_BATCHES_OF = """
SELECT * FROM batches WHERE number IN (
    SELECT number FROM digests WHERE digest IN (SELECT value FROM json_each(?))) ORDER BY number
"""

# From one length to the next: DISTINCT would go through every batch.
_LENGTHS = """
WITH RECURSIVE lengths (orders) AS (
    SELECT min(orders) FROM batches WHERE orders > :above AND orders <= :up_to
    UNION ALL
    SELECT (SELECT min(orders) FROM batches WHERE orders > lengths.orders AND orders <= :up_to)
    FROM lengths WHERE orders IS NOT NULL)
SELECT orders FROM lengths WHERE orders IS NOT NULL
"""


def _first(rows: list[sqlite3.Row]) -> Batch | None:
    return batch_from(rows[0]) if rows else None


def numbers_of(db: sqlite3.Connection, order_ids: Iterable[str]) -> dict[str, int]:
    """The numbers of the orders' batches by their ids."""
    ids = batches_of_orders(order_ids)
    sql = "SELECT id, number FROM batches WHERE id IN (SELECT value FROM json_each(?))"
    return {row["id"]: row["number"] for row in db.execute(sql, (json.dumps([*ids]),))} if ids else {}


def order_ids(db: sqlite3.Connection, orders: Sequence[sqlite3.Row]) -> set[str]:
    """The ids of orders of which the seq is known."""
    seqs = [row["seq"] for row in orders]
    numbers = json.dumps([*{seq >> ROW_BITS for seq in seqs}])
    sql = "SELECT number, id FROM batches WHERE number IN (SELECT value FROM json_each(?))"
    batches = dict(db.execute(sql, (numbers,)).fetchall())
    return {f"{batches[seq >> ROW_BITS]}-{seq & ((1 << ROW_BITS) - 1)}" for seq in seqs}


class BatchStore(Session):
    """The part of the kitchen that knows batches."""

    def batches(self) -> list[Batch]:
        return [batch_from(row) for row in self._read("SELECT * FROM batches ORDER BY number")]

    def batch(self, batch_id: str) -> Batch | None:
        return _first(self._read("SELECT * FROM batches WHERE id = ?", (printable(batch_id),)))

    def batches_of(self, digests: Collection[str]) -> list[Batch]:
        if not self._read(HAS_LOOK_UPS):  # a file of before, and nobody has written since
            return [batch for batch in self.batches() if not {batch.digest, *batch.earlier}.isdisjoint(digests)]
        return [batch_from(row) for row in self._read(_BATCHES_OF, (json.dumps([*digests]),))]

    def batch_lengths(self, above: int, up_to: int) -> list[int]:
        return [row["orders"] for row in self._read(_LENGTHS, {"above": above, "up_to": up_to})]

    def latest_batch(self, source: str) -> Batch | None:
        sql = "SELECT * FROM batches WHERE source = ? ORDER BY number DESC LIMIT 1"
        return _first(self._read(sql, (printable(source),)))

    def open_batch(self, batch: Batch) -> None:
        facts = batch_facts(batch)
        sets = ", ".join(f"{name} = excluded.{name}" for name in facts if name != "id")
        if others := after_facts(batch):  # which a batch has before its first order, or somebody could take that one
            self._upgrade()
            facts |= others
        with self._writing() as db:
            db.execute(
                f"INSERT INTO batches ({', '.join(facts)}) VALUES ({', '.join(f':{name}' for name in facts)}) "
                f"ON CONFLICT (id) DO UPDATE SET {sets}",
                facts,
            )

    def renew_batch(self, batch: Batch) -> None:
        facts = batch_facts(batch)
        sets = ", ".join(f"{name} = :{name}" for name in facts if name != "id")
        with self._writing() as db:
            self._batch_number(db, batch.id)
            db.execute(f"UPDATE batches SET {sets} WHERE id = :id", facts)

    def add(self, batch_id: str, rows: Iterable[Row], priority: int = 0) -> int:
        self._upgrade()
        with self._writing(is_change=True) as db:
            number = self._batch_number(db, batch_id)
            other, added = held.other_of(db, number), 0
            places = {"base": number << ROW_BITS, "other": (other or 0) << ROW_BITS}
            insert = _INSERT if other is None else held.INSERT
            counted: int | None = None
            for n, portion in enumerate(portions(rows)):
                if n == 1:  # a small load is not worth a change of the file's shape
                    tally.stop_counting(db)
                    counted = added
                for named, alike in groupby(portion, key=names_text):
                    # One statement for thousands of rows: binding each row's values costs more than inserting it.
                    arguments = json.dumps({number: arguments for number, arguments, _ in alike})
                    facts = {**places, "names": named, "priority": priority, "arguments": arguments}
                    added += db.execute(insert, facts).rowcount
            if counted is not None:
                tally.count_made(db, number, added - counted)
            return added

    def add_portions(self, batch_id: str, portions: Iterable[Sequence[Row]], priority: int = 0) -> Iterator[int]:
        for rows in portions:  # one transaction each, in which nothing is waited for
            yield self.add(batch_id, rows, priority) if rows else 0

    def _batch_number(self, db: sqlite3.Connection, batch_id: str) -> int:
        found = db.execute("SELECT number FROM batches WHERE id = ?", (printable(batch_id),)).fetchone()
        if found is None:
            raise unknown_batch(batch_id, self._batch_names())
        return int(found["number"])

    def _batch_names(self) -> list[tuple[str, str | None]]:
        return [(row["id"], row["name"]) for row in self._read("SELECT id, name FROM batches ORDER BY number")]

    def bind_batch(
        self, batch_id: str, command: Sequence[str], instead_of: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        words = {"bound_to": json.dumps([*command]), "before": json.dumps([*(instead_of or ())])}
        sets = "bound_to = iif(bound_to IS NULL OR bound_to = :before, :bound_to, bound_to)"
        self._set_binding(batch_id, sets, words)
        (row,) = self._read("SELECT bound_to FROM batches WHERE id = ?", (printable(batch_id),))
        return tuple(json.loads(row["bound_to"]))

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
        words = command if command is None or isinstance(command, Unchanged) else json.dumps([*command])
        facts: dict[str, Any] = {"name": name, "bound_to": words, "weight": weight, "pause_reason": pause_reason}
        facts["after_row"] = after_row
        for key, others in (("after", after), ("after_any", after_any)):
            facts[key] = others if isinstance(others, Unchanged) else json.dumps([*others])
        changed = {key: value for key, value in facts.items() if not isinstance(value, Unchanged)}
        if "bound_to" in changed:
            changed["is_reserved"] = command is not None
        self._set_binding(batch_id, ", ".join(f"{key} = :{key}" for key in changed), changed)

    def _set_binding(self, batch_id: str, sets: str, facts: Mapping[str, Any]) -> None:
        self._upgrade()
        values = {key: printable(value) if isinstance(value, str) else value for key, value in facts.items()}
        with self._writing(is_change=True) as db:
            number = self._batch_number(db, batch_id)
            db.execute(f"UPDATE batches SET {sets} WHERE id = :id", {**values, "id": printable(batch_id)})
            if "after_row" in facts:
                held.let_go_all(db, number)

    def _upgrade(self) -> None:
        with translate_errors(self.path):
            upgraded(self._db, self.path)

    def batch_progress(self, window_s: float) -> dict[str, BatchProgress]:
        return queries.batch_progress(self._read, self.now(), window_s, is_kept=keeps_tally(self._db))

    def release_rows(self) -> int:
        self._upgrade()
        with self._writing() as db:
            return held.repair(db)

    def held_rows(self) -> dict[str, int]:
        return queries.held_rows(self._read)

    def remove_batch(self, batch_id: str) -> int:
        self._upgrade()
        with self._writing(is_change=True) as db:
            number = self._batch_number(db, batch_id)
            span = (number << ROW_BITS, (number + 1) << ROW_BITS)
            removed = db.execute("DELETE FROM orders WHERE seq >= ? AND seq < ?", span).rowcount
            db.execute("DELETE FROM batches WHERE number = ?", (number,))
            tally.forget_empty(db)
            held.repair(db)
            return removed
