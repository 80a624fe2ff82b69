"""Delete orders: all of them, or those that are selected.

\b
waiter clean
waiter clean --batch night --status DONE
"""

from __future__ import annotations

import click

from waiter.cli.console import LOOKING, confirm, said_if_long, say
from waiter.cli.options import Selection, open_kitchen_or_exit, resolve_selector, selecting, with_settings
from waiter.cli.progress import changing
from waiter.cli.tables import show_json
from waiter.errors import KitchenMissing
from waiter.kitchen.address import shown
from waiter.orders import Selector
from waiter.report.formatting import format_counts, plural
from waiter.settings import Settings


@click.command(help=__doc__)
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def clean(settings: Settings, selection: Selection, yes: bool, is_json: bool) -> int:
    try:
        kitchen = open_kitchen_or_exit(settings)
    except KitchenMissing:  # as clean as can be
        where = f" into {shown(settings.kitchen)}" if settings.kitchen else ""
        show_json({"deleted": 0}) if is_json else say(f"Deleted 0 orders: nothing was loaded{where} yet.")
        return 0
    with kitchen:
        selector = resolve_selector(kitchen, selection)
        with said_if_long(LOOKING):
            counts = kitchen.counts(selector)
        question = f"Delete {plural(counts.total, 'order')} ({format_counts(counts)}) from {kitchen.url}?"
        is_agreed = not counts.total or confirm(question, is_yes=yes)
        with changing("Deleting", counts.total) as told:
            deleted = kitchen.clean(None if selector == Selector() else selector, told=told) if is_agreed else 0
    if is_json:
        show_json({"deleted": deleted})
    elif is_agreed:
        say(f"Deleted {plural(deleted, 'order')} from {kitchen.url}.")
    return 0
