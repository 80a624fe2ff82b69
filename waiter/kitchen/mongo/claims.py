"""Claiming from a MongoDB kitchen: one look and one update, whatever the number of orders.

The look says in a single round trip whether the shift lives and may have orders, and which ones stand first. The
update takes those of them that are still as they were seen. If it took fewer, a read by the token finds which. Waiters
that look at the same moment see the same orders, so who lost some to others looks elsewhere for a while: see `places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from pymongo.errors import OperationFailure

from waiter.errors import ShiftLost
from waiter.kitchen.contract import ALL, CLAIM_LIMIT
from waiter.kitchen.mongo.connection import Connection, is_too_large
from waiter.kitchen.mongo.documents import AT_ONCE, BULKY, ROWS, Document, claimed_order, ids_of, order_from
from waiter.kitchen.mongo.places import HEAD, Place, Places
from waiter.kitchen.mongo.queries import numbered_batches
from waiter.kitchen.mongo.scope import in_scope
from waiter.kitchen.mongo.updates import claimed, in_hand, lookup, too_large
from waiter.kitchen.spans import Span, SpansOfScope, chunks
from waiter.orders import Order, Scope, Shift, Status

TRIES = 8

_END = 1 << 62
"""Beyond every `seq`."""

BY_ID = "_id_"
"""The index that every fenced update names: the planner must not try the others first."""


class Claims:
    """The claims of one kitchen object; remembers whether others compete for the same orders."""

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._places = Places(Random())
        self.spans = SpansOfScope(lambda: numbered_batches(to), ROWS)

    def claim(self, shift: Shift, limit: int, exclude: Sequence[str], scope: Scope = ALL) -> list[Order]:
        """See `Kitchen.claim`. Empty too if others were faster `TRIES` times."""
        orders = self._claim_in(shift, limit, exclude, scope)
        if not orders and self.spans.are_others(scope):
            orders = self._claim_in(shift, limit, exclude, scope)
        return orders

    def _claim_in(self, shift: Shift, limit: int, exclude: Sequence[str], scope: Scope) -> list[Order]:
        spans = self.spans.of(scope)
        for some in [None] if spans is None else chunks(spans):
            if orders := self._claim(shift, min(limit, CLAIM_LIMIT), exclude, scope, some):
                return orders
        return []

    def peek(self, scope: Scope) -> Order | None:
        """See `Kitchen.peek`."""
        self.spans.are_others(scope)
        spans = self.spans.of(scope)
        for some in [None] if spans is None else chunks(spans):
            first = self._to.orders.find(_claimable((), scope, some), dict.fromkeys(BULKY, 0))
            for order in first.sort([("priority", -1), ("seq", 1)]).limit(1):
                return order_from(order)
        return None

    def _claim(
        self, shift: Shift, limit: int, exclude: Sequence[str], scope: Scope, spans: Sequence[Span] | None
    ) -> list[Order]:
        """The same, of the orders of these spans."""
        named: Sequence[str] = ()  # hundreds cost time in each look, and hardly ever is one of them READY
        excluded = frozenset(exclude)
        for _ in range(TRIES):
            place, is_head_due = self._place(scope, spans)
            claimable = _claimable(named, scope, spans, place)
            head = _claimable(named, scope, spans) if is_head_due else None
            try:
                look = self._look(shift, limit, claimable, head)
            except OperationFailure as problem:
                if not is_too_large(problem):
                    raise
                if limit == 1:
                    self._end_first(_claimable(exclude, scope, spans, place))
                limit = max(1, limit // 8)  # one look holds 16 MB
                continue
            if not _may_claim(look, shift):
                return []
            if look.get("overdue"):
                self._promote(look["now"])
            elif not excluded.isdisjoint(ids_of(look["first"])):
                named = exclude
            elif not look["first"] and place == HEAD:
                return []
            elif any(self._places.goes_back(place, first, limit) for first in look.get("head", ())):
                continue
            elif orders := self._take(shift, limit, look):
                return orders
        return []

    def _place(self, scope: Scope, spans: Sequence[Span] | None) -> tuple[Place, bool]:
        """Where to look, and whether to look at the head, too."""
        if scope.is_strict:
            return HEAD, True
        place, is_head_due = self._places.choose()
        if spans is not None and all(end <= place.seq for _, end in spans):
            return HEAD, True  # it was a place in other batches
        return place, is_head_due

    def _look(self, shift: Shift, limit: int, claimable: Document, head: Document | None) -> Document:
        """The shift, and the first orders that are claimable; if `head` is given, what that matches, and is overdue."""
        in_order: Document = {"$sort": {"priority": -1, "seq": 1}}
        first = [{"$match": claimable}, in_order, {"$limit": limit}, {"$unset": list(BULKY)}]
        stages = [
            {"$match": {"_id": shift.token}},
            {"$project": {"is_open": 1, "is_paused": 1, "is_draining": 1, "lease_until": 1, "now": self._to.now}},
            lookup("orders", "first", first),
        ]
        if head is not None:
            overdue = {"status": "READY", "due": {"$gt": AT_ONCE}, "$expr": {"$lte": ["$due", self._to.now]}}
            stages.append(lookup("orders", "overdue", [{"$match": overdue}, {"$limit": 1}, {"$project": {"_id": 1}}]))
        if head is not None and head != claimable:
            place = {"$project": {"_id": 0, "priority": 1, "seq": 1}}
            stages.append(lookup("orders", "head", [{"$match": head}, in_order, {"$limit": 1}, place]))
        return next(iter(self._to.shifts.aggregate(stages)), {})

    def _promote(self, now: float) -> None:
        self._to.orders_w1.update_many(
            {"status": "READY", "due": {"$gt": AT_ONCE, "$lte": now}}, {"$set": {"due": AT_ONCE}}
        )

    def _take(self, shift: Shift, limit: int, look: Document) -> list[Order]:
        """The orders of the look that the shift has now; what it tells of where to look next is noted."""
        seen, now = _together(look["first"]), look["now"]
        if not seen:
            self._places.at_end()
            return []
        change = claimed(shift, now, is_first=not any(order["attempt"] for order in seen))
        try:
            taken = self._to.orders.update_many(_as_seen(seen), change, hint=BY_ID).matched_count
        except OperationFailure as problem:
            if not is_too_large(problem):
                raise
            return self._take_what_fits(shift, seen, change)
        self._places.took(seen, limit, is_all=taken == len(seen))
        if len(look["first"]) < limit:
            self._places.at_end()
        if taken == len(seen):
            return _as_claimed(seen, in_hand(shift, now))
        return self._read(shift, seen) if taken else []

    def _take_what_fits(self, shift: Shift, seen: list[Document], change: Document) -> list[Order]:
        """One by one: each that is too large with its claim ends, the others are taken as ever."""
        for order in seen:
            try:
                self._to.orders.update_one(_as_seen([order]), change, hint=BY_ID)
            except OperationFailure as problem:
                if not is_too_large(problem):
                    raise
                self._end(order)
        return self._read(shift, seen)

    def _end_first(self, claimable: Document) -> None:
        """End the order that is too large to be looked at beside the shift."""
        first = self._to.orders.find(claimable, {"attempt": 1}).sort([("priority", -1), ("seq", 1)])
        for order in first.limit(1):
            self._end(order)

    def _end(self, order: Document) -> None:
        try:
            self._to.orders.update_one(_as_seen([order]), too_large(self._to.now), hint=BY_ID)
        except OperationFailure as problem:
            if not is_too_large(problem):
                raise
            # No room even for the reason; this takes none.
            self._to.orders.update_one(_as_seen([order]), {"$set": {"status": "ERROR"}}, hint=BY_ID)

    def _read(self, shift: Shift, seen: list[Document]) -> list[Order]:
        """Those of the orders seen that are the shift's now: none of them was before."""
        mine = {"_id": {"$in": ids_of(seen)}, "shift": shift.token}
        found = self._to.orders.find(mine, dict.fromkeys(BULKY, 0), hint=BY_ID)
        taken = {order["_id"]: order_from(order) for order in found}
        return [taken[order["_id"]] for order in seen if order["_id"] in taken]


