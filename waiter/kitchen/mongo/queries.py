"""What a MongoDB kitchen can tell of its orders: counts, lists, rates and failures. Nothing here changes anything."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from waiter.errors import UsageError
from waiter.kitchen.answers import Durations, durations_from, own_window
from waiter.kitchen.contract import CLAIM_LIMIT, Backlog, Throughput
from waiter.kitchen.mongo import tally, versions
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import AT_ONCE, BULKY, Document, order_from
from waiter.kitchen.mongo.filters import filter_of, sort_stages
from waiter.kitchen.mongo.scope import in_scope
from waiter.kitchen.mongo.timeline import Source
from waiter.kitchen.mongo.updates import lookup
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import PORTION, is_of_batches, unknown_batch
from waiter.kitchen.spans import Span, chunks
from waiter.kitchen.timeline import MOST_COUNTED, estimate
from waiter.orders import HELD, BatchProgress, Counts, Order, Scope, Selector, Status

STANDING: Document = {"number": {"$gt": 0}, "is_leaving": {"$ne": True}}
"""Matches batches that nobody is deleting."""

_STREAM = 10_000
"""How many places are fetched at once."""


def selected(to: Connection, selector: Selector) -> Document:
    """The selector as a filter; `UsageError` if it names a batch that does not exist."""
    numbers: list[int] = []
    if selector.batch is not None:
        numbers = [batch["number"] for batch in named_batches(to, selector.batch)]
    ids = {"_id": {"$in": [*map(printable, selector.waiting or ())]}}
    waiting = [batch["number"] for batch in to.batches.find(ids, {"number": 1})] if selector.waiting else []
    return filter_of(selector, numbers, to.now, waiting)


def named_batches(to: Connection, batch: str) -> list[Document]:
    """The number and orders of the batches with that id or name; `NoSuchBatch` if there are none."""
    name = printable(batch)
    if named := list(to.batches.find({"$or": [{"_id": name}, {"name": name}]}, {"number": 1, "orders": 1})):
        return named
    raise no_such_batch(to, batch)


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
    sums = (sum(getattr(part, of) for part in parts) for of in ("ready", "running", "held"))
    ready, running, held = (min(n, CLAIM_LIMIT) for n in sums)
    return Backlog(ready, min(dues, default=None), running, held)


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
        lookup("orders", "held", [{"$match": mine({"status": "READY", "due": HELD})}, *count]),
        next_due(to, mine),
    ]
    # Of one moment that a majority knows, as counts are: what has ended is not running for whoever counts next.
    with to.one_moment() as moment:
        seen = next(iter(to.state.aggregate(stages, session=moment)), None)
    if seen is None:
        raise to.gone()
    asked = ("ready", "overdue", "running", "held")
    ready, late, running, held = (sum(part["n"] for part in seen[key]) for key in asked)
    next_due_s = next((max(0.0, order["due"] - seen["now"]) for order in seen["next"]), None)
    return Backlog(min(ready + late, CLAIM_LIMIT), next_due_s, running, held)


def is_only_running(to: Connection, scope: Scope, spans: Sequence[Span] | None) -> bool:
    """See `Kitchen.is_only_running`. In the index of claims READY comes before RUNNING: the first order tells."""
    open_: Document = {"status": {"$in": ["READY", "RUNNING"]}, "due": {"$lt": HELD}}
    firsts = [
        to.orders.find_one(in_scope(open_, scope, some), {"status": 1}, sort=[("status", 1), ("due", 1)], hint="claims")
        for some in ([None] if spans is None else chunks(spans))
    ]
    return {first["status"] for first in firsts if first} == {"RUNNING"}


def next_due(to: Connection, mine: Callable[[Document], Document]) -> Document:
    """A look at the first order that waits, and is not due yet; `mine` narrows what is looked at."""
    waiting = mine({"status": "READY", "due": {"$gt": AT_ONCE, "$lt": HELD}, "$expr": {"$gt": ["$due", to.now]}})
    stages: list[Document] = [
        {"$match": waiting},
        {"$sort": {"due": 1}},
        {"$limit": 1},
        {"$project": {"_id": 0, "due": 1}},
    ]
    return lookup("orders", "next", stages)


def counts(to: Connection, selector: Selector | None) -> Counts:
    wanted = selector or Selector()
    if is_of_batches(wanted):
        return _counts_of_batches(to, wanted)
    with to.patiently(), to.one_moment() as moment:
        stages = [{"$match": selected(to, wanted)}, {"$group": {"_id": "$status", "n": {"$sum": 1}}}]
        return Counts({Status(row["_id"]): row["n"] for row in to.orders.aggregate(stages, session=moment)})


def _counts_of_batches(to: Connection, wanted: Selector) -> Counts:
    numbers = None
    if wanted.batch is not None:
        with to.patiently():
            numbers = [batch["number"] for batch in named_batches(to, wanted.batch)]
    by_status: Counter[Status] = Counter()
    for found in tally.count(to, numbers).values():
        by_status.update(found.by_status)
    return Counts({status: n for status, n in by_status.items() if not wanted.statuses or status in wanted.statuses})


def find(to: Connection, selector: Selector, sort: str, limit: int | None, with_details: bool) -> Iterator[Order]:
    """The orders of more than one portion: see `paging` for one."""
    with to.patiently():
        wanted = selected(to, selector)
    ordered, light = sort_stages(sort, to.now), [] if with_details else [{"$unset": list(BULKY)}]
    if sort.removeprefix("-") == "age":
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
    if _have_many_stopped(to, window_s):
        estimated = estimate(Source(to, None), to.time(), window_s)
        if estimated.done + estimated.failed >= MOST_COUNTED:
            return estimated
    stages: list[Document] = [
        _finished_within(to, window_s),
        {"$limit": MOST_COUNTED},
        {"$group": {"_id": "$status", "n": {"$sum": 1}, "seconds": {"$sum": {"$subtract": ["$stop", "$start"]}}}},
    ]
    rows = {row["_id"]: row for row in to.orders.aggregate(stages)}
    if sum(row["n"] for row in rows.values()) < MOST_COUNTED:
        return _throughput(rows, window_s)
    return estimate(Source(to, None), to.time(), window_s)


def _have_many_stopped(to: Connection, window_s: float) -> bool:
    """Whether so many have that they would be estimated, if all of them were finished: to count keys is quick."""
    now = to.time()
    recent = {"stop": {"$gte": now - window_s, "$lte": now + window_s}}
    return int(to.db.command("count", "orders", query=recent, limit=MOST_COUNTED, hint="ended")["n"]) >= MOST_COUNTED


def durations(to: Connection, since: float, bounds: Sequence[float]) -> Durations:
    seconds = {"$max": [0, {"$ifNull": [{"$subtract": ["$stop", "$start"]}, 0]}]}
    cases = [{"case": {"$lte": ["$seconds", bound]}, "then": number} for number, bound in enumerate(bounds)]
    stages: list[Document] = [
        {"$match": {"stop": {"$gt": since}, "status": {"$in": ["DONE", "ERROR"]}}},
        {"$project": {"_id": 0, "status": 1, "seconds": seconds}},
        {
            "$group": {
                "_id": {"status": "$status", "bound": {"$switch": {"branches": cases, "default": len(bounds)}}},
                "n": {"$sum": 1},
                "seconds": {"$sum": "$seconds"},
            }
        },
    ]
    rows = to.orders.aggregate(stages)
    return durations_from(((r["_id"]["status"], r["_id"]["bound"], r["n"], r["seconds"]) for r in rows), len(bounds))


def batch_progress(to: Connection, window_s: float) -> dict[str, BatchProgress]:
    """How far each batch is, by its id, and how fast lately."""
    by_batch: Document = {"_id": {"batch": "$batch", "status": "$status"}, "n": {"$sum": 1}}
    times = {
        "seconds": {"$sum": {"$subtract": ["$stop", "$start"]}},
        "age": {"$max": {"$subtract": [to.now, "$start"]}},
    }
    counts = tally.count(to)
    recent: dict[str, dict[str, Document]] = {}
    for row in to.orders.aggregate([_finished_within(to, window_s), {"$group": by_batch | times}], allowDiskUse=True):
        recent.setdefault(row["_id"]["batch"], {})[row["_id"]["status"]] = row

    def progress(batch: str, number: int) -> BatchProgress:
        rows = recent.get(batch, {})
        own_s = own_window([row["age"] for row in rows.values()], window_s)
        return BatchProgress(counts.get(number, Counts({})), _throughput(rows, own_s))

    return {batch: progress(batch, number) for batch, number in numbered_batches(to)}


def _finished_within(to: Connection, window_s: float) -> Document:
    since, until = {"$subtract": [to.now, window_s]}, {"$add": [to.now, window_s]}
    recent = {"stop": {"$gt": 0}, "$expr": {"$and": [{"$gte": ["$stop", since]}, {"$lte": ["$stop", until]}]}}
    return {"$match": {"status": {"$in": ["DONE", "ERROR"]}, **recent}}


def _throughput(rows: dict[str, Document], window_s: float) -> Throughput:
    """Of rows by status with their number and all their seconds."""
    done, failed = (rows.get(status, {"n": 0})["n"] for status in ("DONE", "ERROR"))
    seconds = sum(row["seconds"] for row in rows.values())
    return Throughput(window_s, done, failed, seconds / (done + failed) if done + failed else None)


def commands(to: Connection, selector: Selector | None) -> dict[str, int]:
    wanted = selector or Selector()
    if replace(wanted, batch=None) == Selector():
        numbers = None if wanted.batch is None else [batch["number"] for batch in named_batches(to, wanted.batch)]
        return versions.count(to, numbers)
    delivered = {"status": {"$in": ["DONE", "ERROR"]}, "command": {"$gt": ""}}
    stages: list[Document] = [
        {"$match": {"$and": [delivered, selected(to, wanted)]}},
        {"$group": {"_id": "$command", "n": {"$sum": 1}}},
        {"$sort": {"n": -1, "_id": 1}},
    ]
    # Those of a batch lie together; by their versions all orders that ended would be read.
    hinted: Document = {"hint": "age"} if is_of_batches(wanted) else {}
    return {row["_id"]: row["n"] for row in to.orders.aggregate(stages, **hinted)}
