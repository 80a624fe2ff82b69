"""Let paused waiters go on: one, or all.

\b
waiter resume
waiter resume ip-10-0-3-7/4711
"""

from __future__ import annotations

import click

from waiter.cli.console import show_changed
from waiter.cli.options import (
    check_waiter_is_at_work,
    json_option,
    open_kitchen_or_exit,
    with_settings,
)
from waiter.report.formatting import plural
from waiter.settings import Settings


@click.command(help=__doc__)
@click.argument("waiter", required=False, metavar="[WAITER]")
@json_option
@with_settings
def resume(settings: Settings, waiter: str | None, is_json: bool) -> int:
    with open_kitchen_or_exit(settings) as kitchen:
        check_waiter_is_at_work(kitchen, waiter)
        changed = kitchen.resume(waiter)
    return show_changed("resumed", changed, is_json, f"Resumed: {plural(changed, 'waiter')}.")
