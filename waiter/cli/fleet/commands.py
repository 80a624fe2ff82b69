"""Drive waiters on many hosts.

`fab fleet.…` is made from these very commands.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from waiter.cli.console import say
from waiter.cli.fleet.options import (
    FleetCommand,
    KitchenNames,
    conclude,
    driving,
    fleet_runner,
    grace_option,
    hosts_of,
    kitchen_names,
    reachable,
    selecting,
    show_plan,
    working,
)
from waiter.cli.fleet.plan import batch_size, files_in, host_settings, packed_command, payload, plan_of, start_request
from waiter.cli.groups import VerbGroup
from waiter.cli.options import kitchen_options
from waiter.cli.tables import show_json, show_table
from waiter.errors import KitchenError, UsageError
from waiter.fleet.inventory import ALIVE, Host, described
from waiter.kitchen import open_kitchen
from waiter.orders import Shift
from waiter.report.formatting import escape_control, plural

if TYPE_CHECKING:
    from waiter.fleet.actions import Report
    from waiter.fleet.host_output import OnLine


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
@selecting
@click.option("--json", "is_json", is_flag=True, help="One JSON value instead of a table.")
def hosts(**said: Any) -> None:
    """Who is selected. Connects to no host.

    \b
    waiter fleet hosts --tag role=crunch --region eu-central-1
    waiter fleet hosts --hosts crunch-1,crunch-2 --json
    """
    from waiter.fleet import tables

    found = hosts_of(said)
    if said["is_json"]:
        show_json(described(found))
        return
    show_table(*tables.host_rows(found))
    say(plural(len(found), "host"))


@fleet.command(cls=FleetCommand)
@driving
@working
def doctor(**said: Any) -> None:
    """What would keep each host from working, and the line that fixes it.

    \b
    waiter fleet doctor --tag crunch
    waiter fleet doctor --hosts crunch-1 --kitchen mongodb://db.example/
    """
    from waiter.fleet.doctor import doctor as examined

    found, began = hosts_of(said, states=ALIVE), time.monotonic()
    if said["dry_run"]:
        return show_plan(said, "examine", found)
    names = kitchen_names(said)
    settings = host_settings(said, names, packed_command(said)) if said["cmd"] else None
    kitchen = None if names.there is None else reachable(names)
    with fleet_runner(said, found, "examining") as runner:
        reports = examined(
            runner,
            found,
            payload(None),
            kitchen=kitchen,
            db=names.db,
            settings=settings.digest if settings else None,
        )
    return conclude(said, "doctor", reports, began)


@fleet.command(cls=FleetCommand)
@driving
@working
def push(**said: Any) -> None:
    """Put Waiter and the command's files on each host, where they are not there yet.

    \b
    waiter fleet push --tag crunch --cmd ./crunch.sh
    """
    from waiter.fleet import actions

    found, began = hosts_of(said), time.monotonic()
    packed = packed_command(said) if said["cmd"] or said["files"] or said["folders"] else None
    bundle = packed.bundle if packed else None
    if said["dry_run"]:
        return show_plan(said, "push", found, *files_in(bundle))
    with fleet_runner(said, found, "pushing") as runner:
        reports = actions.push(runner, found, payload(bundle))
    return conclude(said, "push", reports, began)


@fleet.command(cls=FleetCommand)
@driving
@working
def start(**said: Any) -> None:
    """Start one waiter on each host, detached, with a slot for each CPU. Those that run are left alone.

    \b
    waiter fleet start --tag crunch --cmd "./crunch.sh --fast"
    waiter fleet start --hosts crunch-1,crunch-2 --cmd ./crunch.sh --dry-run
    """
    from waiter.fleet import actions

    found, began = hosts_of(said), time.monotonic()
    names = kitchen_names(said)
    packed = packed_command(said)
    request = start_request(said, names, packed)
    if said["dry_run"]:
        return show_plan(said, "start", found, *plan_of(request, packed))
    with fleet_runner(said, found, "starting") as runner:
        reports = actions.start(runner, found, payload(packed.bundle), request)
    return conclude(said, "start", reports, began)


@fleet.command(cls=FleetCommand)
@driving
@working
@grace_option
@click.option(
    "--batch", metavar="N", default="25%", show_default=True, help="Hosts at a time: a number or a percentage."
)
def restart(**said: Any) -> None:
    """Rolling: so many hosts at a time finish their orders and start anew, with a new script or as before.

    Without --cmd each host runs again what it ran. A host where nothing runs is started.

    \b
    waiter fleet restart --tag crunch --batch 25%
    """
    from waiter.fleet import actions

    found, began = hosts_of(said), time.monotonic()
    packed = packed_command(said) if said["cmd"] else None
    request = start_request(said, kitchen_names(said), packed)
    size = batch_size(said["batch"], len(found))
    if said["dry_run"]:
        return show_plan(said, "restart", found, f"{size} at a time", *plan_of(request, packed))
    with fleet_runner(said, found, "restarting") as runner:
        reports = actions.restart(
            runner, found, payload(packed.bundle if packed else None), request, batch=size, grace_s=said["grace"]
        )
    return conclude(said, "restart", reports, began)


@fleet.command(cls=FleetCommand)
@driving
@grace_option
@click.option("--now", is_flag=True, help="Stop the running orders too, and give them back at once.")
def stop(**said: Any) -> None:
    """Let every waiter finish its orders and go home, and wait for it; it does not come back after a reboot.

    \b
    waiter fleet stop --tag crunch
    waiter fleet stop --hosts crunch-2 --now
    """
    from waiter.fleet import actions

    found, began = hosts_of(said), time.monotonic()
    if said["dry_run"]:
        return show_plan(said, "stop now" if said["now"] else "stop", found)
    with fleet_runner(said, found, "stopping") as runner:
        reports = actions.stop(runner, found, payload(None, is_any=True), grace_s=said["grace"], is_now=said["now"])
    return conclude(said, "stop", reports, began)


@fleet.command(cls=FleetCommand)
@driving
@kitchen_options
def status(**said: Any) -> None:
    """What each host's waiter does, as SSH and the kitchen see it, and where the two disagree.

    \b
    waiter fleet status --tag crunch
    waiter fleet status --tag crunch --json
    """
    from waiter.fleet import actions

    found, began = hosts_of(said), time.monotonic()
    if said["dry_run"]:
        return show_plan(said, "ask", found)
    with fleet_runner(said, found, "asking") as runner:
        reports = actions.status(runner, found, payload(None, is_any=True))
    return show_status(said, reports, began)


@fleet.command(cls=FleetCommand)
@driving
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    metavar="N",
    default=20,
    show_default=True,
    help="So many of the last lines.",
)
def logs(**said: Any) -> None:
    """The end of each waiter's log, every line with its host.

    \b
    waiter fleet logs --tag crunch -n 50
    waiter fleet logs --hosts crunch-1 --follow
    """
    from waiter.fleet import actions

    if said["follow"] and said["is_json"]:
        raise UsageError("--follow never ends, and --json is one value at the end: give one of them")
    found, began = hosts_of(said), time.monotonic()
    if said["dry_run"]:
        return show_plan(said, "read logs", found)
    with fleet_runner(said, found, "reading", is_quiet=True) as runner:
        reports = actions.logs(
            runner, found, said["lines"], is_following=said["follow"], on_line=line_printer(said, found)
        )
    return conclude(said, "logs", reports, began, is_quiet=True)


@fleet.command(cls=FleetCommand, context_settings={"allow_interspersed_args": False})
@driving
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
def run(**said: Any) -> None:
    """Run a command on each host. One word is a line for the host's shell, several are taken as they are.

    \b
    waiter fleet run --tag crunch -- df -h
    waiter fleet run --tag crunch -- 'df -h | tail -n 1'
    """
    from waiter.fleet import actions

    found, began = hosts_of(said), time.monotonic()
    if said["dry_run"]:
        return show_plan(said, f"run {' '.join(said['command'])}", found)
    with fleet_runner(said, found, "running", is_quiet=True) as runner:
        reports = actions.run(runner, found, said["command"], line_printer(said, found))
    return conclude(said, "run", reports, began, is_quiet=True)


@fleet.command(cls=FleetCommand)
@driving
@click.argument("remote")
@click.argument("local", type=click.Path(path_type=Path, file_okay=False))
def fetch(**said: Any) -> None:
    """Bring REMOTE of every host into LOCAL/HOST/: a file, a folder, or a glob. Relative to the user's home there.

    \b
    waiter fleet fetch --tag crunch results ./results
    """
    from waiter.fleet.fetch import fetch as fetched

    if not said["remote"]:
        raise UsageError("REMOTE is empty, which would be the whole home: name a file, a folder or a glob, or ~/")
    found, began = hosts_of(said), time.monotonic()
    if said["dry_run"]:
        return show_plan(said, f"fetch {said['remote']} into {said['local']}", found)
    with fleet_runner(said, found, "fetching") as runner:
        reports = fetched(runner, found, said["remote"], said["local"])
    return conclude(said, "fetch", reports, began)


# What is shown.


def line_printer(said: dict[str, Any], found: list[Host]) -> OnLine | None:
    """Prints the hosts' lines as they come, each behind its host's name; None where all goes into one JSON value."""
    from waiter.fleet.host_output import NobodyReads

    width = max(len(host.name) for host in found)
    printing = threading.Lock()
    # On a terminal a bar may stand where the line is to go. It comes again.
    begin = "\r\x1b[2K" if sys.stdout.isatty() and sys.stderr.isatty() else ""

    def show(host: Host, stream: int, line: str) -> None:
        try:
            with printing:
                click.echo(f"{begin}{escape_control(f'{host.name:<{width}} | {line}')}", err=stream == 2)
        except BrokenPipeError as error:
            raise NobodyReads from error

    return None if said["is_json"] else show


def show_status(said: dict[str, Any], reports: list[Report], began: float) -> None:
    """SSH's reports and the kitchen's shifts as one table."""
    from waiter.fleet import tables
    from waiter.fleet.status import fleet_status

    names = kitchen_names(said)
    shifts, now, kitchen_error = kitchen_view(names)
    rows = fleet_status(reports, shifts, now)
    is_ok = kitchen_error is None and all(row.is_ok for row in rows)
    if said["is_json"]:
        waiters = [row.to_json() for row in rows]
        show_json(
            {**tables.to_json("status", reports), "ok": is_ok, "waiters": waiters, "kitchen_error": kitchen_error}
        )
    else:
        show_table(*tables.status_rows(rows, now))
        for line in (
            *tables.status_notes(rows),
            *tables.problem_lines(reports),
            *filter(None, [kitchen_error]),
        ):
            say(line)
        if names.here is None:
            say("This is what SSH sees. Give --kitchen, and it says what the kitchen knows of them too")
        say(tables.summary(reports, time.monotonic() - began))
    if not is_ok:
        click.get_current_context().exit(1)


def kitchen_view(names: KitchenNames) -> tuple[list[Shift] | None, float, str | None]:
    """The kitchen's shifts, its clock, and why they are not known."""
    if names.here is None:
        return None, time.time(), None
    try:
        with open_kitchen(names.here, names.db, create=False) as kitchen:
            return kitchen.shifts(), kitchen.now(), None
    except KitchenError as error:
        return None, time.time(), str(error)
