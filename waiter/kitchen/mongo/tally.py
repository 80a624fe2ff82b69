"""How many orders of a MongoDB kitchen have which status: counted where they move, and known where they have ended.

`pieces` says what is known of each piece, and why it cannot be wrong. Who counts writes down what it learned, so of ten
million orders the server counts those of the pieces in which somebody is at work. What is READY is the rest of all, so
the total is right while orders move from status to status.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from pymongo import DeleteOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError

from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import AT_ONCE, ROWS, Document, rows_of
from waiter.kitchen.mongo.pieces import KNOWN, PIECE, UNKNOWN
from waiter.light_dataclass import dataclass
from waiter.orders import Counts, Status

CHECKED_S = 600.0
"""What was learned longer ago is counted anew, the oldest piece with each count."""

_SPANS = 8
"""In so many places the server counts at most; if there are more, what lies between some of them is counted as well."""

_AT_A_TIME = 8
"""So many pieces are looked at by a waiter, from the front and anywhere: less than a second of the server's time."""

_IN_A_BATCH = 8
"""A batch of so many pieces is a large one."""

_ENDS = tuple(status.value for status in Status if status.is_final)
_ENDED: Document = {"status": {"$in": [*_ENDS]}}
_ALL: Document = {"$gte": 0}


@dataclass(frozen=True, slots=True)
class Piece:
    """What is known of one."""

    start: int
    mark: str
    is_busy: bool
    orders: int | None
    ended: dict[str, int] | None
    at: float  # when that was counted


