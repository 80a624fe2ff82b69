"""How far, how fast, and when it ends: `status`, and what it shares with `watch`."""

from __future__ import annotations

from typing import Any

import click

from waiter.cli.options import batch_option, chosen, kitchen_options, opened, plural, say
from waiter.cli.tables import show_json, show_table
from waiter.durations import words
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Counts, Selector, Shift, Status, Throughput
from waiter.report.capacity import at_work, staffing
from waiter.report.eta import Eta, eta, rate, shown_percent, while_busy
from waiter.report.formatting import per_second

RECENT_S = 60.0
"""The window of the rate that `status` shows."""

WINDOWS_S = (300.0, 3600.0, 86_400.0)
"""The end is reckoned from the shortest of them that tells enough."""

ENOUGH = 20
"""So many finished orders tell enough; where they take long, it takes long until there are as many."""


def telling(place: Kitchen) -> Throughput:
    """What was finished in the shortest window that tells enough; the longest that tells anything, if none does."""
    seen = place.throughput(WINDOWS_S[0])
    for window_s in WINDOWS_S[1:]:
        if seen.done + seen.failed >= ENOUGH:
            break
        wider = place.throughput(window_s)
        seen = wider if wider.done + wider.failed > seen.done + seen.failed else seen
    return seen


@click.command()
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@batch_option("Only orders of this batch: its id or name.")
@click.option("--more-hosts", type=click.IntRange(min=1), metavar="N", help="When would it end with N hosts more?")
@click.option("--watch", "is_watching", is_flag=True, help="The live view: the same as `waiter watch`.")
@kitchen_options
def status(kitchen: str | None, db: str | None, batch: str | None, more_hosts: int | None, is_json: bool,
           is_watching: bool) -> int:  # fmt: skip
    """How many orders stand where, how fast they get done, and when that ends.

    The end is a range, reckoned from what today's waiters lately did; the same wherever it is asked for.

    \b
    waiter status
    waiter status --more-hosts 10
    waiter status --json | jq .counts.DONE
    """
    if is_watching and (batch or more_hosts):
        raise UsageError("--watch shows the whole kitchen as it is: leave --batch and --more-hosts out")
    if is_watching:
        from waiter.cli.watching import watch

        return int(click.get_current_context().invoke(watch, kitchen=kitchen, db=db, is_json=is_json))
    with opened(chosen(kitchen, db)) as place:
        facts = status_facts(place, batch, more_hosts)
    if is_json:
        show_json(facts)
    else:
        _show_status(facts)
    return 0


def status_facts(place: Kitchen, batch: str | None, more_hosts: int | None) -> dict[str, Any]:
    """What `status --json` prints, of all or one batch. A batch has no ETA while others take part of the work."""
    which = Selector(batch=batch) if batch else None
    counts = place.counts(which)
    is_all = batch is None or _left(counts) == _left(place.counts())
    oldest = next(place.find(Selector(statuses=(Status.RUNNING,), batch=batch), sort="start", limit=1), None)
    now, shifts = place.now(), place.shifts(include_left=True)
    oldest_s = max(0.0, now - (oldest.start or now)) if oldest else 0.0
    recent = while_busy(place.throughput(RECENT_S), staffing(shifts, now, RECENT_S))
    lately = telling(place)
    staff = staffing(shifts, now, lately.window_s)
    ends = [
        eta(counts, lately, staff, oldest_s=oldest_s, more_hosts=more) if is_all else None
        for more in (0, more_hosts or 0)
    ]
    facts = {
        "kitchen": place.url,
        "total": counts.total,
        "counts": {status.value: counts[status] for status in Status},
        "oldest_running": oldest and {"_id": oldest.id, "waiter": oldest.waiter, "seconds": oldest_s},
        "claimed": min(counts[Status.RUNNING], sum(shift.vitals.claimed for shift in at_work(shifts, now))),
        "waiters": len(at_work(shifts, now)),
        "rate": rate(recent),
        **_eta_facts(ends[0]),
        "commands": place.commands(which),
        "latest_command": latest_command(shifts),
    }
    return {**facts, "with_more_hosts": {"hosts": more_hosts, **_eta_facts(ends[1])}} if more_hosts else facts


def _left(counts: Counts) -> int:
    return counts.total - counts.finished


def _eta_facts(end: Eta | None) -> dict[str, Any]:
    return {"eta": end and [end.soonest_s, end.latest_s], "eta_words": str(end) if end else None}


def latest_command(shifts: list[Shift]) -> str | None:
    """The version of the command that the waiter delivers, or delivered, who came last."""
    shifts = [shift for shift in shifts if shift.vitals.command_hash]
    return max(shifts, key=lambda shift: shift.since).vitals.command_hash if shifts else None


def _show_status(facts: dict[str, Any]) -> None:
    say(f"Kitchen: {facts['kitchen']}")
    total = facts["total"]
    rows = [[status, f"{n:,}", shown_percent(n, total)] for status, n in facts["counts"].items() if n]
    show_table(["STATUS", "ORDERS", "SHARE"], [*rows, ["total", f"{total:,}", ""]], right=(1, 2))
    if claimed := facts["claimed"]:
        say(f"Of the RUNNING, claimed and still waiting for a slot: {claimed:,}.")
    if oldest := facts["oldest_running"]:
        say(f"Oldest RUNNING: {oldest['_id']}, for {words(oldest['seconds'])}, by {oldest['waiter']}.")
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
