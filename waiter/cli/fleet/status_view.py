"""`waiter fleet status`: what SSH and the kitchen say of each waiter, as hosts answer."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from waiter.cli.console import say
from waiter.cli.fleet.live_rows import Answers, LiveTable
from waiter.cli.fleet.options import KitchenNames
from waiter.cli.fleet.reports import VerbCall
from waiter.cli.tables import show_json
from waiter.errors import FleetError, KitchenError
from waiter.kitchen import open_kitchen
from waiter.machines import Ledger
from waiter.orders import Batch, Shift

if TYPE_CHECKING:
    from waiter.fleet.life.losses import Gone
    from waiter.fleet.runner import Report


class KitchenLook:
    """What the kitchen says of its waiters, each time it is asked. It is asked no more once it does not answer."""

    def __init__(self, names: KitchenNames) -> None:
        self.names = names
        self.error: str | None = None
        self.shifts: list[Shift] | None = None
        self.paused: list[Batch] = []
        self.now = time.time()

    def again(self) -> None:
        if self.names.here is None or self.error:
            self.now = time.time()
            return
        try:
            with open_kitchen(self.names.here, self.names.db, create=False) as kitchen:
                self.shifts, self.now = kitchen.shifts(), kitchen.now()
                self.paused = [batch for batch in kitchen.batches() if batch.pause_reason is not None]
        except KitchenError as error:
            self.shifts, self.error = None, str(error)


class StatusView:
    """SSH's reports and the kitchen's shifts as one table."""

    def __init__(self, call: VerbCall, names: KitchenNames) -> None:
        from waiter.fleet import tables

        self._call = call
        self._kitchen = KitchenLook(names)
        self._table = LiveTable(tables.SPARE_OF_STATUS)
        self._answers = Answers([host.name for host in call.hosts], self._show)
        self._met: list[Report] = []  # in the order in which they were shown

    def saw(self, report: Report | None) -> None:
        if not self._call.options.is_json:
            self._answers.saw(report)

    def _show(self, reports: list[Report]) -> None:
        """The rows of these hosts; waiters elsewhere come last."""
        from waiter.fleet import tables
        from waiter.fleet.status import fleet_status

        self._kitchen.again()
        self._met += reports
        names = {report.host.name for report in reports}
        rows = [
            row
            for row in fleet_status(self._met, self._kitchen.shifts, self._kitchen.now)
            if row.host in names and row.state != "elsewhere"
        ]
        self._table.add(*tables.status_cells(rows, self._kitchen.now))

    def finish(self, reports: Sequence[Report]) -> bool:
        from waiter.fleet import tables
        from waiter.fleet.status import fleet_status

        is_json = self._call.options.is_json
        if not is_json:
            self._answers.finish(reports)
        else:
            self._kitchen.again()
        kitchen = self._kitchen
        rows = fleet_status(reports if is_json else self._met, kitchen.shifts, kitchen.now)
        is_ok = kitchen.error is None and all(row.is_ok for row in rows)
        gone = losses_of(self._call, kitchen.names)
        if is_json:
            facts = {
                "gone": [asdict(each) for each in gone],
                "ok": is_ok,
                "waiters": [row.to_json() for row in rows],
                "kitchen_error": kitchen.error,
            }
            show_json({**tables.to_json("status", reports), **facts})
            return is_ok
        self._table.add(*tables.status_cells([row for row in rows if row.state == "elsewhere"], kitchen.now))
        for line in (*tables.status_notes(rows), *tables.problem_lines(reports), *filter(None, [kitchen.error])):
            say(line)
        for each in gone:
            say(each.words(kitchen.now))
        self._say_what_is_paused()
        if kitchen.names.here is None:
            say("This is what SSH sees\nhint: give --kitchen, and it says what the kitchen knows of them too")
        say(tables.summary(reports, time.monotonic() - self._call.began))
        return is_ok

    def _say_what_is_paused(self) -> None:
        for batch in self._kitchen.paused:
            name = batch.name or batch.id
            hint = f"hint: to go on: waiter resume --batch {shlex.quote(name)}"
            say(f"Batch {name} is paused: {batch.pause_reason}\n{hint}")


def losses_of(call: VerbCall, names: KitchenNames) -> list[Gone]:
    """The machines that launched fleets among the hosts have lost lately."""
    from waiter.fleet.aws import Ec2
    from waiter.fleet.life.launching import Account
    from waiter.fleet.life.losses import seen_losses
    from waiter.fleet.life.plan import TAG_CALL, TAG_FLEET

    fleets = {(host.tags.get(TAG_FLEET, ""), str(host.region)) for host in call.hosts if TAG_CALL in host.tags}
    if names.here is None or not fleets:
        return []
    found: list[Gone] = []
    try:
        # A kitchen that does not answer was named already.
        with suppress(KitchenError), open_kitchen(names.here, names.db, create=False) as kitchen:
            for fleet, region in sorted(fleets):
                if (ledger := Ledger(kitchen, fleet)).calls():
                    found += seen_losses(Account(Ec2(call.options.selection.profile, region, say), ledger, say))
    except FleetError as error:
        say(str(error))
    return found
