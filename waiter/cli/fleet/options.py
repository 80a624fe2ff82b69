"""The options that the fleet's verbs share, and the values made of them: which hosts, how, and what to deliver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from waiter.cli.console import say
from waiter.cli.delivery_options import delivery_flags
from waiter.cli.fleet.remedies import typed_words
from waiter.cli.options import Duration, gathered, kitchen_options, resolve_settings
from waiter.errors import UsageError
from waiter.fleet.inventory import STATES, AddressKind, Host, HostSelection, select_hosts
from waiter.kitchen import DEFAULT_DB
from waiter.settings import Source

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
    click.option(
        "--hosts-file", type=click.Path(path_type=Path, dir_okay=False), help="A file with one host per line."
    ),
    click.option("--limit", multiple=True, metavar="GLOB", help="Only those whose name, address or id fits."),
)

_RUNNING: Sequence[Option] = (
    click.option("-u", "--user", metavar="NAME", help="Log in as. Default: what ~/.ssh/config says."),
    click.option("--accept-new", is_flag=True, help="Trust and remember keys of hosts never met before."),
    click.option(
        "--parallel", type=click.IntRange(1), metavar="N", default=32, show_default=True, help="Hosts at a time."
    ),
    click.option(
        "--host-timeout",
        "host_timeout_s",
        type=Duration(),
        default=60.0,
        show_default=True,
        help="Seconds a host may take.",
    ),
    click.option(
        "--connect-timeout",
        "connect_timeout_s",
        type=Duration(),
        default=10.0,
        show_default=True,
        help="Seconds to connect and log in.",
    ),
    click.option("--dry-run", is_flag=True, help="Print what would be done on which host; connect to none."),
    click.option("--json", "is_json", is_flag=True, help="One JSON value instead of a table."),
)

_DELIVERING: Sequence[Option] = (
    click.option("--cmd", metavar="LINE", help='What to run for each order: "./crunch.sh --some-param x".'),
    click.option("--own-commands", is_flag=True, help="Each batch with its own command; so does `start` without one."),
    click.option(
        "--file", "files", multiple=True, type=click.Path(path_type=Path), help="Copy this file to the hosts, too."
    ),
    click.option(
        "--dir", "folders", multiple=True, type=click.Path(path_type=Path), help="Copy this folder to the hosts, too."
    ),
    click.option("--kitchen-from-hosts", metavar="URL", help="The kitchen, as the hosts reach it."),
    click.option("--tunnel", is_flag=True, help="Hosts reach the kitchen through this machine, which stays on."),
    click.option(
        "--tunnel-port",
        type=click.IntRange(1024, 65535),
        metavar="N",
        help="The tunnel's port there. Default: its own.",
    ),
    click.option("--boot", is_flag=True, help="Restart after a reboot (systemd or cron), until `stop`."),
)

grace_option = click.option(
    "--grace", type=Duration(), default=600.0, show_default=True, help="Seconds that running orders may take to end."
)


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """On which hosts a verb is done, how, and how it is shown."""

    selection: HostSelection
    accept_new: bool
    parallel: int
    host_timeout_s: float
    connect_timeout_s: float
    dry_run: bool
    is_json: bool
    selection_words: str = ""  # the selection as it was typed
    typed_words: str = ""  # all that was typed of hosts and of what they are to do


@dataclass(frozen=True, slots=True)
class KitchenNames:
    """One kitchen, as it is called here and there. None: nobody named one."""

    here: str | None
    there: str | None
    db: str


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """What hosts are to deliver, as it was typed or stands under [fleet]."""

    kitchen: KitchenNames
    cmd: str | None
    own_commands: bool  # each batch's, instead of `cmd`
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    tunnel: bool
    tunnel_port: int | None
    boot: bool
    name: str | None
    flags: Mapping[str, Any]  # those of `waiter deliver`


def with_selection(function: Function) -> Function:
    """The options that say which hosts: the command gets one `selection` value."""
    return _with_options(function, _SELECTING, host_selection, "selection")


def with_runner_options(function: Function) -> Function:
    """The options that say on which hosts a verb is done and how: the command gets one `options` value."""
    return _with_options(function, (*_SELECTING, *_RUNNING), _runner_options, "options")


def with_life_options(function: Function) -> Function:
    """The options of verbs that make and end a fleet's machines: the command gets one `options` value, whose selection
    has no host yet."""
    some = [option for option in _SELECTING if _names([option])[0] in ("regions", "profile", "address")]
    return _with_options(function, (*some, *_RUNNING), _life_options, "options")


def _life_options(**given: Any) -> RunnerOptions:
    return _runner_options(tags=(), states=(), hosts=(), hosts_file=None, limit=(), **given)


def with_kitchen_names(function: Function) -> Function:
    """-k and --db: the command gets one `kitchen` value."""
    return kitchen_options(gathered(("kitchen", "db"), kitchen_names, "kitchen")(function))


def with_delivery(function: Function) -> Function:
    """The options that say what hosts are to deliver, all of `deliver`'s among them: one `delivery` value."""
    return _with_delivery(function, delivery_parameters())


def with_delivery_again(function: Function) -> Function:
    """The same for `restart`, whose --batch counts hosts."""
    return _with_delivery(function, [each for each in delivery_parameters() if each.name != "batch"])


