"""What happens to an order, as MongoDB update pipelines: one function for each legal change.

Pipelines, and not plain `$set`, where they can read the server's clock (`$$NOW`) and the order's own fields in the
same atomic step. `now` is always such an expression. Values that came from outside are `$literal`: an error message
that begins with a dollar sign must not be read as a field's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from waiter.failure_groups import error_group
from waiter.kitchen.contract import MOST_DOUBLINGS
from waiter.kitchen.mongo.documents import AT_ONCE, Document, text
from waiter.orders import EVENTS_KEPT, Outcome, Reason, Shift, Status

Expression = Any
"""A MongoDB aggregation expression."""

GONE = "$$REMOVE"

TOO_LARGE_WORDS = "too large to be claimed: MongoDB takes no document of more than 16 MB"

LOST_WORDS = "its waiter died while it ran"

OF_AN_ATTEMPT = (
    "stop",
    "exit_code",
    "signal",
    "reason",
    "error",
    "error_group",
    "tail",
    "result",
    "command",
    "peak_memory",
)

_OF_AN_EVENT = ("start", "stop", "exit_code", "signal", "reason", "error", "command")

_FREE = {"shift": GONE, "is_cancel_asked": GONE}


def now(ahead: float) -> Expression:
    """The server's clock as seconds since 1970, moved by `ahead` seconds."""
    clock: Expression = {"$divide": [{"$toLong": "$$NOW"}, 1000.0]}
    return {"$add": [clock, ahead]} if ahead else clock


def too_large(now: Expression) -> list[Document]:
    """READY → ERROR, because the order has grown too large to be claimed. What can be spared goes, so that it fits."""
    words, group = TOO_LARGE_WORDS, error_group(TOO_LARGE_WORDS, Reason.UNSTARTABLE, None, None)
    ending = {"status": Status.ERROR.value, "stop": now, "reason": Reason.UNSTARTABLE.value, "error": words}
    event = _event("refused", now, Status.ERROR.value, reason=Reason.UNSTARTABLE.value, error=words)
    spared = ["late", "tail", "result", "raw"]
    return [{"$set": {**ending, "error_group": group, "history": _with(event)}}, {"$unset": spared}]


def literal(value: object) -> Expression:
    return GONE if value is None else {"$literal": value}


def claimed(shift: Shift, at: float, *, is_first: bool) -> Document:
    """READY → RUNNING, in the hands of the shift, started `at`. No pipeline: `Claims` has the clock from its look.

    `is_first`: no order was claimed before, so there is nothing of an earlier attempt to forget.
    """
    changes: Document = {"$set": in_hand(shift, at), "$inc": {"attempt": 1}}
    return changes if is_first else changes | {"$unset": dict.fromkeys(OF_AN_ATTEMPT, 1)}


def in_hand(shift: Shift, at: float) -> Document:
    return {
        "status": "RUNNING",
        "shift": shift.token,
        "waiter": text(shift.waiter),
        "host": text(shift.host),
        "start": at,
    }


def kind(outcome: Outcome) -> tuple[int, Status, int, int]:
    """What outcomes share that one `finished` writes: attempt, status, what they add to failures and to losses."""
    is_loss = outcome.reason is Reason.LOST
    is_innocent = outcome.status in (Status.DONE, Status.CANCELLED) or outcome.reason is Reason.INTERRUPTED
    return outcome.attempt, outcome.status, int(not (is_loss or is_innocent)), int(is_loss)