def _claimable(exclude: Sequence[str], scope: Scope, spans: Sequence[Span] | None, place: Place = HEAD) -> Document:
    status: Document = {"status": "READY", "due": AT_ONCE}
    if place.priority is not None:
        status["priority"] = place.priority
        within = [(0, _END)] if spans is None else spans
        spans = [(max(first, place.seq), end) for first, end in within if end > place.seq]
    first = in_scope(status, scope, spans)
    return {"$and": [first, {"_id": {"$nin": list(exclude)}}]} if exclude else first


def _as_seen(seen: list[Document]) -> Document:
    """Matches the orders that are READY and have not been claimed since."""
    by_attempt: dict[int, list[str]] = {}
    for order in seen:
        by_attempt.setdefault(order["attempt"], []).append(order["_id"])
    attempts = [{"attempt": attempt, "_id": {"$in": ids}} for attempt, ids in by_attempt.items()]
    unchanged = attempts[0] if len(attempts) == 1 else {"_id": {"$in": ids_of(seen)}, "$or": attempts}
    return {"status": "READY", "due": AT_ONCE, **unchanged}


def _as_claimed(seen: list[Document], hand: Document) -> list[Order]:
    """The orders as the update left them: nothing of an earlier attempt."""
    mine = {**hand, "status": Status(hand["status"])}
    return [claimed_order(order, mine) for order in seen]


def _may_claim(look: Document, shift: Shift) -> bool:
    if not look.get("is_open"):
        raise ShiftLost(shift.waiter)
    return not (look.get("is_paused") or look.get("is_draining")) and look["lease_until"] > look["now"]


def _together(first: list[Document]) -> list[Document]:
    """Which of the first orders may go together: one that was lost before goes alone."""
    lost = next((n for n, order in enumerate(first) if order["losses"]), len(first))
    return first[: max(1, lost)]
