"""One call of a fleet's verb: on its hosts with a bar, then the table of what came of it; or what it would do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from waiter.cli.console import say
from waiter.cli.fleet.options import RunnerOptions
from waiter.cli.progress import rows_bar
from waiter.cli.stdio import StdoutClosed
from waiter.cli.tables import show_json, show_table
from waiter.fleet.inventory import Host
from waiter.report.formatting import plural

if TYPE_CHECKING:
    from waiter.fleet.actions import FleetRunner, Report


@dataclass(frozen=True, slots=True)
class VerbCall:
    """A verb on its hosts, and how it is spoken of."""

    verb: str
    doing: str  # what the bar says
    options: RunnerOptions
    hosts: Sequence[Host]
    would: str | None = None  # what --dry-run says, if it is more than the verb
    facts: Sequence[str] = ()  # what --dry-run says below the hosts
    is_quiet: bool = False  # stdout holds the hosts' own output, so the table goes to stderr
    is_endless: bool = False  # until Ctrl-C, which is no interruption then
    began: float = field(default_factory=time.monotonic)


def carry_out(
    call: VerbCall,
    act: Callable[[FleetRunner], list[Report]],
    show: Callable[[VerbCall, list[Report]], bool] | None = None,
) -> None:
    """Do it on all hosts and show one row for each; with --dry-run only say what would be done.

    `show` is another way to show it, and says whether all went well. Exit code 1 if it did not.
    """
    if call.options.dry_run:
        return show_plan(call)
    with fleet_runner(call) as runner:
        reports = act(runner)
    if not (show or show_reports)(call, reports):
        click.get_current_context().exit(1)
    return None


@contextmanager
def fleet_runner(call: VerbCall) -> Iterator[FleetRunner]:
    """The runner that the options say, with a bar where somebody sees it. Ctrl-C shows what was done until then."""
    from waiter.fleet.actions import FleetRunner, interrupted
    from waiter.fleet.host_output import NobodyReads
    from waiter.fleet.ssh.connection import Network, SshOptions

    options = call.options
    network = Network(SshOptions(options.accept_new, options.connect_timeout_s))
    done: dict[str, Report] = {}
    try:
        with rows_bar() as show_progress:

            def seen(report: Report) -> None:
                done[report.host.name] = report
                show_progress(call.doing, len(done), len(call.hosts))

            yield FleetRunner(network, options.parallel, options.host_timeout_s, on_report=seen)
    except NobodyReads as end:
        raise StdoutClosed from end
    except KeyboardInterrupt:
        if not call.is_endless:
            show_reports(call, [done.get(host.name) or interrupted(host) for host in call.hosts])
        raise


def show_reports(call: VerbCall, reports: Sequence[Report]) -> bool:
    """One row for each host, and what fixes those that failed. Says whether none did."""
    from waiter.fleet import tables

    if call.options.is_json:
        show_json(tables.to_json(call.verb, reports))
    else:
        with redirect_stdout(sys.stderr if call.is_quiet else sys.stdout):
            show_table(*tables.report_rows(reports))
        for line in tables.problem_lines(reports):
            say(line)
        say(tables.summary(reports, time.monotonic() - call.began))
    return all(report.is_ok for report in reports)


def show_plan(call: VerbCall) -> None:
    """What the verb would do."""
    from waiter.fleet import tables

    would = call.would or call.verb
    if call.options.is_json:
        show_json({"verb": would, "dry_run": True, "facts": call.facts, "hosts": [host.name for host in call.hosts]})
        return
    show_table(*tables.host_rows(call.hosts))
    for fact in call.facts:
        say(fact)
    say(f"{plural(len(call.hosts), 'host')}: would {would}; nothing was done (--dry-run)")
