"""The orders of a MongoDB kitchen that took longest: an index has those that ended in this order, few run at a time.

What an earlier version ended has no `took` until a newer one opens the kitchen to bring work, and its waiters go on to
end orders without it: these are sorted each time.
"""

from __future__ import annotations

from collections.abc import Iterable

from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import Document
from waiter.kitchen.mongo.filters import duration

At = tuple[float | None, int]
"""Where a page begins: behind an order that took so long (None: it never ran), and has this seq."""

# Sorted as they are read, and in the order in which they change: one that ends meanwhile is met twice, not missed.
_RUNNING: Document = {"status": "RUNNING"}
_ENDED: Document = {"stop": {"$gt": 0}, "took": {"$gte": float("-inf")}}
_ENDED_BEFORE: Document = {"stop": {"$gt": 0}, "took": None, "start": {"$gt": 0}}
_NEVER_RAN: Document = {"status": {"$ne": "RUNNING"}, "$or": [{"stop": None}, {"start": None}]}

_LONGEST: Document = {"$sort": {"took": -1, "seq": -1}}


def page(
    to: Connection, matching: list[Document], limit: int, after: At | None, light: list[Document], *, may_run: bool
) -> list[Document]:
    """The first that match, behind a place if it is given; those that never ran come last."""

    def found(those: Document, limit: int, *stages: Document) -> list[Document]:
        wanted: list[Document] = [{"$match": {"$and": [those, *matching]}}, *stages, {"$limit": limit}, *light]
        return list(to.orders.aggregate(wanted, allowDiskUse=True))

    behind, orders = _behind(after), list[Document]()
    if behind is not None:
        later = {"$match": behind}
        if may_run:
            orders += found(_RUNNING, limit, {"$set": {"took": duration(to.now)}}, later, _LONGEST)
        orders += found({"$and": [_ENDED, behind]}, limit, _LONGEST)
        orders += found(_ENDED_BEFORE, limit, {"$set": {"took": duration(to.now)}}, later, _LONGEST)
        orders = _longest(orders)[:limit]
    if len(orders) < limit:
        older = {"seq": {"$lt": after[1]}} if after and after[0] is None else {}
        orders += found({"$and": [_NEVER_RAN, older]}, limit - len(orders), {"$sort": {"seq": -1}})
    return orders


def _behind(after: At | None) -> Document | None:
    """The filter of what ran no longer than the order before; None: what ran has all come before."""
    if after is None:
        return {}
    value, seq = after
    if value is None:
        return None
    return {"took": {"$lte": value}, "$or": [{"took": {"$lt": value}}, {"seq": {"$lt": seq}}]}


def _longest(orders: Iterable[Document]) -> list[Document]:
    """Each once, as it was met last."""
    by_seq = {order["seq"]: order for order in orders}
    return sorted(by_seq.values(), key=lambda order: (order["took"], order["seq"]), reverse=True)
