"""`deliver`'s flags, and the frozen options that they, waiter.toml and the defaults make together.

`run` and `fleet start` take the same ones.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from waiter.cli.options import PRIORITIES, Duration, gathered
from waiter.delivery.function_names import own_settings
from waiter.delivery.options import DeliveryOptions, Grouping, Keep, LogFormat, Processes, Until
from waiter.errors import UsageError
from waiter.needs import parse_size
from waiter.settings import FILE, Settings

Function = TypeVar("Function", bound=Callable[..., Any])

FIELDS = frozenset(DeliveryOptions.__match_args__)
"""What Click calls the flags, too: a test holds them together."""


class Timeout(Duration):
    """A duration, or a percentage of the median."""

    name = "timeout"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).endswith("%"):
            return str(value)
        return str(super().convert(value, param, ctx))


class Size(click.ParamType):  # type: ignore[type-arg] # generic only since Click 8.5
    """Bytes: 512M, 4G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class MemoryLimit(Size):
    """Bytes, or what the order needs."""

    name = "memory limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return str(value) if str(value) == "needs" else str(super().convert(value, param, ctx))


class Factor(click.ParamType):  # type: ignore[type-arg] # generic only since Click 8.5
    """2x, or 1.5."""

    name = "factor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = str(value).lower().removesuffix("x")
        if not re.fullmatch(r"[0-9]{1,3}([.][0-9]{1,3})?", number):
            self.fail(f"{value}: not understood\nhint: write 2x or 1.5x", param, ctx)
        return float(number)


def _option(*names: str, **facts: Any) -> Callable[[Any], Any]:
    return click.option(*names, default=None, **facts)


def _choice(values: Any) -> click.Choice[str]:
    return click.Choice([value.value for value in values])


EXIT_CODES: dict[str, Any] = {"type": click.IntRange(0, 255), "metavar": "CODE", "multiple": True}

OF_BATCHES = (
    click.option(
        "--batch", multiple=True, metavar="BATCH", help="Orders of this batch only: its id or name. Repeatable."
    ),
    _option("--match", metavar="TEXT", help="Orders of which some argument contains TEXT."),
    _option("--priority-min", type=PRIORITIES, metavar="N", help="Orders of this priority, or a higher one."),
)
"""What `run` has no use for: it has its own batch."""

ANY_COMMAND = click.option(
    "--any-command", is_flag=True, default=None, help="Take orders of other commands' batches, too."
)

_NAME: dict[str, Any] = {"metavar": "NAME", "help": "This waiter's name. Default: host/pid."}
NAME = _option("-n", "--name", **_NAME)
LONG_NAME = _option("--name", **_NAME)
"""Where -n is how many rows a command gets."""
NEEDS = (
    _option("--needs", metavar="NEEDS", help="What each order needs of this host: cpus=2,mem=4G,gpu=1."),
    _option("--has", metavar="NEEDS", help="What the host has for orders: gpu=4,mem=60G. Default: all it has."),
)

