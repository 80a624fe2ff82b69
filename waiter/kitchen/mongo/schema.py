"""What makes a MongoDB database a kitchen: a mark that says so, and its indexes.

A database without the mark is a kitchen only if all that stands in our collections has the shape of our documents: then
a version of Waiter made it that knew no mark. Names like `orders` and `state` are anybody's, and `clean` empties them.
"""

from __future__ import annotations

from collections.abc import Mapping

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from waiter.errors import KitchenError, KitchenMissing
from waiter.kitchen.mongo import pieces
from waiter.kitchen.mongo.connection import UNAUTHORIZED, Connection
from waiter.kitchen.mongo.documents import Document

VERSION = 5
"""1: batches knew no command; 2: none waited for others; 3: orders were counted each time; 4: none said how long it
took. Such a database becomes one of 5 when somebody opens it to bring work."""
MARK = "waiter"

BUILD_S = 3600.0
"""For an index over all orders."""

_OF_ORDERS = (
    IndexModel(
        [("status", ASCENDING), ("due", ASCENDING), ("priority", DESCENDING), ("seq", ASCENDING)], name="claims"
    ),
    IndexModel("seq", name="age"),
    IndexModel("shift", name="shift", sparse=True),
    IndexModel(
        [("stop", ASCENDING), *((field, ASCENDING) for field in ("status", "start", "peak_memory", "seq"))],
        name="ended",
        partialFilterExpression={"stop": {"$gt": 0}},
    ),
    # What an earlier version ended has no `took`: it stands at the end of this index, so that one look finds it.
    IndexModel([("took", ASCENDING), ("seq", ASCENDING)], name="lasted", partialFilterExpression={"stop": {"$gt": 0}}),
    IndexModel(
        [(field, ASCENDING) for field in ("command", "status", "seq")],
        name="versions",
        partialFilterExpression={"command": {"$gt": ""}},
    ),
    IndexModel(
        [(field, ASCENDING) for field in ("status", "error_group", "host", "stop", "start", "seq")],
        name="kinds",
        partialFilterExpression={"status": "ERROR"},
    ),
    IndexModel(
        [(field, ASCENDING) for field in ("status", "error_group", "seq")],
        name="kinds_by_age",
        partialFilterExpression={"status": "ERROR"},
    ),
)
_OF_SHIFTS = (
    IndexModel("lease_until", name="open", partialFilterExpression={"is_open": True}),
    IndexModel("boot", name="here", partialFilterExpression={"is_open": True}),
    IndexModel("is_unsettled", name="unsettled", sparse=True),
)
_OF_BATCHES = (
    IndexModel("orders", name="lengths"),
    IndexModel("digest", name="digest"),
    IndexModel("earlier", name="earlier"),
    IndexModel([("source", ASCENDING), ("number", ASCENDING)], name="source"),
    IndexModel("name", name="name"),
    IndexModel("after_row", name="after_row", sparse=True),
)
_INDEXES: Mapping[str, tuple[IndexModel, ...]] = {
    "orders": _OF_ORDERS,
    "shifts": _OF_SHIFTS,
    "batches": _OF_BATCHES,
}

_BEFORE = {"orders": ("stop", "failures", "failed", "commands")}
"""Indexes of earlier versions that others stand for now: each costs something with every order."""

_NO_SUCH_INDEX = 27

_OF_MONGODB = ("admin", "config", "local")

# Fields that every document of ours has, and their BSON types.
_ORDER = {"seq": "number", "row": "number", "arguments": "array", "status": "string", "attempt": "number"}
_SHIFT = {"waiter": "string", "host": "string", "lease_until": "number", "vitals": "object"}
_BATCH = {"number": "number", "digest": "string", "source": "string", "is_complete": "bool"}
_STATE = {
    "schema": {"version": "number"},
    "news": {"n": "number"},
    "batches": {"n": "number"},
    "pause": {"is_paused": "bool"},
    "kitchen": {"id": "string"},
}


