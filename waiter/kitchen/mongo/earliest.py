"""The orders of a MongoDB kitchen that began or ended first, or took least; those that never did come before them.

No index has orders by their start. Who began early ended early, but for the few that took longest, which an index has.
Orders that never began, or have not ended, are READY in few places of the index of claims, or RUNNING; what ended and
never began stands in one place of the index of durations: `transitions` knows no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import AT_ONCE, Document
from waiter.kitchen.mongo.filters import duration
from waiter.kitchen.mongo.longest import At
from waiter.orders import HELD

_LONG = 2000
"""So many orders, those that took longest, are looked at besides those that ended early."""

_ENDED: Document = {"stop": {"$gt": 0}}
_RUNNING: Document = {"status": "RUNNING"}
_BEFORE: Document = {**_ENDED, "took": None, "start": {"$gt": 0}}
"""What an earlier version ended."""

Part = tuple[Document, str | None, list[Document]]
"""Some orders, the index that has them (None: MongoDB finds it, if a version has made it), and stages that give them
what they are sorted by."""


def page(
    to: Connection, by: str, matching: list[Document], limit: int, after: At | None, light: list[Document]
) -> list[Document]:
    """The first that match by `start`, `stop` or `duration`, behind a place if it is given."""

    def first(parts: Iterable[Part], behind: Document, what: str, limit: int) -> list[Document]:
        ordered: list[Document] = [{"$sort": {what: 1, "seq": 1}}, {"$limit": limit}, *light]
        found: list[Document] = []
        for those, index, made in parts:
            stages = [{"$match": {"$and": [those, *matching]}}, *made, {"$match": behind}, *ordered]
            hinted: Document = {} if index is None else {"hint": index}
            found += to.orders.aggregate(stages, allowDiskUse=True, **hinted)
        # Each once, as it was met last: what changes meanwhile goes from one part to a later one.
        once = {order["seq"]: order for order in found}.values()
        return sorted(once, key=lambda order: (order.get(what, 0), order["seq"]))[:limit]

    orders: list[Document] = []
    if after is None or after[0] is None:
        orders = first(_without(to, by), {} if after is None else {"seq": {"$gt": after[1]}}, "seq", limit)
    if len(orders) < limit:
        at = None if after is None or after[0] is None else (after[0], after[1])
        what = "took" if by == "duration" else by
        behind = _behind(what, at)
        parts = _with(to, by, [*matching, behind], at and at[0], limit - len(orders))
        orders += first(parts, behind, what, limit - len(orders))
    return [*{order["seq"]: order for order in orders}.values()]


def _behind(what: str, at: tuple[float, int] | None) -> Document:
    if at is None:
        return {}
    value, seq = at
    return {what: {"$gte": value}, "$or": [{what: {"$gt": value}}, {"seq": {"$gt": seq}}]}


def _without(to: Connection, by: str) -> Iterator[Part]:
    """Where the orders are that have no such thing; each index has them by age."""
    field = "stop" if by == "stop" else "start"
    for due in (AT_ONCE, HELD):
        ready: Document = {"status": "READY", "due": due}
        for priority in to.orders.distinct("priority", ready):
            yield {**ready, "priority": priority, field: None}, "claims", []
    if by == "stop":
        yield {**_RUNNING, "stop": None}, "claims", []
    else:
        yield {**_ENDED, "took": None, "start": None}, None, []


def _with(to: Connection, by: str, matching: list[Document], since: float | None, limit: int) -> Iterator[Part]:
    """Where the first of those are that have it."""
    if by == "duration":
        took: list[Document] = [{"$set": {"took": duration(to.now)}}]
        yield _RUNNING, "claims", took
        yield {**_ENDED, "took": {"$gte": float("-inf")}}, None, []
        yield _BEFORE, None, took
        return
    stops = {"$gt": 0} if since is None else {"$gte": since}
    seen: list[Document] = [
        {"$match": {"$and": [{"stop": stops}, {by: {"$gt": 0}}, *matching]}},
        {"$sort": {"stop": 1}},
    ]
    last: Document = {"$group": {"_id": None, "n": {"$sum": 1}, "last": {"$max": f"${by}"}}}
    few = next(to.orders.aggregate([*seen, {"$limit": limit}, last], hint="ended"), {"n": 0})
    is_end = few["n"] < limit  # all that there are
    if by == "stop":
        yield {"stop": stops if is_end else {**stops, "$lte": few["last"]}}, "ended", []
        return
    long_s = _long_s(to)
    begun: Document = {"start": {"$gt": 0} if is_end else {"$gt": 0, "$lte": few["last"]}}
    yield {**_RUNNING, **begun}, "claims", []
    yield {**begun, "stop": stops if is_end else {**stops, "$lte": few["last"] + long_s}}, "ended", []
    yield {**_ENDED, **begun, "took": {"$gte": long_s}}, None, []
    yield {**_ENDED, **begun, "took": {"$lt": 0}}, None, []  # somebody set a clock back
    yield {**_BEFORE, **begun}, None, []


def _long_s(to: Connection) -> float:
    """How long those took that no bound on the end finds."""
    found = to.orders.find({**_ENDED, "took": {"$gt": 0}}, {"_id": 0, "took": 1}).sort("took", -1).skip(_LONG).limit(1)
    return next((float(order["took"]) for order in found), 0.0)
