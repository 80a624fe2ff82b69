"""What the fleet's verbs share: which hosts, how to go there, what to deliver, and how to show what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from waiter.cli.console import say
from waiter.cli.delivery_options import delivery_flags
from waiter.cli.options import Duration, kitchen_options, resolve_settings
from waiter.cli.progress import rows_bar
from waiter.cli.stdio import StdoutClosed
from waiter.cli.tables import show_json, show_table
from waiter.errors import UsageError
from waiter.fleet.inventory import STATES, AddressKind, Host, HostSelection, select_hosts
from waiter.kitchen import kind_of
from waiter.report.formatting import plural
from waiter.settings import settings

if TYPE_CHECKING:
    from waiter.fleet.actions import FleetRunner, Report

Function = TypeVar("Function", bound=Callable[..., Any])
Option = Callable[[Any], Any]

_SELECTING: Sequence[Option] = (
    click.option(
        "-t",
        "--tag",
        "tags",
        multiple=True,
        metavar="K=V",
        help="EC2 instances with this tag; one word: that key or Name.",
    ),
    click.option("--region", "regions", multiple=True, metavar="NAME", help="AWS region. Repeatable."),
    click.option("--profile", metavar="NAME", help="AWS profile."),
    click.option(
        "--state", "states", multiple=True, type=click.Choice(STATES), help="Instances in it. Default: running."
    ),
    click.option(
        "--address", type=click.Choice([a.value for a in AddressKind]), default="auto", help="What to connect to."
    ),
    click.option("--hosts", multiple=True, metavar="A,B", help="These hosts, no cloud: [user@]host[:port]."),
    click.option("--hosts-file", type=click.Path(path_type=Path, dir_okay=False), help="A file with one a line."),
    click.option("--limit", multiple=True, metavar="GLOB", help="Only those whose name, address or id fits."),
)

_DRIVING: Sequence[Option] = (
    click.option("-u", "--user", metavar="NAME", help="Log in as. Default: what ~/.ssh/config says."),
    click.option("--accept-new", is_flag=True, help="Trust and remember keys of hosts never met before."),
    click.option(
        "--parallel", type=click.IntRange(1), metavar="N", default=32, show_default=True, help="Hosts at a time."
    ),
    click.option("--host-timeout", type=Duration(), default=60.0, show_default=True, help="Seconds a host may take."),
    click.option("--connect-timeout", type=Duration(), default=10.0, show_default=True, help="… and to let us in."),
    click.option("--dry-run", is_flag=True, help="Say what would be done where, and connect to no host."),
    click.option("--json", "is_json", is_flag=True, help="One JSON value instead of a table."),
)

_WORKING: Sequence[Option] = (
    click.option("--cmd", metavar="LINE", help='What to run for each order: "./crunch.sh --some-param x".'),
    click.option("--file", "files", multiple=True, type=click.Path(path_type=Path), help="Send this file along."),
    click.option("--dir", "folders", multiple=True, type=click.Path(path_type=Path), help="Send this folder along."),
    click.option("--kitchen-from-hosts", metavar="URL", help="The kitchen, as the hosts reach it."),
    click.option("--boot", is_flag=True, help="Come back after a reboot (systemd or cron), until `stop`."),
)

grace_option = click.option(
    "--grace", type=Duration(), default=600.0, show_default=True, help="Seconds that running orders may take to end."
)


def applied(function: Function, *options: Option) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


def selecting(function: Function) -> Function:
    """The options that say which hosts."""
    return applied(function, *_SELECTING)


def driving(function: Function) -> Function:
    """The options that say how a verb goes over its hosts; with those of `selecting`."""
    return applied(function, *_SELECTING, *_DRIVING)


def working(function: Function) -> Function:
    """The options that say what hosts are to deliver: all of `deliver`'s, some under another name."""
    own = kitchen_options(applied(function, *_WORKING))
    own.__click_params__ = [*delivery_parameters(), *own.__click_params__]  # type: ignore[attr-defined]
    return own


