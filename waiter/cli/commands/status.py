"""How many orders stand where, and when they will be done.

The end is a range, reckoned from what today's waiters lately did; the same wherever it is asked for.

\b
waiter status
waiter status --more-hosts 10
waiter status --json | jq .counts.DONE
"""

from __future__ import annotations

from typing import Any

import click

from waiter.cli.console import say
from waiter.cli.options import batch_option, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json, show_table
from waiter.durations import format_duration
from waiter.errors import UsageError
from waiter.report.eta import shown_percent
from waiter.report.formatting import per_second, plural
from waiter.report.status import status_facts
from waiter.settings import Settings


@click.command(help=__doc__)
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@batch_option("Only orders of this batch: its id or name.")
@click.option("--more-hosts", type=click.IntRange(min=1), metavar="N", help="When would it end with N hosts more?")
@click.option("--watch", "is_watching", is_flag=True, help="The live view: the same as `waiter watch`.")
@with_settings
def status(settings: Settings, batch: str | None, more_hosts: int | None, is_json: bool,
           is_watching: bool) -> int:  # fmt: skip
    if is_watching and (batch or more_hosts):
        raise UsageError("--watch shows the whole kitchen as it is: leave --batch and --more-hosts out")
    if is_watching:
        from waiter.cli.commands.watch import watch_kitchen

        return watch_kitchen(settings, is_json=is_json)
    with open_kitchen_or_exit(settings) as kitchen:
        facts = status_facts(kitchen, batch, more_hosts)
    if is_json:
        show_json(facts)
    else:
        _show_status(facts)
    return 0


def _show_status(facts: dict[str, Any]) -> None:
    say(f"Kitchen: {facts['kitchen']}")
    total = facts["total"]
    rows = [[status, f"{n:,}", shown_percent(n, total)] for status, n in facts["counts"].items() if n]
    show_table(["STATUS", "ORDERS", "SHARE"], [*rows, ["total", f"{total:,}", ""]], right=(1, 2))
    if claimed := facts["claimed"]:
        say(f"Of the RUNNING, claimed and still waiting for a slot: {claimed:,}.")
    if oldest := facts["oldest_running"]:
        say(f"Oldest RUNNING: {oldest['_id']}, for {format_duration(oldest['seconds'])}, by {oldest['waiter']}.")
    if facts["waiters"]:
        end = f", done {facts['eta_words']}" if facts["eta_words"] else ""
        say(f"{plural(facts['waiters'], 'waiter')} at work, {per_second(facts['rate'])}{end}.")
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
        say(f"To do again what others than the latest delivered: waiter reset --except-command {latest}")
