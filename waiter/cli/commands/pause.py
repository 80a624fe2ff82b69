"""Let waiters take no new orders; what runs goes on. Without a name all, those to come included.

\b
waiter pause --reason "disk is full"
waiter pause ip-10-0-3-7/4711
waiter pause --batch night           waiters go on with other batches
"""

from __future__ import annotations

import click

from waiter.cli.console import show_changed
from waiter.cli.options import (
    batch_option,
    check_waiter_is_at_work,
    json_option,
    named_batch,
    open_kitchen_or_exit,
    refuse_both,
    with_settings,
)
from waiter.report.formatting import plural
from waiter.settings import Settings


@click.command(help=__doc__)
@click.argument("waiter", required=False, metavar="[WAITER]")
@batch_option("Orders of this batch, instead of a waiter.")
@click.option("--reason", metavar="TEXT", help="Why: `waiter waiters` shows it.")
@json_option
@with_settings
def pause(settings: Settings, waiter: str | None, batch: str | None, reason: str | None, is_json: bool) -> int:
    refuse_both(waiter, batch)
    with open_kitchen_or_exit(settings) as kitchen:
        if batch is not None:
            kitchen.amend_batch(named_batch(kitchen, batch).id, pause_reason=reason or "paused by hand")
            return show_changed("paused", 1, is_json, f"Paused: no waiter takes orders of batch {batch}.")
        check_waiter_is_at_work(kitchen, waiter)
        changed = kitchen.pause(waiter, reason)
    later = "" if waiter else ", and those to come,"
    return show_changed(
        "paused",
        changed,
        is_json,
        f"Paused: {plural(changed, 'waiter')}{later} will take no order until `waiter resume`.",
    )
