"""Drive waiters on many hosts.

`fab fleet.…` is made from these very commands.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from waiter.cli.console import say
from waiter.cli.fleet.cost import cost
from waiter.cli.fleet.follow import OrdersLeft, follow_option, hosts_to_follow, start_and_follow
from waiter.cli.fleet.kitchen_check import check_with_kitchen, packed_to_start
from waiter.cli.fleet.life import LIFE
from waiter.cli.fleet.options import (
    DeliveryRequest,
    KitchenNames,
    RunnerOptions,
    find_hosts,
    grace_option,
    with_delivery,
    with_delivery_again,
    with_kitchen_names,
    with_runner_options,
    with_selection,
)
from waiter.cli.fleet.plan import (
    batch_size,
    files_in,
    host_settings,
    kitchen_for_hosts,
    packed_command,
    passage_of,
    payload,
    plan_of,
    start_request,
    with_command,
)
from waiter.cli.fleet.reports import VerbCall, carry_out
from waiter.cli.fleet.scale import scale
from waiter.cli.fleet.status_view import StatusView
from waiter.cli.fleet.toml_defaults import FleetCommand
from waiter.cli.fleet.tunnelling import start_through_tunnels
from waiter.cli.groups import VerbGroup
from waiter.cli.options import COMMAND, complete_file
from waiter.cli.tables import show_json, show_table
from waiter.errors import UsageError
from waiter.fleet.inventory import ALIVE, Host, HostSelection, described
from waiter.report.formatting import escape_control, plural

if TYPE_CHECKING:
    from waiter.fleet.host_output import OnLine
    from waiter.fleet.runner import FleetRunner, Report


@click.group(cls=VerbGroup)
def fleet() -> None:
    """Drive waiters on many hosts: EC2 instances by tag, or a list.

    \b
    waiter fleet hosts --tag crunch
    waiter fleet start --tag crunch -k mongodb://db.example/ --cmd ./crunch.sh
    waiter fleet status --tag crunch
    waiter fleet stop --tag crunch
    """


@fleet.command(cls=FleetCommand)
@with_selection
@click.option("--json", "is_json", is_flag=True, help="One JSON value instead of a table.")
def hosts(selection: HostSelection, is_json: bool) -> None:
    """Who is selected. Connects to no host.

    \b
    waiter fleet hosts --tag role=crunch --region eu-central-1
    waiter fleet hosts --hosts crunch-1,crunch-2 --json
    """
    from waiter.fleet import tables

    found = find_hosts(selection)
    if is_json:
        show_json(described(found))
        return
    show_table(*tables.host_rows(found))
    say(plural(len(found), "host"))


@fleet.command(cls=FleetCommand)
@with_runner_options
@with_delivery
def doctor(options: RunnerOptions, delivery: DeliveryRequest) -> None:
    """What would keep each host from working, and the line that fixes it.

    \b
    waiter fleet doctor --tag crunch
    waiter fleet doctor --hosts crunch-1 --kitchen mongodb://db.example/
    """
    from waiter.fleet.doctor import doctor as examine

    found = find_hosts(options.selection, states=ALIVE)
    call = VerbCall("doctor", "examining", options, found, would="examine")

    def act(runner: FleetRunner) -> list[Report]:
        settings = host_settings(delivery, packed_command(delivery)) if delivery.cmd else None
        kitchen = kitchen_for_hosts(delivery, is_needed=False)
        return examine(runner, found, payload(None), kitchen=kitchen, db=delivery.kitchen.db, settings=settings)

    carry_out(call, act)


@fleet.command(cls=FleetCommand)
@with_runner_options
@with_delivery
def push(options: RunnerOptions, delivery: DeliveryRequest) -> None:
    """Put Waiter and the command's files on each host, where they are not there yet.

    \b
    waiter fleet push --tag crunch --cmd ./crunch.sh
    """
    from waiter.fleet import actions

    found = find_hosts(options.selection)
    packed = packed_command(delivery) if delivery.cmd or delivery.files or delivery.folders else None
    bundle = packed.bundle if packed else None
    call = VerbCall("push", "pushing", options, found, facts=files_in(bundle))
    carry_out(call, lambda runner: actions.push(runner, found, payload(bundle)))


@fleet.command(cls=FleetCommand, context_settings=COMMAND)
@with_runner_options
@with_delivery
@follow_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="[CMD…]")
def start(options: RunnerOptions, delivery: DeliveryRequest, follow: bool, command: tuple[str, ...]) -> None:
    """Start one waiter on each host, detached, with a slot for each CPU. Those that run are left alone.

    It stays until `stop`. Without CMD each batch is delivered with its own (`waiter load --for`). Everything after CMD
    belongs to CMD; --cmd "CMD…" says the same as one text. Twice is safe. With --follow it goes on: hosts that come
    later, or anew, are started too, until every order has ended; Ctrl-C leaves all of them running.

    \b
    waiter fleet start --tag crunch ./crunch.sh --fast
    waiter fleet start --hosts ann,bob --cmd "./crunch.sh --fast" --dry-run
    """
    from waiter.fleet import actions

    delivery = with_command(delivery, command)
    if follow and delivery.tunnel:
        raise UsageError("--follow, and --tunnel, which stays for the hosts of its beginning: give one of them")
    found = hosts_to_follow(options.selection) if follow else find_hosts(options.selection)
    packed = packed_to_start(delivery)
    request = start_request(delivery, packed)
    if request.settings and not options.dry_run:
        check_with_kitchen(delivery, request.settings)
    sent, passage = payload(packed.bundle), passage_of(delivery)
    ways = [] if passage is None else [str(passage)]
    call = VerbCall("start", "starting", options, found, facts=[*plan_of(request, packed), *ways])
    if passage is not None:
        return start_through_tunnels(call, passage, sent, request)
    if follow:
        orders = OrdersLeft(delivery.kitchen, delivery.flags["batch"] or ())
        return start_and_follow(call, lambda runner, hosts: actions.start(runner, hosts, sent, request), orders)
    carry_out(call, lambda runner: actions.start(runner, found, sent, request))
    return None


@fleet.command(cls=FleetCommand)
@with_runner_options
@with_delivery_again
@grace_option
@click.option(
    "--batch", metavar="N", default="25%", show_default=True, help="Hosts at a time: a number or a percentage."
)
def restart(options: RunnerOptions, delivery: DeliveryRequest, grace: float, batch: str) -> None:
    """Restart waiters, some hosts at a time: orders that run end first.

    With --cmd they start with the new script, without it with what they ran. A host where nothing runs is started.

    \b
    waiter fleet restart --tag crunch --batch 25%
    """
    from waiter.fleet import actions

    found = find_hosts(options.selection)
    packed = packed_to_start(delivery) if delivery.cmd or delivery.own_commands else None
    request = start_request(delivery, packed)
    if request.settings and not options.dry_run:
        check_with_kitchen(delivery, request.settings)
    size = batch_size(batch, len(found))
    call = VerbCall("restart", "restarting", options, found, facts=[f"{size} at a time", *plan_of(request, packed)])

    def act(runner: FleetRunner) -> list[Report]:
        sent = payload(packed.bundle if packed else None)
        return actions.restart(runner, found, sent, request, batch=size, grace_s=grace)

    carry_out(call, act)


@fleet.command(cls=FleetCommand)
@with_runner_options
@grace_option
@click.option("--now", is_flag=True, help="Stop the running orders too, and give them back at once.")
def stop(options: RunnerOptions, grace: float, now: bool) -> None:
    """Let every waiter finish its orders and leave, and wait for it; it does not come back after a reboot.

    \b
    waiter fleet stop --tag crunch
    waiter fleet stop --hosts crunch-2 --now
    """
    from waiter.fleet import actions

    found = find_hosts(options.selection)
    call = VerbCall("stop", "stopping", options, found, would="stop now" if now else "stop")
    carry_out(call, lambda runner: actions.stop(runner, found, payload(None, is_any=True), grace_s=grace, is_now=now))


@fleet.command(cls=FleetCommand)
@with_runner_options
@with_kitchen_names
def status(options: RunnerOptions, kitchen: KitchenNames) -> None:
    """What each host's waiter does, as SSH and the kitchen see it, and where the two disagree.

    \b
    waiter fleet status --tag crunch
    waiter fleet status --tag crunch --json
    """
    from waiter.fleet import actions

    found = find_hosts(options.selection)
    call = VerbCall("status", "asking", options, found, would="ask")
    carry_out(
        call,
        lambda runner: actions.status(runner, found, payload(None, is_any=True)),
        StatusView(call, kitchen),
    )


@fleet.command(cls=FleetCommand)
@with_runner_options
@click.option("-f", "--follow", is_flag=True, help="Follow new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    metavar="N",
    default=20,
    show_default=True,
    help="The last N lines.",
)
def logs(options: RunnerOptions, follow: bool, lines: int) -> None:
    """The end of each waiter's log, every line with its host.

    \b
    waiter fleet logs --tag crunch -n 50
    waiter fleet logs --hosts crunch-1 --follow
    """
    from waiter.fleet import actions

    if follow and options.is_json:
        raise UsageError("--follow never ends, and --json is one value at the end: give one of them")
    found = find_hosts(options.selection)
    call = VerbCall("logs", "reading", options, found, would="read logs", is_quiet=True, is_endless=follow)
    carry_out(call, lambda runner: actions.logs(runner, found, lines, is_following=follow, on_line=line_printer(call)))


@fleet.command(cls=FleetCommand, context_settings={"allow_interspersed_args": False})
@with_runner_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
def run(options: RunnerOptions, command: tuple[str, ...]) -> None:
    """Run a command on each host. One word is a line for the host's shell, several are taken as they are.

    \b
    waiter fleet run --tag crunch -- df -h
    waiter fleet run --tag crunch -- 'df -h | tail -n 1'
    """
    from waiter.fleet import actions

    found = find_hosts(options.selection)
    call = VerbCall("run", "running", options, found, would=f"run {' '.join(command)}", is_quiet=True)
    carry_out(call, lambda runner: actions.run(runner, found, command, line_printer(call)))


@fleet.command(cls=FleetCommand)
@with_runner_options
@click.argument("remote")
@click.argument("local", type=click.Path(path_type=Path, file_okay=False))
def fetch(options: RunnerOptions, remote: str, local: Path) -> None:
    """Bring REMOTE of every host into LOCAL/HOST/: a file, a folder, or a glob. Relative to the user's home there.

    \b
    waiter fleet fetch --tag crunch results ./results
    """
    from waiter.fleet.fetch import fetch as fetch_files

    if not remote:
        raise UsageError("REMOTE is empty, which would be the whole home: name a file, a folder or a glob, or ~/")
    found = find_hosts(options.selection)
    call = VerbCall("fetch", "fetching", options, found, would=f"fetch {remote} into {local}")
    carry_out(call, lambda runner: fetch_files(runner, found, remote, local))


for verb in (*LIFE, scale, cost):
    fleet.add_command(verb)
for each in fleet.commands.values():
    if isinstance(each, FleetCommand):
        each.of = fleet


# What is shown.


def line_printer(call: VerbCall) -> OnLine | None:
    """Prints the hosts' lines as they come, each behind its host's name; None where all goes into one JSON value."""
    from waiter.fleet.host_output import NobodyReads

    width = max(len(host.name) for host in call.hosts)
    printing = threading.Lock()
    # On a terminal a bar may stand where the line is to go. It comes again.
    begin = "\r\x1b[2K" if sys.stdout.isatty() and sys.stderr.isatty() else ""

    def show(host: Host, stream: int, line: str) -> None:
        try:
            with printing:
                click.echo(f"{begin}{escape_control(f'{host.name:<{width}} | {line}')}", err=stream == 2)
        except BrokenPipeError as error:
            raise NobodyReads from error

    return None if call.options.is_json else show
