"""Everything about one order: arguments, attempts, output, result. And how to try it by hand.

\b
waiter show 7f2e90c14ab3-17
waiter show --status RUNNING --sort start --limit 1     the longest running
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from waiter.cli.console import LOOKING, said_if_long, say
from waiter.cli.help_groups import GroupedOptions
from waiter.cli.options import (
    Selection,
    listing,
    open_kitchen_or_exit,
    resolve_selector,
    selecting,
    with_settings,
)
from waiter.cli.tables import show_json, write_line
from waiter.durations import format_duration
from waiter.errors import UsageError
from waiter.orders import Event, Order, Selector, Shift
from waiter.report.command_line import line_by_hand
from waiter.report.failures import how
from waiter.report.formatting import clock_time, escape_control, plural
from waiter.report.json_answers import show_answer
from waiter.report.order import facts_in_words
from waiter.report.waiting import WaitingBatch, waiting_batches, why_waits, word_of
from waiter.settings import Settings


@click.command(help=__doc__, cls=GroupedOptions)
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@listing(10, "age")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def show(settings: Settings, selection: Selection, sort: str, limit: int, is_json: bool) -> int:  # fmt: skip
    with open_kitchen_or_exit(settings) as kitchen:
        now = kitchen.now()
        selector = resolve_selector(kitchen, selection)
        if selector == Selector():
            raise UsageError("show: name an order, for example: waiter show --status ERROR --limit 1")
        with said_if_long(LOOKING):
            found = list(kitchen.find(selector, sort=sort, limit=limit, with_details=True))
        if is_json:
            show_json(show_answer(kitchen, found, is_one=len(selection.ids) == 1))
            return 0
        shifts = kitchen.shifts(include_left=True)
        waiting = {one.id: one for one in waiting_batches(kitchen)}
    if not found:
        say("No such orders.")
    for number, order in enumerate(found):
        if number:
            write_line()
        _show_order(order, shifts, waiting, now)
    return 0


def _show_order(order: Order, shifts: Sequence[Shift], waiting: Mapping[str, WaitingBatch], now: float) -> None:
    word = word_of(order, waiting)
    write_line(f"{order.id}  {word}{', a cancel was asked' if order.is_cancel_asked else ''}")
    names = order.names or [str(number) for number in range(1, len(order.arguments) + 1)]
    for name, argument in zip(names, order.arguments, strict=True):
        write_line(f"  {name}: {argument}")
    for title, value in [("waiting", why_waits(order, waiting)), *facts_in_words(order, now)]:
        if value:
            write_line(f"{title + ':':<12}{value}")
    for title, events in (("history", order.history), ("late", order.late)):
        if events:
            write_line(f"{title}:")
        for event in events:
            write_line(f"  {_event_line(event, now)}")
    for heading, text in (("result", order.result), ("output", order.tail)):
        if text:
            write_line(f"{heading}:")
            for line in escape_control(text).splitlines():
                write_line(f"  | {line}")
    if by_hand := line_by_hand(order, shifts):
        write_line(f"by hand:    {by_hand}")


def _event_line(event: Event, now: float) -> str:
    if event.dropped is not None:
        return f"… {plural(event.dropped, 'event')} up to {clock_time(event.at, now)}: not kept"
    parts = [f"{clock_time(event.at, now)}  {event.what}, attempt {event.attempt}: {event.status.value}"]
    if event.error or (ended := how(event.reason, event.exit_code, event.signal)):
        parts.append(event.error or ended)
    if event.start is not None and event.stop is not None:
        parts.append(f"after {format_duration(max(0.0, event.stop - event.start))}")
    if event.waiter and event.what in ("finish", "lost"):
        parts.append(f"{'by' if event.what == 'finish' else 'with'} {event.waiter}")
    return ", ".join(parts)
