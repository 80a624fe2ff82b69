"""Claims, outcomes and losses in an SQLite kitchen: which orders a shift takes, and what becomes of them.

Each function runs inside its caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from itertools import filterfalse
from typing import Any

from waiter.kitchen import transitions
from waiter.kitchen.sqlite.changes import update
from waiter.kitchen.sqlite.rows import appended, finish_event, json_event
from waiter.orders import FinishResult, Outcome, Shift, Status

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


Ended = tuple[Outcome, int | None]
"""An outcome and the seq of its order; None for an order that never was."""

Recorder = Callable[[sqlite3.Connection, Shift, Sequence[Ended], float], list[FinishResult]]
"""`finish_all` or `finish_each`, which is for what the first one refuses."""


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


class SomeAreNot(Exception):
    """Not all of the outcomes end an order that is still the shift's: the transaction is to be rolled back."""


def finish_all(db: sqlite3.Connection, shift: Shift, ended: Sequence[Ended], now: float) -> list[FinishResult]:
    """Record outcomes of orders that are the shift's. Raises SomeAreNot.

    In as few statements as there are kinds of end: with thousands of orders a second, one for each is what costs most.
    A savepoint instead of a second transaction would double that cost.
    """
    facts = [_facts(shift, outcome, seq, now) for outcome, seq in ended]
    for statement, some in ((_TRY_AGAIN, [*filter(_is_again, facts)]), (_END, [*filterfalse(_is_again, facts)])):
        if some and db.executemany(statement, some).rowcount != len(some):
            raise SomeAreNot
    return [FinishResult.ACCEPTED] * len(facts)


def finish_each(db: sqlite3.Connection, shift: Shift, ended: Sequence[Ended], now: float) -> list[FinishResult]:
    """Record outcomes, each if its order is still the shift's."""
    return [_finish(db, _facts(shift, outcome, seq, now)) for outcome, seq in ended]


def _facts(shift: Shift, outcome: Outcome, seq: int | None, now: float) -> dict[str, Any]:
    """What `_END` and `_TRY_AGAIN` ask for."""
    told = transitions.facts_of(outcome)
    event = finish_event(outcome, told, shift, now)
    failed, lost = transitions.counted(outcome)
    return {
        **told,
        "seq": seq,
        "token": shift.token,
        "attempt": outcome.attempt,
        "status": outcome.status.value,
        "due": now + outcome.delay_s if outcome.delay_s > 0 else None,
        "failed": failed,
        "lost": lost,
        "event": json_event(event),
        "cancelled": json_event({**event, "status": Status.CANCELLED}) if outcome.status is Status.READY else None,
    }


def _finish(db: sqlite3.Connection, facts: dict[str, Any]) -> FinishResult:
    if db.execute(_TRY_AGAIN if _is_again(facts) else _END, facts).rowcount == 1:
        return FinishResult.ACCEPTED
    return _known_or_late(db, facts)


def done(ended: Sequence[Ended], results: Sequence[FinishResult]) -> list[int]:
    """The orders that are DONE by these outcomes, as the kitchen took them."""
    return [
        seq
        for (outcome, seq), result in zip(ended, results, strict=True)
        if seq is not None and outcome.status is Status.DONE and result is FinishResult.ACCEPTED
    ]


def _is_again(facts: dict[str, Any]) -> bool:
    return bool(facts["status"] == Status.READY)


def _known_or_late(db: sqlite3.Connection, facts: dict[str, Any]) -> FinishResult:
    stored = db.execute("SELECT history, late FROM orders WHERE seq = :seq", facts).fetchone()
    if stored is None:
        return FinishResult.LATE
    mine = {"what": "finish", "attempt": facts["attempt"], "shift": facts["token"]}
    for column, result in (("history", FinishResult.KNOWN), ("late", FinishResult.LATE)):
        if any(mine.items() <= known.items() for known in json.loads(stored[column] or "[]")):
            return result
    db.execute("UPDATE orders SET late = ? WHERE seq = ?", (appended(stored["late"], facts["event"]), facts["seq"]))
    return FinishResult.LATE


def lose(db: sqlite3.Connection, order: sqlite3.Row, max_losses: int, now: float, delay_s: float) -> Status:
    """Take one order back from a shift that is gone."""
    losses = order["losses"] + 1
    status = Status.ERROR if losses >= max_losses else Status.READY
    if order["is_cancel_asked"]:
        status = Status.CANCELLED
    db.execute(_LOSE[status], {"seq": order["seq"], "now": now, "due": now + delay_s})
    return status
