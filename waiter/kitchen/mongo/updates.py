"""The changes of `transitions` as MongoDB update pipelines, one function for each.

Pipelines, and not plain `$set`, where they can read the server's clock (`$$NOW`) and the order's own fields in the
same atomic step. `now` is always such an expression. Values that came from outside are `$literal`: an error message
that begins with a dollar sign must not be read as a field's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from waiter.kitchen import transitions
from waiter.kitchen.intervals import MOST_DOUBLINGS
from waiter.kitchen.mongo.documents import AT_ONCE, Document
from waiter.kitchen.printable import printable
from waiter.kitchen.transitions import OF_AN_ATTEMPT, OF_AN_EVENT, Change, Given, IfCancelAsked, Now, Own, Plus, Value
from waiter.orders import EVENTS_KEPT, Outcome, Shift, Status

Expression = Any
"""A MongoDB aggregation expression."""

GONE = "$$REMOVE"

_IS_CANCEL_ASKED = {"$eq": ["$is_cancel_asked", True]}

_NOTHING = {"due": AT_ONCE}
"""How a field is written that has nothing, where it is not left out."""


def now(ahead: float) -> Expression:
    """The server's clock as seconds since 1970, moved by `ahead` seconds."""
    clock: Expression = {"$divide": [{"$toLong": "$$NOW"}, 1000.0]}
    return {"$add": [clock, ahead]} if ahead else clock


def too_large(now: Expression) -> list[Document]:
    """READY → ERROR, because the order has grown too large to be claimed. What can be spared goes, so that it fits."""
    return [{"$set": _fields(transitions.refuse(), now)}, {"$unset": ["late", "raw"]}]


def literal(value: object) -> Expression:
    return GONE if value is None else {"$literal": value}


def claimed(shift: Shift, at: float, *, is_first: bool) -> Document:
    """READY → RUNNING, held by the shift, started `at`. No pipeline: `Claims` has the clock from its look.

    `is_first`: no order was claimed before, so there is nothing of an earlier attempt to forget.
    """
    changes: Document = {"$set": in_hand(shift, at), "$inc": {"attempt": 1}}
    return changes if is_first else changes | {"$unset": dict.fromkeys((*OF_AN_ATTEMPT, "took"), 1)}


def in_hand(shift: Shift, at: float) -> Document:
    given = {"shift": shift.token, "waiter": printable(shift.waiter), "host": printable(shift.host), "start": at}
    fields = transitions.CLAIM.fields.items()
    return {field: _expression(value, at, given) for field, value in fields if isinstance(value, Given | str)}


def kind(outcome: Outcome) -> tuple[int, Status, int, int]:
    """What outcomes share that one `finished` writes: attempt, status, what they add to failures and to losses."""
    return outcome.attempt, outcome.status, *transitions.counted(outcome)


def finished(shift: Shift, outcomes: Sequence[Outcome], now: Expression, call: int) -> list[Document]:
    """RUNNING → what each order's outcome says, for many orders in one update; all outcomes are of one `kind`.

    The outcomes travel in the pipeline and each order picks its own: four times as fast as an update for each. The
    claim left nothing of earlier attempts, so only fields that some outcome has are written. `call` marks the history
    entry: a caller can tell its own from older ones.
    """
    _, status, failures, losses = kind(outcomes[0])
    facts = [transitions.told_by(outcome) for outcome in outcomes]
    place = {"$indexOfArray": [{"$literal": [outcome.order_id for outcome in outcomes]}, "$_id"]}
    given: Document = {field: f"$mine.{field}" for field in set().union(*facts)}
    given |= {"status": status.value, "failed": failures, "lost": losses, "shift": literal(shift.token)}
    change = transitions.END
    if status is Status.READY:
        change = transitions.TRY_AGAIN
        given["due"] = _due([outcome.delay_s for outcome in outcomes], place, now)
    return [
        {"$set": {"mine": {"$arrayElemAt": [{"$literal": facts}, place]}}},
        {"$set": _fields(change, now, given, call=call)},
        {"$unset": ["mine"]},
    ]


