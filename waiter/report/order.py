"""One order in words, as `show` and the page have it, and as JSON: what `show --json` and `orders --json` print."""

from __future__ import annotations

from collections.abc import Sequence

from waiter.durations import format_duration
from waiter.orders import HELD, Event, Order, Shift, Status
from waiter.report import columns
from waiter.report.command_line import line_by_hand
from waiter.report.failures import how
from waiter.report.formatting import clock_time, size

LIGHT_COLUMNS = tuple(name for name in columns.COLUMNS if name not in columns.NEED_WHOLE)


def took(order: Order, now: float) -> str:
    """How long it ran (the last time), or has been running."""
    if order.start is None:
        return ""
    return format_duration(
        max(0.0, (now if order.status is Status.RUNNING else order.stop or order.start) - order.start)
    )


def facts_in_words(order: Order, now: float) -> list[tuple[str, str]]:
    """What is known of the order, by name; empty: it does not apply."""
    by = " on ".join(filter(None, (order.waiter, order.host)))
    counted = [f"{n} {what}" for n, what in ((order.failures, "failed"), (order.losses, "lost")) if n]
    return [
        ("batch", f"{order.batch}, row {order.row}"),
        ("priority", str(order.priority or "")),
        ("attempt", f"{order.attempt}{' (' + ', '.join(counted) + ')' if counted else ''}" if order.attempt else ""),
        ("due", f"in {format_duration(order.due - now)}" if order.due and now < order.due < HELD else ""),
        ("waiter", by),
        ("started", clock_time(order.start, now)),
        ("stopped", clock_time(order.stop, now)),
        ("took", took(order, now)),
        ("ended", how(order.reason, order.exit_code, order.signal)),
        ("error", order.error or ""),
        ("group", order.error_group or ""),
        ("memory", size(order.peak_memory)),
        ("command", order.command or ""),
    ]


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