_RENAMED = {"tag": ["--tag-output"], "grace_s": ["--kill-grace"], "name": ["--name"]}
"""Names that mean something else on a fleet; a short one too many."""


def delivery_parameters() -> list[click.Parameter]:
    """`deliver`'s own options."""

    def bare() -> None: ...

    parameters: list[click.Parameter] = delivery_flags(bare).__click_params__  # type: ignore[attr-defined]
    for parameter in parameters:
        parameter.opts = _RENAMED.get(str(parameter.name), parameter.opts)
    return [parameter for parameter in parameters if parameter.name != "log_format"]  # hosts keep logs of their own


class FleetCommand(click.Command):
    """A verb whose options have their defaults in waiter.toml, under [fleet]."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        found = settings()
        if parent is not None and isinstance(parent.command, click.Group):
            check_table(found.fleet, parent.command.commands.values(), str(found.file))
        extra["default_map"] = {**defaults_for(self, found.fleet), **(extra.get("default_map") or {})}
        return super().make_context(info_name, args, parent, **extra)


def check_table(table: Mapping[str, Any], commands: Iterable[click.Command], file: str) -> None:
    """Raise UsageError for a key of [fleet] that is no long flag of any verb, and for a value that no flag can have."""
    flags = {name.lstrip("-"): flag for command in commands for flag in command.params for name in flag.opts}
    for key, value in table.items():
        flag = flags.get(key.replace("_", "-"))
        if flag is None:
            raise UsageError(f"{file}, [fleet]: unknown key {key}. The keys are the long flags of `waiter fleet` verbs")
        if not fits(flag, value):
            raise UsageError(f"{file}, [fleet] {key}: {value} says nothing here. See: waiter fleet start --help")


def fits(flag: click.Parameter, value: Any) -> bool:
    """Whether a value of waiter.toml has the shape that this flag takes."""
    if isinstance(value, bool):
        return isinstance(flag, click.Option) and flag.is_flag
    if isinstance(value, Mapping):
        return flag.name == "env"
    if isinstance(value, list):
        return bool(getattr(flag, "multiple", False)) and all(isinstance(each, (str, int, float)) for each in value)
    return not (isinstance(flag, click.Option) and flag.is_flag)


def defaults_for(command: click.Command, table: Mapping[str, Any]) -> dict[str, Any]:
    """The table's values by the command's parameters. The kitchen goes another way: a variable comes before it."""
    values: dict[str, Any] = {}
    for parameter in command.params:
        names = {name.lstrip("-").replace("-", "_") for name in parameter.opts}
        for key, value in table.items():
            if key.replace("-", "_") in names and key not in ("kitchen", "db"):
                values[str(parameter.name)] = many(value) if getattr(parameter, "multiple", False) else value
    return values


def many(value: Any) -> list[Any]:
    """What a flag that may be repeated is given by one value of waiter.toml: a list, a table of variables, or one."""
    if isinstance(value, Mapping):
        return [f"{name}={inner}" for name, inner in value.items()]
    return value if isinstance(value, list) else [value]


def is_typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def hosts_of(said: Mapping[str, Any], *, states: tuple[str, ...] = ("running",)) -> list[Host]:
    """The hosts that the options of a verb select. Raises FleetError, UsageError."""
    by_tag, by_name = is_typed("tags"), is_typed("hosts") or is_typed("hosts_file")
    # Hosts that are typed come before tags of waiter.toml, and tags that are typed before its hosts.
    left_out = ("hosts", "hosts_file") if by_tag and not by_name else ("tags",) if by_name and not by_tag else ()
    said = {**said, **dict.fromkeys(left_out, ())}
    return select_hosts(
        HostSelection(
            tags=tuple(said["tags"]),
            regions=tuple(said["regions"]),
            profile=said["profile"],
            states=tuple(said["states"]) or states,
            address=AddressKind(said["address"]),
            hosts=tuple(said["hosts"]),
            hosts_file=said["hosts_file"] or None,
            limit=tuple(glob for given in said["limit"] for glob in given.split(",")),
            user=said.get("user"),
        ),
        note=say,
    )


# What is delivered.


@dataclass(frozen=True, slots=True)
class KitchenNames:
    """One kitchen, as it is called here and there. None: nobody named one."""

    here: str | None
    there: str | None
    db: str


def kitchen_names(said: Mapping[str, Any]) -> KitchenNames:
    """Flag > WAITER_KITCHEN > [fleet] > the rest of waiter.toml."""
    named = resolve_settings(said["kitchen"], said["db"])
    in_file, table = settings(environ={}), named.fleet
    # What differs from the file was said by a flag or a variable, and those come before [fleet].
    here = named.kitchen if named.kitchen != in_file.kitchen else str(table.get("kitchen") or "") or named.kitchen
    db = named.db if named.db != in_file.db else str(table.get("db") or "") or named.db
    return KitchenNames(here, said.get("kitchen_from_hosts") or here, db)


def reachable(names: KitchenNames) -> str:
    """The kitchen's URL for hosts. Raises UsageError for one that exists on this machine only."""
    if names.there is None:
        raise UsageError("which kitchen? Hosts need one they can all reach: --kitchen mongodb://HOST/")
    is_for_hosts = names.there != names.here
    if problem := kind_of(names.there).why_not_from_hosts(names.there, is_for_hosts):
        raise UsageError(problem)
    return names.there


