"""The files in which `run` keeps its orders.

One for each run without --kitchen, the latest first. Every verb sees one with -k FILE.

\b
waiter runs
waiter runs --json | jq -r '.runs[0].kitchen'
waiter status -k "$(waiter runs --json | jq -r '.runs[0].kitchen')"
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from waiter.cli.console import say
from waiter.cli.options import json_option
from waiter.cli.tables import show_json, show_table
from waiter.delivery.batch_scope import command_line
from waiter.orders import Status
from waiter.past_runs import PastRun, Progress, past_runs, progress_of
from waiter.report.columns import timestamp
from waiter.report.formatting import clock_time, plural, truncate

SHOWN = 20
"""So many of the latest runs are listed without --all."""


@click.command(help=__doc__)
@click.option("--all", "is_all", is_flag=True, help=f"All runs. Without it the latest {SHOWN}.")
@json_option
def runs(is_all: bool, is_json: bool) -> int:
    found = past_runs()
    shown = found if is_all else found[:SHOWN]
    if is_json:
        show_json({"runs": [_facts(run, progress_of(run)) for run in shown]})
        return 0
    if not found:
        say("No runs: `waiter run` without --kitchen keeps each in a file of its own for some time.")
        return 0
    header = ["RUN", "BEGUN", "INPUT", "COMMAND", "LEFT", "DONE", "ERROR"]
    show_table(header, [_row(run, progress_of(run)) for run in shown], right=(4, 5, 6))
    say(f"To see one: waiter status -k {found[0].path.parent}/RUN.sqlite")
    if len(shown) < len(found):
        say(f"{plural(len(found) - len(shown), 'older run')} not shown\nhint: --all shows them")
    return 0


def _row(run: PastRun, progress: Progress | None) -> list[str]:
    notes = run.notes
    return [
        run.path.stem,
        clock_time(notes.begun, time.time()),
        truncate(Path(notes.input).name if notes.input else "?", 14),
        truncate(command_line(notes.command) if notes.command else "?", 20),
        *_counts(progress),
    ]


def _counts(progress: Progress | None) -> list[str]:
    if progress is None:
        return ["?"] * 3
    counts = progress.counts
    return [f"{n:,}" for n in (counts.total - counts.finished, counts[Status.DONE], counts[Status.ERROR])]


def _facts(run: PastRun, progress: Progress | None) -> dict[str, object]:
    notes = run.notes
    counts = None if progress is None else {status.value: progress.counts[status] for status in Status}
    return {
        "kitchen": str(run.path),
        "input": notes.input,
        "command": None if notes.command is None else list(notes.command),
        "folder": notes.folder,
        "begun": timestamp(notes.begun),
        "age_s": round(max(0.0, time.time() - notes.begun), 1),
        "kept_until": timestamp(run.kept_until),
        "is_at_work": progress is not None and progress.is_at_work,
        "total": None if progress is None else progress.counts.total,
        "counts": counts,
    }
