"""One call of a fleet's verb: on its hosts with a bar and a row as each answers; or what it would do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import click

from waiter.cli.console import say
from waiter.cli.fleet.live_rows import Answers, LiveTable
from waiter.cli.fleet.options import RunnerOptions
from waiter.cli.fleet.remedies import remedied
from waiter.cli.progress import hosts_bar, is_drawable
from waiter.cli.stdio import StdoutClosed
from waiter.cli.tables import show_json, show_table
from waiter.fleet.inventory import Host
from waiter.report.formatting import plural

if TYPE_CHECKING:
    from waiter.fleet.runner import FleetRunner, Report


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


class View(Protocol):
    """Shows the reports of a verb."""

    def saw(self, report: Report | None) -> None:
        """A host has answered; None: a moment has passed in which none did."""

    def finish(self, reports: Sequence[Report]) -> bool:
        """All of them are there. Says whether nothing is wrong."""


class ReportView:
    """One row for each host, and what fixes those that failed."""

    def __init__(self, call: VerbCall) -> None:
        self._call = call
        self._table = LiveTable()
        self._answers = Answers([host.name for host in call.hosts], self._show)
        self._is_live = not call.options.is_json and not call.is_quiet

    def saw(self, report: Report | None) -> None:
        if self._is_live:
            self._answers.saw(report)

    def _show(self, reports: Sequence[Report]) -> None:
        from waiter.fleet import tables

        self._table.add(*tables.report_cells(reports))

    def finish(self, reports: Sequence[Report]) -> bool:
        from waiter.fleet import tables

        if self._call.options.is_json:
            show_json(tables.to_json(self._call.verb, reports))
        else:
            with redirect_stdout(sys.stderr if self._call.is_quiet else sys.stdout):
                self._answers.finish(reports)
            for line in tables.problem_lines(reports):
                say(line)
            say(tables.summary(reports, time.monotonic() - self._call.began))
        return all(report.is_ok for report in reports)


class Unseen:
    """A view of what nobody is shown."""

    def saw(self, report: Report | None) -> None: ...

    def finish(self, reports: Sequence[Report]) -> bool:
        return all(report.is_ok for report in reports)


def carry_out(call: VerbCall, act: Callable[[FleetRunner], list[Report]], view: View | None = None) -> None:
    """Do it on all hosts and show one row for each; with --dry-run only say what would be done.

    `view` is another way to show it. Exit code 1 if something is wrong.
    """
    if call.options.dry_run:
        return show_plan(call)
    view = view or ReportView(call)
    learn_launched_keys(call.hosts, call.options)
    with fleet_runner(call, view) as runner:
        reports = act(runner)
    if not view.finish([remedied(report, call.options) for report in reports]):
        click.get_current_context().exit(1)
    return None


def learn_launched_keys(hosts: Sequence[Host], options: RunnerOptions) -> None:
    """Have the SSH keys of machines that some `launch` made, maybe another computer's, from their consoles."""
    from waiter.fleet.life.plan import TAG_CALL

    if any(TAG_CALL in host.tags for host in hosts):
        from waiter.fleet.life.arrival import learn_all_keys

        learn_all_keys(hosts, options.selection.profile, say)


@contextmanager
def fleet_runner(call: VerbCall, view: View) -> Iterator[FleetRunner]:
    """The runner that the options say, with a bar where somebody sees it. Ctrl-C shows what was done until then."""
    from waiter.fleet.host_output import NobodyReads
    from waiter.fleet.runner import FleetRunner, interrupted
    from waiter.fleet.ssh.connection import Network, SshOptions

    options = call.options
    network = Network(SshOptions(options.accept_new, options.connect_timeout_s))
    done: dict[str, Report] = {}
    try:
        with hosts_bar() as show_progress:

            def seen(report: Report | None) -> None:
                if report is not None:
                    report = done[report.host.name] = remedied(report, options)
                    show_progress(call.doing, len(done), len(call.hosts), "")
                view.saw(report)

            def waits(words: str) -> None:
                show_progress(call.doing, len(done), len(call.hosts), f"waiting: {words}")

            on_wait = waits if is_drawable() else None
            yield FleetRunner(network, options.parallel, options.host_timeout_s, on_report=seen, on_wait=on_wait)
    except NobodyReads as end:
        raise StdoutClosed from end
    except KeyboardInterrupt:
        if not call.is_endless:
            view.finish([done.get(host.name) or remedied(interrupted(host), options) for host in call.hosts])
        raise


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
