"""Orders of a MongoDB kitchen that wait for those of the same row in another batch (`Batch.after_row`).

They are READY with a `due` that never comes, so no claim looks at them. An order ends first, and lets go afterwards
what waits for it: who dies in between leaves that to `repair_some`, a part of each of the fleet's sweeps, and to
`repair`, which who has nothing else to do asks for when the other batch has ended.

Who adds such orders adds them held, and looks then which of the others are DONE: one that ends later finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from waiter.kitchen.mongo.claims import BY_ID
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import AT_ONCE, Document, rows_of
from waiter.orders import HELD

_AT_ONCE = 2000
"""How many orders one update names."""

_LOOKED_AT = 2000
"""At so many held orders a sweep looks at the beginning, and at so many where the last one ended."""

_HELD: Document = {"status": "READY", "due": HELD}
_JOINED: Document = {"after_row": {"$gt": ""}, "is_leaving": {"$ne": True}}


def let_go(to: Connection, done: Sequence[str]) -> None:
    """Let go what waits for these orders, which are DONE."""
    rows: dict[str, list[str]] = {}
    for order in done:
        batch, _, row = order.rpartition("-")
        rows.setdefault(batch, []).append(row)
    for after in to.batches.find({"after_row": {"$in": [*rows]}}, {"after_row": 1}):
        _let_go(to, [f"{after['_id']}-{row}" for row in rows[after["after_row"]]])


def let_go_those_that_may(to: Connection, batch: Document, rows: Iterable[int]) -> None:
    """The same, for rows that were added just now to a batch that comes after another."""
    _let_go_done(to, batch, rows)
    if to.batches.find_one({"_id": batch["after_row"]}, {"_id": 1}) is None:
        let_go_all(to, batch["number"])


def _let_go_done(to: Connection, batch: Document, rows: Iterable[object]) -> int:
    """Let go those rows of the batch whose orders in the other one are DONE. How many were held."""
    others = [f"{batch['after_row']}-{row}" for row in rows]
    done = to.orders.find({"_id": {"$in": others}, "status": "DONE"}, {"row": 1}, hint=BY_ID)
    return _let_go(to, [f"{batch['_id']}-{order['row']}" for order in done])


def _let_go(to: Connection, ids: list[str]) -> int:
    if not ids:
        return 0
    return to.orders.update_many({"_id": {"$in": ids}, **_HELD}, {"$set": {"due": AT_ONCE}}, hint=BY_ID).modified_count


def let_go_all(to: Connection, number: int) -> int:
    """Let go what is held of the batch."""
    return to.orders.update_many({**_HELD, "seq": rows_of(number)}, {"$set": {"due": AT_ONCE}}).modified_count


def repair(to: Connection) -> int:
    """Let go what is held in vain. How many."""
    released = 0
    for batch in to.batches.find(_JOINED, {"number": 1, "after_row": 1}):
        if to.batches.find_one({"_id": batch["after_row"]}, {"_id": 1}) is None:
            released += let_go_all(to, batch["number"])
            continue
        held = to.orders.find({**_HELD, "seq": rows_of(batch["number"])}, {"row": 1})
        for some in _portions(held):
            released += _let_go_done(to, batch, (order["row"] for order in some))
    return released


def repair_some(to: Connection, place: Document | None) -> Document | None:
    """The same for some of what is held: the first that would be taken, and those after `place`.

    Rows are done from the first to the last, so what is held in vain mostly stands at the beginning. Returns the place
    to go on from the next time; None: it was the end.
    """
    joined = {batch["_id"]: batch for batch in to.batches.find(_JOINED, {"after_row": 1})}
    if not joined:
        return None
    first = _held_after(to, None)
    rest = _held_after(to, place or _place(first[-1])) if len(first) == _LOOKED_AT else []
    rows: dict[str, set[object]] = {}
    for order in (*first, *rest):
        rows.setdefault(order["batch"], set()).add(order["row"])
    for batch in rows.keys() & joined.keys():
        _let_go_done(to, joined[batch], rows[batch])
    return _place(rest[-1]) if len(rest) == _LOOKED_AT else None


def _held_after(to: Connection, place: Document | None) -> list[Document]:
    """Held orders in the order of the index of claims."""
    beyond: list[Document] = [{}]
    if place is not None:
        at = place["priority"]
        beyond = [{"priority": at, "seq": {"$gt": place["seq"]}}, {"priority": {"$lt": at}}]
    branches = [{**_HELD, **where} for where in beyond]
    found = to.orders.find({"$or": branches}, {"batch": 1, "row": 1, "priority": 1, "seq": 1})
    return list(found.sort([("priority", -1), ("seq", 1)]).limit(_LOOKED_AT))


def _place(order: Document) -> Document:
    return {"priority": order["priority"], "seq": order["seq"]}


def hold_again(to: Connection) -> None:
    """Hold what is READY although the order that it comes after is not DONE any more."""
    for batch in to.batches.find(_JOINED, {"number": 1, "after_row": 1}):
        free = {"status": "READY", "due": {"$lt": HELD}, "seq": rows_of(batch["number"])}
        for some in _portions(to.orders.find(free, {"row": 1})):
            others = [f"{batch['after_row']}-{order['row']}" for order in some]
            undone = to.orders.find({"_id": {"$in": others}, "status": {"$ne": "DONE"}}, {"row": 1}, hint=BY_ID)
            ids = [f"{batch['_id']}-{order['row']}" for order in undone]
            to.orders.update_many({"_id": {"$in": ids}, "status": "READY"}, {"$set": {"due": HELD}}, hint=BY_ID)


def held_rows(to: Connection) -> dict[str, int]:
    """How many orders of each batch wait for the same row of another one."""
    stages = [{"$match": _HELD}, {"$group": {"_id": "$batch", "n": {"$sum": 1}}}]
    return {str(group["_id"]): int(group["n"]) for group in to.orders.aggregate(stages)}


def _portions(orders: Iterable[Mapping[str, object]]) -> Iterator[list[Mapping[str, object]]]:
    rest = iter(orders)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
