"""How orders leave a waiter's hands in a MongoDB kitchen: finished or given back.

Every update is fenced by the shift's token, so a waiter that was declared lost changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import getrandbits

from pymongo import UpdateMany, UpdateOne

from waiter.kitchen.contract import CLAIM_LIMIT
from waiter.kitchen.mongo import held, updates
from waiter.kitchen.mongo.claims import BY_ID
from waiter.kitchen.mongo.connection import Connection
from waiter.orders import FinishResult, Order, Outcome, Shift, Status

_TOGETHER = CLAIM_LIMIT
_CHARACTERS = 4 << 20
"""Outcomes in one update, and how long their words may be together: each takes up to three bytes of MongoDB's 16 MB."""


def finish(to: Connection, shift: Shift, outcomes: Sequence[Outcome]) -> list[FinishResult]:
    results: list[FinishResult] = []
    for some in _portions(outcomes):
        results += _finish(to, shift, some)
    if done := _done(to, outcomes, results):
        held.let_go(to, done)
    return results


def _portions(outcomes: Sequence[Outcome]) -> Iterator[list[Outcome]]:
    """The outcomes in lists that one update holds."""
    portion: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        length = sum(len(words) for words in (outcome.result, outcome.tail, outcome.error) if words)
        if portion and (len(portion) == _TOGETHER or size + length > _CHARACTERS):
            yield portion
            portion, size = [], 0
        portion.append(outcome)
        size += length
    if portion:
        yield portion


def _done(to: Connection, outcomes: Sequence[Outcome], results: Sequence[FinishResult]) -> list[str]:
    """The orders that are DONE by these. What was known before may have ended otherwise, or been reset since."""
    ended = [(o.order_id, result) for o, result in zip(outcomes, results, strict=True) if o.status is Status.DONE]
    known = [order_id for order_id, result in ended if result is FinishResult.KNOWN]
    if known:
        still = to.orders.find({"_id": {"$in": known}, "status": "DONE"}, {"_id": 1}, hint=BY_ID)
        known = [order["_id"] for order in still]
    return known + [order_id for order_id, result in ended if result is FinishResult.ACCEPTED]


def _finish(to: Connection, shift: Shift, outcomes: Sequence[Outcome]) -> list[FinishResult]:
    call = getrandbits(31)
    by_kind: dict[object, list[Outcome]] = {}
    for outcome in outcomes:
        by_kind.setdefault(updates.kind(outcome), []).append(outcome)
    writes = [_update(to, shift, alike, call) for alike in by_kind.values()]
    if to.orders.bulk_write(writes, ordered=False).matched_count == len(outcomes):
        return [FinishResult.ACCEPTED] * len(outcomes)
    results = _results(to, shift, outcomes, call)
    _keep_late(
        to, shift, [outcome for outcome, result in zip(outcomes, results, strict=True) if result is FinishResult.LATE]
    )
    return results


def _update(to: Connection, shift: Shift, outcomes: list[Outcome], call: int) -> UpdateMany:
    ids = [outcome.order_id for outcome in outcomes]
    fence = {"_id": {"$in": ids}, "shift": shift.token, "status": "RUNNING", "attempt": outcomes[0].attempt}
    return UpdateMany(fence, updates.finished(shift, outcomes, to.now, call), hint=BY_ID)


def _results(to: Connection, shift: Shift, outcomes: Sequence[Outcome], call: int) -> list[FinishResult]:
    """One read tells what this call wrote, what an earlier one did, and what nobody."""
    ids = {"_id": {"$in": [outcome.order_id for outcome in outcomes]}}
    known: dict[tuple[str, int], int] = {}
    for order in to.orders.find(ids, {"history": 1}):
        for event in order.get("history", ()):
            if event["what"] == "finish" and event["shift"] == shift.token:
                known[order["_id"], event["attempt"]] = event["call"]
    results = []
    for outcome in outcomes:
        attempt = (outcome.order_id, outcome.attempt)
        if attempt not in known:
            results.append(FinishResult.LATE)
        else:
            results.append(FinishResult.ACCEPTED if known[attempt] == call else FinishResult.KNOWN)
            known[attempt] = -1  # the same outcome twice in one call is accepted once
    return results


def _keep_late(to: Connection, shift: Shift, outcomes: Sequence[Outcome]) -> None:
    writes = []
    for outcome in outcomes:
        kept = {"$elemMatch": {"shift": shift.token, "attempt": outcome.attempt}}
        missing = {"_id": outcome.order_id, "late": {"$not": kept}}
        writes.append(UpdateOne(missing, updates.late(shift, outcome, to.now), hint=BY_ID))
    if writes:
        to.orders.bulk_write(writes, ordered=False)


def release(to: Connection, shift: Shift, orders: Sequence[Order]) -> int:
    ids, starts = [order.id for order in orders], list({order.start for order in orders})
    # What was claimed again since has another start: none of these.
    held = {"_id": {"$in": ids}, "shift": shift.token, "status": "RUNNING", "start": {"$in": starts}}
    return to.orders.update_many(held, updates.released(to.now), hint=BY_ID).matched_count


def release_all(to: Connection, shift: Shift) -> int:
    return to.orders.update_many({"shift": shift.token, "status": "RUNNING"}, updates.released(to.now)).matched_count
