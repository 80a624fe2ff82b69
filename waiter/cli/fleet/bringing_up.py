"""`launch`, and `scale` to more machines: what EC2 gives, and a waiter on each; for `--follow` until all is done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from waiter.cli.console import say
from waiter.cli.fleet.follow import OrdersLeft, follow_to_the_end, lines_of, say_how_all_ended
from waiter.cli.fleet.options import DeliveryRequest, RunnerOptions
from waiter.cli.fleet.reports import ReportView, Unseen, VerbCall, fleet_runner
from waiter.errors import ExitCode, KitchenError, UsageError
from waiter.fleet.inventory import Host
from waiter.report.formatting import plural
from waiter.settings import settings

if TYPE_CHECKING:
    from waiter.fleet.following import Changes
    from waiter.fleet.life.arrival import Arrival
    from waiter.fleet.life.following import FollowedFleet
    from waiter.fleet.life.launching import Account
    from waiter.fleet.life.plan import LaunchPlan
    from waiter.machines import Call

FOLLOWED_S = 180.0
"""How long a follower of another computer that died keeps others from following."""


def grow_and_start(
    account: Account, plan: LaunchPlan, count: int, arrival: Arrival, options: RunnerOptions, verb: str
) -> None:
    """Have so many machines at work; exit code 1 unless all is as it was asked for."""
    fleet = grown(account, plan, count, arrival)
    if not brought_up(fleet, count, options, verb):
        click.get_current_context().exit(1)
    if plan.market.may_be_taken_back and not options.is_json:
        say("Spot: the same line replaces what EC2 takes back from now on; launch --follow does so all the time")


def follow_launched(
    account: Account, plan: LaunchPlan, count: int, arrival: Arrival, options: RunnerOptions, delivery: DeliveryRequest
) -> None:
    """Have so many machines at work until every order has ended. Only one at a time follows a fleet."""
    from waiter.fleet.life.turns import FOLLOW, keep_turn, me, take_turn

    if options.is_json:
        raise UsageError("--follow tells who comes and goes, and --json is one value at the end: give one of them")
    orders, holder, ledger = OrdersLeft(delivery.kitchen, delivery.flags["batch"] or ()), me(), account.ledger
    if other := take_turn(ledger, holder, FOLLOWED_S, FOLLOW):
        say(f"{other} follows {ledger.fleet} already; nothing was done")
        return

    def keep() -> None:
        if other := keep_turn(ledger, holder, FOLLOWED_S, FOLLOW):
            say(f"{other} follows {ledger.fleet} now: nothing more is done here")
            click.get_current_context().exit(ExitCode.FAILED)

    try:
        if (counts := orders.ended()) is not None:
            say_how_all_ended(counts)
            return
        first = to_begin_with(account, count, orders)
        fleet = grown(account, plan, first, arrival)
        fleet.keep = keep
        brought_up(fleet, first, options, "launch")
        fleet.count, fleet.ready = count, orders.ready
        call = VerbCall("launch", "starting", options, (), is_endless=True)
        with fleet_runner(call, Unseen()) as runner:
            fleet.runner = runner.hasty()
            follow_to_the_end(fleet, orders)
    finally:
        with suppress(KitchenError):
            keep_turn(ledger, holder, 0.0, FOLLOW)


def to_begin_with(account: Account, count: int, orders: OrdersLeft) -> int:
    """How many machines there are to be now: as many as were asked for, the first time; later what has ended for want
    of work is not launched anew."""
    from waiter.fleet.life.launching import look, settle

    if not account.ledger.calls():
        return count
    settle(account)
    there = len(look(account).machines)
    return max(there, min(count, there + orders.ready()))


def grown(account: Account, plan: LaunchPlan, count: int, arrival: Arrival) -> FollowedFleet:
    """The fleet, after what is missing was launched, as far as EC2 has it."""
    from waiter.fleet.life.following import FollowedFleet
    from waiter.fleet.life.launching import grow, look, settle
    from waiter.fleet.life.turns import turn_to_launch

    settle(account)
    calls: list[Call] = []
    if len(there := look(account).machines) < count:
        with turn_to_launch(account.ledger, say):
            there = look(account).machines  # somebody may have launched meanwhile
            calls = grow(account, plan, count)
    for line in call_lines(calls, len(there), count):
        say(line)
    if calls:
        price_machines(account, plan)

    def launched(calls: Sequence[Call], wanted: int) -> list[str]:
        price_machines(account, plan)
        return call_lines(calls, 0, wanted)

    here = {**there, **{machine.id: machine for call in calls for machine in call.machines}}
    return FollowedFleet(account, arrival, plan, len(here), launched, here=here)


def brought_up(fleet: FollowedFleet, count: int, options: RunnerOptions, verb: str) -> bool:
    """Start a waiter on all machines, end those that never come up. Whether so many are at work, and nothing failed."""
    from waiter.fleet.life.following import bring_all_up

    hosts: list[Host] = []

    def saw(changes: Changes) -> None:
        hosts[:] = fleet.hosts
        for line in lines_of(changes, is_in_table=True):
            say(line)

    call = VerbCall(verb, "starting", options, hosts)
    view = ReportView(call)
    with fleet_runner(call, view) as runner:
        fleet.runner = runner.hasty()
        reports = bring_all_up(fleet, runner, lambda words: say(f"Waiting: {words}"), saw)
    return view.finish(reports) and fleet.at_work() >= count


def price_machines(account: Account, plan: LaunchPlan) -> None:
    """Write down what machines cost that have no price yet."""
    from waiter.fleet.life.launching import look
    from waiter.fleet.life.prices import find_prices, keep_prices, offers

    keep_prices(account, look(account), find_prices(account.ec2, settings().prices, offers(plan)))


def call_lines(calls: Sequence[Call], before: int, count: int) -> list[str]:
    """What EC2 gave, and what it refused, pool by pool."""
    from waiter.fleet.life.plan import reason

    made = sum(len(call.machines) for call in calls)
    lines = [f"{plural(before, 'machine')} of the fleet live already"] if before else []
    if calls:
        lines.append(f"Launched {plural(made, 'machine')} of {max(0, count - before)}")
    for call in calls:
        for error in call.errors:
            pool = " in ".join(filter(None, (error.kind, error.subnet))) or "all types"
            lines.append(f"{pool}, {error.market or call.market}: {reason(error.code)}: {error.words} ({error.code})")
    return lines