FLAGS = (
    _option("-P", "-j", "--jobs", metavar="N", help="Slots: commands at a time. A number, auto, or 50% of the CPUs."),
    _option("--until", type=_choice(Until), help="When to leave: done (default), empty or stopped."),
    click.option("--shell", is_flag=True, default=None, help="The command is a line for sh; {1} or $1 is one word."),
    click.option("--literal", is_flag=True, default=None, help="Braces in the command are plain text."),
    _option("--stdin", type=click.Choice(["none", "json"]), help="json: the arguments as JSON on stdin."),
    _option("--cwd", metavar="DIR", help="Where commands run."),
    click.option("--env", multiple=True, metavar="K=V", help="A variable for the command. Repeatable."),
    _option("--nice", type=click.IntRange(-20, 19), metavar="N", help="Run commands with lower priority."),
    _option(
        "--max-load",
        type=click.FloatRange(0, min_open=True),
        metavar="LOAD",
        help="Start nothing above this load average.",
    ),
    _option("--min-memory", type=Size(), help="Start nothing with less memory available: 2G."),
    *NEEDS,
    _option(
        "--mem-limit",
        type=MemoryLimit(),
        metavar="SIZE",
        help="Kill an order with more memory: 4G, or needs (--needs).",
    ),
    _option(
        "--retry-mem", type=Factor(), metavar="2x", help="Try an order killed for memory again with twice as much."
    ),
    _option("--timeout", type=Timeout(), help="Stop an order that runs longer: 5m, or 200% of the median."),
    _option("--grace", "grace_s", type=Duration(), help="Between TERM and KILL. Default: 10."),
    _option("--retries", type=click.IntRange(0), metavar="N", help="Try a failed order N more times."),
    _option(
        "--backoff", "backoff_s", type=Duration(), help="Longest pause before the first retry; doubles. Default: 5."
    ),
    click.option("--retry-on", **EXIT_CODES, help="Retry only on this exit code. Repeatable."),
    click.option("--fail-on", **EXIT_CODES, help="Only this exit code is a failure. Repeatable."),
    _option(
        "--brake",
        type=click.IntRange(0),
        metavar="N",
        help="Stop when the first N orders of a command all fail. 0: never. Default: 20, without --halt.",
    ),
    ANY_COMMAND,
    _option("--halt", metavar="WHEN,WHY", help="As in GNU parallel: soon,fail=10% or now,fail=1."),
    _option(
        "--max-losses",
        type=click.IntRange(1),
        metavar="N",
        help="Fail an order after it has killed N waiters. Default: 5.",
    ),
    _option(
        "--pause-after",
        type=click.IntRange(0),
        metavar="N",
        help="Pause after N failures in a row while other waiters succeed. Default: 10.",
    ),
    _option("--grouping", type=_choice(Grouping), help="How output is shown: stream, group, line or none."),
    click.option("--line-buffer", "grouping", flag_value="line", help="The same as --grouping line."),
    click.option("--keep-order", is_flag=True, default=None, help="Show output in the order of the input."),
    click.option("--tag", is_flag=True, default=None, help="Start lines of output with the order's first argument."),
    _option(
        "--log-format",
        type=_choice(LogFormat),
        help="stderr: plain, text (with times) or json, an object a line. Default: text in files and pipes.",
    ),
    _option(
        "--keep-output", type=_choice(Keep), help="Which orders keep their last 4 KiB of output: none, errors or all."
    ),
    _option("--output", metavar="DIR", help="Write each order's output to files there; existing files are kept."),
    _option(
        "--output-format",
        metavar="NAME",
        help="Names of these files: {order} (default), {attempt}, {batch}, {row}, {1}, {name}.",
    ),
    _option("--joblog", metavar="FILE", help="Write a log in GNU parallel's format; Seq is the row, - is stdout."),
    _option("--max-orders", type=click.IntRange(1), metavar="N", help="Leave after N orders."),
    _option("--max-time", "max_time_s", type=Duration(), help="Take no new orders after this time."),
    _option("--idle-timeout", "idle_timeout_s", type=Duration(), help="Leave after so long without an order."),
    _option("--on-lost", type=click.Choice(["finish", "kill"]), help="When the lease ran out. Default: finish."),
    click.option("--spot", is_flag=True, default=None, help="Leave when EC2 reclaims this spot instance."),
    _option(
        "--processes",
        type=_choice(Processes),
        help="python:MODULE:FUNCTION in threads (no) or processes: spawn (default), forkserver.",
    ),
    _option("--many", type=click.IntRange(1), metavar="N", help="Call the function with lists of N orders at most."),
    _option("--on-done", metavar="LINE", help="A shell line after each delivered order, its facts in WAITER_*."),
    _option("--on-error", metavar="LINE", help="A shell line after each failed order."),
)


def delivery_flags(function: Function) -> Function:
    """Add all of them to a command."""
    for flag in reversed((*OF_BATCHES, NAME, *FLAGS)):
        function = flag(function)
    return function


def with_delivery_flags(function: Function) -> Function:
    """The flags, their words gathered in one `flags` value: `delivery_options` makes a value of each."""
    return delivery_flags(gathered(sorted(FIELDS - {"name"}), dict, "flags")(function))


def choosing_orders(function: Function) -> Function:
    """The flags that say which orders to take, their words gathered in one `choice` value."""
    function = gathered(("batch", "match", "priority_min", "any_command"), dict, "choice")(function)
    for flag in reversed((*OF_BATCHES, ANY_COMMAND)):
        function = flag(function)
    return function