def with_delivery_of_launched(function: Function) -> Function:
    """The same for `launch` and `scale`, whose --spot says what machines to buy: waiters on those leave in time."""
    return _with_delivery(function, [each for each in delivery_parameters() if each.name != "spot"])


def _with_delivery(function: Function, parameters: Sequence[click.Parameter]) -> Function:
    own = ("kitchen", "db", *_names(_DELIVERING))
    command = gathered((*own, *(str(each.name) for each in parameters)), _delivery_request, "delivery")(function)
    command = kitchen_options(_applied(command, _DELIVERING))
    command.__click_params__ = [*parameters, *command.__click_params__]  # type: ignore[attr-defined]
    return command


def _with_options(function: Function, options: Sequence[Option], make: Callable[..., object], into: str) -> Function:
    return _applied(gathered(_names(options), make, into)(function), options)


def _applied(function: Function, options: Sequence[Option]) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


def _names(options: Sequence[Option]) -> list[str]:
    """What Click calls the options."""
    command = click.Command("fleet")
    _applied(command, options)
    return [str(parameter.name) for parameter in command.params]


_RENAMED = {"tag": ["--tag-output"], "grace_s": ["--kill-grace"], "name": ["--name"]}
"""Names that mean something else on a fleet; a short one too many."""


def delivery_parameters() -> list[click.Parameter]:
    """`deliver`'s own options."""

    def bare() -> None: ...

    parameters: list[click.Parameter] = delivery_flags(bare).__click_params__  # type: ignore[attr-defined]
    for parameter in parameters:
        parameter.opts = _RENAMED.get(str(parameter.name), parameter.opts)
        if parameter.name == "until" and isinstance(parameter, click.Option):
            parameter.help = "When to leave: stopped (default), done or empty."
    return [parameter for parameter in parameters if parameter.name != "log_format"]  # hosts keep logs of their own


def host_selection(
    *,
    tags: tuple[str, ...],
    regions: tuple[str, ...],
    profile: str | None,
    states: tuple[str, ...],
    address: str,
    hosts: tuple[str, ...],
    hosts_file: Path | None,
    limit: tuple[str, ...],
    user: str | None = None,
) -> HostSelection:
    """The hosts that the options mean; no states where none are said: each verb has its own.

    Hosts that are typed come before tags of waiter.toml, and tags that are typed before its hosts.
    """
    by_tag, by_name = _is_typed("tags"), _is_typed("hosts") or _is_typed("hosts_file")
    return HostSelection(
        tags=() if by_name and not by_tag else tuple(tags),
        regions=tuple(regions),
        profile=profile,
        states=tuple(states),
        address=AddressKind(address),
        hosts=() if by_tag and not by_name else tuple(hosts),
        hosts_file=None if by_tag and not by_name else hosts_file or None,
        limit=tuple(glob for given in limit for glob in given.split(",")),
        user=user,
    )


def _is_typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _runner_options(
    *,
    accept_new: bool,
    parallel: int,
    host_timeout_s: float,
    connect_timeout_s: float,
    dry_run: bool,
    is_json: bool,
    **selecting: Any,
) -> RunnerOptions:
    return RunnerOptions(
        host_selection(**selecting),
        accept_new,
        parallel,
        host_timeout_s,
        connect_timeout_s,
        dry_run,
        is_json,
        typed_words(selecting),
        typed_words(),
    )


def find_hosts(selection: HostSelection, *, states: tuple[str, ...] = ("running",)) -> list[Host]:
    """The hosts that are meant, in these states where none are said. Raises FleetError, UsageError."""
    return select_hosts(replace(selection, states=selection.states or states), note=say)


# What is delivered.


def kitchen_names(kitchen: str | None, db: str | None, kitchen_from_hosts: str | None = None) -> KitchenNames:
    """Flag > WAITER_KITCHEN, WAITER_KITCHEN_FROM_HOSTS > [fleet] > the rest of waiter.toml."""
    named = resolve_settings(kitchen, db, kitchen_from_hosts=kitchen_from_hosts)

    def first(key: str, value: str | None) -> str | None:
        is_before_files = named.sources.get(key) in (Source.FLAG, Source.VARIABLE)
        return (
            value
            if is_before_files
            else str(named.fleet.get(key) or named.fleet.get(key.replace("_", "-")) or "") or value
        )

    here = first("kitchen", named.kitchen)
    there = first("kitchen_from_hosts", named.kitchen_from_hosts) or here
    return KitchenNames(here, there, first("db", named.db) or DEFAULT_DB)


def _delivery_request(
    *,
    kitchen: str | None,
    db: str | None,
    kitchen_from_hosts: str | None,
    cmd: str | None,
    own_commands: bool,
    files: tuple[Path, ...],
    folders: tuple[Path, ...],
    tunnel: bool,
    tunnel_port: int | None,
    boot: bool,
    name: str | None,
    **flags: Any,
) -> DeliveryRequest:
    names = kitchen_names(kitchen, db, kitchen_from_hosts)
    if own_commands and cmd and _is_typed("cmd"):
        raise UsageError("--cmd and --own-commands exclude each other\nhint: give one of them")
    cmd = None if own_commands else cmd
    return DeliveryRequest(
        names, cmd, own_commands, tuple(files), tuple(folders), tunnel, tunnel_port, boot, name, flags
    )
