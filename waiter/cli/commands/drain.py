"""Ask a waiter to finish its running orders and leave.

\b
waiter drain ip-10-0-3-7/4711
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
from waiter.settings import Settings


@click.command(help=__doc__)
@click.argument("waiter", metavar="WAITER")
@json_option
@with_settings
def drain(settings: Settings, waiter: str, is_json: bool) -> int:
    with open_kitchen_or_exit(settings) as kitchen:
        check_waiter_is_at_work(kitchen, waiter)
        changed = kitchen.drain(waiter)
    return show_changed("draining", changed, is_json, f"{waiter} finishes its running orders and leaves.")
