"""The verb `scale`: so many machines, or as many as a deadline and a budget ask for; once, or until all is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from waiter.cli.console import confirm, say
from waiter.cli.fleet.bringing_up import call_lines, grow_and_start
from waiter.cli.fleet.kitchen_check import packed_to_start
from waiter.cli.fleet.life import (
    account_of,
    arrival_of,
    come_up_option,
    leaving_in_time,
    never_launched,
    show_facts,
    yes_option,
)
from waiter.cli.fleet.options import (
    DeliveryRequest,
    RunnerOptions,
    grace_option,
    with_delivery_of_launched,
    with_life_options,
)
from waiter.cli.fleet.plan import start_request
from waiter.cli.fleet.reports import ReportView, VerbCall, fleet_runner
from waiter.cli.fleet.scale_goal import Goal, with_goal
from waiter.cli.fleet.scale_words import decision_facts, decision_lines
from waiter.cli.fleet.toml_defaults import FleetCommand
from waiter.cli.tables import show_json
from waiter.errors import ExitCode, FleetError, KitchenUnreachable
from waiter.machines import SCALED_DOWN
from waiter.report.formatting import plural
from waiter.settings import settings

if TYPE_CHECKING:
    from waiter.fleet.life.arrival import Arrival
    from waiter.fleet.life.launching import Account
    from waiter.fleet.life.plan import LaunchPlan
    from waiter.fleet.life.policy import Wish
    from waiter.fleet.life.scaling import Look, Scaler
    from waiter.fleet.runner import FleetRunner, Report

TURN_S = 300.0
"""How long a watcher that died keeps others from scaling its fleet."""


@click.command(cls=FleetCommand)
@click.argument("fleet_name", metavar="NAME")
@with_goal
@come_up_option
@grace_option
@with_life_options
@with_delivery_of_launched
@yes_option
def scale(
    fleet_name: str,
    goal: Goal,
    come_up_s: float,
    grace: float,
    options: RunnerOptions,
    delivery: DeliveryRequest,
    yes: bool,
) -> None:
    """Give fleet NAME so many machines, or as many as a deadline and a budget ask for.

    It launches more like the last ones, or drains and ends those that have least to do; never a busy one. Without
    --count it goes by how many orders are left, and how fast hosts are; cron may call it as often as it likes.

    \b
    waiter fleet scale crunch --count 20 --cmd ./crunch.sh
    waiter fleet scale crunch --by 18:00 --budget 40 --watch
    """
    from waiter.fleet.life.plan import LaunchPlan

    with account_of(fleet_name, delivery.kitchen, options) as account:
        kept = account.ledger.plan()
        if kept is None:
            raise never_launched(fleet_name, delivery.kitchen)
        scaling = Scaling(account, LaunchPlan.from_json(kept), goal, delivery, options, come_up_s, grace, yes)
        if goal.count is not None:
            scaling.to_count(goal.count)
        else:
            scaling.by_figures()


@dataclass(frozen=True, slots=True)
class Scaling:
    """One call of `scale`."""

    account: Account
    plan: LaunchPlan
    goal: Goal
    delivery: DeliveryRequest
    options: RunnerOptions
    come_up_s: float
    grace_s: float
    is_yes: bool

    @property
    def name(self) -> str:
        return self.account.ledger.fleet

    def arrival(self, *, is_starting: bool) -> Arrival:
        """How machines are met; those that only leave need no command."""
        if not is_starting:
            return arrival_of(self.delivery, self.options, None, self.come_up_s)
        delivery = leaving_in_time(self.delivery, self.plan.market)
        return arrival_of(delivery, self.options, start_request(delivery, packed_to_start(delivery)), self.come_up_s)

    # To a number.

    def to_count(self, count: int) -> None:
        from waiter.fleet.life.launching import look, settle
        from waiter.fleet.life.turns import me, take_over

        if self.options.dry_run:
            there = len(look(self.account).machines)
            show_facts("scale", self.name, [to_count_line(there, count)], self.options)
            return
        settle(self.account)
        there = len(look(self.account).machines)
        if not confirm(f"Scale {self.name} from {there} to {plural(count, 'machine')}?", is_yes=self.is_yes):
            return
        take_over(self.account.ledger, me())
        if count < there:
            shrink(self.account, count, self.arrival(is_starting=False), self.options, self.grace_s)
        else:
            arrival = self.arrival(is_starting=True)
            grow_and_start(self.account, self.plan, count, arrival, self.options, "scale")

    # By the kitchen's figures.

    def by_figures(self) -> None:
        from waiter.fleet.life.policy import Wish
        from waiter.fleet.life.scaling import Scaler, lost

        goal, round_s = self.goal, self.goal.every_s if self.goal.is_watching else TURN_S
        idle_s = round_s if goal.is_watching else self.plan.idle_s
        by = None if goal.by is None else goal.by - time.time() + self.account.now  # by the kitchen's clock
        wish = Wish(by, goal.budget, goal.most, self.grace_s, round_s, idle_s)
        scaler = Scaler(self.account, self.plan, wish, settings().prices)
        with self.turn():
            known = set(lost(self.account))
            seen = scaler.look(is_settling=not self.options.dry_run)
            lines = [*self.new_losses(known), *decision_lines(self.name, seen, wish)]
            if self.options.dry_run:
                self.show(seen, lines)
            elif self.is_agreed(seen, lines):
                arrival = self.arrival(is_starting=True)
                (self.watch if goal.is_watching else self.once)(scaler, seen, arrival)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Alone: two that launch for one fleet would launch twice."""
        from waiter.fleet.life.turns import keep_turn, me, take_turn

        if self.options.dry_run:
            yield
            return
        ledger, holder = self.account.ledger, me()
        if other := take_turn(ledger, holder, self.come_up_s + self.grace_s + TURN_S):
            say(f"{other} scales {self.name} already; nothing was done")
            click.get_current_context().exit(0)
        try:
            yield
        finally:
            with suppress(KitchenUnreachable):
                keep_turn(ledger, holder, 0.0)

    def is_agreed(self, seen: Look, lines: Sequence[str]) -> bool:
        if not self.options.is_json:
            for line in lines:
                say(line)
        there, target = len(seen.working), seen.decision.target
        if seen.decision.is_contradiction and (target > there or not there):
            raise FleetError(
                f"{self.name}: the deadline and the budget contradict each other; nothing was launched\n"
                "hint: give a later --by, more --budget, or only one of the two"
            )
        until = ", and as it takes until all is done" if self.goal.is_watching else ""
        question = f"Scale {self.name} from {there} to {plural(target, 'machine')}{until}?"
        return confirm(question, is_yes=self.is_yes or (there == target and not self.goal.is_watching))

    def show(self, seen: Look, lines: Sequence[str]) -> None:
        if self.options.is_json:
            show_json({"dry_run": True, **decision_facts(self.name, seen)})
            return
        for line in lines:
            say(line)
        say(f"{self.name}: would scale; nothing was done (--dry-run)")

    def once(self, scaler: Scaler, seen: Look, arrival: Arrival) -> None:
        """Bring it to what was decided, and wait for those that boot and those that leave."""
        from waiter.fleet.life import ending
        from waiter.fleet.life.arrival import bring_up, note_up
        from waiter.fleet.life.launching import look

        target, there = seen.decision.target, len(seen.working)
        if target > there:
            for line in call_lines(scaler.launch(seen), there, target):
                say(line)
            seen = scaler.look()
        with fleet_runner(VerbCall("scale", "asking", self.options, []), Unseen()) as runner:
            going = scaler.let_go(runner, arrival, seen) if target < there else []
        names = {host.name for host in going}
        going = [*going, *scaler.hosts(arrival, seen, seen.leaving)]
        coming = [host for host in scaler.hosts(arrival, seen, seen.booting) if host.name not in names]
        call = VerbCall("scale", "scaling", self.options, [*going, *coming])
        view = Unseen() if self.options.is_json else ReportView(call)
        with fleet_runner(call, view) as runner:
            reports = scaler.end(runner, arrival, going, self.grace_s) if going else []
            if coming:
                came = bring_up(self.account, runner, arrival, coming, lambda words: say(f"Waiting: {words}"))
                note_up(self.account, came)
                reports += ending.end_what_never_came(self.account, came)
        is_ok = self.finish(view, seen, reports)
        if not is_ok or len(look(self.account).machines) < target:
            click.get_current_context().exit(1)

    def finish(self, view: ReportView | Unseen, seen: Look, reports: Sequence[Report]) -> bool:
        from waiter.fleet import tables

        if self.options.is_json:
            show_json({**tables.to_json("scale", reports), **decision_facts(self.name, seen)})
        elif not reports:
            return True
        return view.finish(reports)

    # Until all is done.

    def watch(self, scaler: Scaler, first: Look, arrival: Arrival) -> None:
        from waiter.fleet.life.cloud import remove_templates
        from waiter.fleet.life.scaling import lost

        call = VerbCall("scale", "scaling", self.options, [], is_endless=True)
        known = set(lost(self.account))
        seen: Look | None = first
        told: object = None
        with fleet_runner(call, Unseen()) as runner:
            while True:
                try:
                    seen = seen or self.look_again(scaler, known)
                    told = self.tell(seen, scaler, told)
                    if (code := watch_ends(seen, scaler.wish)) is not None:
                        break
                    self.round(scaler, runner, arrival, seen)
                except (FleetError, KitchenUnreachable) as error:
                    say(f"{error}\nLooking again in {self.goal.every_s:g} s.")
                seen = None
                time.sleep(self.goal.every_s)
        remove_templates(self.account.ec2, self.name)
        if code is ExitCode.LIMIT:
            say(f"{self.name}: the budget is spent, and {plural(seen.scene.left, 'order')} left")
        click.get_current_context().exit(code.value)

    def look_again(self, scaler: Scaler, known: set[str]) -> Look:
        """The fleet as it is now; says what was lost meanwhile, and exits when somebody has taken the fleet over."""
        from waiter.fleet.life.turns import keep_turn, me

        if other := keep_turn(self.account.ledger, me(), TURN_S):
            say(f"{other} has taken {self.name} over: nothing more is done here")
            click.get_current_context().exit(1)
        seen = scaler.look()
        for line in self.new_losses(known):
            say(line)
        return seen

    def new_losses(self, known: set[str]) -> list[str]:
        """Which machines are gone that are not `known` to be, and why; they are known from now on."""
        from waiter.fleet.life.scaling import lost

        new = {id_: why for id_, why in lost(self.account).items() if id_ not in known}
        known |= new.keys()
        return [f"{id_}: gone: {why}" for id_, why in new.items()]

    def tell(self, seen: Look, scaler: Scaler, told: object) -> object:
        """Say what has changed; returns what is known then."""
        scene, decision = seen.scene, seen.decision
        news = (scene.up, scene.booting, scene.leaving, decision.target, bool(decision.warnings), not scene.left)
        if news != told:
            if self.options.is_json:
                show_json(decision_facts(self.name, seen))
            elif told is not None:
                for line in decision_lines(self.name, seen, scaler.wish):
                    say(line)
        return news

    def round(self, scaler: Scaler, runner: FleetRunner, arrival: Arrival, seen: Look) -> None:
        calls, reports = scaler.step(runner, arrival, seen)
        for line in call_lines(calls, 0, sum(call.count for call in calls[:1])):
            say(line)
        for report in reports:
            say(f"{report.host.name}: {report.findings[0] if report.findings else report.outcome}")