def finished(shift: Shift, outcomes: Sequence[Outcome], now: Expression, call: int) -> list[Document]:
    """RUNNING → what each order's outcome says, for many orders in one update; all outcomes are of one `kind`.

    The outcomes travel in the pipeline and each order picks its own: four times as fast as an update for each. The
    claim left nothing of earlier attempts, so only fields that some outcome has are written. `call` marks the history
    entry: a caller can tell its own from older ones.
    """
    _, status, failures, losses = kind(outcomes[0])
    facts = [_facts(outcome) for outcome in outcomes]
    place = {"$indexOfArray": [{"$literal": [outcome.order_id for outcome in outcomes]}, "$_id"]}
    told = {field: f"$mine.{field}" for field in set().union(*facts)}
    ending: Document = {"status": status.value, "due": AT_ONCE, **told}
    if status is Status.READY:
        ending |= _another_try([outcome.delay_s for outcome in outcomes], place, now)
    if failures or losses:
        ending |= {"failures": {"$add": ["$failures", failures]}, "losses": {"$add": ["$losses", losses]}}
    kept = {field: told[field] for field in _OF_AN_EVENT if field in told}
    event = _event("finish", now, ending["status"], shift=literal(shift.token), call=call, **kept)
    return [
        {"$set": {"mine": {"$arrayElemAt": [{"$literal": facts}, place]}}},
        {"$set": {**ending, "history": _with(event)}},
        {"$unset": ["mine", *_FREE]},
    ]


def _another_try(delays_s: list[float], place: Expression, now: Expression) -> Document:
    """READY again; but who asked for an end gets no other try."""
    is_cancelled = {"$eq": ["$is_cancel_asked", True]}
    delay_s = {"$arrayElemAt": [{"$literal": delays_s}, place]}
    is_at_once = {"$or": [is_cancelled, {"$lte": [delay_s, 0]}]}
    return {
        "status": {"$cond": [is_cancelled, "CANCELLED", "READY"]},
        "due": {"$cond": [is_at_once, AT_ONCE, {"$add": [now, delay_s]}]},
    }


def _facts(outcome: Outcome) -> Document:
    """The outcome as fields of an order."""
    facts = {
        "start": outcome.start,
        "stop": outcome.stop,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "reason": outcome.reason and outcome.reason.value,
        "error": text(outcome.error),
        "error_group": text(outcome.error_group),
        "tail": text(outcome.tail),
        "result": text(outcome.result),
        "command": text(outcome.command),
        "peak_memory": outcome.peak_memory,
    }
    return {field: value for field, value in facts.items() if value is not None}


def late(shift: Shift, outcome: Outcome, now: Expression) -> list[Document]:
    """Keep an outcome that came too late; the order itself stays as it is."""
    stored = _facts(outcome)
    facts = {field: literal(stored.get(field)) for field in _OF_AN_EVENT}
    facts |= {"shift": literal(shift.token), "waiter": literal(text(shift.waiter)), "attempt": outcome.attempt}
    event = _event("finish", now, outcome.status.value, **facts)
    return [{"$set": {"late": _with(event, "late")}}]


def released(now: Expression) -> list[Document]:
    """RUNNING → READY as if it had never been claimed, or CANCELLED if that was asked."""
    is_cancelled = {"$eq": ["$is_cancel_asked", True]}
    changes = {
        "status": {"$cond": [is_cancelled, "CANCELLED", "READY"]},
        "due": AT_ONCE,
        "attempt": {"$subtract": ["$attempt", 1]},
        "waiter": GONE,
        "host": GONE,
        "start": GONE,
        "stop": {"$cond": [is_cancelled, now, GONE]},
        "reason": {"$cond": [is_cancelled, Reason.CANCELLED.value, GONE]},
        "history": {
            "$cond": [is_cancelled, _with(_event("cancel", now, "CANCELLED")), {"$ifNull": ["$history", GONE]}]
        },
    }
    return [{"$set": changes | _FREE}]


