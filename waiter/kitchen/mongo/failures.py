"""Failures of a MongoDB kitchen by kind: an index knows how many, where and when; only the latest ones are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from waiter.kitchen.contract import FailureGroup
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import Document
from waiter.kitchen.mongo.queries import selected
from waiter.orders import Reason, Selector

MOST_KINDS = 500
"""Of more kinds the latest ones are not looked up one by one: every failure is read."""

_TOLD = ("error", "exit_code", "signal", "reason")


def failure_groups(to: Connection, selector: Selector | None) -> list[FailureGroup]:
    """See `Kitchen.failure_groups`."""
    wanted = selector or Selector()
    if replace(wanted, batch=None) == Selector():
        mine = selected(to, wanted)
        kinds = _counted(to, mine)
        if len(kinds) <= MOST_KINDS:
            return _with_latest(kinds, _latest(to, kinds, mine))
    return _read(to, wanted)


def _counted(to: Connection, mine: Document) -> list[Document]:
    """Each kind with its places, one more than `MOST_KINDS` at most: the index alone answers, of some batches too."""
    stages: list[Document] = [
        {"$match": {"status": "ERROR", "error_group": {"$gt": ""}, **mine}},
        {
            "$group": {
                "_id": {"kind": "$error_group", "host": "$host"},
                "count": {"$sum": 1},
                "first": {"$min": "$stop"},
                "last": {"$max": "$stop"},
            }
        },
        {
            "$group": {
                "_id": "$_id.kind",
                "count": {"$sum": "$count"},
                "hosts": {"$push": "$_id.host"},
                "first": {"$min": "$first"},
                "last": {"$max": "$last"},
                "latest": {"$max": {"stop": "$last", "host": "$_id.host"}},
            }
        },
        {"$limit": MOST_KINDS + 1},
    ]
    return list(to.orders.aggregate(stages, allowDiskUse=True))


def _latest(to: Connection, kinds: Iterable[Document], mine: Document) -> dict[str, Document]:
    """The latest failure of each kind, and one of `mine`."""
    where = [
        {"error_group": kind["_id"], "host": kind["latest"].get("host"), "stop": kind["latest"]["stop"]}
        for kind in kinds
    ]
    if not where:
        return {}
    fields = dict.fromkeys(("error_group", *_TOLD), 1)
    found = to.orders.find({"status": "ERROR", "$and": [{"$or": where}, mine]}, fields).sort("_id", 1)
    return {order["error_group"]: order for order in found}


def _with_latest(kinds: Iterable[Document], latest: dict[str, Document]) -> list[FailureGroup]:
    """What was reset since it was counted is left out."""
    groups = [_failure_group(kind, latest[kind["_id"]]) for kind in kinds if kind["_id"] in latest]
    return sorted(groups, key=lambda group: (-group.count, group.group))


def _read(to: Connection, selector: Selector) -> list[FailureGroup]:
    # The greatest of these documents is that of the latest stop: fields compare in their order.
    fields = ("stop", "_id", *_TOLD)
    stages: list[Document] = [
        {"$match": {"$and": [{"status": "ERROR", "error_group": {"$exists": True}}, selected(to, selector)]}},
        {
            "$group": {
                "_id": "$error_group",
                "count": {"$sum": 1},
                "hosts": {"$addToSet": "$host"},
                "first": {"$min": "$stop"},
                "last": {"$max": "$stop"},
                "example": {"$max": {field: f"${field}" for field in fields}},
            }
        },
        {"$sort": {"count": -1, "_id": 1}},
    ]
    return [_failure_group(row, row["example"]) for row in to.orders.aggregate(stages, allowDiskUse=True)]


def _failure_group(kind: Document, example: Document) -> FailureGroup:
    reason = example.get("reason")
    return FailureGroup(
        group=kind["_id"],
        count=kind["count"],
        message=example.get("error") or "",
        exit_code=example.get("exit_code"),
        signal=example.get("signal"),
        reason=None if reason is None else Reason(reason),
        hosts=tuple(sorted(host for host in kind["hosts"] if host is not None)),
        first=kind["first"],
        last=kind["last"],
        example=example["_id"],
    )
