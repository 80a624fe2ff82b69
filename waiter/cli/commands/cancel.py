"""Cancel orders: no waiter takes them any more.

READY ones end at once; those that run get TERM with their waiter's next heartbeat.

\b
waiter cancel                        all that is READY or RUNNING
waiter cancel --batch night --yes
waiter cancel --status RUNNING --longer-than 2h
"""

from __future__ import annotations

from dataclasses import replace

import click

from waiter.cli.console import LOOKING, confirm, said_if_long, say
from waiter.cli.options import (
    Selection,
    json_option,
    open_kitchen_or_exit,
    resolve_selector,
    selecting,
    with_settings,
)
from waiter.cli.progress import changing
from waiter.cli.tables import show_json
from waiter.orders import Counts, Status
from waiter.report.formatting import format_counts, plural
from waiter.settings import Settings


@click.command(help=__doc__)
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@with_settings
def cancel(settings: Settings, selection: Selection, yes: bool, is_json: bool) -> int:
    with open_kitchen_or_exit(settings) as kitchen:
        selector = resolve_selector(kitchen, selection)
        if not selector.statuses and selector.waiting is None:
            selector = replace(selector, statuses=(Status.READY, Status.RUNNING))
        with said_if_long(LOOKING):
            counts = kitchen.counts(selector)
        ready, running = counts[Status.READY], counts[Status.RUNNING]
        affected = Counts({status: counts[status] for status in (Status.READY, Status.RUNNING)})
        question = f"Cancel {plural(affected.total, 'order')} ({format_counts(affected)}) in {kitchen.url}?"
        is_agreed = not affected.total or confirm(question, is_yes=yes)
        with changing("Cancelling", affected.total) as told:
            done = kitchen.cancel(selector, told=told) if affected.total and is_agreed else 0
    if is_json:
        show_json({"cancelled": done, "ready": ready, "running": running})
    elif is_agreed and not done:
        say("Nothing to cancel.")
    elif done:
        stopping = "; those that run are stopped with their waiter's next heartbeat" if running else ""
        say(f"Cancelled {plural(done, 'order')}{stopping}.")
    return 0
