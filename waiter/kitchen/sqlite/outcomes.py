"""Claims, outcomes and losses in an SQLite kitchen: which orders a shift takes, and what becomes of them.

Each function runs inside its caller's transaction.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Sequence

from waiter.failure_groups import error_group
from waiter.kitchen.sqlite.rows import appended, finish_event, json_event, text, with_event
from waiter.orders import Event, FinishResult, Outcome, Reason, Shift, Status

LOST_WORDS = "its waiter died while it ran"

# What is READY again tells of its last attempt until the next one begins; who asked for an end gets no other try.
_FINISH = """
UPDATE orders SET status = iif(:is_again AND is_cancel_asked, 'CANCELLED', :status),
    due = iif(is_cancel_asked, NULL, :due), failures = failures + :failed, losses = losses + :lost, shift = NULL,
    start = :start, stop = :stop, is_cancel_asked = 0,
    exit_code = :exit_code, signal = :signal, reason = :reason, error = :error, error_group = :error_group,
    tail = :tail, result = :result, command = :command, peak_memory = :peak_memory,
    history = appended(history, iif(:is_again AND is_cancel_asked, :cancelled, :event))
WHERE seq = :seq AND shift = :shift AND attempt = :attempt AND status = 'RUNNING'
"""

# The hints: without statistics, which a new file has not, SQLite takes `by_status` and reads every READY order.
FALL_DUE = "UPDATE orders INDEXED BY waiting SET due = NULL WHERE status = 'READY' AND due IS NOT NULL AND due <= ?"

_FIRST = """
SELECT seq, losses FROM orders INDEXED BY claimable WHERE status = 'READY' AND due IS NULL
ORDER BY priority DESC, seq LIMIT ?
"""

# Nothing of an earlier attempt stays beside the new one.
TAKE = """
UPDATE orders SET status = 'RUNNING', shift = ?, waiter = ?, host = ?, attempt = attempt + 1, start = ?, stop = NULL,
    exit_code = NULL, signal = NULL, reason = NULL, error = NULL, error_group = NULL, tail = NULL, result = NULL,
    command = NULL, peak_memory = NULL
WHERE seq IN (SELECT value FROM json_each(?))
"""

ORPHANS = "FROM orders INDEXED BY running WHERE status = 'RUNNING' AND shift NOT IN (SELECT value FROM json_each(?))"

RELEASE = f"""
UPDATE orders SET status = iif(is_cancel_asked, 'CANCELLED', 'READY'), stop = iif(is_cancel_asked, :now, NULL),
    attempt = attempt - 1, due = NULL, shift = NULL, waiter = NULL, host = NULL, start = NULL, is_cancel_asked = 0,
    reason = iif(is_cancel_asked, 'cancelled', NULL),
    history = iif(is_cancel_asked, {with_event("cancel", Status.CANCELLED)}, history)
WHERE shift = :shift AND status = 'RUNNING'
"""


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
    event = finish_event(outcome, shift, now)
    is_again = outcome.status is Status.READY
    is_bad = is_again or outcome.status is Status.ERROR
    facts = {
        "seq": seq,
        "shift": shift.token,
        "attempt": outcome.attempt,
        "status": outcome.status.value,
        "is_again": is_again,
        "due": now + outcome.delay_s if is_again and outcome.delay_s > 0 else None,
        "failed": int(is_bad and outcome.reason not in (Reason.LOST, Reason.INTERRUPTED)),
        "lost": int(outcome.reason is Reason.LOST),
        "start": outcome.start,
        "stop": outcome.stop,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "reason": outcome.reason and outcome.reason.value,
        "error": text(outcome.error),
        "error_group": text(outcome.error_group),
        "tail": text(outcome.tail),
        "result": text(outcome.result),
        "command": text(outcome.command),
        "peak_memory": outcome.peak_memory,
        "event": json_event(event),
        "cancelled": json_event(dataclasses.replace(event, status=Status.CANCELLED)) if is_again else None,
    }
    if db.execute(_FINISH, facts).rowcount == 1:
        return FinishResult.ACCEPTED
    return _known_or_late(db, seq, event)


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
        error=LOST_WORDS,
    )
    db.execute(
        "UPDATE orders SET status = ?, losses = ?, due = ?, shift = NULL, is_cancel_asked = 0, "
        "stop = ?, exit_code = NULL, signal = NULL, reason = ?, error = ?, error_group = ?, "
        "history = ? WHERE seq = ?",
        (
            status.value,
            losses,
            now + delay_s if status is Status.READY else None,
            now,
            Reason.CANCELLED.value if status is Status.CANCELLED else Reason.LOST.value,
            LOST_WORDS,
            error_group(LOST_WORDS, Reason.LOST, None, None),
            appended(order["history"], json_event(event)),
            order["seq"],
        ),
    )
    return status
