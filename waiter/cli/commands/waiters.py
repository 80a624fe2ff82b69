"""Who is at work. Waiters are alive, late (no heartbeat for 45 s), lost, paused or draining.

\b
waiter waiters
waiter waiters --json | jq '.waiters[] | select(.state == "lost")'
"""

from __future__ import annotations

import click

from waiter.cli.console import say
from waiter.cli.options import open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json, show_table
from waiter.orders import Shift
from waiter.report.capacity import average_rate, state
from waiter.report.formatting import per_second, size, truncate_left
from waiter.report.json_answers import waiters_answer
from waiter.settings import Settings


@click.command(help=__doc__)
@click.option("--all", "is_all", is_flag=True, help="Waiters that have left, too.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def waiters(settings: Settings, is_all: bool, is_json: bool) -> int:
    with open_kitchen_or_exit(settings) as kitchen:
        if is_json:
            show_json(waiters_answer(kitchen, is_all=is_all))
            return 0
        now = kitchen.now()
        shifts = kitchen.shifts(include_left=is_all)
    if not shifts:
        say("No waiter is at work. Start one: waiter deliver CMD…")
        return 0
    header = ["WAITER", "STATE", "BUSY", "RATE", "DONE", "FAILED", "MEMORY", "LOAD"]
    rows = [_waiter_row(shift, now) for shift in shifts]
    if any(shift.vitals.claimed for shift in shifts):
        header.insert(3, "CLAIMED")
        rows = [[*row[:3], f"{shift.vitals.claimed:,}", *row[3:]] for row, shift in zip(rows, shifts, strict=True)]
    versions = [shift.vitals.command_hash or "" for shift in shifts]
    if is_mixed := len(set(versions)) > 1:  # else a column would say the same in each line
        header, rows = [*header, "COMMAND"], [[*row, version] for row, version in zip(rows, versions, strict=True)]
    show_table(header, rows, right=range(2, 9))
    if versions[0] and not is_mixed:
        say(f"Version of the command: {versions[0]}.")
    for shift in shifts:
        if shift.is_paused and shift.pause_reason:
            say(f"{shift.waiter} is paused: {shift.pause_reason}")
        elif shift.vitals.waits_for and state(shift, now) == "alive":
            say(f"{shift.waiter} waits for {shift.vitals.waits_for}")
    return 0


def _waiter_row(shift: Shift, now: float) -> list[str]:
    vitals = shift.vitals
    return [
        truncate_left(shift.waiter, 22),
        state(shift, now),
        f"{vitals.busy}/{vitals.slots}",
        per_second(average_rate(shift, now)),
        f"{vitals.delivered:,}",
        f"{vitals.failed:,}",
        size(vitals.memory),
        f"{vitals.load:.1f}",
    ]
