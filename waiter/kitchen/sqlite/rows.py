"""Orders and shifts as rows of SQLite tables, and selectors as conditions on them."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from waiter.kitchen.contract import Row
from waiter.kitchen.printable import printable
from waiter.kitchen.selecting import sort_of
from waiter.kitchen.transitions import OF_AN_EVENT
from waiter.light_dataclass import dataclass
from waiter.orders import (
    BINDING,
    EVENTS_KEPT,
    HELD,
    Batch,
    Event,
    Order,
    Reason,
    Selector,
    Shift,
    Status,
    Vitals,
)
from waiter.typed_arguments import kinds_of

ROW_BITS = 32
"""An order's seq is its batch's number, and below these bits its row."""

_COLUMNS = (
    "seq, batches.id AS batch, arguments, names, status, orders.priority, attempt, failures, losses, due, waiter, "
    "host, shift, is_cancel_asked, start, stop, exit_code, signal, reason, error, error_group, {}, command, "
    "peak_memory, {}"
)
WHOLE = _COLUMNS.format("tail, result", "history, late")
LIGHT = _COLUMNS.format("NULL, NULL", "NULL, NULL")
TAKEN = "seq, batches.id, arguments, names, orders.priority, attempt, failures, losses"
FROM = f"FROM orders JOIN batches ON batches.number = seq >> {ROW_BITS}"

_SPANS = 100
"""Of so many batches each is a span of the index; SQLite takes no expression of a thousand."""

_ROWS_AT_ONCE = 5000
_CHARACTERS_AT_ONCE = 1 << 20
_STATUSES = {status.value: status for status in Status}
_ROWS = 1 << ROW_BITS
_EVENT_CHARACTERS = len('{"what":"lost","at":0,"status":"DONE","attempt":1},')
"""No event has fewer: a list that is short enough has room for one more, unread."""

AGE = {"seq ASC": ">", "seq DESC": "<"}
"""The orderings of `order_by` that never change, and which orders come after another in them."""


def order_by(sort: str, now: float) -> str:
    """The ORDER BY of `Kitchen.find`. Raises UsageError."""
    by, is_descending = sort_of(sort)
    direction = "DESC" if is_descending else "ASC"
    column = {"age": "", "duration": f"{duration(now)} {direction}, "}.get(by, f"{by} {direction}, ")
    return f"{column}seq {direction}"


def duration(now: float) -> str:
    """Seconds an order ran, up to now if it is running; NULL if it never ran."""
    return f"iif(status = 'RUNNING', {now!r}, stop) - start"


def order_from(row: Iterable[Any]) -> Order:
    """An order from the columns of LIGHT or WHOLE, which follow its fields."""
    seq, batch, arguments, names, status, priority, attempt, failures, losses, *rest = row
    due, waiter, host, shift, is_cancel_asked, start, stop, exit_code, signal, reason, *rest = rest
    error, error_group, tail, result, command, peak_memory, history, late = rest
    number = seq & (_ROWS - 1)
    return Order(
        f"{batch}-{number}",
        batch,
        number,
        tuple(json.loads(arguments)),
        *_names(names)[:1],
        _STATUSES[status],
        priority,
        attempt,
        failures,
        losses,
        due,
        waiter,
        host,
        shift,
        bool(is_cancel_asked),
        start,
        stop,
        exit_code,
        signal,
        reason_from(reason),
        error,
        error_group,
        tail,
        result,
        command,
        peak_memory,
        events_from(history),
        events_from(late),
        _names(names)[1],
    )


def taken(rows: Iterable[Sequence[Any]], mine: Mapping[str, Any]) -> list[Order]:
    """Orders just claimed, from the columns of TAKEN and what their claim has in common; there is nothing else yet."""
    stored = list(rows)
    all_arguments = json.loads(f"[{','.join([row[2] for row in stored])}]")  # at once, which takes a third of the time
    orders = []
    for row, arguments in zip(stored, all_arguments, strict=True):
        seq, batch, _, names_and_kinds, priority, attempt, failures, losses = row
        number, (names, kinds) = seq & (_ROWS - 1), _names(names_and_kinds)
        whose = (f"{batch}-{number}", batch, number, tuple(arguments), names)
        stands = (Status.RUNNING, priority, attempt, failures, losses)
        orders.append(Order(*whose, *stands, kinds=kinds, **mine))
    return orders


def names_text(row: Row) -> str | None:
    """The column `names` of a row: a list, or, where arguments were no text, an object with their kinds as well."""
    _, arguments, names = row
    kinds = kinds_of(arguments)
    if kinds is None:
        return None if names is None else _names_json(tuple(names))
    return json.dumps({"names": names, "kinds": kinds})


@lru_cache(maxsize=64)
def _names_json(names: tuple[str, ...]) -> str:
    return json.dumps(names)


@lru_cache(maxsize=64)
def _names(text: str | None) -> tuple[tuple[str, ...] | None, str | None]:
    """Names and kinds."""
    if text is None:
        return None, None
    stored = json.loads(text)
    if isinstance(stored, list):
        return tuple(stored), None
    return None if stored["names"] is None else tuple(stored["names"]), stored["kinds"]


def batch_facts(batch: Batch) -> dict[str, Any]:
    """A batch's columns. Its earlier digests stand behind the last one, in the same column."""
    facts = {name: printable(v) if isinstance(v, str) else v for name, v in dataclasses.asdict(batch).items()}
    for field in ("earlier", *BINDING):
        del facts[field]
    return {**facts, "digest": " ".join([batch.digest, *batch.earlier])}


