"""Let paused waiters go on: one, or all.

\b
waiter resume
waiter resume ip-10-0-3-7/4711
waiter resume --batch night
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
@batch_option("Let waiters take the orders of this batch again.")
@json_option
@with_settings
def resume(settings: Settings, waiter: str | None, batch: str | None, is_json: bool) -> int:
    refuse_both(waiter, batch)
    with open_kitchen_or_exit(settings) as kitchen:
        if batch is not None:
            kitchen.amend_batch(named_batch(kitchen, batch).id, pause_reason=None)
            return show_changed("resumed", 1, is_json, f"Resumed: waiters take orders of batch {batch} again.")
        check_waiter_is_at_work(kitchen, waiter)
        changed = kitchen.resume(waiter)
    return show_changed("resumed", changed, is_json, f"Resumed: {plural(changed, 'waiter')}.")
