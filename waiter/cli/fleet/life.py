"""The verbs of a fleet's whole life: launch, terminate, leftovers; and what `scale` shares with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from waiter.cli.console import confirm, said_if_long, say
from waiter.cli.fleet.bringing_up import follow_launched, grow_and_start
from waiter.cli.fleet.follow import follow_option
from waiter.cli.fleet.kitchen_check import check_with_kitchen, packed_to_start
from waiter.cli.fleet.launch_options import MachineRequest, one_region, with_machines
from waiter.cli.fleet.options import (
    DeliveryRequest,
    KitchenNames,
    RunnerOptions,
    grace_option,
    with_delivery_of_launched,
    with_kitchen_names,
    with_life_options,
)
from waiter.cli.fleet.plan import payload, plan_of, start_request, with_command
from waiter.cli.fleet.reports import ReportView, VerbCall, fleet_runner
from waiter.cli.fleet.toml_defaults import FleetCommand
from waiter.cli.options import Duration, complete_file
from waiter.cli.tables import show_json
from waiter.errors import FleetError, UsageError
from waiter.kitchen import open_kitchen
from waiter.kitchen.address import shown
from waiter.report.formatting import plural

if TYPE_CHECKING:
    from waiter.fleet.actions import StartRequest
    from waiter.fleet.inventory import Host
    from waiter.fleet.life.arrival import Arrival
    from waiter.fleet.life.launching import Account
    from waiter.fleet.life.plan import LaunchPlan
    from waiter.machines import Market

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
count_option = click.option(
    "--count", type=click.IntRange(0), metavar="N", required=True, help="So many machines, those that live included."
)
come_up_option = click.option(
    "--come-up", "come_up_s", type=Duration(), default=600.0, help="Those not at work by then are ended (10m)."
)


@click.command(cls=FleetCommand)
@click.argument("fleet_name", metavar="NAME")
@count_option
@with_machines
@come_up_option
@with_life_options
@with_delivery_of_launched
@follow_option
@yes_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="[-- CMD…]")
def launch(
    fleet_name: str,
    count: int,
    machines: MachineRequest,
    come_up_s: float,
    options: RunnerOptions,
    delivery: DeliveryRequest,
    follow: bool,
    yes: bool,
    command: tuple[str, ...],
) -> None:
    """Launch EC2 machines as fleet NAME, start a waiter on each, and let them end themselves when the work is done.

    The same line again launches what is missing, and nothing twice. A machine ends by itself when its waiter has been
    gone or idle for --idle, and after --max-life; this computer may be off. What EC2 takes back is replaced until all
    are at work; with --follow, until every order has ended. Cron may call that, too: one at a time follows a fleet.

    \b
    waiter fleet launch crunch --count 6 --type m7a.large --ami ami-0abc --spot
    waiter fleet launch crunch --count 6 -- ./crunch.sh --fast
    """
    delivery = leaving_in_time(with_command(delivery, command), machines.market)
    packed = packed_to_start(delivery)
    request = start_request(delivery, packed)
    with account_of(fleet_name, delivery.kitchen, options, is_new=True) as account:
        plan = machines.plan(fleet_name, account.ec2.region)
        facts = [*plan_lines(plan, count), *plan_of(request, packed)]
        if options.dry_run:
            show_facts("launch", fleet_name, [*facts, *living_line(account)], options)
            return
        if request.settings:
            check_with_kitchen(delivery, request.settings)
        if not confirm(f"Launch up to {plural(count, 'machine')} as {fleet_name}: {facts[0]}?", is_yes=yes):
            return
        arrival = arrival_of(delivery, options, request, come_up_s)
        if follow:
            follow_launched(account, plan, count, arrival, options, delivery)
        else:
            grow_and_start(account, plan, count, arrival, options, "launch")


@click.command(cls=FleetCommand)
@click.argument("fleet_name", metavar="NAME")
@grace_option
@with_life_options
@with_kitchen_names
@click.option("--now", is_flag=True, help="End machines at once; their orders go back to the kitchen.")
@yes_option
def terminate(
    fleet_name: str, grace: float, options: RunnerOptions, kitchen: KitchenNames, now: bool, yes: bool
) -> None:
    """End all machines of fleet NAME, each when its waiter has finished its orders.

    Only what `launch` made is ended. A machine whose orders do not end within --grace stays, and is named.

    \b
    waiter fleet terminate crunch
    waiter fleet terminate crunch --now --yes
    """
    from waiter.fleet.life import ending
    from waiter.fleet.life.cloud import remove_templates
    from waiter.fleet.life.launching import give_up, look, wait_until_seen
    from waiter.fleet.life.turns import me, take_over

    with account_of(fleet_name, kitchen, options) as account:
        if not account.ledger.calls():
            raise never_launched(fleet_name, kitchen)
        if options.dry_run:
            when = "now" if now else "each when its orders have ended"
            show_facts("terminate", fleet_name, [f"{named(sorted(look(account).machines))}, {when}"], options)
            return
        give_up(account)
        state = wait_until_seen(account)
        for foreign in state.foreign:
            say(f"{foreign} carries the fleet's tag and was not launched by it: left alone")
        arrival = arrival_by(options)
        hosts = ending.hosts_of(account, state, arrival, sorted(state.machines))
        question = f"End {named([host.name for host in hosts])} of {fleet_name}?"
        if not confirm(question, is_yes=yes or not hosts):
            return
        take_over(account.ledger, me())
        if not hosts and not options.is_json:
            say(f"No machine of {fleet_name} lives: nothing is to be ended")
        elif not ended(account, hosts, arrival, options, None if now else grace):
            click.get_current_context().exit(1)
        remove_templates(account.ec2, fleet_name)


@click.command(cls=FleetCommand)
@with_life_options
@with_kitchen_names
@click.option("--terminate", "is_ending", is_flag=True, help="End those that no fleet of this kitchen has.")
@yes_option
def leftovers(options: RunnerOptions, kitchen: KitchenNames, is_ending: bool, yes: bool) -> None:
    """Every living machine that some `launch` made, in the regions named: whose, since when, and whether it works.

    \b
    waiter fleet leftovers --region eu-west-1 --region us-east-1
    waiter fleet leftovers --terminate
    """
    from waiter.cli.fleet.leftovers_view import show_leftovers

    show_leftovers(options, kitchen, is_ending=is_ending, is_yes=yes)


LIFE: Sequence[click.Command] = (launch, terminate, leftovers)


# What the verbs share.


@contextmanager
def account_of(name: str, names: KitchenNames, options: RunnerOptions, *, is_new: bool = False) -> Iterator[Account]:
    """The fleet's ledger, in its kitchen, and its region of EC2. Raises UsageError, KitchenError, FleetError."""
    from waiter.fleet.aws import Ec2
    from waiter.fleet.life.launching import Account
    from waiter.machines import Ledger

    if names.here is None:
        raise UsageError("which kitchen? It keeps the list of machines: --kitchen mongodb://HOST/")
    with said_if_long(f"Waiting for {shown(names.here)} to answer…"):
        kitchen = open_kitchen(names.here, names.db, create=is_new)
    with kitchen:
        ledger = Ledger(kitchen, name)
        plan = ledger.plan() or {}
        region = one_region(options) or plan.get("region")
        ec2 = Ec2(options.selection.profile, region, say)
        if plan and plan["region"] != ec2.region:
            raise FleetError(
                f"{name} was launched in {plan['region']}, not in {ec2.region}\nhint: use another name for this fleet"
            )
        yield Account(ec2, ledger, say)


