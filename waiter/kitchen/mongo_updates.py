"""What happens to an order, as MongoDB update pipelines: one function for each legal change.

Pipelines, and not plain `$set`, because they can read the server's clock (`$$NOW`) and the order's own fields in the
same atomic step. `now` is always such an expression. Values that came from outside are `$literal`: an error message
that begins with a dollar sign must not be read as a field's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from waiter.kitchen.mongo_documents import AT_ONCE, Document, text
from waiter.orders import Outcome, Reason, Shift, Status, error_group

Expression = Any
"""A MongoDB aggregation expression."""

GONE = "$$REMOVE"

LOST_WORDS = "the waiter died, or lost its kitchen, while it delivered this order"

_OF_AN_ATTEMPT = (
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

_FREE = {"shift": GONE, "is_cancel_asked": GONE}


def now(ahead: float) -> Expression:
    """The server's clock as seconds since 1970, moved by `ahead` seconds."""
    clock: Expression = {"$divide": [{"$toLong": "$$NOW"}, 1000.0]}
    return {"$add": [clock, ahead]} if ahead else clock


def literal(value: object) -> Expression:
    return GONE if value is None else {"$literal": value}


def claimed(shift: Shift, now: Expression) -> list[Document]:
    """READY → RUNNING, in the hands of the shift."""
    changes = {
        "status": "RUNNING",
        "shift": literal(shift.token),
        "waiter": literal(text(shift.waiter)),
        "host": literal(text(shift.host)),
        "attempt": {"$add": ["$attempt", 1]},
        "start": now,
    }
    return [{"$set": changes | dict.fromkeys(_OF_AN_ATTEMPT, GONE)}]


def finished(shift: Shift, outcome: Outcome, now: Expression, call: int) -> list[Document]:
    """RUNNING → what the outcome says. `call` marks the history entry: a caller can tell its own from older ones."""
    attempt = _attempt(outcome)
    status, due = outcome.status.value, AT_ONCE
    if outcome.status is Status.READY:
        # Somebody who asked for an end must not get another try.
        status = {"$cond": [{"$eq": ["$is_cancel_asked", True]}, "CANCELLED", "READY"]}  # type: ignore[assignment]
        due = {"$add": [now, outcome.delay_s]} if outcome.delay_s > 0 else AT_ONCE  # type: ignore[assignment]
    changes = {"status": status, "due": due, **attempt, **_FREE, **_charge(outcome)}
    event = _event("finish", now, status, shift=literal(shift.token), call=call, **_of_event(attempt))
    return [{"$set": {**changes, "history": _with(event)}}]


def _attempt(outcome: Outcome) -> Document:
    return {
        "start": outcome.start,
        "stop": outcome.stop,
        "exit_code": literal(outcome.exit_code),
        "signal": literal(outcome.signal),
        "reason": literal(outcome.reason and outcome.reason.value),
        "error": literal(text(outcome.error)),
        "error_group": literal(outcome.error_group),
        "tail": literal(text(outcome.tail)),
        "result": literal(text(outcome.result)),
        "command": literal(text(outcome.command)),
        "peak_memory": literal(outcome.peak_memory),
    }


def _of_event(attempt: Document) -> Document:
    return {field: attempt[field] for field in ("start", "stop", "exit_code", "signal", "reason", "error", "command")}


def _charge(outcome: Outcome) -> Document:
    if outcome.reason is Reason.LOST:
        return {"losses": {"$add": ["$losses", 1]}}
    if outcome.status in (Status.DONE, Status.CANCELLED) or outcome.reason is Reason.INTERRUPTED:
        return {}
    return {"failures": {"$add": ["$failures", 1]}}


def late(shift: Shift, outcome: Outcome, now: Expression) -> list[Document]:
    """Keep an outcome that came too late; the order itself stays as it is."""
    facts = _of_event(_attempt(outcome)) | {"shift": literal(shift.token), "waiter": literal(text(shift.waiter))}
    event = _event("finish", now, outcome.status.value, **{**facts, "attempt": outcome.attempt})
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
        "history": {
            "$cond": [is_cancelled, _with(_event("cancel", now, "CANCELLED")), {"$ifNull": ["$history", GONE]}]
        },
    }
    return [{"$set": changes | _FREE}]


def lost(status: Status, now: Expression) -> list[Document]:
    """RUNNING → `status`, because its shift is dead. READY ones wait with full jitter, as `contract.loss_delay_s`."""
    span = {"$min": [600.0, {"$multiply": [5.0, {"$pow": [2.0, {"$add": ["$losses", 1]}]}]}]}
    changes = {
        "status": status.value,
        "due": {"$add": [now, {"$multiply": [{"$rand": {}}, span]}]} if status is Status.READY else AT_ONCE,
        "losses": {"$add": ["$losses", 1]},
        "stop": now,
        "reason": Reason.LOST.value,
        "error": LOST_WORDS,
        "error_group": error_group(LOST_WORDS, Reason.LOST, None, None),
    }
    facts = {"start": "$start", "stop": now, "reason": Reason.LOST.value, "error": LOST_WORDS}
    event = _event("lost", now, status.value, shift="$shift", **facts)
    return [{"$set": {**changes, **_FREE, "history": _with(event)}}]


def reset(now: Expression) -> list[Document]:
    """Any status → READY, counted from zero again; `attempt` goes on."""
    gone = dict.fromkeys((*_OF_AN_ATTEMPT, "start", "waiter", "host"), GONE)
    changes = {"status": "READY", "due": AT_ONCE, "failures": 0, "losses": 0, **gone, **_FREE}
    return [{"$set": {**changes, "history": _with(_event("reset", now, "READY", shift="$shift"))}}]


def cancelled(now: Expression) -> list[Document]:
    """READY → CANCELLED; RUNNING stays so and is marked."""
    is_running = {"$eq": ["$status", "RUNNING"]}
    event = _event("cancel", now, "CANCELLED")
    changes = {
        "status": {"$cond": [is_running, "RUNNING", "CANCELLED"]},
        "due": AT_ONCE,
        "is_cancel_asked": {"$cond": [is_running, True, GONE]},
        "history": {"$cond": [is_running, {"$ifNull": ["$history", GONE]}, _with(event)]},
    }
    return [{"$set": changes}]


def _event(what: str, now: Expression, status: Expression, **facts: Expression) -> Document:
    return {"what": what, "at": now, "status": status, "attempt": "$attempt", "waiter": "$waiter"} | facts


def _with(event: Document, field: str = "history") -> Expression:
    return {"$concatArrays": [{"$ifNull": [f"${field}", []]}, [event]]}


def lookup(collection: str, into: str, pipeline: Iterable[Document]) -> Document:
    """A `$lookup` that reads another collection within the same round trip."""
    return {"$lookup": {"from": collection, "as": into, "pipeline": list(pipeline)}}
