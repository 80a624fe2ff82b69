"""Batches: which command each is for, how far it is, how fast.

\b
waiter batches
waiter batches --json | jq '.batches[] | select(.counts.ERROR > 0)'
"""

from __future__ import annotations

import click

from waiter.cli.console import say
from waiter.cli.options import json_option, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json, show_table
from waiter.delivery.batch_scope import command_line
from waiter.orders import Batch, BatchProgress, Status
from waiter.report.batches import RECENT_S, batch_facts, time_left
from waiter.report.formatting import clock_time, escape_control, plural, truncate
from waiter.settings import Settings

SHOWN = 20
"""So many of the latest batches are listed without --all."""


@click.command(help=__doc__)
@click.option("--all", "is_all", is_flag=True, help=f"All batches. Without it the latest {SHOWN}.")
@json_option
@with_settings
def batches(settings: Settings, is_all: bool, is_json: bool) -> int:
    with open_kitchen_or_exit(settings) as kitchen:
        progress = kitchen.batch_progress(RECENT_S)
        found, now = kitchen.batches(), kitchen.now()
    shown = found if is_all else found[-SHOWN:]
    if is_json:
        show_json({"batches": [batch_facts(batch, progress.get(batch.id)) for batch in shown]})
        return 0
    if not found:
        say("No batches: load something first.")
        return 0
    header = ["BATCH", "COMMAND", "READY", "RUNNING", "DONE", "ERROR", "RATE", "LEFT", "LOADED"]
    show_table(header, [_row(batch, progress.get(batch.id), now) for batch in shown], right=(2, 3, 4, 5, 6))
    for batch in shown:
        if batch.pause_reason is not None:
            say(f"{batch.name or batch.id} is paused: {batch.pause_reason}")
    if len(shown) < len(found):
        say(f"{plural(len(found) - len(shown), 'older batch')} not shown\nhint: --all shows them")
    return 0


def _row(batch: Batch, progress: BatchProgress | None, now: float) -> list[str]:
    counts = [f"{progress.counts[status]:,}" if progress else "" for status in _COUNTED]
    weight = f" (weight {batch.weight})" if batch.weight is not None else ""
    command = escape_control(command_line(batch.command)) if batch.command else "-"
    return [
        truncate(batch.name or batch.id, 20),
        truncate(command + weight, 24),
        *counts,
        *time_left(progress),
        clock_time(batch.loaded_at, now),
    ]


_COUNTED = (Status.READY, Status.RUNNING, Status.DONE, Status.ERROR)