def leaving_in_time(delivery: DeliveryRequest, market: Market) -> DeliveryRequest:
    """The same, with waiters that leave spot machines before EC2 takes those back. Raises UsageError for a tunnel."""
    from waiter.machines import Market

    if delivery.tunnel:
        raise UsageError("--tunnel ends with this computer, and launched machines do not\nhint: --kitchen-from-hosts")
    return replace(delivery, flags={**delivery.flags, "spot": market is not Market.ON_DEMAND})


def never_launched(name: str, names: KitchenNames) -> FleetError:
    where = shown(names.here) if names.here else "the kitchen"
    return FleetError(
        f"{name}: no such fleet: {where} has no launch of it\n"
        "hint: check NAME and --kitchen; machines that somebody else made are never touched"
    )


def arrival_of(
    delivery: DeliveryRequest, options: RunnerOptions, request: StartRequest | None, within_s: float
) -> Arrival:
    from waiter.fleet.actions import StartRequest
    from waiter.fleet.life.arrival import Arrival

    bundle = packed_to_start(delivery).bundle if request else None
    sent = payload(bundle, is_any=request is None)
    asked = request or StartRequest(None)
    return Arrival(sent, asked, options.selection.address, options.selection.user, within_s)


def arrival_by(options: RunnerOptions) -> Arrival:
    from waiter.fleet.actions import StartRequest
    from waiter.fleet.life.arrival import Arrival

    selection = options.selection
    return Arrival(payload(None, is_any=True), StartRequest(None), selection.address, selection.user, 0.0)


def plan_lines(plan: LaunchPlan, count: int) -> list[str]:
    """What would be launched, in words."""
    where = f"{plan.region}, {', '.join(plan.subnets)}" if plan.subnets else plan.region
    image = plan.ami or f"launch template {plan.template}"
    price = f", at most ${plan.max_price:g} an hour each" if plan.max_price else ""
    return [
        f"{count} of {' or '.join(plan.kinds)}, {plan.market}, {image}, in {where}{price}",
        f"each ends {plan.idle_s / 60:g} min after its last order, and {plan.max_life_s / 3600:g} h after its boot",
    ]


def living_line(account: Account) -> list[str]:
    """How many machines the fleet has already, if it was launched before."""
    from waiter.fleet.life.launching import look

    if not account.ledger.calls():
        return []
    there = look(account).machines
    return [f"{named(sorted(there))} of it live already"] if there else []


def named(ids: Sequence[str]) -> str:
    """How many machines, and which: the first of them by name."""
    some = ", ".join(ids[:5]) + (" …" if len(ids) > 5 else "")
    return f"{plural(len(ids), 'machine')} ({some})" if ids else "no machine"


def show_facts(verb: str, name: str, facts: Sequence[str], options: RunnerOptions) -> None:
    if options.is_json:
        show_json({"verb": verb, "dry_run": True, "fleet": name, "facts": list(facts)})
        return
    for fact in facts:
        say(fact)
    say(f"{name}: would {verb}; nothing was done (--dry-run)")


def ended(
    account: Account, hosts: Sequence[Host], arrival: Arrival, options: RunnerOptions, grace_s: float | None
) -> bool:
    """End machines whose waiters have so long to finish; None: at once. Whether all are ended."""
    from waiter.fleet.life import ending

    call = VerbCall("terminate", "ending", options, hosts)
    view = ReportView(call)
    with fleet_runner(call, view) as runner:
        if grace_s is None:
            reports = ending.end_now(account, runner, hosts, "terminate")
        else:
            drain = ending.Drain(arrival.payload, arrival, grace_s)
            reports = ending.drain_and_end(account, runner, hosts, drain, "terminate", is_patient=False)
    return view.finish(reports)
