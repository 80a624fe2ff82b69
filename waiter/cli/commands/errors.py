"""Failures, grouped by what went wrong. Times, numbers, ids, paths and names in the messages do not count.

\b
waiter errors
waiter errors --since 10m --host ip-10-0-3-7
waiter reset --like 3f9c2a1b           do the orders of one group again
"""

from __future__ import annotations

import click

from waiter.cli.console import LOOKING, said_if_long, say
from waiter.cli.help_groups import GroupedOptions
from waiter.cli.options import Selection, open_kitchen_or_exit, resolve_selector, selecting, with_settings
from waiter.cli.tables import show_json, write_line
from waiter.errors import UsageError
from waiter.orders import FailureGroup, Order, Selector, Status
from waiter.report.eta import shown_percent
from waiter.report.failures import how, only_host
from waiter.report.formatting import clock_time, escape_control, last_lines, plural, truncate
from waiter.report.json_answers import errors_answer, hosts_delivering
from waiter.settings import Settings


@click.command(help=__doc__, cls=GroupedOptions)
@selecting
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N groups. Default: 10; with --json, all."
)
@click.option(
    "--lines", type=click.IntRange(min=0), metavar="N", default=3, show_default=True, help="Last lines of each example."
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def errors(settings: Settings, selection: Selection, limit: int | None, lines: int, is_json: bool) -> int:
    with open_kitchen_or_exit(settings) as kitchen:
        now = kitchen.now()
        selector = resolve_selector(kitchen, selection)
        if selection.statuses and Status.ERROR not in selector.statuses:
            raise UsageError(f"--status {selection.statuses[0]}: only orders in ERROR are failures\nhint: leave it out")
        if is_json:
            with said_if_long(LOOKING):
                answer = errors_answer(kitchen, selector, limit, lines)
            show_json(answer)
            return 0
        with said_if_long(LOOKING):
            groups = kitchen.failure_groups(selector)
        shown = groups[: limit or 10]
        delivering = hosts_delivering(kitchen, groups)
        ids = tuple(group.example for group in shown)
        examples = {order.id: order for order in kitchen.find(Selector(ids=ids), with_details=True)} if ids else {}
    total = sum(group.count for group in groups)
    if not groups:
        say("No failures.")
        return 0
    say(f"{plural(total, 'failure')} of {plural(len(groups), 'kind')}.")
    for group in shown:
        _show_group(group, total, delivering, examples.get(group.example), lines, now)
    if len(groups) > len(shown):
        say(f"{plural(len(groups) - len(shown), 'smaller group')} left out: --limit {len(groups)} shows all.")
    return 0


def _show_group(
    group: FailureGroup, total: int, delivering: set[str], example: Order | None, lines: int, now: float
) -> None:
    ended = how(group.reason, group.exit_code, group.signal)
    write_line(f"{group.group}  {plural(group.count, 'order')} ({shown_percent(group.count, total)})  {ended}")
    write_line(f"  {truncate(escape_control(group.message), 78)}")
    if host := only_host(group, delivering):
        click.secho(escape_control(f"  all {group.count:,} on {host}"), bold=True)
    elif group.hosts:
        write_line(f"  on {truncate(', '.join(group.hosts), 60)}")
    first, last = clock_time(group.first, now), clock_time(group.last, now)
    when = first if first == last else f"{first} to {last}"
    write_line(f"  {when}, for example {group.example}")
    for line in last_lines(example.tail if example else None, lines):
        write_line(f"    | {truncate(line, 74)}")
