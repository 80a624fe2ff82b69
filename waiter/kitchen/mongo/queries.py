"""What a MongoDB kitchen can tell of its orders: counts, lists, rates and failures. Nothing here changes anything."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from pymongo.client_session import ClientSession

from waiter.errors import UsageError
from waiter.kitchen.contract import CLAIM_LIMIT, Backlog, FailureGroup, Throughput
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import AT_ONCE, BULKY, Document, order_from
from waiter.kitchen.mongo.filters import filter_of, sort_stages
from waiter.kitchen.mongo.scope import in_scope
from waiter.kitchen.mongo.updates import lookup
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import PORTION, unknown_batch
from waiter.kitchen.spans import Span, chunks
from waiter.orders import BatchProgress, Counts, Order, Reason, Scope, Selector, Status

STANDING: Document = {"number": {"$gt": 0}, "is_leaving": {"$ne": True}}
"""Matches batches that nobody is deleting."""

_ENDS = tuple(status for status in Status if status.is_final)

_STREAM = 10_000
"""How many places are fetched at once."""


def selected(to: Connection, selector: Selector) -> Document:
    """The selector as a filter; `UsageError` if it names a batch that does not exist."""
    numbers: list[int] = []
    if selector.batch is not None:
        name = printable(selector.batch)
        named = to.batches.find({"$or": [{"_id": name}, {"name": name}]}, {"number": 1})
        numbers = [batch["number"] for batch in named]
        if not numbers:
            raise no_such_batch(to, selector.batch)
    return filter_of(selector, numbers, to.now)


def no_such_batch(to: Connection, batch: str) -> UsageError:
    return unknown_batch(
        batch, ((b["_id"], b.get("name")) for b in to.batches.find(STANDING, {"name": 1}).sort("number", 1))
    )


def numbered_batches(to: Connection) -> Iterator[tuple[str, int]]:
    """All batches: id and number, by rising number."""
    found = to.batches.find(STANDING, {"number": 1}).sort("number", 1)
    return ((batch["_id"], batch["number"]) for batch in found)


def backlog(to: Connection, scope: Scope, spans: Sequence[Span] | None) -> Backlog:
    """See `Kitchen.backlog`; of some spans at a time."""
    if spans is None:
        return _backlog(to, scope, None)
    parts = [_backlog(to, scope, some) for some in chunks(spans)]
    dues = [part.next_due_s for part in parts if part.next_due_s is not None]
    ready, running = (sum(getattr(part, of) for part in parts) for of in ("ready", "running"))
    return Backlog(min(ready, CLAIM_LIMIT), min(dues, default=None), min(running, CLAIM_LIMIT))


def _backlog(to: Connection, scope: Scope, spans: Sequence[Span] | None) -> Backlog:
    late = {"status": "READY", "due": {"$gt": AT_ONCE}, "$expr": {"$lte": ["$due", to.now]}}

    def mine(status: Document) -> Document:
        return in_scope(status, scope, spans)

    count: list[Document] = [{"$limit": CLAIM_LIMIT}, {"$count": "n"}]
    stages = [
        {"$match": {"_id": "news"}},
        {"$set": {"now": to.now}},
        lookup("orders", "ready", [{"$match": mine({"status": "READY", "due": AT_ONCE})}, *count]),
        lookup("orders", "overdue", [{"$match": mine(late)}, *count]),
        lookup("orders", "running", [{"$match": mine({"status": "RUNNING"})}, *count]),
        next_due(to, mine),
    ]
    for seen in to.state.aggregate(stages):
        ready, late, running = (sum(part["n"] for part in seen[key]) for key in ("ready", "overdue", "running"))
        next_due_s = next((max(0.0, order["due"] - seen["now"]) for order in seen["next"]), None)
        return Backlog(min(ready + late, CLAIM_LIMIT), next_due_s, running)
    raise to.gone()


def next_due(to: Connection, mine: Callable[[Document], Document]) -> Document:
    """A look at the first order that waits, and is not due yet; `mine` narrows what is looked at."""
    waiting = mine({"status": "READY", "due": {"$gt": AT_ONCE}, "$expr": {"$gt": ["$due", to.now]}})
    stages: list[Document] = [
        {"$match": waiting},
        {"$sort": {"due": 1}},
        {"$limit": 1},
        {"$project": {"_id": 0, "due": 1}},
    ]
    return lookup("orders", "next", stages)


def counts(to: Connection, selector: Selector | None) -> Counts:
    if selector is None or selector == Selector():
        with to.translate_errors(), to.one_moment() as moment:
            by_status = _all_counts(to, moment)
    else:
        with to.patiently(), to.one_moment() as moment:
            stages = [{"$match": selected(to, selector)}, {"$group": {"_id": "$status", "n": {"$sum": 1}}}]
            by_status = {Status(row["_id"]): row["n"] for row in to.orders.aggregate(stages, session=moment)}
    return Counts({status: n for status, n in by_status.items() if n})


def _all_counts(to: Connection, moment: ClientSession | None) -> dict[Status, int]:
    """One count over an index for each status is faster than one group over all."""

    def count(status: Status) -> int:
        return to.orders.count_documents({"status": status.value}, session=moment)

    by_status = {status: count(status) for status in (*_ENDS, Status.RUNNING, Status.READY)}
    if moment is not None or sum(by_status.values()) == to.orders.estimated_document_count():
        return by_status
    # Orders move from status to status while these are counted, but never in age. So the total is certain, and what was
    # counted twice or missed is taken from, or given to, those whose status changes most.
    total = to.orders.count_documents({"seq": {"$gte": 0}}, hint="age")
    rest = max(0, total - sum(by_status[end] for end in _ENDS))
    running = min(by_status[Status.RUNNING], rest)
    return by_status | {Status.RUNNING: running, Status.READY: rest - running}


def find(to: Connection, selector: Selector, sort: str, limit: int | None, with_details: bool) -> Iterator[Order]:
    if limit is not None and limit <= 0:
        return
    with to.patiently():
        wanted = selected(to, selector)
    ordered, light = sort_stages(sort, to.now), [] if with_details else [{"$unset": list(BULKY)}]
    if limit is not None and limit <= PORTION:
        yield from map(order_from, _portion(to, [{"$match": wanted}, *ordered, {"$limit": limit}, *light]))
    elif sort.removeprefix("-") == "age":
        yield from map(order_from, islice(_by_age(to, wanted, ordered, light), limit))
    else:
        yield from map(order_from, islice(_by_place(to, wanted, ordered, light), limit))


def _by_age(to: Connection, wanted: Document, ordered: list[Document], light: list[Document]) -> Iterator[Document]:
    """Each portion begins where the last one ended: an order's age never changes."""
    (stage,) = ordered
    beyond, rest = "$gt" if stage["$sort"]["seq"] == 1 else "$lt", wanted
    while orders := _portion(to, [{"$match": rest}, stage, {"$limit": PORTION}, *light]):
        yield from orders
        rest = {"$and": [wanted, {"seq": {beyond: orders[-1]["seq"]}}]}


