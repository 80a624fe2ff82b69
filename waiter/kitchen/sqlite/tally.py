"""How many orders of an SQLite kitchen have which status: kept by the database itself, never counted.

The table `tally` has a row for each batch, status and version of the command. Triggers write it in the transaction
that changes an order, whoever does so and however: it is right, or that change did not happen. Files of before have no
such table, and who only looks at them counts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from waiter.orders import Counts, Status

Read = Callable[..., list[sqlite3.Row]]

_BITS = 32  # of a row's number, below that of its batch: `rows.ROW_BITS`

_KEY = f"{{0}}.seq >> {_BITS}, {{0}}.status, ifnull({{0}}.command, '')"
_MORE = f"INSERT INTO tally VALUES ({_KEY.format('NEW')}, 1) ON CONFLICT DO UPDATE SET n = n + 1;"
# Not as one row of values: SQLite would make that anew for each order.
_IS_OLD = f"number = OLD.seq >> {_BITS} AND status = OLD.status AND command = ifnull(OLD.command, '')"
_LESS = f"UPDATE tally SET n = n - 1 WHERE {_IS_OLD};"
_MOVES = "OLD.status <> NEW.status OR OLD.command IS NOT NEW.command"

_MADE = "order_made"
_TRIGGERS = {
    _MADE: f"AFTER INSERT ON orders BEGIN {_MORE} END",
    "order_moved": f"AFTER UPDATE OF status, command ON orders WHEN {_MOVES} BEGIN {_LESS} {_MORE} END",
    "order_gone": f"AFTER DELETE ON orders BEGIN {_LESS} END",
}
_MAKE_TRIGGERS = {name: f"CREATE TRIGGER {name} {what}" for name, what in _TRIGGERS.items()}

MADE = [
    "CREATE TABLE tally (number INTEGER NOT NULL, status TEXT NOT NULL, command TEXT NOT NULL, n INTEGER NOT NULL, "
    "PRIMARY KEY (number, status, command)) WITHOUT ROWID",
    *_MAKE_TRIGGERS.values(),
]
"""Statements that give a new file the table."""

COUNTED = [
    *MADE,
    f"INSERT INTO tally SELECT {_KEY.format('orders')}, count(*) FROM orders INDEXED BY by_status GROUP BY 1, 2, 3",
]
"""The same, for a file that has orders."""


def counts(read: Read, numbers: Sequence[int] | None, statuses: Sequence[Status]) -> Counts:
    """Orders by status, of the batches with these numbers, or of all; no statuses: of each."""
    mine, values = _of(numbers)
    rows = read(f"SELECT status, sum(n) AS n FROM tally WHERE n > 0 AND {mine} GROUP BY status", values)
    by_status = {Status(row["status"]): int(row["n"]) for row in rows}
    return Counts({status: n for status, n in by_status.items() if not statuses or status in statuses})


def by_batch(read: Read) -> list[sqlite3.Row]:
    """Rows with the number of a batch, a status, and how many orders have it."""
    return read("SELECT number, status, sum(n) AS n FROM tally WHERE n > 0 GROUP BY number, status")


def commands(read: Read, numbers: Sequence[int] | None) -> dict[str, int]:
    """See `Kitchen.commands`."""
    mine, values = _of(numbers)
    rows = read(
        f"SELECT command, sum(n) AS n FROM tally WHERE n > 0 AND status IN ('DONE', 'ERROR') AND command <> '' "
        f"AND {mine} GROUP BY command ORDER BY n DESC, command",
        values,
    )
    return {row["command"]: int(row["n"]) for row in rows}


def _of(numbers: Sequence[int] | None) -> tuple[str, dict[str, Any]]:
    if numbers is None:
        return "1", {}
    return "number IN (SELECT value FROM json_each(:numbers))", {"numbers": json.dumps([*numbers])}


def forget_empty(db: sqlite3.Connection) -> None:
    """Forget what nothing is left of. Inside the caller's transaction."""
    db.execute("DELETE FROM tally WHERE n = 0")


def remove_all(db: sqlite3.Connection) -> int:
    """Delete all orders; how many. Without the triggers, in the same transaction, SQLite drops the table's pages whole:
    of ten million orders none is looked at."""
    for name in _TRIGGERS:
        db.execute(f"DROP TRIGGER {name}")
    removed = db.execute("DELETE FROM orders").rowcount
    db.execute("DELETE FROM tally")
    for statement in _MAKE_TRIGGERS.values():
        db.execute(statement)
    return removed


def stop_counting(db: sqlite3.Connection) -> None:
    """Leave what is made next to `count_made`: the trigger, which counts each order, takes a fifth of a load's time.

    Both inside one transaction of the caller: nobody sees the file in between, and a load that fails changes nothing.
    """
    db.execute(f"DROP TRIGGER {_MADE}")


def count_made(db: sqlite3.Connection, number: int, orders: int) -> None:
    """So many orders of the batch with that number were made, READY, and not counted; what comes next is."""
    more = "INSERT INTO tally VALUES (?, ?, '', ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
    db.execute(more, (number, Status.READY.value, orders))
    db.execute(_MAKE_TRIGGERS[_MADE])
