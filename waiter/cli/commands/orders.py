"""List orders. `extract` writes all of them to a file.

\b
waiter orders --status RUNNING --longer-than 10m
waiter orders --status ERROR --host ip-10-0-3-7 --sort=-stop --limit 5
"""

from __future__ import annotations

import json
import sys

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
from waiter.cli.tables import show_json, show_table
from waiter.orders import Order
from waiter.report.formatting import clock_time, escape_control, truncate, truncate_left
from waiter.report.json_answers import orders_answer
from waiter.report.order import took
from waiter.report.waiting import waiting_batches, word_of
from waiter.settings import Settings


@click.command(help=__doc__, cls=GroupedOptions)
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@listing(50, "age")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def orders(settings: Settings, selection: Selection, sort: str, limit: int, is_json: bool) -> int:  # fmt: skip
    with open_kitchen_or_exit(settings) as kitchen:
        now = kitchen.now()
        with said_if_long(LOOKING):
            found = list(
                kitchen.find(resolve_selector(kitchen, selection), sort=sort, limit=limit if is_json else limit + 1)
            )
        waiting = {one.id: one for one in waiting_batches(kitchen)}
    if is_json:
        show_json(orders_answer(found))
        return 0
    if not found:
        say("No such orders.")
        return 0
    is_whole = not sys.stdout.isatty()  # whoever reads it has no width: grep finds what stands at the end, too
    rows = [_row(order, now, word_of(order, waiting), is_whole=is_whole) for order in found[:limit]]
    show_table(["ORDER", "STATUS", "STARTED", "TOOK", "WAITER", "ARGUMENTS"], rows)
    for batch in dict.fromkeys(order.batch for order in found[:limit] if order.batch in waiting):
        say(f"{waiting[batch]}.")
    if len(found) > limit:
        say(f"The first {limit:,}; there are more: --limit shows them, `waiter extract` writes all.")
    return 0


def _row(order: Order, now: float, status: str, *, is_whole: bool) -> list[str]:
    arguments = " ".join(json.dumps(a, ensure_ascii=False) if _is_odd(a) else a for a in order.arguments)
    name = order.waiter or ""
    return [
        order.id,
        status,
        clock_time(order.start, now),
        took(order, now),
        escape_control(name) if is_whole else truncate_left(name, 16),
        escape_control(arguments) if is_whole else truncate(escape_control(arguments), 24),
    ]


def _is_odd(argument: str) -> bool:
    return not argument or any(character.isspace() for character in argument)
