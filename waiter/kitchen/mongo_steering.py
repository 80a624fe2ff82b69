"""What people do to a MongoDB kitchen's orders and waiters: reset, cancel, reorder, pause, drain, clean.

Every verb ends with `spread_news`, so that idle waiters look again.
"""

from __future__ import annotations

from waiter.kitchen import mongo_updates as updates
from waiter.kitchen.mongo_connection import Connection
from waiter.kitchen.mongo_documents import Document, text
from waiter.kitchen.mongo_outcomes import dead_tokens, declare_lost
from waiter.kitchen.mongo_seeing import selected
from waiter.orders import Selector

EVERYBODY = "pause"
"""Id of the document that pauses waiters to come; `is_paused` and `turn`, which rises with each change."""


def spread_news(to: Connection) -> None:
    to.state.update_one({"_id": "news"}, {"$inc": {"n": 1}}, upsert=True)


def reset(to: Connection, selector: Selector, from_living: bool) -> int:
    chosen = selected(to, selector)
    ended = {"status": {"$in": ["DONE", "ERROR", "CANCELLED"]}}
    running: Document = {"status": "RUNNING"}
    # Running first: an order that ends in between is then still reset.
    if not from_living:
        declare_lost(to)
        running["shift"] = {"$in": dead_tokens(to, {})}
    changed = sum(
        to.orders.update_many({"$and": [chosen, those]}, updates.reset(to.now)).modified_count
        for those in (running, ended)
    )
    spread_news(to)
    return changed


def cancel(to: Connection, selector: Selector) -> int:
    open_ = {"status": {"$in": ["READY", "RUNNING"]}, "is_cancel_asked": {"$ne": True}}
    chosen = {"$and": [selected(to, selector), open_]}
    changed = to.orders.update_many(chosen, updates.cancelled(to.now)).modified_count
    # The mark tells a shift's heartbeat that it is worth looking for such orders; most shifts never have one.
    asked = to.orders.distinct("shift", {"shift": {"$gt": ""}, "is_cancel_asked": True})
    if asked:
        to.shifts.update_many({"_id": {"$in": asked}}, {"$set": {"has_cancelled": True}})
    spread_news(to)
    return changed


def set_priority(to: Connection, selector: Selector, priority: int) -> int:
    chosen = {"$and": [selected(to, selector), {"status": "READY"}]}
    changed = to.orders.update_many(chosen, {"$set": {"priority": priority}}).modified_count
    spread_news(to)
    return changed


def pause(to: Connection, waiter: str | None, reason: str | None) -> int:
    if waiter is None:
        to.state.update_one(
            {"_id": EVERYBODY}, {"$set": {"is_paused": True, "reason": text(reason)}, "$inc": {"turn": 1}}, upsert=True
        )
    marks = {"is_paused": True, "pause_reason": text(reason)}
    return _mark_shifts(to, waiter, {"is_paused": {"$ne": True}}, {"$set": marks})


def resume(to: Connection, waiter: str | None) -> int:
    if waiter is None:
        to.state.update_one({"_id": EVERYBODY}, {"$set": {"is_paused": False}, "$inc": {"turn": 1}}, upsert=True)
    return _mark_shifts(to, waiter, {"is_paused": True}, {"$unset": {"is_paused": 1, "pause_reason": 1}})


def follow_pause(to: Connection, token: str) -> bool:
    """Give a new shift the pause that holds for everybody; whether it does.

    Read again until nothing changed: a `resume` beside us must not leave the shift paused for good.
    """
    seen: Document | None = None
    while (stands := to.state.find_one({"_id": EVERYBODY})) != seen:
        seen = stands
        if stands and stands["is_paused"]:
            marks = {"is_paused": True, "pause_reason": stands["reason"]}
            to.shifts.update_one({"_id": token}, {"$set": marks})
        elif stands:
            to.shifts.update_one({"_id": token}, {"$unset": {"is_paused": 1, "pause_reason": 1}})
    return bool(seen and seen["is_paused"])


def drain(to: Connection, waiter: str) -> int:
    return _mark_shifts(to, waiter, {"is_draining": {"$ne": True}}, {"$set": {"is_draining": True}})


def _mark_shifts(to: Connection, waiter: str | None, those: Document, marks: Document) -> int:
    named = {"waiter": text(waiter)} if waiter is not None else {}
    changed = to.shifts.update_many({"is_open": True, **named, **those}, marks).modified_count
    spread_news(to)
    return changed


def clean(to: Connection, selector: Selector | None) -> int:
    # Not `drop`: the indexes would be gone for a moment under those who work.
    deleted = to.orders.delete_many({} if selector is None else selected(to, selector)).deleted_count
    if selector is None:
        to.batches.delete_many({})
        to.shifts.delete_many({"is_open": {"$ne": True}})
    spread_news(to)
    return deleted
