"""Batches: which command each is for, how far it is, how fast.

\b
waiter batches
waiter batches --json | jq '.batches[] | select(.counts.ERROR > 0)'
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence

import click

from waiter.cli.console import LOOKING, said_if_long, say
from waiter.cli.options import json_option, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json, show_table
from waiter.delivery.batch_scope import command_line
from waiter.orders import Batch, BatchProgress, Status
from waiter.report.batches import RECENT_S, time_left
from waiter.report.claimed import claimed_by_batch
from waiter.report.formatting import clock_time, escape_control, plural, truncate
from waiter.report.json_answers import LATEST_BATCHES, batches_answer
from waiter.report.waiting import WAITING, WaitingBatch, counts_by_word, waiting_batches
from waiter.settings import Settings


@click.command(help=__doc__)
@click.option("--all", "is_all", is_flag=True, help=f"All batches. Without it the latest {LATEST_BATCHES}.")
@json_option
@with_settings
def batches(settings: Settings, is_all: bool, is_json: bool) -> int:
    with open_kitchen_or_exit(settings) as kitchen:
        if is_json:
            with said_if_long(LOOKING):
                answer = batches_answer(kitchen, is_all=is_all)
            show_json(answer)
            return 0
        with said_if_long(LOOKING):
            progress = kitchen.batch_progress(RECENT_S)
        found, now, shifts = kitchen.batches(), kitchen.now(), kitchen.shifts()
        waiting = {one.id: one for one in waiting_batches(kitchen)}
    claimed = claimed_by_batch({id: one.counts[Status.RUNNING] for id, one in progress.items()}, shifts, now)
    shown = found if is_all else found[-LATEST_BATCHES:]
    if not found:
        say("No batches: load something first.")
        return 0
    counted = ["READY", *([WAITING] if waiting else []), "RUNNING"]
    counted += [*(["claimed"] if any(claimed.values()) else []), "DONE", "ERROR"]
    header = ["BATCH", "COMMAND", *counted, "RATE", "LEFT", "LOADED"]
    rows = [
        [
            *_row(batch, _counts(progress.get(batch.id), claimed.get(batch.id, 0), waiting.get(batch.id)), counted),
            *time_left(progress.get(batch.id)),
            clock_time(batch.loaded_at, now),
        ]
        for batch in shown
    ]
    show_table(header, rows, right=range(2, 3 + len(counted)))
    for batch in shown:
        if batch.pause_reason is not None:
            name = batch.name or batch.id
            say(f"{name} is paused: {batch.pause_reason}\nhint: to go on: waiter resume --batch {shlex.quote(name)}")
        if batch.id in waiting:
            say(str(waiting[batch.id]))
    if len(shown) < len(found):
        say(f"{plural(len(found) - len(shown), 'older batch')} not shown\nhint: --all shows them")
    return 0


def _counts(progress: BatchProgress | None, claimed: int, waiting: WaitingBatch | None) -> dict[str, int]:
    """How many orders stand where, in words; nothing for a batch of which nothing is known."""
    if progress is None:
        return {}
    by_word = counts_by_word(progress.counts, [waiting] if waiting else [])
    return {WAITING: 0, **by_word, "claimed": claimed, "RUNNING": by_word["RUNNING"] - claimed}


def _row(batch: Batch, counts: Mapping[str, int], counted: Sequence[str]) -> list[str]:
    weight = f" (weight {batch.weight})" if batch.weight is not None else ""
    command = escape_control(command_line(batch.command)) if batch.command else "-"
    is_whole = not sys.stdout.isatty()  # whoever reads it has no width: grep finds what stands at the end, too
    return [
        batch.name or batch.id if is_whole else truncate(batch.name or batch.id, 20),
        command + weight if is_whole else truncate(command + weight, 24),
        *(f"{counts[word]:,}" if counts else "" for word in counted),
    ]
