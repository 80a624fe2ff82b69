"""How many orders stand where, and when they will be done.

The end is a range, estimated from the recent rate of the waiters at work.
With --fail-if, for cron and monitoring, it prints only the conditions that hold, in one line, and ends with 1.

\b
waiter status
waiter status --more-hosts 10
waiter status --fail-if 'error>0' --fail-if 'idle>10m'
waiter status --json | jq .counts.DONE
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click

from waiter.cli.console import LOOKING, said_if_long, say
from waiter.cli.help_groups import GroupedOptions
from waiter.cli.options import batch_option, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json, show_table
from waiter.durations import format_duration
from waiter.errors import UsageError
from waiter.kitchen import open_kitchen
from waiter.orders import Status
from waiter.report.conditions import NAMES, describe, measure, parse_condition
from waiter.report.eta import shown_percent
from waiter.report.formatting import per_second, plural
from waiter.report.status import status_facts
from waiter.report.waiting import WAITING
from waiter.settings import Settings


@click.command(help=__doc__, cls=GroupedOptions)
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@batch_option("Only orders of this batch: its id or name.")
@click.option("--more-hosts", type=click.IntRange(min=1), metavar="N", help="When would it end with N hosts more?")
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="CONDITION",
    help=f"End with 1 if it holds: error>0, waiters<1, idle>10m. Repeatable; on {', '.join(NAMES)}.",
)
@click.option("--watch", "is_watching", is_flag=True, help="The live view: the same as `waiter watch`.")
@with_settings
def status(settings: Settings, batch: str | None, more_hosts: int | None, fail_if: Sequence[str],
           is_json: bool, is_watching: bool) -> int:  # fmt: skip
    conditions = [parse_condition(text) for text in fail_if]
    if is_watching and (batch or more_hosts or conditions):
        raise UsageError("--watch shows the whole kitchen as it is: leave --batch, --more-hosts and --fail-if out")
    if is_watching:
        from waiter.cli.commands.watch import watch_kitchen

        return watch_kitchen(settings, is_json=is_json)
    # To cron everything that is said is a letter: also that a kitchen is slow.
    opened = open_kitchen(settings.kitchen, settings.db, create=False) if conditions else open_kitchen_or_exit(settings)
    with opened as kitchen:
        with said_if_long(LOOKING):
            facts = status_facts(kitchen, batch, more_hosts, settings.prices)
        values = [(one, measure(kitchen, one.name, facts, batch)) for one in conditions]
    held = [describe(condition, value) for condition, value in values if condition.holds(value)]
    if is_json:
        show_json({**facts, "failed_if": held} if conditions else facts)
    elif not conditions:
        _show_status(facts)
    elif held:
        click.echo(f"{'; '.join(held)} ({facts['kitchen']})")
    return 1 if held else 0


def _show_status(facts: dict[str, Any]) -> None:
    say(f"Kitchen: {facts['kitchen']}")
    total = facts["total"]
    counts = {**facts["counts"], Status.RUNNING.value: facts["running"]}
    rows = [[status, f"{n:,}", shown_percent(n, total)] for status, n in counts.items() if n]
    if claimed := facts["claimed"]:
        before = sum(row[0] in (Status.READY, WAITING, Status.RUNNING) for row in rows)
        rows.insert(before, ["claimed", f"{claimed:,}", shown_percent(claimed, total)])
    show_table(["STATUS", "ORDERS", "SHARE"], [*rows, ["total", f"{total:,}", ""]], right=(1, 2))
    for paused in facts.get("paused", ()):
        name = paused["name"] or paused["batch"]
        say(f"Batch {name} is paused: {paused['why']}\nhint: to go on: waiter resume --batch {shlex.quote(name)}")
    for waiting in facts.get("waiting", ()):
        say(f"Batch {waiting['name'] or waiting['batch']} {waiting['why']}.")
    if claimed:
        say("claimed: taken by a waiter, and still waiting for a slot.")
    if oldest := facts["oldest_running"]:
        say(f"Oldest RUNNING: {oldest['_id']}, for {format_duration(oldest['seconds'])}, by {oldest['waiter']}.")
    if facts["waiters"]:
        end = f", done {facts['eta_words']}" if facts["eta_words"] else ""
        say(f"{plural(facts['waiters'], 'waiter')} at work, {per_second(facts['rate'])}{end}.")
    for cost in facts.get("cost", ()):
        if cost["so_far"] is not None:
            say(f"Cost of {cost['words']}.")
    if more := facts.get("with_more_hosts"):
        end = more["eta_words"]
        say(
            f"With {plural(more['hosts'], 'more host')} like these: "
            + (f"done {end}." if end else "nothing is known yet.")
        )
    if len(facts["commands"]) > 1:
        versions = ", ".join(f"{version} ({count:,})" for version, count in facts["commands"].items())
        say(f"Delivered by {len(facts['commands'])} versions of the command: {versions}.")
        latest = facts["latest_command"] or "HASH"
        say(f"To redo orders that older versions ran: waiter reset --except-command {latest}")