# How it is shown.


@contextmanager
def fleet_runner(
    said: Mapping[str, Any], hosts: Sequence[Host], what: str, *, is_quiet: bool = False
) -> Iterator[FleetRunner]:
    """The runner that the options say, with a bar where somebody sees it. Ctrl-C shows what was done until then."""
    from waiter.fleet.actions import FleetRunner, interrupted
    from waiter.fleet.host_output import NobodyReads
    from waiter.fleet.ssh.connection import Network, SshOptions

    network = Network(SshOptions(said["accept_new"], said["connect_timeout"]))
    done: dict[str, Report] = {}
    began = time.monotonic()
    try:
        with rows_bar() as show_progress:

            def seen(report: Report) -> None:
                done[report.host.name] = report
                show_progress(what, len(done), len(hosts))

            yield FleetRunner(network, parallel=said["parallel"], timeout_s=said["host_timeout"], on_report=seen)
    except NobodyReads as end:
        raise StdoutClosed from end
    except KeyboardInterrupt:
        if not said.get("follow"):  # who follows a log ends it so
            reports = [done.get(host.name) or interrupted(host) for host in hosts]
            show_reports(said, what, reports, began, is_quiet=is_quiet)
        raise


def conclude(
    said: Mapping[str, Any], verb: str, reports: Sequence[Report], began: float, *, is_quiet: bool = False
) -> None:
    """Show one row for each host, and what fixes those that failed; exit code 1 if any did.

    `is_quiet`: stdout holds the hosts' own output, so the table goes to stderr.
    """
    show_reports(said, verb, reports, began, is_quiet=is_quiet)
    if not all(report.is_ok for report in reports):
        click.get_current_context().exit(1)


def show_reports(
    said: Mapping[str, Any], verb: str, reports: Sequence[Report], began: float, *, is_quiet: bool = False
) -> None:
    from waiter.fleet import tables

    if said["is_json"]:
        show_json(tables.to_json(verb, reports))
    else:
        with redirect_stdout(sys.stderr if is_quiet else sys.stdout):
            show_table(*tables.report_rows(reports))
        for line in tables.problem_lines(reports):
            say(line)
        say(tables.summary(reports, time.monotonic() - began))


def show_plan(said: Mapping[str, Any], verb: str, hosts: Sequence[Host], *facts: str) -> None:
    """What a verb would do."""
    from waiter.fleet import tables

    if said["is_json"]:
        show_json({"verb": verb, "dry_run": True, "facts": facts, "hosts": [host.name for host in hosts]})
        return
    show_table(*tables.host_rows(hosts))
    for fact in facts:
        say(fact)
    say(f"{plural(len(hosts), 'host')}: would {verb}; nothing was done (--dry-run)")
