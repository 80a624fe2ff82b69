"""Claims, outcomes and losses in an SQLite kitchen: which orders a shift takes, and what becomes of them.

Each function runs inside its caller's transaction.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Sequence

from waiter.kitchen import transitions
from waiter.kitchen.sqlite.changes import update
from waiter.kitchen.sqlite.rows import appended, finish_event, json_event
from waiter.orders import Event, FinishResult, Outcome, Shift, Status

_BY_SEQ = "NOT INDEXED"  # the row's own number finds it, whatever the statistics say
_FENCE = "AND seq = :seq AND shift = :token AND attempt = :attempt"
_END = f"{update(transitions.END, hint=_BY_SEQ, event=':event')} {_FENCE}"
_TRY_AGAIN = f"{update(transitions.TRY_AGAIN, hint=_BY_SEQ, event='iif(is_cancel_asked, :cancelled, :event)')} {_FENCE}"
_LOSE = {status: f"{update(change, hint=_BY_SEQ)} AND seq = :seq" for status, change in transitions.LOSE.items()}

# The hints: without statistics, which a new file has not, SQLite takes `by_status` and reads every READY order.
FALL_DUE = "UPDATE orders INDEXED BY waiting SET due = NULL WHERE status = 'READY' AND due IS NOT NULL AND due <= ?"

_FIRST = """
SELECT seq, losses FROM orders INDEXED BY claimable WHERE status = 'READY' AND due IS NULL
ORDER BY priority DESC, seq LIMIT ?
"""

TAKE = f"{update(transitions.CLAIM, hint=_BY_SEQ)} AND seq IN (SELECT value FROM json_each(:seqs))"

ORPHANS = "FROM orders INDEXED BY running WHERE status = 'RUNNING' AND shift NOT IN (SELECT value FROM json_each(?))"

RELEASE = f"{update(transitions.RELEASE)} AND shift = :shift"


def first(db: sqlite3.Connection, limit: int) -> list[sqlite3.Row]:
    """The first claimable orders of all: seq and losses."""
    return db.execute(_FIRST, (limit,)).fetchall()


def candidates(rows: Sequence[sqlite3.Row], limit: int, excluded: set[int]) -> list[int]:
    """Those of the first claimable orders that a claim takes: one that was lost before goes alone, others in order."""
    rows = [row for row in rows if row["seq"] not in excluded][:limit]
    if rows and rows[0]["losses"]:
        return [rows[0]["seq"]]
    lost_at = next((index for index, row in enumerate(rows) if row["losses"]), len(rows))
    return [row["seq"] for row in rows[:lost_at]]


def finish(db: sqlite3.Connection, shift: Shift, outcome: Outcome, seq: int | None, now: float) -> FinishResult:
    """Record one outcome, if the order is still the shift's; `seq` is None for an order that never was."""
    told = transitions.facts_of(outcome)
    event = finish_event(outcome, told, shift, now)
    is_again = outcome.status is Status.READY
    failed, lost = transitions.counted(outcome)
    facts = {
        **told,
        "seq": seq,
        "token": shift.token,
        "attempt": outcome.attempt,
        "status": outcome.status.value,
        "due": now + outcome.delay_s if outcome.delay_s > 0 else None,
        "failed": failed,
        "lost": lost,
        "event": json_event(event),
        "cancelled": json_event(dataclasses.replace(event, status=Status.CANCELLED)) if is_again else None,
    }
    if db.execute(_TRY_AGAIN if is_again else _END, facts).rowcount == 1:
        return FinishResult.ACCEPTED
    return _known_or_late(db, seq, event)


def done(ended: Iterable[tuple[Outcome, int | None, FinishResult]]) -> list[int]:
    """The orders that are DONE by these outcomes, as the kitchen took them."""
    return [
        seq
        for outcome, seq, result in ended
        if seq is not None and outcome.status is Status.DONE and result is FinishResult.ACCEPTED
    ]


def _known_or_late(db: sqlite3.Connection, seq: int | None, event: Event) -> FinishResult:
    stored = db.execute("SELECT history, late FROM orders WHERE seq = ?", (seq,)).fetchone()
    if stored is None:
        return FinishResult.LATE
    mine = {"what": "finish", "attempt": event.attempt, "shift": event.shift}
    for column, result in (("history", FinishResult.KNOWN), ("late", FinishResult.LATE)):
        if any(mine.items() <= known.items() for known in json.loads(stored[column] or "[]")):
            return result
    db.execute("UPDATE orders SET late = ? WHERE seq = ?", (appended(stored["late"], json_event(event)), seq))
    return FinishResult.LATE


def lose(db: sqlite3.Connection, order: sqlite3.Row, max_losses: int, now: float, delay_s: float) -> Status:
    """Take one order back from a shift that is gone."""
    losses = order["losses"] + 1
    status = Status.ERROR if losses >= max_losses else Status.READY
    if order["is_cancel_asked"]:
        status = Status.CANCELLED
    db.execute(_LOSE[status], {"seq": order["seq"], "now": now, "due": now + delay_s})
    return status
