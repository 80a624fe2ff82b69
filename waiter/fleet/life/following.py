"""A launched fleet that is kept at its number of machines: look by look, what is lost is replaced and started."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from waiter.fleet.following import Changes
from waiter.fleet.life import ending
from waiter.fleet.life.arrival import Arrival, met, note_up, too_late, what_is_waited_for
from waiter.fleet.life.launching import Account, FleetState, grow, look, settle
from waiter.fleet.life.plan import LaunchPlan
from waiter.fleet.life.scaling import WHY, holder, keep_turn, take_turn
from waiter.fleet.problems import Finding, Problem
from waiter.fleet.runner import FleetRunner, Report, failed
from waiter.machines import Call, Machine

AGAIN_S = 60.0
"""How long EC2 is not asked for more after it had fewer than were wanted."""

OUR_ENDS = ("terminate", WHY, "it never came up")
"""Why `ending.end` was told to end a machine."""


@dataclass(slots=True)
class FollowedFleet:
    """A fleet that was launched with so many machines. `ready` tells how many orders could begin now."""

    account: Account
    runner: FleetRunner
    arrival: Arrival
    plan: LaunchPlan
    count: int
    ready: Callable[[], int]
    launched: Callable[[Sequence[Call], int], Sequence[str]]  # takes note of calls for so many, and puts it in words
    here: dict[str, Machine] = field(default_factory=dict)
    done: dict[str, Report] = field(default_factory=dict)
    _why: dict[str, Report] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _not_before: float = 0.0

    def began(self, reports: Sequence[Report]) -> None:
        """What was done before the first look."""
        self.done = {report.host.name: report for report in reports if not report.facts.get("never_up")}
        machines = [machine for call in self.account.ledger.calls() for machine in call.machines]
        self.here = {machine.id: machine for machine in machines if machine.id in self.done}

    def look(self) -> Changes:
        settle(self.account)
        state = look(self.account)
        went = self._gone(state)
        notes = self._replace(len(state.machines))
        reports = self._start(state if not notes else look(self.account))
        late = self._end_late()
        return Changes(
            came=tuple(report for report in reports if report.is_ok),
            went=tuple(f"{machine.id} ({machine.why_ended})" for machine in went),
            waiting=what_is_waited_for([each for id_, each in self._why.items() if id_ not in self.done]),
            notes=(*notes, *late),
        )

    def _gone(self, state: FleetState) -> list[Machine]:
        """The machines of the last look that are no more; those that nobody needs are not to be replaced."""
        ended = {each.id: each for call in state.calls for each in call.machines if each.id in self.here}
        gone = [ended[id_] for id_ in self.here if id_ not in state.machines and id_ in ended]
        self.count -= sum(not is_to_be_replaced(machine, self.plan.max_life_s) for machine in gone)
        self.here = dict(state.machines)
        for machine in gone:
            self._why.pop(machine.id, None)
        return gone

    def _replace(self, there: int) -> Sequence[str]:
        """Launch what is missing, as far as orders wait for it; what EC2 said."""
        missing = min(self.count - there, self.ready()) if self.count > there else 0
        if missing <= 0 or time.monotonic() < self._not_before:
            return ()
        me = holder()
        if take_turn(self.account.ledger, me, AGAIN_S):
            return ()  # `scale` knows better just now how many there are to be
        try:
            calls = grow(self.account, self.plan, there + missing)
        finally:
            keep_turn(self.account.ledger, me, 0.0)
        if sum(len(call.machines) for call in calls) < missing:
            self._not_before = time.monotonic() + AGAIN_S
        return self.launched(calls, missing)

    def _start(self, state: FleetState) -> list[Report]:
        """Have a waiter on each machine that has none yet and can be reached."""
        new = [id_ for id_ in state.machines if id_ not in self._why and id_ not in self.done]
        for host in ending.hosts_of(self.account, state, self.arrival, new):
            self._why[host.name] = failed(host, Finding(Problem.NOT_RUNNING, "nobody has looked yet", ""))
            self._since[host.name] = time.monotonic()
        self.here = dict(state.machines)
        if all(id_ in self.done for id_ in self._why):
            return []
        reports = met(self.account, self.runner, self.arrival, self.done, self._why)
        note_up(self.account, reports)
        self.done |= {report.host.name: report for report in reports}
        return reports

    def _end_late(self) -> list[str]:
        """End those that have not come up in time. None is launched instead: it would not come up either."""
        late = [
            too_late(report, self.arrival.within_s)
            for id_, report in self._why.items()
            if id_ not in self.done and time.monotonic() - self._since[id_] > self.arrival.within_s
        ]
        self.done |= {report.host.name: report for report in late}
        ended = ending.end_what_never_came(self.account, late)
        return [f"{report.host.name}: {report.findings[0]}" for report in ended]


def is_to_be_replaced(machine: Machine, max_life_s: float) -> bool:
    """Whether work may have lost this machine: EC2 took it back, or its longest life was over."""
    why = machine.why_ended or ""
    if why in OUR_ENDS:
        return False
    lived_s = (machine.ended_at or machine.launched_at) - machine.launched_at
    # Its guard ended it: nothing was to be done there.
    return "InstanceInitiatedShutdown" not in why or lived_s >= 0.9 * max_life_s
