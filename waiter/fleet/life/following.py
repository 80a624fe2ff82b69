"""A launched fleet that is kept at its number of machines: look by look, what is lost is replaced and started.

So are machines that come from elsewhere: another laptop's `launch`, or an answer of EC2's that nobody heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from waiter.fleet.following import Changes
from waiter.fleet.inventory import Host
from waiter.fleet.life import ending
from waiter.fleet.life.arrival import (
    PAUSE_S,
    Arrival,
    WaitingNotes,
    met,
    note_up,
    too_late,
    unseen,
    what_is_waited_for,
)
from waiter.fleet.life.launching import Account, FleetState, grow, look, settle
from waiter.fleet.life.plan import LaunchPlan
from waiter.fleet.life.turns import LAUNCH_S, keep_turn, me, take_turn
from waiter.fleet.problems import Finding, Problem
from waiter.fleet.runner import FleetRunner, Report
from waiter.machines import SCALED_DOWN, Call, Machine

AGAIN_S = 60.0
"""How long EC2 is not asked for more after it had fewer than were wanted."""

TERMINATED = "terminate"
"""Why `terminate` ends a machine."""

OUR_ENDS = (TERMINATED, SCALED_DOWN, ending.NEVER_CAME)
"""Why `ending.end` was told to end a machine."""

GONE = "gone"
"""What a report says of a machine that work has lost."""


@dataclass(slots=True)
class FollowedFleet:
    """A fleet that is to have so many machines at work."""

    account: Account
    arrival: Arrival
    plan: LaunchPlan
    count: int
    launched: Callable[[Sequence[Call], int], Sequence[str]]  # takes note of calls for so many, and puts it in words
    runner: FleetRunner | None = None  # a hasty one; there is one before the first look
    here: Mapping[str, Machine] = field(default_factory=dict)  # those that lived at the last look
    ready: Callable[[], int] | None = None  # how many orders could begin now; None: it does not matter
    keep: Callable[[], None] | None = None  # is told of each look
    done: dict[str, Report] = field(default_factory=dict)  # those that are at work, or never will be
    _why: dict[str, Report] = field(default_factory=dict)  # what kept each at the last look
    _since: dict[str, float] = field(default_factory=dict)
    _not_before: float = 0.0

    def look(self) -> Changes:
        """Launch what is missing, and start whoever can be reached. Raises FleetError, KitchenError."""
        if self.keep:
            self.keep()
        settle(self.account)
        state = look(self.account)
        went = self._gone(state)
        if notes := self._replace(len(state.machines)):
            state = look(self.account)
        self.count = max(self.count, len(state.machines))  # somebody has launched more
        self._forget_dead_waiters()
        reports = self._start(state)
        late = self._end_late()
        return Changes(
            came=tuple(report for report in reports if report.is_ok),
            went=tuple(f"{machine.id} ({machine.why_ended})" for machine in went),
            waiting=what_is_waited_for(self._waiting()),
            notes=tuple(notes),
            late=tuple(late),
            is_over=any(machine.why_ended == TERMINATED for machine in went),
        )

    @property
    def hosts(self) -> list[Host]:
        """All machines that there were since the first look."""
        return [report.host for report in {**self._why, **self.done}.values()]

    def at_work(self) -> int:
        return sum(report.is_ok and report.outcome != GONE for report in self.done.values())

    def _waiting(self) -> list[Report]:
        return [report for id_, report in self._why.items() if id_ not in self.done]

    def _gone(self, state: FleetState) -> list[Machine]:
        """The machines of the last look that are no more; those that nobody needs are not to be replaced."""
        ended = {each.id: each for call in state.calls for each in call.machines if each.id in self.here}
        gone = [ended[id_] for id_ in self.here if id_ not in state.machines and id_ in ended]
        self.count -= sum(not is_to_be_replaced(machine, self.plan.max_life_s) for machine in gone)
        self.here = state.machines
        for machine in gone:
            before = self.done.get(machine.id)
            if before is None or before.is_ok:
                host = Host(name=machine.id, address="", instance_id=machine.id, region=self.account.ec2.region)
                why = Finding(Problem.NOT_RUNNING, str(machine.why_ended), "")
                self.done[machine.id] = Report(host, GONE, remarks=(why,))
        return gone

    def _replace(self, there: int) -> Sequence[str]:
        """Launch what is missing, as far as orders wait for it; what EC2 said."""
        missing = max(0, self.count - there)
        if missing and self.ready is not None:
            missing = min(missing, self.ready())
        if missing <= 0 or time.monotonic() < self._not_before:
            return ()
        ledger, holder = self.account.ledger, me()
        if take_turn(ledger, holder, LAUNCH_S):
            return ()  # whoever scales knows better just now how many there are to be
        try:
            calls = grow(self.account, self.plan, there + missing)
        finally:
            keep_turn(ledger, holder, 0.0)
        if sum(len(call.machines) for call in calls) < missing:
            self._not_before = time.monotonic() + AGAIN_S
        return self.launched(calls, missing)

    def _forget_dead_waiters(self) -> None:
        """Have those started anew whose waiter died without a word; who was told to stop stays stopped."""
        lost = {shift.token for shift in self.account.ledger.kitchen.shifts() if shift.lost_at is not None}
        for id_ in [id_ for id_, report in self.done.items() if str(report.facts.get("shift")) in lost]:
            if id_ in self.here:
                self._why[id_] = unseen(self.done.pop(id_).host)
                self._since[id_] = time.monotonic()

    def _start(self, state: FleetState) -> list[Report]:
        """Have a waiter on each machine that has none yet and can be reached."""
        new = [id_ for id_ in state.machines if id_ not in self._why]
        for host in ending.hosts_of(self.account, state, self.arrival, new):
            self._why[host.name] = unseen(host)
            self._since[host.name] = time.monotonic()
        self.here = state.machines
        if not self._waiting():
            return []
        assert self.runner is not None
        reports = met(self.account, state, self.runner, self.arrival, self.done, self._why)
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
        ended = ending.end_what_never_came(self.account, late)
        self.done |= {report.host.name: report for report in ended}
        return [f"{report.host.name}: {report.findings[0]}" for report in ended]


def bring_all_up(
    fleet: FollowedFleet, runner: FleetRunner, hear: Callable[[str], None], saw: Callable[[Changes], None]
) -> list[Report]:
    """Look until each machine is at work, or never will be: a report for each. What EC2 takes back meanwhile is
    replaced; `hear` is told what is waited for, unless the runner shows it, and `saw` what each look brought."""
    notes, shown = WaitingNotes(runner, hear), dict[str, Report]()
    while True:
        changes = fleet.look()
        saw(changes)
        for name, report in fleet.done.items():
            if shown.get(name) is not report and runner.on_report:
                runner.on_report(report)
            shown[name] = report
        if not changes.waiting:
            return list(fleet.done.values())
        notes.tell(changes.waiting)
        time.sleep(PAUSE_S)


def is_to_be_replaced(machine: Machine, max_life_s: float) -> bool:
    """Whether work may have lost this machine: EC2 took it back, or its longest life was over."""
    why = machine.why_ended or ""
    if why in OUR_ENDS:
        return False
    lived_s = (machine.ended_at or machine.launched_at) - machine.launched_at
    # Its guard ended it: nothing was to be done there.
    return "InstanceInitiatedShutdown" not in why or lived_s >= 0.9 * max_life_s