def _by_place(to: Connection, wanted: Document, ordered: list[Document], light: list[Document]) -> Iterator[Document]:
    """Each order has its place from the beginning: none comes twice or is left out because it moves meanwhile."""
    places = _places(to, [{"$match": wanted}, *ordered, {"$project": {"_id": 0, "seq": 1}}])
    for at in range(0, len(places), PORTION):
        portion = places[at : at + PORTION].tolist()
        orders = _portion(to, [{"$match": {"$and": [{"seq": {"$in": portion}}, wanted]}}, *light])
        by_seq = {order["seq"]: order for order in orders}
        yield from (by_seq[seq] for seq in portion if seq in by_seq)


def _portion(to: Connection, stages: list[Document]) -> list[Document]:
    with to.patiently():
        return list(to.orders.aggregate(stages, allowDiskUse=True, batchSize=PORTION))


def _places(to: Connection, stages: list[Document]) -> array[int]:
    places = array("q")
    with to.patiently():
        cursor = to.orders.aggregate(stages, allowDiskUse=True, batchSize=_STREAM)
    while True:
        with to.patiently():
            found = [order["seq"] for order in islice(cursor, _STREAM)]
        if not found:
            return places
        places.extend(found)


def throughput(to: Connection, window_s: float) -> Throughput:
    stages: list[Document] = [
        _finished_within(to, window_s),
        {"$group": {"_id": "$status", "n": {"$sum": 1}, "seconds": {"$sum": {"$subtract": ["$stop", "$start"]}}}},
    ]
    rows = {row["_id"]: row for row in to.orders.aggregate(stages)}
    return _throughput(rows, window_s)


