"""The description of /api in the OpenAPI format: options as parameters, answers as schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waiter import __version__
from waiter.report.columns import COLUMNS
from waiter.report.order import LIGHT_COLUMNS
from waiter.report.selection import STATUS_WORDS
from waiter.web.asking import MOST, SORTS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "array", "items": TEXT}
COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}
ANYTHING: Schema = {}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(**fields: Schema) -> Schema:
    """An object that has at least these fields; later versions may add some."""
    return {"type": "object", "required": list(fields), "properties": fields}


def _list_of(name: str, schema: Schema) -> Schema:
    return _object(**{name: {"type": "array", "items": schema}})


RANGE = {"type": ["array", "null"], "items": NUMBER, "minItems": 2, "maxItems": 2, "description": "Seconds until then."}
_COUNTED = ("row", "attempt", "failures", "losses")
_NUMBERS = ("priority", "exit_code", "signal", "duration", "peak_memory")
_KNOWN: Mapping[str, Schema] = {
    **dict.fromkeys(_COUNTED, COUNT),
    **dict.fromkeys(_NUMBERS, _or_null(NUMBER)),
    **dict.fromkeys(("_id", "status", "batch"), TEXT),
    "arguments": {"type": "array", "items": ANYTHING},
    "result": ANYTHING,
}


def _order(names: tuple[str, ...], **more: Schema) -> Schema:
    return _object(**{name: _KNOWN.get(name, _or_null(TEXT)) for name in names}, **more)


EVENTS: Schema = {"type": "array", "items": {"type": "object"}}
WHOLE = _order(
    tuple(COLUMNS),
    named={"type": "object"},
    shift=_or_null(TEXT),
    is_cancel_asked=FLAG,
    history=EVENTS,
    late=EVENTS,
    command_line=_or_null(TEXT),
)
GROUP = _object(
    group=TEXT, count=COUNT, share=NUMBER, message=TEXT, exit_code=_or_null(NUMBER), signal=_or_null(NUMBER),
    reason=_or_null(TEXT), hosts=TEXTS, only_host=_or_null(TEXT), first=_or_null(TEXT), last=_or_null(TEXT),
    example=TEXT, last_lines=TEXTS,
)  # fmt: skip
WAITER = _object(
    waiter=TEXT, host=TEXT, pid=NUMBER, state=TEXT, pause_reason=_or_null(TEXT), since=TEXT, heartbeat=TEXT,
    heartbeat_age_s=NUMBER, slots=COUNT, busy=COUNT, claimed=COUNT, rate=NUMBER, delivered=COUNT, failed=COUNT,
    memory=COUNT, load=NUMBER, waits_for=_or_null(TEXT), running=TEXTS, command=_or_null(TEXT),
    command_hash=_or_null(TEXT), version=_or_null(TEXT),
)  # fmt: skip
BATCH = _object(
    id=TEXT, name=_or_null(TEXT), source=TEXT, command=_or_null(TEXTS), is_reserved=FLAG, weight=_or_null(NUMBER),
    paused=_or_null(TEXT), after=TEXTS, after_any=TEXTS, after_row=_or_null(TEXT), waiting=_or_null(TEXT),
    loaded_at=TEXT, is_complete=FLAG, counts=COUNTS, running=COUNT, claimed=COUNT, rate=NUMBER, eta=_or_null(NUMBER),
)  # fmt: skip
STATUS = _object(
    kitchen=TEXT, total=COUNT, counts=COUNTS, oldest_running={"type": ["object", "null"]}, running=COUNT,
    claimed=COUNT, waiters=COUNT, rate=NUMBER, eta=RANGE, eta_words=_or_null(TEXT), commands=COUNTS,
    latest_command=_or_null(TEXT), last_hour=_object(done=COUNT, failed=COUNT, mean=_or_null(NUMBER)),
)  # fmt: skip
STATUS["properties"] |= {  # where they apply
    "waiting": {"type": "array", "items": {"type": "object"}},
    "cost": {"type": "array", "items": {"type": "object"}},
    "paused": {"type": "array", "items": {"type": "object"}},
    "with_more_hosts": _object(hosts=COUNT, eta=RANGE, eta_words=_or_null(TEXT)),
}
ORDERS = _list_of("orders", _order(LIGHT_COLUMNS))


def _option(name: str, description: str, schema: Schema = TEXT) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _limit(usual: int) -> Schema:
    return _option("limit", "At most so many orders.", {**COUNT, "minimum": 1, "maximum": MOST, "default": usual})


SELECTING = [
    _option("id", "Orders of these ids. Repeatable.", TEXTS),
    _option("status", f"{STATUS_WORDS}. Repeatable.", TEXTS),
    _option("batch", "Orders of this batch: its id or name."),
    _option("waiter", "Orders that this waiter has or had last."),
    _option("host", "Orders delivered on this host."),
    _option("since", "Started or stopped within this time, e.g. 10m."),
    _option("longer-than", "Ran, or have been running, longer."),
    _option("match", "Some argument contains this."),
    _option("like", "Failures of this group."),
    _option("except-command", "Delivered by another version of the command."),
]
SORT = _option("sort", "What to sort by; with a minus the other way round.", {**TEXT, "enum": list(SORTS)})
AFTER = _option("after", "Where the next orders begin, as the header Link of an answer says it.")
ALL = _option("all", "1: all of them.", {"type": "string", "enum": ["", "0", "1", "false", "true"]})
LINES = _option("lines", "So many last lines of each example.", {**COUNT, "default": 3})

VERBS: Mapping[str, tuple[str, list[Schema], Schema]] = {
    "status": (
        "How many orders stand where, and when they will be done.",
        [SELECTING[2], _option("more-hosts", "When would it end with so many hosts more?", {**COUNT, "minimum": 1})],
        STATUS,
    ),
    "orders": ("Orders, in short.", [*SELECTING, SORT, _limit(50), AFTER], ORDERS),
    "show": (
        "Everything about some orders; about one if its id is given.",
        [*SELECTING, SORT, _limit(10)],
        {"anyOf": [WHOLE, _list_of("orders", WHOLE)]},
    ),
    "errors": (
        "Failures, grouped by what went wrong.",
        [*SELECTING, _option("limit", "At most so many groups.", {**COUNT, "minimum": 1}), LINES],
        _list_of("groups", GROUP),
    ),
    "waiters": ("Who is at work, and with `all` who has left.", [ALL], _list_of("waiters", WAITER)),
    "batches": ("The latest batches, or all: how far, how fast.", [ALL], _list_of("batches", BATCH)),
}
ERROR = {"description": "Why not.", "content": {"application/json": {"schema": _object(error=TEXT)}}}


def _operation(verb: str) -> Schema:
    summary, options, answer = VERBS[verb]
    said = {"description": f"What `waiter {verb} --json` prints.", "content": {"application/json": {"schema": answer}}}
    answers = {"200": said, **dict.fromkeys(("400", "500", "503"), ERROR), "401": {"description": "Without the token."}}
    return {"operationId": verb, "summary": summary, "parameters": options, "responses": answers}


DESCRIPTION: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "Waiter",
        "version": __version__,
        "description": "`/api/VERB` answers what `waiter VERB --json` prints; the verb's options are the query.",
    },
    "paths": {f"/api/{verb}": {"get": _operation(verb)} for verb in VERBS},
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{"token": []}],
}
