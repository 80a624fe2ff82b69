"""What people do to orders and shifts in an SQLite kitchen. Each function runs inside its caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

_LIVING = "FROM shifts WHERE left_at IS NULL AND lost_at IS NULL"

# An event as `sqlite_rows.appended` writes it, made by SQLite for many orders at once.
_EVENT = """
history = iif(history IS NULL, '[', substr(history, 1, length(history) - 1) || ',')
    || json_object('what', '{what}', 'at', ?, 'status', '{status}', 'attempt', attempt) || ']'
"""

_FRESH = """
status = 'READY', failures = 0, losses = 0, due = NULL, waiter = NULL, host = NULL, shift = NULL,
is_cancel_asked = 0, start = NULL, stop = NULL, exit_code = NULL, signal = NULL, reason = NULL, error = NULL,
error_group = NULL, tail = NULL, result = NULL, command = NULL, peak_memory = NULL
"""


def reset(db: sqlite3.Connection, where: str, values: Sequence[Any], living: Sequence[str], now: float) -> int:
    """Make orders READY again, but those that a shift of `living` runs."""
    return db.execute(
        f"UPDATE orders SET {_FRESH}, {_EVENT.format(what='reset', status='READY')} WHERE {where} "
        "AND status <> 'READY' AND NOT (status = 'RUNNING' AND shift IN (SELECT value FROM json_each(?)))",
        [now, *values, json.dumps(living)],
    ).rowcount


def cancel(db: sqlite3.Connection, where: str, values: Sequence[Any], now: float) -> int:
    event = _EVENT.format(what="cancel", status="CANCELLED")
    marked = db.execute(
        f"UPDATE orders SET is_cancel_asked = 1 WHERE {where} AND status = 'RUNNING' AND NOT is_cancel_asked", values
    ).rowcount
    cancelled = db.execute(
        f"UPDATE orders SET status = 'CANCELLED', due = NULL, reason = 'cancelled', stop = ?, {event} "
        f"WHERE {where} AND status = 'READY'",
        [now, now, *values],
    ).rowcount
    return marked + cancelled


def pause(db: sqlite3.Connection, waiter: str | None, reason: str | None) -> int:
    if waiter is None:
        db.execute("INSERT OR REPLACE INTO state VALUES ('paused', ?)", (reason,))
    return db.execute(
        f"UPDATE shifts SET is_paused = 1, pause_reason = ? WHERE token IN (SELECT token {_LIVING}) "
        "AND (? IS NULL OR waiter = ?)",
        (reason, waiter, waiter),
    ).rowcount


def resume(db: sqlite3.Connection, waiter: str | None) -> int:
    if waiter is None:
        db.execute("DELETE FROM state WHERE name = 'paused'")
    return db.execute(
        "UPDATE shifts SET is_paused = 0, pause_reason = NULL WHERE is_paused AND left_at IS NULL AND lost_at IS NULL "
        "AND (? IS NULL OR waiter = ?)",
        (waiter, waiter),
    ).rowcount


def drain(db: sqlite3.Connection, waiter: str) -> int:
    return db.execute(
        "UPDATE shifts SET is_draining = 1 WHERE left_at IS NULL AND lost_at IS NULL AND waiter = ?", (waiter,)
    ).rowcount


def clean(db: sqlite3.Connection, where: str, values: Sequence[Any], *, is_everything: bool) -> int:
    removed = db.execute(f"DELETE FROM orders WHERE {where}", values).rowcount
    if is_everything:
        db.execute("DELETE FROM batches")
        db.execute("DELETE FROM shifts WHERE left_at IS NOT NULL OR lost_at IS NOT NULL")
    else:
        db.execute(
            "DELETE FROM batches WHERE NOT EXISTS "
            "(SELECT 1 FROM orders WHERE seq BETWEEN number << 32 AND ((number + 1) << 32) - 1)"
        )
    return removed