def batch_progress(to: Connection, window_s: float) -> dict[str, BatchProgress]:
    """How far each batch is, by its id, and how fast lately."""
    by_batch: Document = {"_id": {"batch": "$batch", "status": "$status"}, "n": {"$sum": 1}}
    seconds = {"seconds": {"$sum": {"$subtract": ["$stop", "$start"]}}}
    counts: dict[str, dict[Status, int]] = {}
    for row in to.orders.aggregate([{"$group": by_batch}], allowDiskUse=True):
        counts.setdefault(row["_id"]["batch"], {})[Status(row["_id"]["status"])] = row["n"]
    recent: dict[str, dict[str, Document]] = {}
    for row in to.orders.aggregate([_finished_within(to, window_s), {"$group": by_batch | seconds}], allowDiskUse=True):
        recent.setdefault(row["_id"]["batch"], {})[row["_id"]["status"]] = row
    return {
        batch: BatchProgress(Counts(counts.get(batch, {})), _throughput(recent.get(batch, {}), window_s))
        for batch, _ in numbered_batches(to)
    }


def _finished_within(to: Connection, window_s: float) -> Document:
    recent = {"stop": {"$gt": 0}, "$expr": {"$gte": ["$stop", {"$subtract": [to.now, window_s]}]}}
    return {"$match": {"status": {"$in": ["DONE", "ERROR"]}, **recent}}


def _throughput(rows: dict[str, Document], window_s: float) -> Throughput:
    """Of rows by status with their number and all their seconds."""
    done, failed = (rows.get(status, {"n": 0})["n"] for status in ("DONE", "ERROR"))
    seconds = sum(row["seconds"] for row in rows.values())
    return Throughput(window_s, done, failed, seconds / (done + failed) if done + failed else None)


def failure_groups(to: Connection, selector: Selector | None) -> list[FailureGroup]:
    # The greatest of these documents is that of the latest stop: fields compare in their order.
    fields = ("stop", "_id", "error", "exit_code", "signal", "reason")
    stages: list[Document] = [
        {
            "$match": {
                "$and": [{"status": "ERROR", "error_group": {"$exists": True}}, selected(to, selector or Selector())]
            }
        },
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
    return [_failure_group(row) for row in to.orders.aggregate(stages, allowDiskUse=True)]


def _failure_group(row: Document) -> FailureGroup:
    example = row["example"]
    reason = example.get("reason")
    return FailureGroup(
        group=row["_id"],
        count=row["count"],
        message=example.get("error") or "",
        exit_code=example.get("exit_code"),
        signal=example.get("signal"),
        reason=None if reason is None else Reason(reason),
        hosts=tuple(sorted(host for host in row["hosts"] if host is not None)),
        first=row["first"],
        last=row["last"],
        example=example["_id"],
    )


def commands(to: Connection, selector: Selector | None) -> dict[str, int]:
    if selector is None or selector == Selector():
        # As in `counts`: what `status` asks costs a look at an index for each version, not at every order.
        versions = to.orders.distinct("command", {"command": {"$gt": ""}})
        counted = {
            version: sum(to.orders.count_documents({"command": version, "status": end}) for end in ("DONE", "ERROR"))
            for version in versions
        }
        return {version: n for version, n in sorted(counted.items(), key=lambda one: (-one[1], one[0])) if n}
    delivered = {"status": {"$in": ["DONE", "ERROR"]}, "command": {"$gt": ""}}
    stages: list[Document] = [
        {"$match": {"$and": [delivered, selected(to, selector or Selector())]}},
        {"$group": {"_id": "$command", "n": {"$sum": 1}}},
        {"$sort": {"n": -1, "_id": 1}},
    ]
    return {row["_id"]: row["n"] for row in to.orders.aggregate(stages)}
