"""Orders of an SQLite kitchen that wait for those of the same row in another batch (`Batch.after_row`).

They are READY with a `due` that never comes, so no claim looks at them. Each function runs inside its caller's
transaction: an order is let go by the finish of the one that it waits for, or neither happens.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping

from waiter.kitchen.sqlite.rows import ROW_BITS
from waiter.orders import HELD

# One batch joined to the one that it comes after.
_JOINED = """
SELECT batches.number AS number, other.number AS other FROM batches
LEFT JOIN batches AS other ON other.id = batches.after_row WHERE batches.after_row IS NOT NULL
"""
_THE_OTHER = "SELECT 1 FROM orders AS other WHERE other.seq = orders.seq + :shift AND other.status"
_HELD = f"status = 'READY' AND due IS NOT NULL AND due = {HELD!r}"

_LET_GO_SOME = f"UPDATE orders NOT INDEXED SET due = NULL WHERE seq IN (SELECT value FROM json_each(?)) AND {_HELD}"
_OF_BATCH = "seq >= :first AND seq < :end"
_LET_GO = f"UPDATE orders INDEXED BY waiting SET due = NULL WHERE {_HELD} AND {_OF_BATCH}"
_HOLD = (
    f"UPDATE orders SET due = {HELD!r} WHERE status = 'READY' AND {_OF_BATCH} AND ifnull(due, 0) < {HELD!r} "
    f"AND EXISTS ({_THE_OTHER} <> 'DONE')"
)

INSERT = f"""
INSERT INTO orders (seq, arguments, names, priority, due)
SELECT :base + key, value, :names, :priority, iif(
    EXISTS (SELECT 1 FROM orders AS other WHERE other.seq = :other + key AND other.status = 'DONE'), NULL, {HELD!r})
FROM json_each(:arguments) WHERE true ON CONFLICT (seq) DO NOTHING
"""
"""Adds rows that come after those of the batch whose rows begin at `other`."""


def other_of(db: sqlite3.Connection, number: int) -> int | None:
    """The number of the batch after whose rows those of this one come; None: of none, or of one that was deleted."""
    found = db.execute(f"{_JOINED} AND batches.number = ?", (number,)).fetchone()
    return None if found is None else found["other"]


def let_go(db: sqlite3.Connection, done: Iterable[int], numbers: Mapping[str, int]) -> None:
    """Let go what waits for these orders; `numbers` are those of their batches by id."""
    sql = "SELECT number, after_row FROM batches WHERE after_row IN (SELECT value FROM json_each(?))"
    for after in db.execute(sql, (json.dumps([*numbers]),)).fetchall():
        shift = (after["number"] - numbers[after["after_row"]]) << ROW_BITS
        own = [seq + shift for seq in done if seq >> ROW_BITS == numbers[after["after_row"]]]
        db.execute(_LET_GO_SOME, (json.dumps(own),))


def let_go_all(db: sqlite3.Connection, number: int) -> int:
    """Let go what is held of the batch."""
    return db.execute(_LET_GO, _facts(number)).rowcount


def repair(db: sqlite3.Connection) -> int:
    """Let go what is held in vain. How many."""
    released = 0
    for joined in db.execute(_JOINED).fetchall():
        facts = _facts(joined["number"], joined["other"])
        is_done = "1" if joined["other"] is None else f"EXISTS ({_THE_OTHER} = 'DONE')"
        released += db.execute(f"{_LET_GO} AND {is_done}", facts).rowcount
    return released


def hold_again(db: sqlite3.Connection) -> None:
    """Hold what is READY although the order that it comes after is not DONE any more."""
    for joined in db.execute(_JOINED).fetchall():
        if joined["other"] is not None:
            db.execute(_HOLD, _facts(joined["number"], joined["other"]))


def _facts(number: int, other: int | None = None) -> dict[str, int]:
    shift = ((other or number) - number) << ROW_BITS
    return {"first": number << ROW_BITS, "end": (number + 1) << ROW_BITS, "shift": shift}