def prepare(to: Connection, *, create: bool) -> None:
    """Make the database a kitchen, or what it lacks to be one; afterwards it is a few small reads.

    Without `create` nothing is made, and KitchenMissing raised where there is no kitchen. Raises KitchenError, and has
    changed nothing then, if the database is somebody else's.
    """
    if to.db.name in _OF_MONGODB:
        raise KitchenError(
            f"{to.url}: MongoDB keeps its own things in this database.\n"
            "hint: name another one: --db NAME; if the user is kept there, ?authSource= says so"
        )
    found = to.state.find_one({"_id": "schema"})
    to.require_version()
    if not _is_ours(found):
        _refuse_strangers(to)
    if found and found["version"] > VERSION:
        raise KitchenError(
            f"{to.url} was made by a newer Waiter (schema {found['version']}, this one has {VERSION})\n"
            "hint: use the same version everywhere, or another database: --db"
        )
    if not create:
        if found is None:
            raise KitchenMissing(f"{to.url}: no such kitchen: nothing was loaded there\nhint: check the name")
        return
    if found and found["version"] < VERSION:
        _say_how_long(to)  # before there is an index of it, which then costs less
    _make_indexes(to, is_new=found is None)
    if found and found["version"] < VERSION:
        to.state.update_one({"_id": "schema"}, {"$max": {"version": VERSION}})
        # After it: an earlier version that begins now announces none of its changes, and is refused.
        to.state.update_one({"_id": "news", "pieces": None}, {"$set": {"pieces": pieces.UNKNOWN}})
    if found is None:
        to.state.update_one({"_id": "news"}, {"$inc": {"n": 1}, "$set": {"pieces": pieces.KNOWN}}, upsert=True)
    if not _is_ours(found):
        # As every other change of ours it needs the server's clock: what has none is told before there are orders.
        mark = {"version": VERSION, "program": MARK, "marked_at": to.now}
        to.state.update_one({"_id": "schema"}, [{"$set": mark}], upsert=True)


def _say_how_long(to: Connection) -> None:
    """Give orders that ended under an earlier version what this one sorts them by."""
    without = {"stop": {"$gt": 0}, "start": {"$gt": 0}, "took": None}
    with pymongo.timeout(BUILD_S):
        to.orders.update_many(without, [{"$set": {"took": {"$subtract": ["$stop", "$start"]}}}])


def _is_ours(schema: Document | None) -> bool:
    return schema is not None and schema.get("program") == MARK


def _refuse_strangers(to: Connection) -> None:
    stranger = _strange_state(to) or strange_collection(to)
    # Somebody may have made it a kitchen, and begun to work, since we looked for the mark.
    if stranger and not _is_ours(to.state.find_one({"_id": "schema"})):
        raise stranger


def _strange_state(to: Connection) -> KitchenError | None:
    foreign = {"$nor": [{"_id": name, **_typed(fields)} for name, fields in _STATE.items()]}
    return _stranger(to, "state") if to.state.find_one(foreign, {"_id": 1}) else None


def strange_collection(to: Connection) -> KitchenError | None:
    """The error for documents of others where our orders, shifts and batches are; None: all is ours."""
    for collection, foreign in (
        (to.shifts, _lacks(_SHIFT)),
        (to.batches, _lacks(_BATCH)),
        (to.counts, {"mark": {"$exists": False}}),
        (to.orders, {"seq": {"$exists": False}}),  # an index answers this, however many there are
    ):
        if collection.find_one(foreign, {"_id": 1}) is not None:
            return _stranger(to, collection.name)
    for direction in (ASCENDING, DESCENDING):
        order = to.orders.find_one(sort=[("$natural", direction)], projection={"_id": 1})
        if order and to.orders.find_one({"_id": order["_id"], **_lacks(_ORDER)}, {"_id": 1}) is not None:
            return _stranger(to, "orders")
    return None


def _typed(fields: Mapping[str, str]) -> Document:
    return {field: {"$type": kind} for field, kind in fields.items()}


def _lacks(fields: Mapping[str, str]) -> Document:
    return {"$nor": [_typed(fields)]}


def _stranger(to: Connection, collection: str) -> KitchenError:
    return KitchenError(
        f"{to.url}: its collection `{collection}` holds documents of another program, or of the Waiter of 2014.\n"
        "Nothing was changed\n"
        "hint: name another database for the kitchen: --db NAME, or after the host in the address"
    )


def _make_indexes(to: Connection, *, is_new: bool) -> None:
    """Make the indexes that are missing: without them a claim reads every order."""
    for name, models in _INDEXES.items():
        there = set() if is_new else _names_of_indexes(to.db[name])
        missing = [model for model in models if there is not None and model.document["name"] not in there]
        if missing:
            with pymongo.timeout(BUILD_S):
                to.db[name].create_indexes(missing)
        for index in set(_BEFORE.get(name, ())) & (there or set()):
            _drop(to.db[name], index)


def _drop(collection: Collection[Document], index: str) -> None:
    try:
        collection.drop_index(index)
    except OperationFailure as problem:
        if problem.code not in (_NO_SUCH_INDEX, UNAUTHORIZED):  # somebody else was faster, or must do it
            raise


def _names_of_indexes(collection: Collection[Document]) -> set[str] | None:
    """None: who asks may not know."""
    try:
        return {index["name"] for index in collection.list_indexes()}
    except OperationFailure as problem:
        if problem.code == UNAUTHORIZED:
            return None
        raise
