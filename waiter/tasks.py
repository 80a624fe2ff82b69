"""The verbs for Invoke: `invoke status` does what `waiter status` does, by the same functions and settings.

A task is made from each Click command: its options, its help, in this process. The top-level tasks.py hands them on,
and fleet/tasks.py makes Fabric's the same way.
"""

from __future__ import annotations

import inspect
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task

from waiter.cli import VERBS, cli, run_verb


class _Verb(Task[Any]):
    """A task with the short flags of its command: Invoke would make up others."""

    short: Mapping[str, str] = {}

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        options = super().arg_opts(name, default, taken_names)
        return {**options, "names": [*options["names"], *([self.short[name]] if name in self.short else [])]}


def as_task(
    command: click.Command, name: str | None = None, *, called: str | None = None, is_line: bool = False
) -> Task[Any]:
    """An Invoke task that runs a Click command in this process; `called` is how its user calls it.

    Short flags are the command's, and options that may be repeated may be repeated here too. A command line to run
    stands after two dashes, `invoke deliver -- ./crunch.sh --some-param some-value`, or is one quoted text, `invoke
    deliver "./crunch.sh --some-param"`, which `is_line` leaves whole.
    """
    rest = words_after_dashes()
    # Two flags may set one parameter (--grouping line, --line-buffer): the first one speaks for it.
    meant = [p for p in command.params if p.name not in (None, "help") and not (is_line and _may_be_left_out(p))]
    parameters = list({p.name: p for p in reversed(meant)}.values())[::-1]

    def body(context: Context, **said: Any) -> None:
        _refuse_fabric_hosts(context, called)
        words = [word for parameter in parameters for word in _words(parameter, said.get(_name(parameter)), is_line)]
        words += rest if any(map(_is_command_line, parameters)) else []
        if code := run_verb(command, words, called or f"invoke {command.name}"):
            raise Exit("", code)

    body.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(_parameter(p, is_needed=_is_needed(p, rest)) for p in parameters),
        ]
    )
    body.__doc__ = inspect.cleandoc(command.help or "").replace("\b\n", "")
    task = _Verb(
        body,
        name=name or command.name,
        positional=[_name(p) for p in parameters if _is_needed(p, rest)],
        iterable=[_name(p) for p in parameters if isinstance(p, click.Option) and p.multiple],
        auto_shortflags=False,
        help={_name(p).replace("_", "-"): p.help or "" for p in parameters if isinstance(p, click.Option)},
    )
    task.short = {_name(p): flag[1:] for p in parameters for flag in p.opts if len(flag) == 2}
    return task


def _name(parameter: click.Parameter) -> str:
    """What Invoke makes a flag of: the long flag's own words, whatever the function calls them."""
    if isinstance(parameter, click.Argument):
        return str(parameter.name)
    return max(parameter.opts, key=len).removeprefix("--").replace("-", "_")


def words_after_dashes() -> list[str]:
    """The words after `--`. Invoke tells no task of them, and would join them with spaces."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _is_command_line(parameter: click.Parameter) -> bool:
    """It takes what stands after `--`."""
    return isinstance(parameter, click.Argument) and parameter.nargs == -1 and parameter.type is click.UNPROCESSED


def _may_be_left_out(parameter: click.Parameter) -> bool:
    """A command that need not be there. Invoke has no such arguments: there it is --cmd alone."""
    return _is_command_line(parameter) and not parameter.required


def _refuse_fabric_hosts(context: Context, called: str | None) -> None:
    """Raise Exit for `fab -H a,b fleet.start`: Fabric runs a task once for each of its hosts, and each would do all."""
    if (host := getattr(context, "host", None)) is not None:
        raise Exit(f"fab -H {host}: Fabric's own hosts are not those of this task.\nhint: {called} --hosts={host}", 2)


def _is_needed(parameter: click.Parameter, rest: list[str]) -> bool:
    """An argument without which the command makes no sense: Invoke knows no other kind of positional one."""
    if _is_command_line(parameter):
        return not rest
    return isinstance(parameter, click.Argument) and parameter.required


def _parameter(parameter: click.Parameter, *, is_needed: bool) -> inspect.Parameter:
    default: Any = inspect.Parameter.empty if is_needed else None
    if isinstance(parameter, click.Option):
        default = [] if parameter.multiple else False if parameter.is_flag else None
    return inspect.Parameter(_name(parameter), inspect.Parameter.KEYWORD_ONLY, default=default)


def _words(parameter: click.Parameter, value: Any, is_line: bool) -> Iterable[str]:
    """What was said for one parameter, as it stands on a command line."""
    if value in (None, "", False, []):
        return []
    if isinstance(parameter, click.Argument):
        return shlex.split(value) if parameter.nargs == -1 and not is_line else [str(value)]
    flag = max(parameter.opts, key=len)
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [flag]
    return [word for one in (value if isinstance(value, list) else [value]) for word in (flag, str(one))]


def end_with_its_reader() -> None:
    """Let a listing or a help text end without a word when nobody reads on: Invoke, which prints it, has a traceback.

    Only these: a verb has connections, whose end is no reason to die.
    """
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if {"-l", "--list", "-h", "--help"} & set(words):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def kitchen_tasks() -> Collection:
    """The kitchen's verbs: everything that `waiter` has, but the fleet, which is Fabric's."""
    end_with_its_reader()
    context = click.Context(cli)
    collection = Collection()
    for verb in VERBS:
        if verb not in ("fleet", "init") and (command := cli.get_command(context, verb)) is not None:
            if isinstance(command, click.Group):
                of_it = Collection(verb)
                for name, part in command.commands.items():
                    of_it.add_task(as_task(part, name, called=f"invoke {verb}.{name}"))
                collection.add_collection(of_it)
            else:
                collection.add_task(as_task(command, verb))
    return collection
