"""Claims, outcomes and losses in an SQLite kitchen: which orders a shift takes, and what becomes of them.

Each function runs inside its caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

from waiter.kitchen import transitions
from waiter.kitchen.printable import printable
from waiter.kitchen.sqlite.changes import by_place, update
from waiter.kitchen.sqlite.rows import FROM, TAKEN, EventWriter, appended, finish_event, taken
from waiter.kitchen.transitions import Plus, Value
from waiter.orders import FinishResult, Order, Outcome, Shift, Status

_BY_SEQ = "NOT INDEXED"  # the row's own number finds it, whatever the statistics say
_LOSE = {status: f"{update(change, hint=_BY_SEQ)} AND seq = :seq" for status, change in transitions.LOSE.items()}

# The hints: without statistics, which a new file has not, SQLite takes `by_status` and reads every READY order.
FALL_DUE = "UPDATE orders INDEXED BY waiting SET due = NULL WHERE status = 'READY' AND due IS NOT NULL AND due <= ?"

_FIRST = """
SELECT seq, losses FROM orders INDEXED BY claimable WHERE status = 'READY' AND due IS NULL
ORDER BY priority DESC, seq LIMIT ?
"""

_TAKE = f"{update(transitions.CLAIM, hint=_BY_SEQ)} AND seq IN (SELECT value FROM json_each(:seqs))"

ORPHANS = "FROM orders INDEXED BY running WHERE status = 'RUNNING' AND shift NOT IN (SELECT value FROM json_each(?))"

RELEASE = f"{update(transitions.RELEASE)} AND shift = :shift"


Ended = tuple[Outcome, int | None]
"""An outcome and the seq of its order; None for an order that never was."""

Recorder = Callable[[sqlite3.Connection, Shift, Sequence[Ended], float], list[FinishResult]]
"""`finish_all` or `finish_each`, which is for what the first one refuses."""


def first(db: sqlite3.Connection, limit: int) -> list[sqlite3.Row]:
    """The first claimable orders of all: seq and losses."""
    return db.execute(_FIRST, (limit,)).fetchall()


def candidates(rows: Sequence[sqlite3.Row]) -> list[int]:
    """Those of the first claimable orders that a claim takes: one that was lost before goes alone, others in order."""
    if rows and rows[0]["losses"]:
        return [rows[0]["seq"]]
    lost_at = next((index for index, row in enumerate(rows) if row["losses"]), len(rows))
    return [row["seq"] for row in rows[:lost_at]]


def take(db: sqlite3.Connection, shift: Shift, seqs: Sequence[int], now: float) -> list[Order]:
    """The orders with these numbers, as they are once the shift has taken them."""
    chosen = json.dumps(seqs)
    mine = {"shift": shift.token, "waiter": printable(shift.waiter), "host": printable(shift.host), "start": now}
    db.execute(_TAKE, {**mine, "seqs": chosen})
    return taken(db.execute(f"SELECT {TAKEN} {FROM} WHERE seq IN (SELECT value FROM json_each(?))", (chosen,)), mine)


Kind = tuple[Status, tuple[str, ...], tuple[int, int]]
"""What outcomes share that one statement records: the status, the fields that they tell of, failures and losses."""

_AT_ONCE = 32
"""So many outcomes of a kind are recorded by one statement; the rest of them one by one, as it is made for a number."""


class SomeAreNot(Exception):
    """Not all of the outcomes end an order that is still the shift's: the transaction is to be rolled back."""


def finish_all(db: sqlite3.Connection, shift: Shift, ended: Sequence[Ended], now: float) -> list[FinishResult]:
    """Record outcomes of orders that are the shift's. Raises SomeAreNot.

    In as few statements as there are kinds of end: with thousands of orders a second, one for each is what costs most.
    A savepoint instead of a second transaction would double that cost.
    """
    write = finish_event(shift, now)
    kinds: dict[Kind, list[list[Any]]] = {}
    for outcome, seq in ended:
        kind, values = _recorded(shift, outcome, seq, now, write)
        kinds.setdefault(kind, []).append(values)
    for kind, some in kinds.items():
        for at in range(0, len(some), _AT_ONCE):
            _record(db, kind, some[at : at + _AT_ONCE])
    return [FinishResult.ACCEPTED] * len(ended)


