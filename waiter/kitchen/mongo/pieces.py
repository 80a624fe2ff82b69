"""Orders of a MongoDB kitchen in pieces of so many rows: what is known of each, and how that is forgotten in time.

The collection `counts` has a document for each piece: `orders`, how many there are, and, once all of them have ended,
`ended`, how many of each status. Such an order changes its status by a reset alone, and a piece gets or loses orders
by a load or a deletion alone. No transaction joins two documents, on a server that stands alone; so whoever does one of
these first announces it to the pieces that it may change. They forget what it makes wrong, have another `mark`, and are
busy (`busy_until`) for longer than the server may take to carry it out: a step of a change is filtered by the server's
own clock, and does nothing after `HOLD_S`, however late it arrives. Who counts (`tally`) writes down what it found of a
piece that was not busy before it began, if the mark is still the same. So nobody writes down what was true only before,
whoever dies, and whenever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable

from pymongo import UpdateOne

from waiter import processes
from waiter.kitchen.mongo.connection import LONG_STEP_S, Connection
from waiter.kitchen.mongo.documents import Document
from waiter.kitchen.mongo.updates import GONE

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
    mine_before = {"$and": [{"$eq": ["$by", by or mark]}, "$is_mine_alone"]}
    facts: Document = {
        "mark": mark,
        "by": by or mark,
        "is_mine_alone": {"$or": [{"$lte": [busy, to.now]}, mine_before]},
        "busy_until": {"$max": [busy, {"$add": [to.now, HOLD_S + _SETTLE_S]}]},
        "ended": GONE,
    }
    if is_number_changed:
        facts["orders"] = GONE
    to.counts.bulk_write([UpdateOne({"_id": piece}, [{"$set": facts}], upsert=True) for piece in sorted(pieces)])
    return mark


def release(to: Connection, pieces: Collection[int], mark: str) -> None:
    """The change was carried out: the pieces are busy no more, unless somebody else changes them, too."""
    mine = {"_id": {"$in": [*pieces]}, "mark": mark, "is_mine_alone": True}
    to.counts_w1.update_many(mine, {"$set": {"busy_until": 0.0}})


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


class Loading:
    """Announces the rows that loads through one kitchen add, some thousand at a time: most steps stay in one piece.

    An insert cannot be filtered by the clock. One that came late, because its program was stopped in between, is
    announced once more afterwards; only one that is killed in that very moment may leave a wrong number, which the next
    check of that piece (`tally.CHECKED_S`) puts right.
    """

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._id = os.urandom(8).hex()
        self._marks: dict[int, str] = {}
        self._until: dict[int, float] = {}  # on this machine's clock

    def before(self, seqs: Iterable[int]) -> None:
        """These rows are added next."""
        pieces, now = {piece_of(seq) for seq in seqs}, processes.boottime()
        new = {piece for piece in pieces if now > self._until.get(piece, 0.0) - HOLD_S / 2}
        if not new:
            return
        for left in [piece for piece in self._marks if piece not in pieces]:
            release(self._to, [left], self._marks.pop(left))
            del self._until[left]
        self._announce(new, now)

    def after(self) -> None:
        """They have been added."""
        now = processes.boottime()
        if late := {piece for piece, until in self._until.items() if now > until}:
            self._announce(late, now)

    def _announce(self, pieces: Collection[int], now: float) -> None:
        mark = announce(self._to, pieces, is_number_changed=True, by=self._id)
        self._marks |= dict.fromkeys(pieces, mark)
        self._until |= dict.fromkeys(pieces, now + HOLD_S)


def forget(to: Connection, number_range: Document) -> None:
    """Forget the pieces of a batch that is gone; `number_range` is what `seq` was for its orders."""
    to.counts_w1.delete_many({"_id": number_range, "$expr": {"$lte": ["$busy_until", to.now]}})
