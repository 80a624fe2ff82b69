"""What people do to a MongoDB kitchen's orders and waiters: reset, cancel, reorder, pause, drain, clean.

Every verb ends with `announce_change`, so that idle waiters look again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic

from pymongo.errors import DuplicateKeyError

from waiter.kitchen.contract import Told
from waiter.kitchen.mongo import held, updates
from waiter.kitchen.mongo.batches import in_steps, remove, remove_all, remove_empty
from waiter.kitchen.mongo.claims import BY_ID
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import Document, seqs_of
from waiter.kitchen.mongo.leases import declare_lost
from waiter.kitchen.mongo.pieces import change_announced
from waiter.kitchen.mongo.queries import selected
from waiter.kitchen.mongo.schema import strange_collection
from waiter.kitchen.mongo.sweeps import dead_tokens
from waiter.kitchen.printable import printable
from waiter.orders import Selector
from waiter.processes import Place

EVERYBODY = "pause"
"""Id of the document that pauses waiters to come; `is_paused` and `turn`, which rises with each change."""

ANNOUNCED_S = 1.0
"""How often a load that goes on says that there are more orders."""

_LEDGER = "ledger/"
"""How the ids of the ledger's entries begin among the kitchen's other state."""


def announce_change(to: Connection) -> None:
    """Let everybody's `Kitchen.change_token` change."""
    with to.translate_errors():
        to.state.update_one({"_id": "news"}, {"$inc": {"n": 1}}, upsert=True)


def announcing(to: Connection, added: Iterator[int]) -> Iterator[int]:
    """What a load adds. Everybody is told of it every second, and at its end."""
    told_at = -ANNOUNCED_S
    for number in added:
        if (now := monotonic()) >= told_at + ANNOUNCED_S:
            announce_change(to)
            told_at = now
        yield number
    announce_change(to)


def reset(to: Connection, selector: Selector, here: Place, lease_s: float, from_living: bool, told: Told | None) -> int:
    with to.patiently():
        chosen = selected(to, selector)
        running: Document = {"status": "RUNNING"}
        if not from_living:
            declare_lost(to, here, lease_s)
            running["shift"] = {"$in": dead_tokens(to)}
    ended = {"status": {"$in": ["DONE", "ERROR", "CANCELLED"]}}

    def change(those: Document) -> int:
        return to.orders.update_many(those, updates.reset(to.now), hint=BY_ID).modified_count

    def step(orders: Sequence[Document], those: Document) -> int:
        return change_announced(to, seqs_of(orders), those, change, is_number_changed=False)

    # Running first: an order that ends in between is then still reset.
    changed = sum(in_steps(to, {"$and": [chosen, those]}, step, told) for those in (running, ended))
    with to.patiently():
        held.hold_again(to)
    announce_change(to)
    return changed


def cancel(to: Connection, selector: Selector, told: Told | None) -> int:
    with to.patiently():
        chosen = selected(to, selector)
    open_ = {"status": {"$in": ["READY", "RUNNING"]}, "is_cancel_asked": {"$ne": True}}

    def change(_: Sequence[Document], those: Document) -> int:
        return to.orders.update_many(those, updates.cancelled(to.now), hint=BY_ID).modified_count

    changed = in_steps(to, {"$and": [chosen, open_]}, change, told)
    with to.patiently():
        # The mark tells a shift's heartbeat that it is worth looking for such orders; most shifts never have one.
        asked = to.orders.distinct("shift", {"shift": {"$gt": ""}, "is_cancel_asked": True})
        if asked:
            to.shifts.update_many({"_id": {"$in": asked}}, {"$set": {"has_cancelled": True}})
    announce_change(to)
    return changed


def set_priority(to: Connection, selector: Selector, priority: int, told: Told | None) -> int:
    with to.patiently():
        chosen = {"$and": [selected(to, selector), {"status": "READY", "priority": {"$ne": priority}}]}

    def change(_: Sequence[Document], those: Document) -> int:
        return to.orders.update_many(those, {"$set": {"priority": priority}}, hint=BY_ID).modified_count

    changed = in_steps(to, chosen, change, told)
    announce_change(to)
    return changed


def pause(to: Connection, waiter: str | None, reason: str | None) -> int:
    if waiter is None:
        _pause_new_ones(to, {"is_paused": True, "reason": printable(reason)})
    return _mark_shifts(to, waiter, {}, {"$set": {"is_paused": True, "pause_reason": printable(reason)}})


def resume(to: Connection, waiter: str | None) -> int:
    if waiter is None:
        _pause_new_ones(to, {"is_paused": False})
    return _mark_shifts(to, waiter, {"is_paused": True}, {"$unset": {"is_paused": 1, "pause_reason": 1}})


def _pause_new_ones(to: Connection, facts: Document) -> None:
    with to.translate_errors():
        to.state.update_one({"_id": EVERYBODY}, {"$set": facts, "$inc": {"turn": 1}}, upsert=True)


def follow_pause(to: Connection, token: str) -> None:
    """Give a new shift the pause that holds for everybody, if one does.

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


def drain(to: Connection, waiter: str) -> int:
    return _mark_shifts(to, waiter, {}, {"$set": {"is_draining": True}})


def _mark_shifts(to: Connection, waiter: str | None, those: Document, marks: Document) -> int:
    named = {"waiter": printable(waiter)} if waiter is not None else {}
    with to.translate_errors():
        changed = to.shifts.update_many({"is_open": True, **named, **those}, marks).matched_count
    announce_change(to)
    return changed


def clean(to: Connection, selector: Selector | None, told: Told | None) -> int:
    with to.patiently():
        if stranger := strange_collection(to):
            raise stranger
        chosen = {} if selector is None else selected(to, selector)
    # Neither `drop` nor a rename, which takes no time: orders that somebody loads just now, and was told are safe,
    # would be gone with the others, and the indexes for a moment under those who work.
    deleted = remove_all(to, told) if selector is None else remove(to, chosen, told)
    with to.patiently():
        if selector is None:
            to.shifts.delete_many({"is_open": {"$ne": True}})
        else:
            remove_empty(to)
            held.repair(to)
    announce_change(to)
    return deleted


def ledger(to: Connection, prefix: str) -> dict[str, str]:
    begin = f"{_LEDGER}{prefix}"
    with to.patiently():
        found = to.state.find({"_id": {"$gte": begin, "$lt": f"{begin}\U0010ffff"}}, sort=[("_id", 1)])
        return {entry["_id"].removeprefix(_LEDGER): entry["text"] for entry in found}


def enter(to: Connection, key: str, text: str, instead_of: str | None) -> bool:
    name = f"{_LEDGER}{key}"
    with to.translate_errors():
        if instead_of is not None:
            return to.state.update_one({"_id": name, "text": instead_of}, {"$set": {"text": text}}).matched_count == 1
        try:
            to.state.insert_one({"_id": name, "text": text})
        except DuplicateKeyError:
            # A write that was repeated because its reply was lost finds itself.
            return to.state.find_one({"_id": name, "text": text}) is not None
        return True