def lost(status: Status, now: Expression) -> list[Document]:
    """RUNNING → `status`, because its shift is dead. READY ones wait with full jitter, as `contract.loss_delay_s`."""
    doublings = {"$min": [{"$add": ["$losses", 1]}, MOST_DOUBLINGS]}
    span = {"$min": [600.0, {"$multiply": [5.0, {"$pow": [2.0, doublings]}]}]}
    changes = {
        "status": status.value,
        "due": {"$add": [now, {"$multiply": [{"$rand": {}}, span]}]} if status is Status.READY else AT_ONCE,
        "losses": {"$add": ["$losses", 1]},
        "stop": now,
        "reason": (Reason.CANCELLED if status is Status.CANCELLED else Reason.LOST).value,
        "error": LOST_WORDS,
        "error_group": error_group(LOST_WORDS, Reason.LOST, None, None),
    }
    facts = {"start": "$start", "stop": now, "reason": Reason.LOST.value, "error": LOST_WORDS}
    event = _event("lost", now, status.value, shift="$shift", **facts)
    return [{"$set": {**changes, **_FREE, "history": _with(event)}}]


def reset(now: Expression) -> list[Document]:
    """Any status → READY, counted from zero again; `attempt` goes on."""
    gone = dict.fromkeys((*OF_AN_ATTEMPT, "start", "waiter", "host"), GONE)
    changes = {"status": "READY", "due": AT_ONCE, "failures": 0, "losses": 0, **gone, **_FREE}
    return [{"$set": {**changes, "history": _with(_event("reset", now, "READY", shift="$shift"))}}]


def cancelled(now: Expression) -> list[Document]:
    """READY → CANCELLED; RUNNING stays so and is marked."""
    is_running = {"$eq": ["$status", "RUNNING"]}
    event = _event("cancel", now, "CANCELLED")
    changes = {
        "status": {"$cond": [is_running, "RUNNING", "CANCELLED"]},
        "due": AT_ONCE,
        "start": {"$cond": [is_running, "$start", GONE]},
        "stop": {"$cond": [is_running, GONE, now]},
        "reason": {"$cond": [is_running, GONE, Reason.CANCELLED.value]},
        "is_cancel_asked": {"$cond": [is_running, True, GONE]},
        "history": {"$cond": [is_running, {"$ifNull": ["$history", GONE]}, _with(event)]},
    }
    return [{"$set": changes}]


def _event(what: str, now: Expression, status: Expression, **facts: Expression) -> Document:
    return {"what": what, "at": now, "status": status, "attempt": "$attempt", "waiter": "$waiter"} | facts


def _with(event: Document, field: str = "history") -> Expression:
    """The list with one more event; of a long one the first and the last, and how many were dropped between them."""
    shorter: Expression = {"$concatArrays": [{"$slice": ["$$kept", EVENTS_KEPT]}, [_dropped()], _last_ones(), [event]]}
    is_long = {"$gte": [{"$size": "$$kept"}, 2 * EVENTS_KEPT]}
    appended = {"$cond": [is_long, shorter, {"$concatArrays": ["$$kept", [event]]}]}
    return {"$let": {"vars": {"kept": {"$ifNull": [f"${field}", []]}}, "in": appended}}


def _last_ones() -> Expression:
    return {"$slice": ["$$kept", 1 - EVENTS_KEPT]}


def _dropped() -> Expression:
    """What stands for all events of `kept` but the first and the last, those dropped before among them."""
    last = {"$arrayElemAt": ["$$kept", {"$subtract": [{"$size": "$$kept"}, EVENTS_KEPT]}]}
    before = {"$ifNull": [{"$getField": {"field": "dropped", "input": {"$arrayElemAt": ["$$kept", EVENTS_KEPT]}}}, 0]}
    # What stood for those dropped before is itself no event.
    now_dropped = {
        "$subtract": [{"$size": "$$kept"}, {"$cond": [{"$gt": [before, 0]}, 2 * EVENTS_KEPT, 2 * EVENTS_KEPT - 1]}]
    }
    event = {"what": "dropped", "dropped": {"$add": [before, now_dropped]}}
    return event | {field: {"$getField": {"field": field, "input": last}} for field in ("at", "status", "attempt")}


def lookup(collection: str, into: str, pipeline: Iterable[Document]) -> Document:
    """A `$lookup` that reads another collection within the same round trip."""
    return {"$lookup": {"from": collection, "as": into, "pipeline": list(pipeline)}}
