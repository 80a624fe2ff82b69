"""Orders and shifts as rows of SQLite tables, and selectors as conditions on them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from waiter.orders import Event, Order, Outcome, Reason, Selector, Shift, Status, Vitals

ROW_BITS = 32
"""An order's seq is its batch's number, and below these bits its row."""

LIGHT = (
    "seq, batches.id AS batch, arguments, names, status, orders.priority, attempt, failures, losses, due, waiter, "
    "host, shift, is_cancel_asked, start, stop, exit_code, signal, reason, error, error_group, command, peak_memory"
)
WHOLE = LIGHT + ", tail, result, history, late"
FROM = f"FROM orders JOIN batches ON batches.number = seq >> {ROW_BITS}"

SORTS = {
    "age": "seq",
    "start": "start",
    "stop": "stop",
    "duration": "stop - start",
}


def text(value: str | None) -> str | None:
    """Text that SQLite takes: what is no UTF-8 is shown as a replacement character."""
    return None if value is None else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def order_from(row: sqlite3.Row) -> Order:
    facts = dict(row)
    seq, batch = facts.pop("seq"), facts["batch"]
    number = seq & ((1 << ROW_BITS) - 1)
    names = facts["names"]
    facts |= {
        "id": f"{batch}-{number}",
        "row": number,
        "arguments": tuple(json.loads(facts["arguments"])),
        "names": None if names is None else tuple(json.loads(names)),
        "status": Status(facts["status"]),
        "reason": reason_from(facts["reason"]),
        "is_cancel_asked": bool(facts["is_cancel_asked"]),
        "history": events_from(facts.get("history")),
        "late": events_from(facts.get("late")),
    }
    return Order(**facts)


def reason_from(value: str | None) -> Reason | None:
    return None if value is None else Reason(value)


def events_from(value: str | None) -> tuple[Event, ...]:
    if value is None:
        return ()
    return tuple(
        Event(**{**event, "status": Status(event["status"]), "reason": reason_from(event.get("reason"))})
        for event in json.loads(value)
    )


def appended(events: str | None, event: Event) -> str:
    """The JSON list with one more event; fields that say nothing are left out."""
    facts = {name: value for name in Event.__slots__ if (value := getattr(event, name)) is not None}
    added = json.dumps(facts)
    return f"[{added}]" if events is None else f"{events[:-1]},{added}]"


def finish_event(outcome: Outcome, shift: Shift, at: float) -> Event:
    return Event(
        what="finish",
        at=at,
        status=outcome.status,
        attempt=outcome.attempt,
        shift=shift.token,
        waiter=text(shift.waiter),
        start=outcome.start,
        stop=outcome.stop,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        reason=outcome.reason,
        error=text(outcome.error),
        command=outcome.command,
    )


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


def seq_of(order_id: str, numbers: dict[str, int]) -> int | None:
    """The seq of an order id, None if it cannot be one."""
    batch, _, row = order_id.rpartition("-")
    if batch not in numbers or not row.isascii() or not row.isdigit():
        return None
    return (numbers[batch] << ROW_BITS) + int(row)


def condition(selector: Selector | None, batches: Sequence[sqlite3.Row], now: float) -> tuple[str, list[Any]]:
    """The WHERE of a selector with its parameters. Batches that do not exist match nothing."""
    if selector is None:
        return "1", []
    parts: list[str] = []
    values: list[Any] = []

    def hold(sql: str, *parameters: Any) -> None:
        parts.append(sql)
        values.extend(parameters)

    numbers = {batch["id"]: int(batch["number"]) for batch in batches}
    if selector.ids:
        seqs = [seq for order_id in selector.ids if (seq := seq_of(order_id, numbers)) is not None]
        hold("seq IN (SELECT value FROM json_each(?))", json.dumps(seqs))
    if selector.statuses:
        hold(f"status IN ({', '.join('?' * len(selector.statuses))})", *(status.value for status in selector.statuses))
    if selector.batch is not None:
        chosen = [int(batch["number"]) for batch in batches if selector.batch in (batch["id"], batch["name"])]
        spans = " OR ".join(f"seq BETWEEN {n << ROW_BITS} AND {((n + 1) << ROW_BITS) - 1}" for n in chosen)
        hold(f"({spans or '0'})")
    for column in ("waiter", "host", "error_group"):
        if (wanted := getattr(selector, column)) is not None:
            hold(f"{column} = ?", text(wanted))
    if selector.since is not None:
        hold("(start >= ? OR stop >= ?)", selector.since, selector.since)
    if selector.longer_than_s is not None:
        hold("CASE status WHEN 'RUNNING' THEN ? ELSE stop END - start > ?", now, selector.longer_than_s)
    if selector.match is not None:
        hold("some_argument_has(arguments, ?)", json.dumps(selector.match))
    if selector.except_command is not None:
        hold("command <> ?", selector.except_command)
    return " AND ".join(parts) or "1", values


def some_argument_has(arguments: str, needle: str) -> bool:
    """SQL function: both are JSON, so that surrogate escapes pass through SQLite."""
    wanted = json.loads(needle)
    return any(wanted in argument for argument in json.loads(arguments))
