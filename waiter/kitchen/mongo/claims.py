"""Claiming from a MongoDB kitchen: one look and one update, whatever the number of orders.

The look says in a single round trip whether the shift lives and may have orders, and which ones stand first. The
update takes those of them that are still as they were seen. If it took fewer, a read by the token finds which. Waiters
that look at the same moment see the same orders, so who lost some to others looks further down for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from time import monotonic

from pymongo.errors import OperationFailure

from waiter.errors import ShiftLost
from waiter.kitchen.contract import ALL, CLAIM_LIMIT
from waiter.kitchen.mongo.connection import Connection, is_too_large
from waiter.kitchen.mongo.documents import AT_ONCE, BULKY, ROWS, Document, ids_of, order_from
from waiter.kitchen.mongo.queries import numbered_batches
from waiter.kitchen.mongo.scope import in_scope
from waiter.kitchen.mongo.updates import claimed, in_hand, lookup, too_large
from waiter.kitchen.spans import Span, SpansOfScope, chunks
from waiter.kitchen.transitions import OF_AN_ATTEMPT
from waiter.orders import Order, Scope, Shift

WINDOW = 960
"""How far from the head a waiter that competes may take its orders."""

TRIES = 8

COMPETING_S = 5.0
"""How long a waiter that lost orders to others goes on looking further down."""

PROMOTE_S = 1.0
"""How often a waiter that competes makes orders that fell due claimable, unless it gets too few."""

BY_ID = "_id_"
"""The index that every fenced update names: the planner must not try the others first."""


class Claims:
    """The claims of one kitchen object; remembers whether others compete for the same orders."""

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._random = Random()
        self._competes_until = -1.0
        self._promoted_at = -PROMOTE_S
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
            if orders := self._claim(shift, limit, _claimable(exclude, scope, some), is_strict=scope.is_strict):
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

    def _claim(self, shift: Shift, limit: int, claimable: Document, *, is_strict: bool) -> list[Order]:
        """The same, of the orders that `claimable` matches."""
        limit = min(limit, CLAIM_LIMIT)
        skip = 0 if is_strict else self._skip(limit)
        for _ in range(TRIES):
            try:
                look = self._look(shift, limit, skip, claimable)
            except OperationFailure as problem:
                if not is_too_large(problem):
                    raise
                if limit == 1:
                    self._end_first(skip, claimable)
                limit = 1  # one look holds 16 MB
                continue
            if not _may_claim(look, shift):
                return []
            if look["overdue"] and self._should_promote(len(look["first"]) < limit):
                self._promote(look["now"])
                continue
            if not look["first"] and not skip:
                return []
            orders = self._take(shift, _together(look["first"]), look["now"])
            if orders:
                return orders
            skip = self._skip(limit) if look["first"] and not is_strict else 0
        return []

    def _skip(self, limit: int) -> int:
        competes = monotonic() < self._competes_until
        return self._random.randrange(0, max(1, WINDOW - limit)) if competes else 0

    def _look(self, shift: Shift, limit: int, skip: int, claimable: Document) -> Document:
        overdue = {"status": "READY", "due": {"$gt": AT_ONCE}, "$expr": {"$lte": ["$due", self._to.now]}}
        order = {"priority": -1, "seq": 1}
        stages = [
            {"$match": {"_id": shift.token}},
            {"$project": {"is_open": 1, "is_paused": 1, "is_draining": 1, "lease_until": 1, "now": self._to.now}},
            lookup("orders", "overdue", [{"$match": overdue}, {"$limit": 1}, {"$project": {"_id": 1}}]),
            lookup(
                "orders",
                "first",
                [
                    {"$match": claimable},
                    {"$sort": order},
                    {"$skip": skip},
                    {"$limit": limit},
                    {"$unset": list(BULKY)},
                ],
            ),
        ]
        return next(iter(self._to.shifts.aggregate(stages)), {})

    def _should_promote(self, is_short: bool) -> bool:
        competes = monotonic() < self._competes_until
        return is_short or not competes or monotonic() - self._promoted_at >= PROMOTE_S

    def _promote(self, now: float) -> None:
        self._promoted_at = monotonic()
        self._to.orders_w1.update_many(
            {"status": "READY", "due": {"$gt": AT_ONCE, "$lte": now}}, {"$set": {"due": AT_ONCE}}
        )

    def _take(self, shift: Shift, seen: list[Document], now: float) -> list[Order]:
        if not seen:
            return []
        change = claimed(shift, now, is_first=not any(order["attempt"] for order in seen))
        try:
            taken = self._to.orders.update_many(_as_seen(seen), change, hint=BY_ID).matched_count
        except OperationFailure as problem:
            if not is_too_large(problem):
                raise
            return self._take_what_fits(shift, seen, change)
        if taken == len(seen):
            return [_in_hand(order, shift, now) for order in seen]
        self._competes_until = monotonic() + COMPETING_S
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

    def _end_first(self, skip: int, claimable: Document) -> None:
        """End the order that is too large to be looked at beside the shift."""
        first = self._to.orders.find(claimable, {"attempt": 1}).sort([("priority", -1), ("seq", 1)])
        for order in first.skip(skip).limit(1):
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


def _claimable(exclude: Sequence[str], scope: Scope, spans: Sequence[Span] | None) -> Document:
    first = in_scope({"status": "READY", "due": AT_ONCE}, scope, spans)
    return {"$and": [first, {"_id": {"$nin": list(exclude)}}]} if exclude else first


def _as_seen(seen: list[Document]) -> Document:
    """Matches the orders that are READY and have not been claimed since."""
    by_attempt: dict[int, list[str]] = {}
    for order in seen:
        by_attempt.setdefault(order["attempt"], []).append(order["_id"])
    attempts = [{"attempt": attempt, "_id": {"$in": ids}} for attempt, ids in by_attempt.items()]
    unchanged = attempts[0] if len(attempts) == 1 else {"_id": {"$in": ids_of(seen)}, "$or": attempts}
    return {"status": "READY", "due": AT_ONCE, **unchanged}


def _in_hand(seen: Document, shift: Shift, now: float) -> Order:
    """The order as the update left it."""
    kept = {field: value for field, value in seen.items() if field not in OF_AN_ATTEMPT}
    return order_from({**kept, **in_hand(shift, now), "attempt": seen["attempt"] + 1})


def _may_claim(look: Document, shift: Shift) -> bool:
    if not look.get("is_open"):
        raise ShiftLost(shift.waiter)
    return not (look.get("is_paused") or look.get("is_draining")) and look["lease_until"] > look["now"]


def _together(first: list[Document]) -> list[Document]:
    """Which of the first orders may go together: one that was lost before goes alone."""
    lost = next((n for n, order in enumerate(first) if order["losses"]), len(first))
    return first[: max(1, lost)]
