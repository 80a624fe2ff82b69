"""A fleet brought to as many machines as the policy asks for: a look, and what follows from it.

All that the next look needs stands in the ledger: who was launched, is up, is leaving. So it may come from cron, from
another laptop, or after a crash. Only one at a time scales a fleet.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from waiter.errors import FleetError
from waiter.fleet.inventory import Host
from waiter.fleet.life import ending
from waiter.fleet.life.arrival import Arrival, met, note_up, too_late, unseen
from waiter.fleet.life.figures import scene_of
from waiter.fleet.life.launching import Account, FleetState, grow, look, settle
from waiter.fleet.life.plan import LaunchPlan
from waiter.fleet.life.policy import Decision, Scene, Wish, decide
from waiter.fleet.life.prices import Prices, dearest, find_prices, keep_prices, offers
from waiter.fleet.life.shrinking import least_needed
from waiter.fleet.runner import FleetRunner, Report
from waiter.machines import SCALED_DOWN, Call, Machine

PRICES_LAST_S = 300.0
"""How long prices are taken to be what they were."""

SOON_S = 1.0
"""For so long a step waits for a waiter that leaves; the next step asks again."""

LIFE_STEP_S = 600.0
"""Longest lives that a budget shortens are whole multiples of this, or each would take a launch template of its own."""


@dataclass(frozen=True, slots=True)
class Look:
    """A fleet at one moment, and how many machines it is to have."""

    state: FleetState
    scene: Scene
    decision: Decision

    @property
    def working(self) -> list[Machine]:
        return [machine for machine in self.state.machines.values() if machine.leaving_at is None]

    @property
    def leaving(self) -> list[Machine]:
        return [machine for machine in self.state.machines.values() if machine.leaving_at is not None]

    @property
    def booting(self) -> list[Machine]:
        return [machine for machine in self.working if machine.up_at is None]


@dataclass(slots=True)
class Scaler:
    """Looks at a fleet, and has it grow and shrink."""

    account: Account
    plan: LaunchPlan
    wish: Wish
    listed: Mapping[str, float]  # the prices of waiter.toml
    _prices: Prices | None = None
    _priced_at: float = 0.0

    def look(self, *, is_settling: bool = True) -> Look:
        """What there is, and what is to be. Raises FleetError where a budget is to be kept and a price is unknown.

        `is_settling`: a call whose answer nobody heard is made again.
        """
        if is_settling:
            settle(self.account)
        state = look(self.account)
        prices = self.prices(state)
        keep_prices(self.account, state, prices)
        calls = self.account.ledger.calls()
        scene = scene_of(self.account.ledger, calls, dearest(self.plan, prices), self.listed)
        if self.wish.budget is not None and (scene.price is None or scene.spent is None):
            raise FleetError(why_unpriced(prices))
        machines = {machine.id: machine for call in calls for machine in call.machines}
        fresh = replace(state, machines={id_: machines[id_] for id_ in state.machines})
        return Look(fresh, scene, decide(scene, self.wish))

    def prices(self, state: FleetState) -> Prices:
        """Those of a short while ago will do."""
        now = time.monotonic()
        if self._prices is None or now - self._priced_at > PRICES_LAST_S:
            machines = [machine for call in state.calls for machine in call.machines]
            self._prices = find_prices(self.account.ec2, self.listed, offers(self.plan, machines))
            self._priced_at = now
        return self._prices

    def launch(self, seen: Look) -> list[Call]:
        """Launch what is missing. Raises FleetError."""
        plan = within_budget(self.plan, self.wish, seen)
        try:
            return grow(self.account, plan, seen.decision.target + len(seen.leaving))
        finally:
            self.account.ledger.keep_plan(self.plan.to_json())

    def let_go(self, runner: FleetRunner, arrival: Arrival, seen: Look) -> list[Host]:
        """Choose the machines that are too many, those with least to do, and write down that they leave."""
        hosts = self.hosts(arrival, seen, seen.working)
        chosen = least_needed(self.account, runner.hasty(), hosts, arrival, len(hosts) - seen.decision.target)
        now = self.account.now
        ids = {str(host.instance_id) for host in chosen}
        self.account.ledger.note(ids, lambda machine: replace(machine, leaving_at=now))
        return chosen

    def hosts(self, arrival: Arrival, seen: Look, machines: Sequence[Machine]) -> list[Host]:
        return ending.hosts_of(self.account, seen.state, arrival, sorted(machine.id for machine in machines))

    def end(self, runner: FleetRunner, arrival: Arrival, hosts: Sequence[Host], grace_s: float) -> list[Report]:
        """End those whose orders have ended; the others go on."""
        drain = ending.Drain(arrival.payload, arrival, grace_s)
        return ending.drain_and_end(self.account, runner, hosts, drain, SCALED_DOWN, is_patient=True)

    def meet(self, runner: FleetRunner, arrival: Arrival, hosts: Sequence[Host]) -> list[Report]:
        """Start waiters on those that can be reached by now; end those that should have been up long ago."""
        why = {host.name: unseen(host) for host in hosts}
        reports = met(self.account, look(self.account), runner.hasty(), arrival, {}, why)
        note_up(self.account, reports)
        launched = {machine.id: machine.launched_at for machine in self.account.ledger.machines()}
        done, now = {report.host.name for report in reports}, self.account.now
        late = [
            too_late(report, arrival.within_s)
            for name, report in why.items()
            if name not in done and now - launched.get(name, now) > arrival.within_s
        ]
        return [*reports, *ending.end_what_never_came(self.account, late)]

    def step(self, runner: FleetRunner, arrival: Arrival, seen: Look) -> tuple[list[Call], list[Report]]:
        """Do now what can be done without waiting: what was launched, and of whom there is news."""
        calls = self.launch(seen) if seen.decision.target > len(seen.working) else []
        chosen = self.let_go(runner, arrival, seen) if seen.decision.target < len(seen.working) else []
        leaving = [*chosen, *self.hosts(arrival, seen, seen.leaving)]
        ended = self.end(runner.hasty(), arrival, leaving, SOON_S) if leaving else []
        going = {host.name for host in chosen}
        booting = [host for host in self.hosts(arrival, seen, seen.booting) if host.name not in going]
        came = self.meet(runner, arrival, booting) if booting else []
        return calls, [*(report for report in ended if report.is_ok), *came]


def lost(account: Account) -> dict[str, str]:
    """The machines that are no more, by their ids, and why: but for those that were let go."""
    ended = {machine.id: machine.why_ended for machine in account.ledger.machines()}
    return {id_: why for id_, why in ended.items() if why is not None and why != SCALED_DOWN}


def within_budget(plan: LaunchPlan, wish: Wish, seen: Look) -> LaunchPlan:
    """The plan with a longest life in which the fleet cannot spend more than its budget, whoever looks after it."""
    scene = seen.scene
    if wish.budget is None or scene.spent is None or scene.price is None:
        return plan
    burn = scene.per_hour + max(0, seen.decision.target - scene.working) * scene.price
    life_s = max(LIFE_STEP_S, (wish.budget - scene.spent) / burn * 3600 // LIFE_STEP_S * LIFE_STEP_S)
    return replace(plan, max_life_s=min(plan.max_life_s, life_s))


def why_unpriced(prices: Prices) -> str:
    """What a budget lacks, and the line that makes it known."""
    kind, market = min(prices.unknown, default=("the machines", None))
    why = f" ({prices.unknown[kind, market]})" if market else ""
    name = f"spot.{kind}" if market == "spot" else kind
    return (
        f"--budget needs the price of {kind}, {market}, which is unknown{why}\n"
        f'hint: put it into waiter.toml, in dollars an hour: [prices] "{name}" = 0.12'
    )