def _record(db: sqlite3.Connection, kind: Kind, some: Sequence[list[Any]]) -> None:
    if len(some) == _AT_ONCE:
        recorded = db.execute(_statement(kind, _AT_ONCE), [*chain.from_iterable(some)]).rowcount
    else:
        recorded = db.executemany(_statement(kind, 1), some).rowcount
    if recorded != len(some):
        raise SomeAreNot


def finish_each(db: sqlite3.Connection, shift: Shift, ended: Sequence[Ended], now: float) -> list[FinishResult]:
    """Record outcomes, each if its order is still the shift's."""
    write = finish_event(shift, now)
    results = []
    for outcome, seq in ended:
        kind, values = _recorded(shift, outcome, seq, now, write)
        is_accepted = db.execute(_statement(kind, 1), values).rowcount == 1
        event = write(outcome.status, outcome.attempt, transitions.told_by(outcome))
        results.append(FinishResult.ACCEPTED if is_accepted else _known_or_late(db, shift, outcome, seq, event))
    return results


def _recorded(
    shift: Shift, outcome: Outcome, seq: int | None, now: float, write: EventWriter
) -> tuple[Kind, list[Any]]:
    """The outcome's kind, and its values in their places."""
    told = transitions.told_by(outcome)
    counted = transitions.counted(outcome)
    values = [*told.values(), write(outcome.status, outcome.attempt, told), seq, shift.token, outcome.attempt]
    if outcome.status is Status.READY:
        due = now + outcome.delay_s if outcome.delay_s > 0 else None
        values += [due, write(Status.CANCELLED, outcome.attempt, told)]
    return (outcome.status, tuple(told), counted), values


@lru_cache(maxsize=256)
def _statement(kind: Kind, orders: int) -> str:
    """Records so many outcomes of a kind. The claim left nothing of what they do not tell, and that is not written."""
    status, told, counted = kind
    is_again = status is Status.READY
    change = transitions.TRY_AGAIN if is_again else transitions.END
    more = {name: Plus(name, by) for name, by in zip(("failures", "losses"), counted, strict=True) if by}
    given: Mapping[str, Value] = more if is_again else {**more, "status": status}
    untold = {"failures", "losses", *transitions.OF_AN_OUTCOME} - {*more, *told}
    fields = {name: given.get(name, value) for name, value in change.fields.items() if name not in untold}
    event = "iif(is_cancel_asked, :cancelled, :event)" if is_again else ":event"
    names = (*told, "event", "seq", "token", "attempt", *(("due", "cancelled") if is_again else ()))
    row = f"({', '.join('?' * len(names))})"
    rows = f"FROM (VALUES {', '.join([row] * orders)}) AS told" if orders > 1 else ""
    fence = "AND seq = :seq AND shift = :token AND attempt = :attempt"
    sql = f"{update(replace(change, fields=fields), hint=_BY_SEQ, event=event, source=rows)} {fence}"
    return by_place(sql, names, "told.column" if rows else "?")


def done(ended: Sequence[Ended], results: Sequence[FinishResult]) -> list[int]:
    """The orders that are DONE by these outcomes, as the kitchen took them."""
    return [
        seq
        for (outcome, seq), result in zip(ended, results, strict=True)
        if seq is not None and outcome.status is Status.DONE and result is FinishResult.ACCEPTED
    ]


def _known_or_late(db: sqlite3.Connection, shift: Shift, outcome: Outcome, seq: int | None, event: str) -> FinishResult:
    stored = db.execute("SELECT history, late FROM orders WHERE seq = ?", (seq,)).fetchone()
    if stored is None:
        return FinishResult.LATE
    mine = {"what": "finish", "attempt": outcome.attempt, "shift": shift.token}
    for column, result in (("history", FinishResult.KNOWN), ("late", FinishResult.LATE)):
        if any(mine.items() <= known.items() for known in json.loads(stored[column] or "[]")):
            return result
    db.execute("UPDATE orders SET late = ? WHERE seq = ?", (appended(stored["late"], event), seq))
    return FinishResult.LATE


def lose(db: sqlite3.Connection, order: sqlite3.Row, max_losses: int, now: float, delay_s: float) -> Status:
    """Take one order back from a shift that is gone."""
    losses = order["losses"] + 1
    status = Status.ERROR if losses >= max_losses else Status.READY
    if order["is_cancel_asked"]:
        status = Status.CANCELLED
    db.execute(_LOSE[status], {"seq": order["seq"], "now": now, "due": now + delay_s})
    return status
