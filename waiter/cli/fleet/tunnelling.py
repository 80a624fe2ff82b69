"""`fleet start --tunnel`: start waiters that reach the kitchen through this process, which holds the tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from waiter.cli.console import end_line, say
from waiter.cli.fleet.reports import ReportView, VerbCall, fleet_runner, show_plan
from waiter.report.formatting import plural

if TYPE_CHECKING:
    from waiter.fleet.actions import Payload, StartRequest
    from waiter.fleet.runner import FleetRunner, Report
    from waiter.fleet.tunnel import Passage, Tunnels

WITHOUT = (
    "The tunnels are closed. Waiters on hosts finish what runs, keep outcomes on disk,\n"
    "and leave after 10 minutes without the kitchen. The same line opens and starts them again"
)


def start_through_tunnels(call: VerbCall, passage: Passage, sent: Payload, request: StartRequest) -> None:
    """Open a tunnel to each host, start there, and hold the tunnels until Ctrl-C."""
    from waiter.fleet.tunnel import Tunnels

    if call.options.dry_run:
        show_plan(call)
        return
    view = ReportView(call)
    with fleet_runner(call, view) as runner:
        db = request.settings.db if request.settings else "simplewaiter"
        tunnels = Tunnels(runner, sent, passage, db, lambda host, words: say(f"{host}: {words}"))
        try:
            reports = _started(runner, tunnels, call, sent, request)
        except BaseException:
            tunnels.close()
            raise
    is_ok = view.finish(reports)
    here = [report.host.name for report in reports if report.is_ok]
    if not here:
        tunnels.close()
        click.get_current_context().exit(1)
    _hold(tunnels, here, passage)
    click.get_current_context().exit(0 if is_ok else 1)


def _started(
    runner: FleetRunner, tunnels: Tunnels, call: VerbCall, sent: Payload, request: StartRequest
) -> list[Report]:
    from waiter.fleet import actions

    failures = {report.host.name: report for report in tunnels.open(call.hosts)}
    for report in failures.values():
        if runner.on_report:
            runner.on_report(report)
    started = actions.start(runner, [host for host in call.hosts if host.name not in failures], sent, request)
    by_name = {**failures, **{report.host.name: report for report in started}}
    return [by_name[host.name] for host in call.hosts]


def _hold(tunnels: Tunnels, here: list[str], passage: Passage) -> None:
    server = f"{passage.target[0]}:{passage.target[1]}"
    say(
        f"{plural(len(here), 'tunnel')} open: waiters there reach {server} through this machine, which must stay on.\n"
        "Ctrl-C closes them"
    )
    try:
        tunnels.hold(here)
    except KeyboardInterrupt:
        end_line()
        say(WITHOUT)
    finally:
        tunnels.close()