@dataclass(frozen=True, slots=True)
class Found:
    """What was counted: of the pieces `where`, or of all that there are."""

    by_piece: dict[int, dict[str, int]]
    where: frozenset[int] | None

    def __contains__(self, piece: int) -> bool:
        return self.where is None or piece in self.where

    def of(self, piece: int) -> dict[str, int]:
        return self.by_piece.get(piece, {})


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a count begins with, and reads through."""

    to: Connection
    session: ClientSession | None
    numbers: frozenset[int] | None  # of the batches that are asked for; None: of all
    state: str | None
    now: float
    pieces: list[Piece]

    def spans(self) -> list[Document]:
        """What `seq` is for what is asked for."""
        is_many = self.numbers is None or len(self.numbers) > _SPANS
        return [_ALL] if self.numbers is None or is_many else [*map(rows_of, sorted(self.numbers))]

    def has(self, piece: int) -> bool:
        return self.numbers is None or piece // ROWS in self.numbers

    def found(self, spans: Iterable[Document], those: Document, index: str) -> dict[int, dict[str, int]]:
        start = {"$subtract": ["$seq", {"$mod": ["$seq", PIECE]}]}
        group = {"$group": {"_id": {"start": start, "status": "$status"}, "n": {"$sum": 1}}}
        if "status" not in those:  # the index of ages does not know it
            group = {"$group": {"_id": {"start": start}, "n": {"$sum": 1}}}
        by_piece: dict[int, dict[str, int]] = {}
        for span in spans:
            stages: list[Document] = [{"$match": {**those, "seq": span}}, group]
            for row in self.to.orders.aggregate(stages, hint=index, session=self.session):
                if self.has(row["_id"]["start"]):
                    by_piece.setdefault(row["_id"]["start"], {})[row["_id"].get("status", "")] = row["n"]
        return by_piece

    def count(self, known: Collection[int], those: Document, index: str) -> Found:
        """Count what is not among the known pieces."""
        if self.state != KNOWN:
            return Found(self.found(self.spans(), those, index), None)
        between = gaps([piece.start for piece in self.pieces], known)
        dense, sparse = [gap for gap in between if _is_dense(gap)], [gap for gap in between if not _is_dense(gap)]
        by_piece = self.found(({"$gte": gap[0], "$lt": gap[-1] + PIECE} for gap in sparse), those, index)
        by_piece |= self._each([start for gap in dense for start in gap], those, index)
        return Found(by_piece, frozenset(start for gap in between for start in gap))

    def _each(self, pieces: Sequence[int], those: Document, index: str) -> dict[int, dict[str, int]]:
        """Count piece by piece: where nothing but `seq` is a span, the server counts keys, five times as fast."""
        by_piece: dict[int, dict[str, int]] = {}
        for exactly in self._points(those) if pieces else ():
            at = self._next(exactly, pieces, 0, index)
            while at < len(pieces):
                mine = {**exactly, "seq": {"$gte": pieces[at], "$lt": pieces[at] + PIECE}}
                n = self.to.orders.count_documents(mine, hint=index, session=self.session)
                if n:
                    found, status = by_piece.setdefault(pieces[at], {}), exactly.get("status", "")
                    found[status] = found.get(status, 0) + n
                at = at + 1 if n else self._next(exactly, pieces, at + 1, index)
        return by_piece

    def _next(self, exactly: Document, pieces: Sequence[int], at: int, index: str) -> int:
        """The place of the next piece that has such orders: of READY ones there may be hundreds in between."""
        if at == len(pieces):
            return at
        behind = {**exactly, "seq": {"$gte": pieces[at]}}
        found = self.to.orders.find(behind, {"_id": 0, "seq": 1}, session=self.session).hint(index)
        first = next((int(order["seq"]) for order in found.sort("seq", 1).limit(1)), None)
        return len(pieces) if first is None else max(at, bisect_right(pieces, first) - 1)

    def _points(self, those: Document) -> list[Document]:
        """What the index of claims has of orders that ended, before their age: each as it occurs."""
        if "status" not in those:
            return [those]
        ended = [{"status": status, "due": AT_ONCE} for status in _ENDS]
        ask = self.to.orders.distinct
        return [{**one, "priority": p} for one in ended for p in ask("priority", one, session=self.session)]


def _is_dense(pieces: Sequence[int]) -> bool:
    """Whether they are large ones, of few batches: these are counted one by one."""
    return len(pieces) >= _IN_A_BATCH * len({piece // ROWS for piece in pieces})


def gaps(starts: Sequence[int], known: Collection[int]) -> list[Sequence[int]]:
    """Pieces that follow one another, with all that are not known: in `_SPANS` parts at most."""
    unknown = [at for at, start in enumerate(starts) if start not in known]
    if not unknown:
        return []
    leaps = [(after - before, before) for before, after in pairwise(unknown) if after - before > 1]
    ends = sorted(before for _, before in sorted(leaps, reverse=True)[: _SPANS - 1])
    begins = [unknown[0], *(next(at for at in unknown if at > end) for end in ends)]
    return [starts[first : last + 1] for first, last in zip(begins, [*ends, unknown[-1]], strict=True)]


def _begin(to: Connection, session: ClientSession | None, numbers: Collection[int] | None) -> _Moment:
    told = to.state.find_one({"_id": "news"}, {"pieces": 1, "now": to.now}, session=session)
    if told is None:
        raise to.gone()
    moment = _Moment(
        to, session, None if numbers is None else frozenset(numbers), told.get("pieces"), float(told["now"]), []
    )
    for span in moment.spans():
        for stored in to.counts.find({"_id": span}, session=session).sort("_id"):
            if moment.has(stored["_id"]):
                moment.pieces.append(_piece(stored, moment.now))
    return moment


def _piece(stored: Document, now: float) -> Piece:
    is_busy = stored.get("busy_until", 0.0) > now
    return Piece(
        stored["_id"], stored["mark"], is_busy, stored.get("orders"), stored.get("ended"), stored.get("at", 0.0)
    )


def count(to: Connection, numbers: Collection[int] | None = None) -> dict[int, Counts]:
    """Orders by status of the batches with these numbers, or of all, by the number of the batch."""
    with to.one_moment() as session:
        with to.translate_errors():  # a cheap question first: whoever is away is not waited for as for a long answer
            moment = _begin(to, session, numbers)
        with to.patiently():
            old = _to_check(moment)
            running = moment.found(moment.spans(), {"status": "RUNNING"}, "claims")
            known = [piece.start for piece in moment.pieces if piece.ended is not None and piece is not old]
            ended = moment.count(known, _ENDED, "claims")
            known = [piece.start for piece in moment.pieces if piece.orders is not None and piece is not old]
            orders = moment.count(known, {}, "age")
            _learn(moment, ended, orders)
    return _sums(moment, running, ended, orders)


def learn_some(to: Connection) -> None:
    """Count a few of the pieces of which something is not known: those that come first, and some others.

    Waiters do it now and then, so that nobody who looks has to count much.
    """
    with to.patiently(), to.one_moment() as session:
        moment = _begin(to, session, None)
        if moment.state == KNOWN:
            moving = [piece.start for piece in moment.pieces if piece.ended is None or piece.orders is None]
            chosen = {*moving[:_AT_A_TIME], *random.sample(moving, min(len(moving), _AT_A_TIME))}
            rest = {piece.start for piece in moment.pieces} - chosen
            _learn(moment, moment.count(rest, _ENDED, "claims"), moment.count(rest, {}, "age"))


def _to_check(moment: _Moment) -> Piece | None:
    known = (piece for piece in moment.pieces if piece.orders is not None and piece.at < moment.now - CHECKED_S)
    return min(known, key=lambda piece: piece.at, default=None)


def _learn(moment: _Moment, ended: Found, orders: Found) -> None:
    """Write down what the count found out; in a kitchen that an earlier version may still change, nothing."""
    if moment.state is None:
        return
    writes: list[UpdateOne | DeleteOne] = [
        write for piece in moment.pieces if (write := _learned(moment.now, piece, ended, orders))
    ]
    there = {piece.start for piece in moment.pieces}
    new = orders.by_piece.keys() - there
    writes += [
        UpdateOne({"_id": start}, {"$setOnInsert": {"mark": os.urandom(8).hex(), "busy_until": 0.0}}, upsert=True)
        for start in new
    ]
    try:
        if writes:
            moment.to.counts_w1.bulk_write(writes, ordered=False)
        if moment.state == UNKNOWN and moment.numbers is None and not new:
            moment.to.state.update_one({"_id": "news", "pieces": UNKNOWN}, {"$set": {"pieces": KNOWN}})
    except PyMongoError:
        return  # who may only read, too, has counted right


def _learned(now: float, piece: Piece, ended: Found, orders: Found) -> UpdateOne | DeleteOne | None:
    if piece.is_busy:
        return None
    number = sum(orders.of(piece.start).values()) if piece.start in orders else piece.orders
    if number == 0:
        return DeleteOne({"_id": piece.start, "mark": piece.mark})  # whoever adds to it announces it anew
    by_status = ended.of(piece.start) if piece.start in ended else piece.ended
    # More end meanwhile, none comes back: if as many as there are had ended, all have, and were counted right.
    have_all_ended = by_status is not None and number == sum(by_status.values())
    known = number, by_status if have_all_ended else None
    is_checked = piece.orders is not None and piece.start in orders
    if known == (piece.orders, piece.ended) and not is_checked:
        return None
    facts: Document = {"$set": {"orders": number, "at": now}}
    if have_all_ended:
        facts["$set"]["ended"] = by_status
    else:
        facts["$unset"] = {"ended": 1}
    return UpdateOne({"_id": piece.start, "mark": piece.mark}, facts)


def _sums(moment: _Moment, running: dict[int, dict[str, int]], ended: Found, orders: Found) -> dict[int, Counts]:
    total: Counter[int] = Counter()
    ends: dict[int, Counter[str]] = {}
    at_work: Counter[int] = Counter()
    for start, found in orders.by_piece.items():
        total[start // ROWS] += sum(found.values())
    for start, found in ended.by_piece.items():
        ends.setdefault(start // ROWS, Counter()).update(found)
    for start, found in running.items():
        at_work[start // ROWS] += sum(found.values())
    for piece in moment.pieces:
        if piece.start not in orders:
            total[piece.start // ROWS] += piece.orders or 0
        if piece.start not in ended:
            ends.setdefault(piece.start // ROWS, Counter()).update(piece.ended or {})
    return {number: _counts(total[number], at_work[number], ends.get(number, Counter())) for number in total}


def _counts(total: int, running: int, ends: Counter[str]) -> Counts:
    """What moved while it was counted is taken from, or given to, those that move most."""
    rest = max(0, total - ends.total())
    running = min(running, rest)
    by_status = {**{Status(end): n for end, n in ends.items()}, Status.RUNNING: running, Status.READY: rest - running}
    return Counts({status: n for status, n in by_status.items() if n})
