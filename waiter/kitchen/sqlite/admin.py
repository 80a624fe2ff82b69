"""What people do to orders and shifts in an SQLite kitchen. Each function runs inside its caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence

from waiter.kitchen import transitions
from waiter.kitchen.printable import printable
from waiter.kitchen.sqlite import tally
from waiter.kitchen.sqlite.changes import update
from waiter.kitchen.sqlite.file import keeps_tally
from waiter.kitchen.sqlite.leases import OPEN
from waiter.kitchen.sqlite.rows import ROW_BITS, Condition

_LEDGER = "ledger/"
"""How the names of the ledger's entries begin among the kitchen's other state."""

_NOT_LIVING = "NOT (status = 'RUNNING' AND shift IN (SELECT value FROM json_each(:living)))"


def reset(db: sqlite3.Connection, chosen: Condition, living: Sequence[str], now: float) -> int:
    """Make orders READY again, but those that a shift of `living` runs."""
    return db.execute(
        f"{update(transitions.RESET)} AND {chosen.sql} AND {_NOT_LIVING}",
        {**chosen.values, "now": now, "living": json.dumps(living)},
    ).rowcount


def cancel(db: sqlite3.Connection, chosen: Condition, now: float) -> int:
    marked = db.execute(
        f"{update(transitions.ASK_TO_CANCEL)} AND {chosen.sql} AND NOT is_cancel_asked", chosen.values
    ).rowcount
    cancelled = db.execute(f"{update(transitions.CANCEL)} AND {chosen.sql}", {**chosen.values, "now": now}).rowcount
    return marked + cancelled


def pause(db: sqlite3.Connection, waiter: str | None, reason: str | None) -> int:
    if waiter is None:
        db.execute("INSERT OR REPLACE INTO state VALUES ('paused', ?)", (printable(reason),))
    return db.execute(
        f"UPDATE shifts SET is_paused = 1, pause_reason = ? WHERE token IN (SELECT token {OPEN}) "
        "AND (? IS NULL OR waiter = ?)",
        (printable(reason), printable(waiter), printable(waiter)),
    ).rowcount


def resume(db: sqlite3.Connection, waiter: str | None) -> int:
    if waiter is None:
        db.execute("DELETE FROM state WHERE name = 'paused'")
    return db.execute(
        "UPDATE shifts SET is_paused = 0, pause_reason = NULL WHERE is_paused AND left_at IS NULL AND lost_at IS NULL "
        "AND (? IS NULL OR waiter = ?)",
        (printable(waiter), printable(waiter)),
    ).rowcount


def drain(db: sqlite3.Connection, waiter: str) -> int:
    return db.execute(
        "UPDATE shifts SET is_draining = 1 WHERE left_at IS NULL AND lost_at IS NULL AND waiter = ?",
        (printable(waiter),),
    ).rowcount


def clean(db: sqlite3.Connection, chosen: Condition, *, is_everything: bool) -> int:
    if is_everything and keeps_tally(db):
        removed = tally.remove_all(db)
    else:
        removed = db.execute(f"DELETE FROM orders WHERE {chosen.sql}", chosen.values).rowcount
    if is_everything:
        db.execute("DELETE FROM batches")
        db.execute("DELETE FROM shifts WHERE left_at IS NOT NULL OR lost_at IS NOT NULL")
    else:
        db.execute(
            # Not one that somebody is loading just now.
            f"DELETE FROM batches WHERE is_complete AND NOT EXISTS (SELECT 1 FROM orders "
            f"WHERE seq BETWEEN number << {ROW_BITS} AND ((number + 1) << {ROW_BITS}) - 1)"
        )
        if keeps_tally(db):
            tally.forget_empty(db)
    return removed


def ledger(read: Callable[[str, Sequence[str]], list[sqlite3.Row]], prefix: str) -> dict[str, str]:
    begin = f"{_LEDGER}{prefix}"
    rows = read(
        "SELECT name, value FROM state WHERE name >= ? AND name < ? ORDER BY name", (begin, f"{begin}\U0010ffff")
    )
    return {row["name"].removeprefix(_LEDGER): row["value"] for row in rows}


def enter(db: sqlite3.Connection, key: str, text: str, instead_of: str | None) -> bool:
    name = f"{_LEDGER}{key}"
    if instead_of is None:
        return db.execute("INSERT INTO state VALUES (?, ?) ON CONFLICT DO NOTHING", (name, text)).rowcount == 1
    changed = db.execute("UPDATE state SET value = ? WHERE name = ? AND value = ?", (text, name, instead_of))
    return changed.rowcount == 1
