"""Batches of a MongoDB kitchen and the orders in them: made and deleted, perhaps by several at the same time.

No order is left without its batch, though nothing joins two documents: a batch stands before its first order and goes
after its last. Who deletes one marks it first. Who adds orders looks for the batch after each insert: either it still
stands, then whoever marks it later finds these orders, or it does not, then they are taken back. A batch that is opened
anew has another number, and its orders the same ids: who adds them takes back what the old one has left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from bson.binary import Binary
from pymongo.errors import BulkWriteError, DuplicateKeyError

from waiter.kitchen.contract import Row, Told
from waiter.kitchen.mongo import held
from waiter.kitchen.mongo.claims import BY_ID
from waiter.kitchen.mongo.connection import DUPLICATE_KEY, Connection
from waiter.kitchen.mongo.documents import (
    AT_ONCE,
    ROWS,
    Document,
    after_document,
    argument_document,
    batch_command,
    batch_document,
    batch_from,
    ids_of,
    new_order,
    rows_of,
    seqs_of,
)
from waiter.kitchen.mongo.in_flight import in_flight
from waiter.kitchen.mongo.pieces import PIECE, Loading, Step, change_announced, forget, piece_of
from waiter.kitchen.mongo.queries import STANDING, no_such_batch
from waiter.kitchen.printable import printable
from waiter.orders import HELD, Batch

_CHUNK = 2000
"""How many rows one insert carries."""

_STEP = 5000
"""How many orders one update goes over."""

_LEAVING: Document = {"is_leaving": True}
"""The mark of a batch whose orders are being deleted."""


def batches(to: Connection) -> list[Batch]:
    return [batch_from(stored) for stored in to.batches.find(STANDING).sort("number")]


def batch(to: Connection, batch_id: str) -> Batch | None:
    stored = to.batches.find_one({"_id": printable(batch_id), **STANDING})
    return batch_from(stored) if stored else None


def batches_of(to: Connection, digests: Collection[str]) -> list[Batch]:
    one_of = {"$in": [*digests]}
    found = to.batches.find({"$or": [{"digest": one_of}, {"earlier": one_of}], **STANDING})
    return [batch_from(stored) for stored in sorted(found, key=lambda stored: stored["number"])]


def batch_lengths(to: Connection, above: int, up_to: int) -> list[int]:
    # Also of batches that are being deleted: so the index alone answers, and skips from one length to the next.
    return sorted(to.batches.distinct("orders", {"orders": {"$gt": above, "$lte": up_to}}))


def latest_batch(to: Connection, source: str) -> Batch | None:
    stored = to.batches.find_one({"source": printable(source), **STANDING}, sort=[("number", -1)])
    return batch_from(stored) if stored else None


def open_batch(to: Connection, batch: Batch) -> None:
    while not _set_facts(to, batch):
        _finish_leaving(to, batch.id)
        try:
            # For whom it waits it has before its first order, or somebody could take that one.
            facts = {**batch_document(batch), **after_document(batch)}
            to.batches.insert_one({"_id": batch.id, "number": _next_number(to), **facts})
        except DuplicateKeyError:
            continue  # somebody opened it just now
        return


def renew_batch(to: Connection, batch: Batch) -> None:
    if not _set_facts(to, batch):
        raise no_such_batch(to, batch.id)


def bind(to: Connection, batch_id: str, command: Sequence[str], instead_of: Sequence[str] | None) -> tuple[str, ...]:
    """See `Kitchen.bind_batch`."""
    mine = {"_id": printable(batch_id), **STANDING}
    before = [None] if instead_of is None else [None, _words(instead_of)]
    to.batches.update_one({**mine, "command": {"$in": before}}, {"$set": {"command": _words(command)}})
    stored = to.batches.find_one(mine, {"command": 1})
    if stored is None:
        raise no_such_batch(to, batch_id)
    return batch_command(stored) or ()


def amend(to: Connection, batch_id: str, facts: Mapping[str, Any]) -> None:
    """Set these facts of the batch, None to take one away. Raises NoSuchBatch."""
    stored = {
        key: _words(v) if key == "command" and v is not None else printable(v) if isinstance(v, str) else v
        for key, v in facts.items()
    }
    if "command" in facts:
        stored["is_reserved"] = facts["command"] is not None
    if to.batches.update_one({"_id": printable(batch_id), **STANDING}, {"$set": stored}).matched_count == 0:
        raise no_such_batch(to, batch_id)
    if "after_row" in facts:
        held.let_go_all(to, int(_standing(to, batch_id)["number"]))


def _words(command: Sequence[str]) -> list[str | Binary]:
    return [argument_document(word) for word in command]


def _set_facts(to: Connection, batch: Batch) -> bool:
    """Whether the batch stands."""
    facts = {"$set": batch_document(batch)}
    return to.batches.update_one({"_id": batch.id, **STANDING}, facts).matched_count == 1


def _finish_leaving(to: Connection, batch_id: str) -> None:
    """Delete what is left of the batch: who began to may have died."""
    for leaving in to.batches.find({"_id": batch_id, **_LEAVING}, {"number": 1}):
        remove_rows(to, rows_of(leaving["number"]))
        to.batches.delete_one({"_id": batch_id, "number": leaving["number"]})


def _next_number(to: Connection) -> int:
    before = to.state.find_one_and_update({"_id": "batches"}, {"$inc": {"n": 1}}, upsert=True)
    return 1 if before is None else int(before["n"]) + 1


def portions(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists that one insert carries."""
    rest = iter(rows)
    while some := list(islice(rest, _CHUNK)):
        yield some


