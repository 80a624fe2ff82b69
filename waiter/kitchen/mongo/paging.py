"""A page of orders of a MongoDB kitchen. What is sorted is small, and an index has it where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from waiter.kitchen.mongo import earliest, longest
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import BULKY, ROWS, Document, order_from
from waiter.kitchen.mongo.filters import duration
from waiter.kitchen.mongo.queries import selected
from waiter.kitchen.paging import FEW, Position
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import sort_of, unknown_position
from waiter.orders import Order, Selector, Status

_PLACE = "place"
_ROW = re.compile("[0-9]{1,10}")
_NATURAL = {"$natural": 1}


def first(to: Connection, selector: Selector, sort: str, limit: int, *, with_details: bool) -> Iterator[Order]:
    """The first page, as `Kitchen.find` streams it."""
    if limit > 0:
        with to.patiently():
            found = page(to, selector, sort, limit, None, with_details=with_details)
        yield from found


def page(
    to: Connection, selector: Selector, sort: str, limit: int, after: Position | None, *, with_details: bool = False
) -> list[Order]:
    """The first orders that match, behind a position if it is given. Raises UsageError."""
    by, is_descending = sort_of(sort)
    direction = -1 if is_descending else 1
    light: list[Document] = [] if with_details else [{"$unset": list(BULKY)}]
    matching = [part for part in (selected(to, selector),) if part]
    at = None if after is None else (after.value, _seq(to, after.order_id))
    if sort == "-duration":
        return list(map(order_from, longest.page(to, matching, limit, at, light, may_run=_may_run(selector))))
    if (
        not is_descending
        and by != "age"
        and selector == Selector(statuses=selector.statuses)
        and _are_many(to, selector)
    ):
        return list(map(order_from, earliest.page(to, by, matching, limit, at, light)))
    what = {"age": "seq", "duration": _PLACE}.get(by, by)
    behind = {} if at is None else _behind(what, direction, *at)
    if sort in ("-stop", "-start") and selector == Selector(statuses=selector.statuses):
        matching += _narrowed(to, sort, [*matching, *([behind] if behind else [])], limit)
    order = {"seq": direction} if by == "age" else {what: direction, "seq": direction}
    ordered: list[Document] = [{"$match": behind}, {"$sort": order}, {"$limit": limit}]
    hint = None if by == "age" else _hint(to, selector)
    hinted: Document = {} if hint is None else {"hint": hint}
    if by == "duration":
        took: Document = {_PLACE: duration(to.now)}
        matching = [{"seq": {"$in": _places(to, matching, took, ordered, hinted)}}, *matching]
        ordered, hinted = [{"$set": took}, *ordered], {}
    stages = [{"$match": {"$and": [*matching, {}]}}, *ordered, *light]
    found = to.orders.aggregate(stages, allowDiskUse=True, **hinted)
    return list(map(order_from, found))


def _places(
    to: Connection, matching: list[Document], took: Document, first: list[Document], hinted: Document
) -> list[int]:
    """The orders of a page by duration: small things are sorted."""
    fields = {"_id": 0, "seq": 1, "stop": 1, "start": 1, "status": 1}
    small: list[Document] = [{"$project": fields}, {"$project": {"seq": 1, **took}}]
    stages = [{"$match": {"$and": [*matching, {}]}}, *small, *first]
    return [order["seq"] for order in to.orders.aggregate(stages, allowDiskUse=True, **hinted)]


def _narrowed(to: Connection, sort: str, matching: list[Document], limit: int) -> list[Document]:
    """What the orders of the page have besides: an index finds the few that may be it. Nothing if it cannot.

    Who began after some time has stopped after it, or runs: so the index by the time of the end knows them, too.
    """
    since = _nth(to, "stop", [{"stop": {"$gt": 0}}, *matching], limit)
    if since is None or sort == "-stop":
        return [] if since is None else [{"stop": {"$gte": since}}]
    began = _nth(to, "start", [{"stop": {"$gte": since}}, *matching], limit)
    set_back: Document = {"stop": {"$gt": 0}, "took": {"$lt": 0}}  # while they ran somebody set a clock back
    return [] if began is None else [{"$or": [{"stop": {"$gte": began}}, {"status": "RUNNING"}, set_back]}]


def _are_many(to: Connection, selector: Selector) -> bool:
    """Whether so many orders have these statuses that it costs less to look for them where others are, too.

    RUNNING ones are not among those that have ended: all of these would be gone through for them.
    """
    if not selector.statuses:
        return True
    if selector.statuses == (Status.RUNNING,):
        return False
    those = {"status": {"$in": [status.value for status in selector.statuses]}}
    return int(to.db.command("count", "orders", query=those, limit=FEW, hint="claims")["n"]) >= FEW


def _may_run(selector: Selector) -> bool:
    return not selector.statuses or Status.RUNNING in selector.statuses


def _nth(to: Connection, field: str, matching: list[Document], number: int) -> float | None:
    """The value of the order that comes at this place from the top; None: there are fewer."""
    found = to.orders.find({"$and": matching}, {"_id": 0, field: 1}).sort(field, -1).skip(number - 1).limit(1)
    # What is missing is None where an index alone has answered.
    return next((float(order[field]) for order in found if order.get(field) is not None), None)


def _seq(to: Connection, order_id: str) -> int:
    batch, _, row = order_id.rpartition("-")
    known = to.batches.find_one({"_id": printable(batch)}, {"number": 1})
    if known is None or not _ROW.fullmatch(row):
        raise unknown_position(order_id)
    return int(known["number"] * ROWS) + int(row)


def _behind(what: str, direction: int, value: float | None, after: int) -> Document:
    """The filter of what comes later; what is missing is less than any value."""
    beyond = "$lt" if direction < 0 else "$gt"
    if what == "seq":
        return {"seq": {beyond: after}}
    if value is None:
        missing = {what: None, "seq": {beyond: after}}
        return missing if direction < 0 else {"$or": [missing, {what: {"$ne": None}}]}
    later: list[Document] = [{what: {beyond: value}}, {what: value, "seq": {beyond: after}}]
    return {"$or": [*later, {what: None}]} if direction < 0 else {"$or": later}


def _hint(to: Connection, selector: Selector) -> Any:
    """Of a large batch more is read by its index than without one."""
    if selector.batch is None or selector.statuses or selector.ids or selector.error_group is not None:
        return None
    name = printable(selector.batch)
    sizes = to.batches.find({"$or": [{"_id": name}, {"name": name}]}, {"_id": 0, "orders": 1})
    return _NATURAL if sum(batch["orders"] for batch in sizes) > FEW else None