def after_facts(batch: Batch) -> dict[str, Any]:
    """The columns of a batch that say for what its orders wait; none for one that waits for nothing."""
    lists = {"after": batch.after, "after_any": batch.after_any}
    facts: dict[str, Any] = {name: json.dumps(others) for name, others in lists.items() if others}
    words = {"after_row": batch.after_row, "needs_from": printable(batch.needs_from)}
    return facts | {name: word for name, word in words.items() if word}


def batch_from(row: sqlite3.Row) -> Batch:
    facts = dict(row)
    del facts["number"]
    bound_to = facts.pop("bound_to", None)  # a file of before has no such column
    facts["command"] = None if bound_to is None else tuple(json.loads(bound_to))
    facts["is_reserved"] = bool(facts.get("is_reserved"))
    for field in ("after", "after_any"):
        facts[field] = tuple(json.loads(facts.get(field) or "[]"))
    digest, *earlier = facts["digest"].split(" ")
    return Batch(**{**facts, "digest": digest, "earlier": tuple(earlier), "is_complete": bool(facts["is_complete"])})


def portions(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists for one statement each: thousands of short ones, or a few long ones, so memory stays flat."""
    portion: list[Row] = []
    size = 0
    for row in rows:
        portion.append(row)
        size += sum(map(len, row[1]))
        if len(portion) == _ROWS_AT_ONCE or size >= _CHARACTERS_AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def reason_from(value: str | None) -> Reason | None:
    return None if value is None else Reason(value)


def events_from(value: str | None) -> tuple[Event, ...]:
    if value is None:
        return ()
    return tuple(
        Event(**{**event, "status": Status(event["status"]), "reason": reason_from(event.get("reason"))})
        for event in json.loads(value)
    )


def appended(events: str | None, event: str) -> str:
    """SQL function: the JSON list with one more event. A long one keeps the first and the last, see `EVENTS_KEPT`."""
    if events is None:
        return f"[{event}]"
    is_short = len(events) < 2 * EVENTS_KEPT * _EVENT_CHARACTERS
    return f"{(events if is_short else _shortened(events))[:-1]},{event}]"


def _shortened(events: str) -> str:
    """The list with room for one more."""
    kept = json.loads(events)
    if len(kept) < 2 * EVENTS_KEPT:
        return events
    first, between, last = kept[:EVENTS_KEPT], kept[EVENTS_KEPT : 1 - EVENTS_KEPT], kept[1 - EVENTS_KEPT :]
    facts = {field: between[-1][field] for field in ("at", "status", "attempt")}
    # What stands for those dropped before is itself no event.
    count = sum(event.get("dropped", 1) for event in between)
    return json.dumps([*first, {"what": "dropped", **facts, "dropped": count}, *last])


EventWriter = Callable[[Status, int, Mapping[str, Any]], str]
"""Writes an event as JSON: the status after it, the attempt, and what is told of it."""


def finish_event(shift: Shift, at: float) -> EventWriter:
    """Writes the events of outcomes. What all those of a shift have in common is made once."""
    same = {"what": "finish", "at": at, "shift": shift.token, "waiter": printable(shift.waiter)}
    begun = json.dumps(same)[:-1]

    def written(status: Status, attempt: int, told: Mapping[str, Any]) -> str:
        facts = "".join([f', "{name}": {_json(told[name])}' for name in OF_AN_EVENT if name in told])
        return f'{begun}, "status": "{status}", "attempt": {attempt}{facts}}}'

    return written


def _json(fact: Any) -> str:
    # To begin to write JSON takes longer than to write a number.
    return json.dumps(fact) if isinstance(fact, str) else str(fact)


def shift_from(row: sqlite3.Row, steady_to_wall_s: float) -> Shift:
    """A stored shift; leases are stored on the steady clock, and shown on the wall's."""
    facts = dict(row)
    lease_ends = facts.pop("lease_ends")
    for unshown in ("pid_started", "namespace", "boot"):
        facts.pop(unshown)
    vitals = json.loads(facts["vitals"])
    vitals["running"] = tuple(vitals["running"])
    return Shift(
        **{
            **facts,
            "lease_until": lease_ends + steady_to_wall_s,
            "is_paused": bool(facts["is_paused"]),
            "is_draining": bool(facts["is_draining"]),
            "vitals": Vitals(**vitals),
        }
    )


def batches_of_orders(order_ids: Iterable[str]) -> set[str | None]:
    """The ids of the batches that these orders are of."""
    return {printable(order_id.rpartition("-")[0]) for order_id in order_ids}


_ROW = re.compile("0|[1-9][0-9]{0,9}")


def seq_of(order_id: str, numbers: dict[str, int]) -> int | None:
    """The seq of an order id, None if it cannot be one."""
    batch, _, row = order_id.rpartition("-")
    # Only as `order_from` writes it, and never so large that it reaches into the next batch.
    if batch not in numbers or not _ROW.fullmatch(row) or int(row) >= _ROWS:
        return None
    return (numbers[batch] << ROW_BITS) + int(row)


@dataclass(frozen=True, slots=True)
class Condition:
    """A WHERE over orders, and the parameters in it by their names."""

    sql: str
    values: Mapping[str, Any]


EVERYTHING = Condition("1", {})


def named(wanted: str, batches: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """The batches of that id or name."""
    return [batch for batch in batches if printable(wanted) in (batch["id"], batch["name"])]


def condition(selector: Selector, batches: Sequence[sqlite3.Row], now: float) -> Condition:
    """What a selector means. Batches that do not exist match nothing."""
    parts: list[str] = []
    values: dict[str, Any] = {}

    def hold(sql: str, **parameters: Any) -> None:
        parts.append(sql)
        values.update(parameters)

    numbers = {batch["id"]: int(batch["number"]) for batch in batches}
    if selector.ids:
        seqs = [seq for order_id in selector.ids if (seq := seq_of(order_id, numbers)) is not None]
        hold("seq IN (SELECT value FROM json_each(:seqs))", seqs=json.dumps(seqs))
    if selector.statuses or selector.waiting is not None:
        hold(_stands(selector, [numbers[id] for id in map(printable, selector.waiting or ()) if id in numbers]))
    if selector.batch is not None:
        chosen = [int(batch["number"]) for batch in named(selector.batch, batches)]
        if len(chosen) > _SPANS:
            hold(f"seq >> {ROW_BITS} IN (SELECT value FROM json_each(:batches))", batches=json.dumps(chosen))
        else:
            spans = " OR ".join(f"seq BETWEEN {n << ROW_BITS} AND {((n + 1) << ROW_BITS) - 1}" for n in chosen)
            hold(f"({spans or '0'})")
    for column in ("waiter", "host", "error_group"):
        if (wanted := getattr(selector, column)) is not None:
            hold(f"{column} = :{column}", **{column: printable(wanted)})
    if selector.since is not None:
        hold("(start >= :since OR stop >= :since)", since=selector.since)
    if selector.longer_than_s is not None:
        hold(f"{duration(now)} > :longer_than_s", longer_than_s=selector.longer_than_s)
    if selector.match is not None:
        hold(MATCHES, **matching(selector.match))
    if selector.except_command is not None:
        hold("command <> :except_command", except_command=printable(selector.except_command))
    return Condition(" AND ".join(parts) or "1", values)


def _stands(selector: Selector, waiting: Sequence[int]) -> str:
    """What is said of the status; `waiting` are the numbers of batches whose READY orders are meant as well."""
    words = f"status IN ({', '.join(repr(status.value) for status in selector.statuses)})"
    if selector.waiting is None:
        return words
    held = f"due = {HELD!r} OR seq >> {ROW_BITS} IN ({', '.join(map(str, waiting))})"
    return f"({words} OR status = 'READY' AND ({held}))"


MATCHES = "(:plain IS NULL OR instr(arguments, :plain)) AND some_argument_has(arguments, :match)"
"""Some argument contains the words, byte for byte. SQLite itself passes over most that do not, many times as fast."""

_PLAIN = re.compile("[A-Za-z0-9 _.,:;=+@-]+")
"""What stands in JSON as it is, whoever writes it."""


def matching(words: str) -> dict[str, str | None]:
    """The parameters of MATCHES."""
    return {"match": json.dumps(words), "plain": words if _PLAIN.fullmatch(words) else None}


def some_argument_has(arguments: str, needle: str) -> bool:
    """SQL function: both are JSON, so that surrogate escapes pass through SQLite."""
    wanted = json.loads(needle)
    return any(wanted in argument for argument in json.loads(arguments))
