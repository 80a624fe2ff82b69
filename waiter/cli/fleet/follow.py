"""`--follow`: look again and again who is in the fleet, and start whoever has come, until every order has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import click

from waiter.cli.console import end_line, say
from waiter.cli.fleet.options import KitchenNames, find_hosts
from waiter.cli.fleet.remedies import remedied
from waiter.cli.fleet.reports import ReportView, Unseen, VerbCall, fleet_runner, learn_launched_keys, show_plan
from waiter.errors import ExitCode, FleetError, KitchenError, KitchenMissing, UsageError
from waiter.fleet.inventory import Host, HostSelection, NoHosts
from waiter.kitchen import open_kitchen
from waiter.orders import Counts, Scope, Selector, Status
from waiter.report.formatting import format_counts

if TYPE_CHECKING:
    from waiter.fleet.following import Changes
    from waiter.fleet.runner import FleetRunner, Report
    from waiter.kitchen.contract import Kitchen

LOOK_S = 5.0
"""Between two looks."""

GOES_ON = "Waiters go on without this command; the same line follows them again"

Start = Callable[["FleetRunner", Sequence[Host]], "list[Report]"]

follow_option = click.option(
    "--follow/--no-follow", help="Go on: start also on hosts that come later, until all is done."
)


class Followed(Protocol):
    """Hosts that are looked at again and again."""

    def look(self) -> Changes:
        """Start whoever has come since the last look. Raises FleetError, KitchenError."""


class OrdersLeft:
    """What there is still to do, of all orders or those of some batches, as the kitchen says each time."""

    def __init__(self, names: KitchenNames, batches: Sequence[str]) -> None:
        self._names = names
        self._batches = batches

    def ended(self) -> Counts | None:
        """How all have ended; None while some have not, nothing is loaded yet, or no kitchen is named.

        Orders of waiters that are lost are offered again. Raises KitchenError.
        """
        if self._names.here is None:
            return None
        # A batch may be loaded later, as the kitchen may.
        with (
            suppress(KitchenMissing, UsageError),
            open_kitchen(self._names.here, self._names.db, create=False) as kitchen,
        ):
            kitchen.sweep()
            counts = self._counts(kitchen)
            return counts if counts.total and counts.finished == counts.total else None
        return None

    def ready(self) -> int:
        """How many could begin now."""
        with open_kitchen(self._names.here, self._names.db, create=False) as kitchen:
            ids = {batch.id for batch in kitchen.batches() if {batch.id, batch.name} & set(self._batches)}
            return kitchen.backlog(Scope(tuple(ids)) if self._batches else Scope()).ready

    def _counts(self, kitchen: Kitchen) -> Counts:
        if not self._batches:
            return kitchen.counts()
        each = [kitchen.counts(Selector(batch=batch)) for batch in self._batches]
        return Counts({status: sum(counts[status] for counts in each) for status in Status})


def follow(fleet: Followed, orders: OrdersLeft) -> Counts:
    """Look until every order has ended, and say who came and went; how they ended. Ctrl-C leaves everything running."""
    said = ""
    try:
        while True:
            try:
                if (ended := orders.ended()) is not None:
                    return ended
                changes = fleet.look()
            except (FleetError, KitchenError) as error:
                waits_for = str(error)  # the cloud, the kitchen and this machine's network come back
            else:
                for line in lines_of(changes):
                    say(line)
                if changes.is_over:
                    say("Somebody has terminated this fleet: nothing more is done here")
                    click.get_current_context().exit(ExitCode.FAILED)
                waits_for = f"Waiting: {changes.waiting}" if changes.waiting else ""
            if waits_for and waits_for != said:
                say(waits_for)
            said = waits_for
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        end_line()
        say(GOES_ON)
        raise


def follow_to_the_end(fleet: Followed, orders: OrdersLeft) -> None:
    """The same, with what is said and the exit code at the end."""
    say_how_all_ended(follow(fleet, orders))


def say_how_all_ended(ended: Counts) -> None:
    """Exit code 1 unless all are done."""
    say(f"All orders have ended: {format_counts(ended)}")
    if ended[Status.DONE] < ended.total:
        click.get_current_context().exit(ExitCode.FAILED)


def lines_of(changes: Changes, *, is_in_table: bool = False) -> list[str]:
    """Who was taken in and who went away, in one line; then what else there is to say. `is_in_table`: there is a row of
    who comes."""
    taken = "" if is_in_table else ", ".join(report.host.name for report in changes.came)
    parts = [f"Taken in: {taken}" if taken else "", f"Gone: {', '.join(changes.went)}" if changes.went else ""]
    line = ". ".join(filter(None, parts))
    return [*([line] if line else []), *changes.notes, *(() if is_in_table else changes.late)]


# Hosts of a selection.


def hosts_to_follow(selection: HostSelection) -> list[Host]:
    """The hosts that are there by now; maybe none yet."""
    try:
        return find_hosts(selection)
    except NoHosts as error:
        say(f"{error.sentence} Waiting for hosts to come.")
        return []


def start_and_follow(call: VerbCall, start: Start, orders: OrdersLeft) -> None:
    """Start a waiter on each host, and on those that come later, until every order has ended."""
    options = call.options
    if options.is_json:
        raise UsageError("--follow tells who comes and goes, and --json is one value at the end: give one of them")
    if options.dry_run:
        show_plan(call)
        return
    reports: list[Report] = []
    if call.hosts:
        view = ReportView(call)
        learn_launched_keys(call.hosts, options)
        with fleet_runner(call, view) as runner:
            reports = start(runner, call.hosts)
        view.finish([remedied(report, options) for report in reports])
    with fleet_runner(replace(call, is_endless=True), Unseen()) as runner:
        from waiter.fleet.following import FollowedHosts

        once = runner.hasty()

        def find() -> list[Host]:
            found = find_hosts(options.selection)
            learn_launched_keys(found, options)
            return found

        fleet = FollowedHosts(find, lambda hosts: start(once, hosts))
        fleet.began(call.hosts, reports)
        follow_to_the_end(fleet, orders)