def saying_needs(function: Function) -> Function:
    """The flags about what orders need and what the host has, their words gathered in one `needed` value."""
    function = gathered(("needs", "has"), dict, "needed")(function)
    for flag in reversed(NEEDS):
        function = flag(function)
    return function


def with_run_flags(function: Function) -> Function:
    """The same without those that say which batches, for a command that loads its own."""
    function = gathered(sorted(FIELDS - {"name", "batch", "match", "priority_min"}), dict, "flags")(function)
    for flag in reversed((LONG_NAME, *FLAGS)):
        function = flag(function)
    return function


def options_for(command: Sequence[str], flags: Mapping[str, Any], settings: Settings) -> DeliveryOptions:
    """How to deliver with this command, or with this function, which may have settings of its own."""
    own = own_settings(command, flags.get("cwd"), shell=bool(flags.get("shell")))
    return delivery_options(flags, settings.deliver, settings.name, file=settings.file, own=own)


_CHOICES = {
    "until": Until,
    "grouping": Grouping,
    "keep_output": Keep,
    "log_format": LogFormat,
    "processes": Processes,
}


def delivery_options(
    flags: Mapping[str, Any],
    table: Mapping[str, Any],
    name: str | None = None,
    *,
    file: str | None = None,
    own: Mapping[str, object] | None = None,
) -> DeliveryOptions:
    """The options: the flags of the command line, else the function's `own` settings, else the [deliver] table of
    `file`, else the defaults."""
    values: dict[str, Any] = {}
    values.update(_of_table(key, value, file or FILE) for key, value in table.items())
    values |= own or {}
    values |= {key: value for key, value in flags.items() if key in FIELDS and value is not None and value != ()}
    if name:
        values["name"] = name
    values["env"] = _variables(values.get("env", {}))
    for field, kind in _CHOICES.items():
        if field in values:
            values[field] = _enum(field, kind, values[field])
    for field in ("batch", "retry_on", "fail_on"):
        values[field] = tuple(values.get(field, ()))
    return DeliveryOptions(**values)


def _enum(field: str, kind: Any, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{field.replace('_', '-')} = {value}: choose one of {', '.join(kind)}") from None


@functools.cache
def _parameters() -> Mapping[str, click.Option]:
    """The flags by the keys that stand for them in waiter.toml."""
    command = click.Command("deliver")
    delivery_flags(command)
    flags = {max(p.opts, key=len).removeprefix("--").replace("-", "_"): p for p in command.params}
    return {key: flag for key, flag in flags.items() if isinstance(flag, click.Option) and key != "line_buffer"}


def toml_keys() -> tuple[str, ...]:
    """The keys that `field_from_toml` knows, with underscores."""
    return tuple(_parameters())


def _of_table(key: str, value: Any, file: str) -> tuple[str, Any]:
    if key.replace("-", "_") not in _parameters():
        raise UsageError(f"{file}, [deliver]: unknown key {key}. The keys are the long flags of `waiter deliver`")
    return field_from_toml(key, value, f"{file}, [deliver] {key}")


def field_from_toml(key: str, value: Any, where: str) -> tuple[str, Any]:
    """The field that a known key stands for, and its value, read as the flag's is. Raises UsageError."""
    flag = _parameters()[key.replace("-", "_")]
    if flag.name is None:
        raise UsageError(f"{where}: no flag")
    if flag.name == "env" and isinstance(value, Mapping):
        return flag.name, value
    if isinstance(value, bool) and not flag.is_flag:
        raise UsageError(f"{where}: {str(value).lower()} is not a valid value")
    if flag.multiple and not isinstance(value, list):
        value = [value]
    try:
        return flag.name, flag.type_cast_value(click.Context(click.Command("deliver")), value)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from None


def _variables(env: Any) -> dict[str, str]:
    if isinstance(env, Mapping):
        return {str(key): str(value) for key, value in env.items()}
    variables: dict[str, str] = {}
    for pair in env:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"--env {pair}: write NAME=VALUE")
        variables[key] = value
    return variables
