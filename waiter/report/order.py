"""One order as JSON: what `show --json` and `orders --json` print."""

from __future__ import annotations

from collections.abc import Sequence

from waiter.durations import format_duration
from waiter.orders import Event, Order, Shift, Status
from waiter.report import columns
from waiter.report.command_line import line_by_hand

LIGHT_COLUMNS = tuple(name for name in columns.COLUMNS if name not in columns.NEED_WHOLE)


def took(order: Order, now: float) -> str:
    """How long it ran (the last time), or has been running."""
    if order.start is None:
        return ""
    return format_duration(
        max(0.0, (now if order.status is Status.RUNNING else order.stop or order.start) - order.start)
    )


def printable_record(record: dict[str, object]) -> dict[str, object]:
    return {key: columns.printable(v) if isinstance(v, str) else v for key, v in record.items()}


def order_facts(order: Order, shifts: Sequence[Shift]) -> dict[str, object]:
    """What `show --json` says: all columns of `extract`, and what does not fit into a table."""
    return {
        **printable_record(columns.record(order, tuple(columns.COLUMNS))),
        "named": dict(order.named),
        "shift": order.shift,
        "is_cancel_asked": order.is_cancel_asked,
        "history": [event_facts(event) for event in order.history],
        "late": [event_facts(event) for event in order.late],
        "command_line": line_by_hand(order, shifts),
    }


def event_facts(event: Event) -> dict[str, object]:
    """An event as JSON; what does not apply is left out."""
    values: dict[str, object] = {name: getattr(event, name) for name in Event.__slots__}
    values |= {name: columns.timestamp(getattr(event, name)) for name in ("at", "start", "stop")}
    return {name: value for name, value in values.items() if value is not None}
