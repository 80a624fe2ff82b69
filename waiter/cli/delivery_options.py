"""`deliver`'s flags, and the frozen options that they, waiter.toml and the defaults make together.

`run` and `fleet start` take the same ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from waiter.cli.options import PRIORITIES, Duration, gathered
from waiter.delivery.options import DeliveryOptions, Grouping, Keep, LogFormat, Until
from waiter.errors import UsageError
from waiter.settings import FILE

Function = TypeVar("Function", bound=Callable[..., Any])


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
        text = str(value).upper().removesuffix("B")
        unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}.get(text[-1:], 1)
        number = text[:-1] if unit > 1 else text
        if not number.isascii() or not number.isdigit():
            self.fail(f"{value}: not a size. Write 512M or 4G", param, ctx)
        return int(number) * unit


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

FLAGS = (
    _option("-n", "--name", metavar="NAME", help="This waiter's name. Default: host/pid."),
    _option("-P", "-j", "--jobs", metavar="N", help="Slots: commands at a time. A number, auto, or 50% of the CPUs."),
    _option("--until", type=_choice(Until), help="When to go home: done (default), empty or stopped."),
    click.option("--shell", is_flag=True, default=None, help="The command is a line for sh; {1} or $1 is one word."),
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
    _option("--timeout", type=Timeout(), help="Stop an order that runs longer: 5m, or 200% of the median."),
    _option("--grace", "grace_s", type=Duration(), help="Between TERM and KILL. Default: 10."),
    _option("--retries", type=click.IntRange(0), metavar="N", help="Try a failed order so many times more."),
    _option("--backoff", "backoff_s", type=Duration(), help="Before the first retry at most; doubles. Default: 5."),
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
        help="Give an order up that took so many waiters down. Default: 5.",
    ),
    _option(
        "--pause-after",
        type=click.IntRange(0),
        metavar="N",
        help="Pause after so many failures in a row, if others do well. Default: 10.",
    ),
    _option("--grouping", type=_choice(Grouping), help="How output is shown: stream, group, line or none."),
    click.option("--line-buffer", "grouping", flag_value="line", help="The same as --grouping line."),
    click.option("--tag", is_flag=True, default=None, help="Start lines of output with the order's first argument."),
    _option(
        "--log-format",
        type=_choice(LogFormat),
        help="stderr: plain, text (with times) or json, an object a line. Default: text in files and pipes.",
    ),
    _option("--keep-output", type=_choice(Keep), help="Whose last 4 KiB stay in the kitchen: none, errors or all."),
    _option("--output", metavar="DIR", help="Keep all output in files there; nothing is written over."),
    _option(
        "--output-format",
        metavar="NAME",
        help="Their names: {order} (default), {attempt}, {batch}, {row}, {1}, {name}.",
    ),
    _option("--joblog", metavar="FILE", help="A log with GNU parallel's columns, Seq the row; - is stdout."),
    _option("--max-orders", type=click.IntRange(1), metavar="N", help="Go home after so many orders."),
    _option("--max-time", "max_time_s", type=Duration(), help="Take nothing new after this time."),
    _option("--idle-timeout", "idle_timeout_s", type=Duration(), help="Go home after so long without an order."),
    _option("--on-lost", type=click.Choice(["finish", "kill"]), help="When the lease ran out. Default: finish."),
    click.option("--spot", is_flag=True, default=None, help="Go home when EC2 takes this spot instance back."),
    _option("--on-done", metavar="LINE", help="A shell line after each delivered order, its facts in WAITER_*."),
    _option("--on-error", metavar="LINE", help="The same after each failed one."),
)


def delivery_flags(function: Function) -> Function:
    """Add all of them to a command."""
    for flag in reversed((*OF_BATCHES, *FLAGS)):
        function = flag(function)
    return function


def with_delivery_flags(function: Function) -> Function:
    """The flags, their words gathered in one `flags` value: `delivery_options` makes a value of each."""
    return delivery_flags(gathered(sorted(_names() - {"name"}), dict, "flags")(function))


def choosing_orders(function: Function) -> Function:
    """The flags that say which orders to take, their words gathered in one `choice` value."""
    function = gathered(("batch", "match", "priority_min", "any_command"), dict, "choice")(function)
    for flag in reversed((*OF_BATCHES, ANY_COMMAND)):
        function = flag(function)
    return function


def with_run_flags(function: Function) -> Function:
    """The same without those that say which batches, for a command that loads its own."""
    function = gathered(sorted(_names() - {"name", "batch", "match", "priority_min"}), dict, "flags")(function)
    for flag in reversed(FLAGS):
        function = flag(function)
    return function


@functools.cache
def _names() -> frozenset[str]:
    """What Click calls the flags."""
    command = click.Command("deliver")
    delivery_flags(command)
    return frozenset(parameter.name for parameter in command.params if parameter.name)


FIELDS = frozenset(field.name for field in dataclasses.fields(DeliveryOptions))


def delivery_options(
    flags: Mapping[str, Any], table: Mapping[str, Any], name: str | None = None, *, file: str | None = None
) -> DeliveryOptions:
    """The options: the flags of the command line, else the [deliver] table of `file`, else the defaults."""
    values: dict[str, Any] = {}
    values.update(_from_toml(key, value, file or FILE) for key, value in table.items())
    values |= {key: value for key, value in flags.items() if key in FIELDS and value is not None and value != ()}
    if name:
        values["name"] = name
    values["env"] = _variables(values.get("env", {}))
    for field, kind in (("until", Until), ("grouping", Grouping), ("keep_output", Keep), ("log_format", LogFormat)):
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


def _from_toml(key: str, value: Any, file: str) -> tuple[str, Any]:
    """The field that a key of [deliver] stands for, and its value, read as the flag's is. Raises UsageError."""
    flag = _parameters().get(key.replace("-", "_"))
    if flag is None or flag.name is None:
        raise UsageError(f"{file}, [deliver]: unknown key {key}. The keys are the long flags of `waiter deliver`")
    if flag.name == "env" and isinstance(value, Mapping):
        return flag.name, value
    if isinstance(value, bool) and not flag.is_flag:
        raise UsageError(f"{file}, [deliver] {key}: {str(value).lower()} says nothing here")
    if flag.multiple and not isinstance(value, list):
        value = [value]
    try:
        return flag.name, flag.type_cast_value(click.Context(click.Command("deliver")), value)
    except click.BadParameter as error:
        raise UsageError(f"{file}, [deliver] {key}: {error.message}") from None


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