def add(
    to: Connection, loading: Loading, batch_id: str, portions: Iterable[Sequence[Row]], priority: int
) -> Iterator[int]:
    """See `Kitchen.add_portions`."""
    with to.translate_errors():
        batch = _standing(to, batch_id)
    number, due = int(batch["number"]), HELD if batch.get("after_row") else AT_ONCE
    steps: deque[Step] = deque()

    def announced() -> Iterator[list[Document]]:
        for rows in portions:
            orders = [new_order(batch_id, number, row, priority, due) for row in rows]
            with to.translate_errors():
                steps.append(loading.before(seqs_of(orders)))
            yield orders

    for added in in_flight(announced(), lambda orders: _add(to, batch, orders)):
        with to.translate_errors():
            loading.after(steps.popleft(), added)
        yield added


def _add(to: Connection, batch: Document, orders: list[Document]) -> int:
    """Add these orders. How many were new."""
    if not orders:
        return 0
    added = _insert_all(to, orders)
    while added < len(orders) and _remove_leftovers(to, batch["number"], orders):
        added += _insert_all(to, orders)
    with to.translate_errors():
        if batch.get("after_row"):
            held.let_go_those_that_may(to, batch, [order["row"] for order in orders])
        mine = {**STANDING, "_id": batch["_id"], "number": batch["number"]}  # STANDING says of the number, too
        if to.batches.find_one(mine, {"_id": 1}) is not None:
            return added
    remove_rows(to, rows_of(batch["number"]))
    raise no_such_batch(to, batch["_id"])


def _insert_all(to: Connection, orders: list[Document]) -> int:
    with to.translate_errors():
        return sum(insert(to, orders[at : at + _CHUNK]) for at in range(0, len(orders), _CHUNK))


