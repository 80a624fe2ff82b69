"""Orders of a MongoDB kitchen in pieces of so many rows: what is known of each, and how that is forgotten in time.

The collection `counts` has a document for each piece: `orders`, how many there are, and, once all of them have ended,
`ended`, how many of each status. Such an order changes its status by a reset alone, and a piece gets or loses orders
by a load or a deletion alone. No transaction joins two documents, on a server that stands alone; so whoever does one of
these first announces it to the pieces that it may change. They forget what it makes wrong, have another `mark`, and are
busy (`busy_until`) for longer than the server may take to carry it out: a step of a change is filtered by the server's
own clock, and does nothing after `HOLD_S`, however late it arrives. Who counts (`tally`) writes down what it found of a
piece that was not busy before it began, if the mark is still the same. So nobody writes down what was true only before,
whoever dies, and whenever. Who loads knows how many orders a piece has that was new (`is_all_mine`: none was there
before, and nobody else has announced a change), and need not count.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from pymongo import UpdateOne

from waiter import processes
from waiter.kitchen.mongo.connection import LONG_STEP_S, Connection
from waiter.kitchen.mongo.documents import Document
from waiter.kitchen.mongo.updates import GONE
from waiter.light_dataclass import dataclass

UNKNOWN, KNOWN = "unknown", "known"
"""What the document `news` says of `pieces`: whether each piece that has orders is sure to have its document."""

PIECE = 1 << 15
"""How many rows one piece has. A count of one that is not known costs the server some 30 ms."""

HOLD_S = 30.0
"""The server must begin with what was announced within so long."""

_SETTLE_S = 2 * LONG_STEP_S
"""So long after that it has come to an end: the driver gives the server a deadline for each step."""


def piece_of(seq: int) -> int:
    """The piece of an order: the `seq` that its first one has, or would have."""
    return seq - seq % PIECE


def announce(to: Connection, pieces: Collection[int], *, is_number_changed: bool, by: str | None = None) -> str:
    """Let the pieces forget what a change makes wrong, and be busy for as long as it may take. Returns their mark.

    Who goes on with a change says `by` whom it is.
    """
    mark, busy = os.urandom(8).hex(), {"$ifNull": ["$busy_until", 0.0]}
    is_mine, is_new = {"$eq": ["$by", by or mark]}, {"$eq": [{"$type": "$mark"}, "missing"]}
    facts: Document = {
        "mark": mark,
        "by": by or mark,
        "is_all_mine": is_new if by is None else {"$and": [is_mine, "$is_all_mine"]},
        "is_mine_alone": {"$or": [{"$lte": [busy, to.now]}, {"$and": [is_mine, "$is_mine_alone"]}]},
        "busy_until": {"$max": [busy, {"$add": [to.now, HOLD_S + _SETTLE_S]}]},
        "ended": GONE,
    }
    if is_number_changed:
        facts["orders"] = GONE
    to.counts.bulk_write([UpdateOne({"_id": piece}, [{"$set": facts}], upsert=True) for piece in sorted(pieces)])
    return mark


def release(to: Connection, pieces: Collection[int], mark: str, added: int | None = None) -> None:
    """The change was carried out: the pieces are busy no more, unless somebody else changes them, too.

    `added`: so many orders were added to each, which are all that it has if it was new.
    """
    facts: Document = {"busy_until": 0.0}
    if added is not None:
        facts |= {"orders": {"$cond": ["$is_all_mine", added, GONE]}, "at": to.now}
    to.counts_w1.update_many({"_id": {"$in": [*pieces]}, "mark": mark, "is_mine_alone": True}, [{"$set": facts}])


def change_announced(
    to: Connection,
    seqs: Iterable[int],
    those: Document,
    change: Callable[[Document], int],
    *,
    is_number_changed: bool,
) -> int:
    """One step of a change of orders that may have ended, these seqs among them: what it returns.

    Again if it took so long that the server may have refused it.
    """
    pieces, changed = {piece_of(seq) for seq in seqs}, 0
    while True:
        until = to.time() + HOLD_S
        mark = announce(to, pieces, is_number_changed=is_number_changed)
        changed += change({"$and": [those, {"$expr": {"$lt": [to.now, until]}}]})
        if to.time() < until:
            release(to, pieces, mark)
            return changed


Step = Counter[int]
"""How many rows one insert adds to each piece."""


@dataclass(slots=True)
class _Stay:
    """What a `Loading` knows of a piece that it adds to."""

    by: str
    mark: str
    until: float  # it must be announced anew; on this machine's clock
    is_exact: bool  # the orders that this has added are all that there are, if the piece was new
    added: int = 0
    in_flight: int = 0  # steps whose result is not known; one that failed stays for ever


class Loading:
    """Announces the rows that loads through one kitchen add, some thousand at a time: most steps stay in one piece.

    It knows how many orders a piece has that was new, if nobody else has announced a change of it since, and writes
    that down when it goes on to the next: nobody need count them.

    An insert cannot be filtered by the clock. One that came late, because its program was stopped in between, is
    announced once more afterwards; only one that is killed in that very moment may leave a wrong number, which the next
    check of that piece (`tally.CHECKED_S`) puts right.
    """

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._stays: dict[int, _Stay] = {}
        self._is_whole = False  # no piece that has orders lacks its document

    def before(self, seqs: Sequence[int]) -> Step:
        """These rows are added next, in one step."""
        step, now = Counter([seq - seq % PIECE for seq in seqs]), processes.boottime()
        pieces = step.keys()
        again = {piece for piece in pieces & self._stays.keys() if now > self._stays[piece].until - HOLD_S / 2}
        new = pieces - self._stays.keys()
        if new or again:
            self._leave({piece for piece, stay in self._stays.items() if piece not in pieces and not stay.in_flight})
        if new:
            self._begin(new, now)
        self._renew(again, now)
        for piece in pieces:
            self._stays[piece].in_flight += 1
        return step

    def after(self, step: Step, added: int) -> None:
        """They have been added; so many of them were new."""
        now, is_all_new = processes.boottime(), added == step.total()
        for piece, number in step.items():
            stay = self._stays[piece]
            stay.in_flight -= 1
            stay.added += number
            stay.is_exact = stay.is_exact and is_all_new
        self._renew({piece for piece in step if now > self._stays[piece].until}, now)

    def _begin(self, pieces: Collection[int], now: float) -> None:
        if not self._is_whole:
            self._is_whole = self._to.state.find_one({"_id": "news", "pieces": KNOWN}, {"_id": 1}) is not None
        mark = announce(self._to, pieces, is_number_changed=True)
        self._stays |= {piece: _Stay(mark, mark, now + HOLD_S, self._is_whole) for piece in pieces}

    def _renew(self, pieces: Collection[int], now: float) -> None:
        for piece in pieces:
            stay = self._stays[piece]
            stay.mark = announce(self._to, [piece], is_number_changed=True, by=stay.by)
            stay.until = now + HOLD_S

    def _leave(self, pieces: Collection[int]) -> None:
        for piece in pieces:
            stay = self._stays.pop(piece)
            release(self._to, [piece], stay.mark, stay.added if stay.is_exact else None)


def forget(to: Connection, number_range: Document) -> None:
    """Forget the pieces of a batch that is gone; `number_range` is what `seq` was for its orders."""
    to.counts_w1.delete_many({"_id": number_range, "$expr": {"$lte": ["$busy_until", to.now]}})
