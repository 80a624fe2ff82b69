"""A selector as a MongoDB filter, and a sort as stages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from waiter.kitchen.mongo.documents import Document, raw, rows_of
from waiter.kitchen.mongo.updates import Expression
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import sort_of
from waiter.orders import HELD, Selector

_NOTHING: Document = {"_id": {"$in": []}}


def filter_of(selector: Selector, batches: Iterable[int], now: Expression, waiting: Iterable[int] = ()) -> Document:
    """What `selector` means; `batches` and `waiting` are the numbers of the batches that it names."""
    parts: list[Document] = [{field: value} for field, value in _plain(selector) if value is not None]
    if selector.ids:
        parts.append({"_id": {"$in": [printable(order_id) for order_id in selector.ids]}})
    if selector.waiting is not None:
        ready = [{"status": "READY", "due": HELD}, *({"status": "READY", "seq": rows_of(n)} for n in waiting)]
        parts.append({"$or": [*_with_status(selector), *ready]})
    else:
        parts += _with_status(selector)
    if selector.batch is not None:
        spans: list[Document] = [{"seq": rows_of(n)} for n in batches]
        parts.append({"$or": spans} if spans else _NOTHING)
    if selector.since is not None:
        parts.append({"$or": [{"stop": {"$gte": selector.since}}, {"start": {"$gte": selector.since}}]})
    if selector.longer_than_s is not None:
        parts.append({"start": {"$exists": True}, "$expr": {"$gt": [duration(now), selector.longer_than_s]}})
    if selector.match is not None:
        parts.append(contains(selector.match))
    if selector.except_command is not None:
        parts.append({"command": {"$exists": True, "$ne": printable(selector.except_command)}})
    return {"$and": parts} if parts else {}


def _with_status(selector: Selector) -> list[Document]:
    return [{"status": {"$in": [status.value for status in selector.statuses]}}] if selector.statuses else []


def contains(words: str) -> Document:
    """Some argument contains the words, byte for byte."""
    choices = [("raw", raw(words))]
    if printable(words) == words:
        choices.append(("arguments", words))
    return {"$or": [{field: {"$regex": re.escape(sought).replace("\0", r"\x00")}} for field, sought in choices]}


def _plain(selector: Selector) -> tuple[tuple[str, str | None], ...]:
    return (
        ("waiter", printable(selector.waiter)),
        ("host", printable(selector.host)),
        ("error_group", printable(selector.error_group)),
    )


def duration(now: Expression) -> Expression:
    """Seconds an order ran; up to now if it is running; missing if it never ran."""
    until = {"$cond": [{"$eq": ["$status", "RUNNING"]}, now, "$stop"]}
    return {"$subtract": [until, "$start"]}


def sort_stages(sort: str, now: Expression) -> list[Document]:
    """Stages that put orders in the order that `Kitchen.find` names."""
    by, is_descending = sort_of(sort)
    direction = -1 if is_descending else 1
    match by:
        case "age":
            return [{"$sort": {"seq": direction}}]
        case "start" | "stop" as field:
            return [{"$sort": {field: direction, "seq": direction}}]
    return [{"$set": {"lasted": duration(now)}}, {"$sort": {"lasted": direction, "seq": direction}}]
