"""The orders of an SQLite kitchen that a waiter may take, where it may not take all: of some batches, or that match."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from waiter.kitchen.contract import CLAIM_LIMIT, Backlog
from waiter.kitchen.spans import Span, chunks
from waiter.kitchen.sqlite.rows import MATCHES, matching
from waiter.orders import HELD, Scope

Read = Callable[..., list[sqlite3.Row]]

_CLAIMABLE = "FROM orders INDEXED BY claimable WHERE status = 'READY' AND due IS NULL AND priority >= :least"
_MATCHES = f"(:match IS NULL OR {MATCHES})"

_NEXT_PRIORITY = f"SELECT priority {_CLAIMABLE} AND priority < :below ORDER BY priority DESC LIMIT 1"
_OF_A_SPAN = f"""
SELECT seq, losses {_CLAIMABLE} AND priority = :priority AND seq >= :first AND seq < :end AND {_MATCHES}
ORDER BY seq LIMIT :limit
"""
_OF_ANY = f"SELECT seq, losses {_CLAIMABLE} AND {_MATCHES} ORDER BY priority DESC, seq LIMIT :limit"

_ABOVE_ALL = 1 << 62
_BELOW_ALL = -(1 << 62)


def first_in(read: Read, scope: Scope, spans: Sequence[Span] | None, limit: int) -> list[sqlite3.Row]:
    """The first claimable orders of the scope: seq and losses, by priority, then age. No spans: of any batch."""
    facts = {**_facts(scope), "limit": limit}
    if spans is None:
        return read(_OF_ANY, facts)
    for some in chunks(spans):
        if found := list(islice(_by_priority(read, facts, some), limit)):
            return found
    return []


def _facts(scope: Scope) -> dict[str, object]:
    least = _BELOW_ALL if scope.priority_min is None else scope.priority_min
    return {"least": least, **({"match": None, "plain": None} if scope.match is None else matching(scope.match))}


def _by_priority(read: Read, facts: dict[str, object], spans: Sequence[Span]) -> Iterator[sqlite3.Row]:
    """Priority by priority, and span by span in each: so the index skips what lies between."""
    below = _ABOVE_ALL
    while rows := read(_NEXT_PRIORITY, {**facts, "below": below}):
        below = rows[0]["priority"]
        for first, end in spans:
            yield from read(_OF_A_SPAN, {**facts, "priority": below, "first": first, "end": end})


def backlog(read: Read, scope: Scope, spans: Sequence[Span] | None, now: float) -> Backlog:
    """What waits and what runs of the scope, counted up to CLAIM_LIMIT."""
    ready = len(first_in(read, scope, spans, CLAIM_LIMIT))
    parts = [_rest(read, scope, some, now) for some in ([None] if spans is None else chunks(spans))]
    dues = [part.next_due_s for part in parts if part.next_due_s is not None]
    overdue, running, held = (sum(getattr(part, of) for part in parts) for of in ("ready", "running", "held"))
    few = (min(CLAIM_LIMIT, n) for n in (running, held))
    return Backlog(min(CLAIM_LIMIT, ready + overdue), min(dues, default=None), *few)


def _rest(read: Read, scope: Scope, spans: Sequence[Span] | None, now: float) -> Backlog:
    """Orders overdue, when the next falls due, those RUNNING, and those held."""
    facts = {**_facts(scope), "now": now}
    places = "1" if spans is None else " OR ".join(f"seq >= {first} AND seq < {end}" for first, end in spans) or "0"
    mine = f"priority >= :least AND {_MATCHES} AND ({places})"
    waiting = f"FROM orders INDEXED BY waiting WHERE status = 'READY' AND due IS NOT NULL AND {mine} AND due"
    few = f"SELECT count(*) AS n FROM (SELECT 1 {{}} LIMIT {CLAIM_LIMIT})"
    wanted = (f"{waiting} <= :now", f"FROM orders INDEXED BY running WHERE status = 'RUNNING' AND {mine}")
    overdue, running, held = (read(few.format(of), facts)[0]["n"] for of in (*wanted, f"{waiting} = {HELD!r}"))
    due = read(f"SELECT due {waiting} > :now AND due < {HELD!r} ORDER BY due LIMIT 1", facts)
    return Backlog(overdue, due[0]["due"] - now if due else None, running, held)


def numbered_batches(read: Read) -> Iterator[tuple[str, int]]:
    """All batches: id and number, by rising number."""
    return ((row["id"], row["number"]) for row in read("SELECT id, number FROM batches ORDER BY number"))