def _due(delays_s: list[float], place: Expression, now: Expression) -> Expression:
    delay_s = {"$arrayElemAt": [{"$literal": delays_s}, place]}
    return {"$cond": [{"$lte": [delay_s, 0]}, AT_ONCE, {"$add": [now, delay_s]}]}


def late(shift: Shift, outcome: Outcome, now: Expression) -> list[Document]:
    """Keep an outcome that came too late; the order itself stays as it is."""
    stored = transitions.facts_of(outcome)
    facts = {field: literal(stored[field]) for field in OF_AN_EVENT}
    facts |= {"shift": literal(shift.token), "waiter": literal(printable(shift.waiter)), "attempt": outcome.attempt}
    event = _event("finish", now, outcome.status.value, **facts)
    return [{"$set": {"late": _with(event, "late")}}]


def released(now: Expression) -> list[Document]:
    """RUNNING → READY as if it had never been claimed, or CANCELLED if that was asked."""
    return [{"$set": _fields(transitions.RELEASE, now)}]


def lost(status: Status, now: Expression) -> list[Document]:
    """RUNNING → `status`, because its shift is dead. READY ones wait with full jitter, as `contract.loss_delay_s`."""
    doublings = {"$min": [{"$add": ["$losses", 1]}, MOST_DOUBLINGS]}
    span = {"$min": [600.0, {"$multiply": [5.0, {"$pow": [2.0, doublings]}]}]}
    given = {"due": {"$add": [now, {"$multiply": [{"$rand": {}}, span]}]}}
    return [{"$set": _fields(transitions.LOSE[status], now, given)}]


def reset(now: Expression) -> list[Document]:
    """Any status → READY, counted from zero again; `attempt` goes on."""
    return [{"$set": _fields(transitions.RESET, now)}]


def cancelled(now: Expression) -> list[Document]:
    """READY → CANCELLED; RUNNING stays so and is marked."""
    is_running = {"$eq": ["$status", "RUNNING"]}
    marks, ends = _fields(transitions.ASK_TO_CANCEL, now), _fields(transitions.CANCEL, now)
    either = {
        field: {"$cond": [is_running, marks.get(field, _kept(field)), ends.get(field, _kept(field))]}
        for field in marks | ends
    }
    return [{"$set": either}]


def _fields(change: Change, now: Expression, given: Mapping[str, Expression] = {}, **marks: Expression) -> Document:
    """What the change makes of each field. What is not given stays as it is; `marks` go into the event."""
    fields = {
        field: _expression(value, now, given, _NOTHING.get(field, GONE))
        for field, value in change.fields.items()
        if _is_given(value, given)
    }
    if "stop" in fields:
        fields["took"] = _took(fields.get("start", "$start"), fields["stop"])
    record = change.record
    if record is None:
        return fields
    facts = {name: _expression(value, now, given) for name, value in record.facts.items() if _is_given(value, given)}
    history = _with(_event(record.what, now, _expression(record.status, now, given), **facts, **marks))
    if record.is_if_cancel_asked:
        history = {"$cond": [_IS_CANCEL_ASKED, history, _kept("history")]}
    return {**fields, "history": history}


def _took(start: Expression, stop: Expression) -> Expression:
    """Nothing, where one of them is missing."""
    return GONE if GONE in (start, stop) else {"$ifNull": [{"$subtract": [stop, start]}, GONE]}


def _is_given(value: Value, given: Mapping[str, Expression]) -> bool:
    if isinstance(value, Plus) and isinstance(value.by, Given):
        return bool(given.get(value.by.name))
    return not isinstance(value, Given) or value.name in given


def _expression(
    value: Value, now: Expression, given: Mapping[str, Expression], nothing: Expression = GONE
) -> Expression:
    match value:
        case None:
            return nothing
        case Now():
            return now
        case Given(name):
            return given[name]
        case Own(field):
            return f"${field}"
        case Plus(field, by):
            return {"$add": [f"${field}", given[by.name] if isinstance(by, Given) else by]}
        case IfCancelAsked(then, otherwise):
            ways = [_expression(way, now, given, nothing) for way in (then, otherwise)]
            return {"$cond": [_IS_CANCEL_ASKED, *ways]}
    return str(value) if isinstance(value, str) else value


def _kept(field: str) -> Expression:
    return {"$ifNull": [f"${field}", GONE]}


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