def watch_ends(seen: Look, wish: Wish) -> ExitCode | None:
    """What a watch ends with, when no machine lives and none is to come; None: it goes on."""
    scene = seen.scene
    if seen.state.machines or seen.decision.target:
        return None
    if not scene.left:
        return ExitCode.OK
    if not scene.ready or scene.is_refused:  # orders of lost waiters come back, and so may machines
        return None
    if scene.is_hopeless:
        return ExitCode.FAILED
    return None if wish.budget is None else ExitCode.LIMIT


def shrink(account: Account, count: int, arrival: Arrival, options: RunnerOptions, grace_s: float) -> None:
    """Drain and end the machines that are too many, those with least to do first."""
    from waiter.fleet.life import ending
    from waiter.fleet.life.launching import look
    from waiter.fleet.life.shrinking import least_needed

    state = look(account)
    hosts = ending.hosts_of(account, state, arrival, sorted(state.machines))
    call = VerbCall("scale", "ending", options, hosts)
    began = time.monotonic()
    with fleet_runner(call, Unseen()) as runner:
        chosen = least_needed(account, replace(runner, on_report=None), hosts, arrival, len(hosts) - count)
    call = replace(call, hosts=chosen, began=began)
    view = ReportView(call)
    with fleet_runner(call, view) as runner:
        drain = ending.Drain(arrival.payload, arrival, grace_s)
        reports = ending.drain_and_end(account, runner, chosen, drain, SCALED_DOWN, is_patient=True)
    if not view.finish(reports):
        click.get_current_context().exit(1)


def to_count_line(there: int, count: int) -> str:
    """What becomes of so many machines."""
    line = f"from {there} to {plural(count, 'machine')}"
    if count < there:
        return f"{line}: {there - count} would be drained and ended, those with least to do"
    return f"{line}: {count - there} would be launched, like the last ones" if count > there else line


class Unseen:
    """A view of what nobody is shown."""

    def saw(self, report: Report | None) -> None: ...

    def finish(self, reports: Sequence[Report]) -> bool:
        return all(report.is_ok for report in reports)