def _remove_leftovers(to: Connection, number: int, orders: list[Document]) -> bool:
    """Delete orders of the same ids that a deleted batch of that id has, because somebody added to it just now.

    Whether there were any: those who added them take them back, and nobody would have these rows.
    """
    theirs = {"_id": {"$in": ids_of(orders)}, "seq": {"$lt": number * ROWS}}
    with to.translate_errors():
        before = {int(order["seq"] // ROWS) for order in to.orders.find(theirs, {"seq": 1}, hint=BY_ID)}
    for earlier in before:
        remove_rows(to, rows_of(earlier))
    return bool(before)


def _standing(to: Connection, batch_id: str) -> Document:
    batch = to.batches.find_one({"_id": printable(batch_id), **STANDING}, {"number": 1, "after_row": 1})
    if batch is None:
        raise no_such_batch(to, batch_id)
    return batch


def insert(to: Connection, chunk: list[Document]) -> int:
    """How many of the orders were new."""
    try:
        return len(to.orders.insert_many(chunk, ordered=False).inserted_ids)
    except BulkWriteError as partly:
        is_all_known = all(failure["code"] == DUPLICATE_KEY for failure in partly.details["writeErrors"])
        if not is_all_known or partly.details["writeConcernErrors"]:
            raise
        return int(partly.details["nInserted"])


def remove_batch(to: Connection, batch_id: str) -> int:
    """See `Kitchen.remove_batch`."""
    with to.translate_errors():
        number = int(_standing(to, batch_id)["number"])
        to.batches.update_one({"_id": printable(batch_id), "number": number}, {"$set": _LEAVING})
    removed = remove_rows(to, rows_of(number))
    with to.translate_errors():
        to.batches.delete_one({"_id": printable(batch_id), "number": number})
        forget(to, rows_of(number))
    with to.patiently():
        held.repair(to)
    return removed


def remove_all(to: Connection, told: Told | None) -> int:
    """Delete all batches that stand now, with their orders, and orders that have no batch. How many orders."""
    with to.patiently():
        to.batches.update_many(STANDING, {"$set": _LEAVING})
        numbers = sorted(batch["number"] for batch in to.batches.find(_LEAVING, {"number": 1}))
    removed = sum(remove_rows(to, span, told) for span in _spans(numbers))
    removed += sum(remove_rows(to, rows_of(number)) for number in _numbers_without_a_batch(to))
    with to.patiently():
        to.batches.delete_many({"number": {"$in": numbers}, **_LEAVING})
        for span in _spans(numbers):
            forget(to, span)
    return removed


def _spans(numbers: list[int]) -> list[Document]:
    """What `seq` is for the orders of these batches: one span for neighbours."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number:
            spans[-1][1] = number + 1
        else:
            spans.append([number, number + 1])
    return [{"$gte": first * ROWS, "$lt": end * ROWS} for first, end in spans]


def _numbers_without_a_batch(to: Connection) -> Iterator[int]:
    """A batch stands before its orders, so an order that is seen first and has none is nobody's."""
    after = 0
    while True:
        with to.translate_errors():
            order = to.orders.find_one({"seq": {"$gte": after}}, {"seq": 1}, sort=[("seq", 1)])
            if order is None:
                return
            number = int(order["seq"] // ROWS)
            is_known = to.batches.find_one({"number": number}, {"_id": 1}) is not None
        if not is_known:
            yield number
        after = (number + 1) * ROWS


def remove_empty(to: Connection) -> None:
    """Forget batches whose orders are gone, so that loading the same input again starts anew."""
    for batch in to.batches.find({"is_complete": True, **STANDING}):
        rows = {"seq": rows_of(batch["number"])}
        if to.orders.find_one(rows, {"_id": 1}) is not None:
            continue
        deleted = to.batches.delete_one({"_id": batch["_id"], "number": batch["number"], "is_complete": True})
        forget(to, rows["seq"])
        # Somebody who loads may have added one between the two.
        if deleted.deleted_count and to.orders.find_one(rows, {"_id": 1}) is not None:
            _put_back(to, batch)


def _put_back(to: Connection, batch: Document) -> None:
    try:
        to.batches.insert_one(batch)
    except DuplicateKeyError:  # it was opened anew, with another number
        remove_rows(to, rows_of(batch["number"]))


def remove_rows(to: Connection, span: Document, told: Told | None = None) -> int:
    """Delete all orders whose `seq` is in the span; how many."""

    def delete(those: Document) -> int:
        return to.orders.delete_many(those, hint="age").deleted_count

    def step(seqs: Sequence[int]) -> int:
        with to.patiently():
            return change_announced(to, seqs, {"seq": {"$in": seqs}}, delete, is_number_changed=True)

    removed = 0
    for more in in_flight(_pieces_of(to, span), step):
        removed += more
        if told is not None:
            told(more)
    return removed


def _pieces_of(to: Connection, span: Document) -> Iterator[list[int]]:
    """The `seq` of the orders in the span, all those of some pieces at a time: no two steps change the same piece."""
    rest = span
    while True:
        with to.patiently():
            found = to.orders.find({"seq": rest}, {"_id": 0, "seq": 1}).hint("age").sort("seq", 1).limit(PIECE)
            seqs = [int(order["seq"]) for order in found]
        if not seqs:
            return
        end = piece_of(seqs[-1]) if piece_of(seqs[0]) != piece_of(seqs[-1]) else seqs[-1] + 1
        step: list[int] = []
        for _, piece in groupby((seq for seq in seqs if seq < end), piece_of):
            step += piece
            if len(step) >= _STEP:
                yield step
                step = []
        if step:
            yield step
        rest = {**span, "$gte": end}


def remove(to: Connection, chosen: Document, told: Told | None = None) -> int:
    """Delete the orders that match; how many."""

    def delete(those: Document) -> int:
        return to.orders.delete_many(those, hint=BY_ID).deleted_count

    def step(orders: Sequence[Document], those: Document) -> int:
        return change_announced(to, seqs_of(orders), those, delete, is_number_changed=True)

    return in_steps(to, chosen, step, told)


def in_steps(
    to: Connection,
    chosen: Document,
    change: Callable[[Sequence[Document], Document], int],
    told: Told | None = None,
) -> int:
    """Change all orders that match, some thousands at a time: each step has a deadline, the whole has none.

    `change` is given the ids and seqs of some orders, and what matches those of them that still are to be changed.
    """
    changed = 0
    with to.patiently():
        cursor = to.orders.find(chosen, {"_id": 1, "seq": 1}, batch_size=_STEP)
    try:
        while True:
            with to.patiently():
                orders = list(islice(cursor, _STEP))
                if not orders:
                    return changed
                more = change(orders, {"$and": [{"_id": {"$in": ids_of(orders)}}, chosen]})
            changed += more
            if told is not None:
                told(more)
    finally:
        cursor.close()
