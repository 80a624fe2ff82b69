"""Failures of a MongoDB kitchen by kind: an index knows how many, where and when; only the latest ones are read.

Of few kinds each is asked for by itself: then keys are counted, and where and when are looked up at their ends, which
takes half as long as to go through all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pymongo.errors import OperationFailure

from waiter.kitchen.contract import FailureGroup
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import Document, rows_of
from waiter.kitchen.mongo.queries import named_batches, selected
from waiter.orders import Reason, Selector

MOST_KINDS = 500
"""Of more kinds the latest ones are not looked up one by one: every failure is read."""

FEW_KINDS, FEW_HOSTS = 50, 100
"""Of no more each is asked for by itself: some questions for each kind, and a look for each host."""

_NO_SUCH_HINT = 2

_TOLD = ("error", "exit_code", "signal", "reason")


def failure_groups(to: Connection, selector: Selector | None) -> list[FailureGroup]:
    """See `Kitchen.failure_groups`."""
    wanted = selector or Selector()
    if replace(wanted, batch=None) == Selector():
        mine = selected(to, wanted)
        kinds = _one_by_one(to, wanted.batch, mine)
        if kinds is None:
            kinds = _counted(to, mine)
        if len(kinds) <= MOST_KINDS:
            return _with_latest(kinds, _latest(to, kinds, mine))
    return _read(to, wanted)


def _one_by_one(to: Connection, batch: str | None, mine: Document) -> list[Document] | None:
    """Each kind as in `_counted`; None: there are too many, or an index is missing for who may only read."""
    spans = [{"$gte": 0}] if batch is None else [rows_of(one["number"]) for one in named_batches(to, batch)]
    kinds = to.orders.distinct("error_group", {"status": "ERROR", "error_group": {"$gt": ""}})
    if len(kinds) > FEW_KINDS or len(spans) > 1:
        return None
    try:
        return [one for kind in kinds for one in _of_kind(to, kind, spans[0], mine)]
    except OperationFailure as problem:
        if problem.code == _NO_SUCH_HINT:
            return None
        raise


def _of_kind(to: Connection, kind: str, span: Document, mine: Document) -> list[Document]:
    """What is to be told of a kind; nothing if there are no such failures."""
    those = {"status": "ERROR", "error_group": kind}
    count = to.orders.count_documents({**those, "seq": span}, hint="kinds_by_age")
    if not count:
        return []
    hosts = [*to.orders.distinct("host", those), None]
    if len(hosts) > FEW_HOSTS or _is_elsewhere(to, those, span):
        return _counted(to, {**mine, "error_group": kind})
    there = {**those, "host": {"$in": hosts}}
    ends = (to.orders.find(there, {"_id": 0, "stop": 1, "host": 1}, hint="kinds") for _ in range(2))
    first, last = (list(found.sort("stop", way).limit(1)) for found, way in zip(ends, (1, -1), strict=True))
    if not (first and last):  # they were reset just now
        return []
    found = {"_id": kind, "count": count, "hosts": hosts, "first": first[0]["stop"], "last": last[0]["stop"]}
    return [found | {"latest": last[0]}]


def _is_elsewhere(to: Connection, those: Document, span: Document) -> bool:
    """Whether there are failures of the kind outside of the span, too."""
    beyond = [{"$lt": span["$gte"]}, *([{"$gte": span["$lt"]}] if "$lt" in span else [])]
    looks = (
        to.orders.find({**those, "seq": seq}, {"_id": 0, "seq": 1}, hint="kinds_by_age", limit=1) for seq in beyond
    )
    return any(list(look) for look in looks)


def _counted(to: Connection, mine: Document) -> list[Document]:
    """Each kind with its places, one more than `MOST_KINDS` at most: the index alone answers, of some batches too."""
    stages: list[Document] = [
        {"$match": {"$and": [{"status": "ERROR", "error_group": {"$gt": ""}}, mine]}},
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
