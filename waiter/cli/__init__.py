"""The `waiter` command: parse, one call, print, exit code. No logic.

Each verb lives in a room beside this one and is imported when it is called: `waiter --help` stays quick, and no verb
pays for the libraries of another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

import click

from waiter import __version__
from waiter.cli import stdio
from waiter.cli.exit_codes import exit_code

# verb → its room, and what it is for.
VERBS: dict[str, tuple[str, str]] = {
    "run": ("running", "Load inputs and deliver them with a command, in one go."),
    "load": ("ordering", "Load a pile of inputs; each row becomes an order."),
    "deliver": ("delivering", "Take orders and run a command with the arguments of each."),
    "status": ("reckoning", "How many orders stand where."),
    "orders": ("seeing", "List orders."),
    "show": ("seeing", "Everything about one order."),
    "errors": ("seeing", "Failures, grouped by what went wrong."),
    "waiters": ("seeing", "Who is at work."),
    "extract": ("ordering", "Write all orders and what became of them as CSV, JSON Lines or Parquet."),
    "reset": ("ordering", "Make failed orders, and those of dead waiters, READY again."),
    "cancel": ("steering", "Take orders off the list; stop those that run."),
    "priority": ("steering", "Give waiting orders another priority."),
    "pause": ("steering", "Let waiters take no new orders."),
    "resume": ("steering", "Let paused waiters go on."),
    "drain": ("steering", "Ask a waiter to finish its orders and go home."),
    "wait": ("waiting", "Wait until every order has found its end."),
    "notify": ("waiting", "Wait, then tell somebody: by a command, or an HTTP POST of JSON."),
    "watch": ("watching", "The live view: how far, how fast, what fails."),
    "pilot": ("trying", "Deliver a few random orders here, and reckon with them."),
    "try": ("trying", "Run one order here; the kitchen never hears of it."),
    "clean": ("ordering", "Delete orders."),
    "completion": ("completion", "Print a script that completes verbs in bash, zsh or fish."),
    "fleet": ("fleet", "Drive waiters on many hosts."),
    "init": ("fleet", "Write fabfile.py, tasks.py and waiter.toml into this folder."),
}


COMPLETE = "_WAITER_COMPLETE"
"""The variable through which a shell asks what may come next (Click's convention)."""


@dataclass
class Told:
    """What was said before the verb, the verb, and what was said after it."""

    kitchen: str | None = None
    db: str | None = None
    verb: click.Command | None = None
    words: tuple[str, ...] = ()


class Verbs(click.Group):
    """A group whose verbs are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        room = import_module(f"waiter.cli.{VERBS[name][0]}")
        command: click.Command = getattr(room, name if hasattr(room, name) else f"{name}_")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not ctx.resilient_parsing:
            from difflib import get_close_matches  # here, because nobody else needs it

            alike = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"no such verb: {args[0]}." + (f" Did you mean {alike[0]}?" if alike else ""))
        name, command, words = super().resolve_command(ctx, args)
        if isinstance(ctx.obj, Told):
            ctx.obj.verb, ctx.obj.words = command, tuple(words)
        return name, command, words

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in VERBS.items()])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all well, 1 some orders failed, 2 wrong usage, 3 the kitchen refused or was lost, "
    "4 the command cannot be started, 5 nobody could be told, 124 a limit was reached and orders are left, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="waiter")
@click.option("-k", "--kitchen", metavar="URL", help="Where the orders are: a file, mongodb://…, or a MongoDB host.")
@click.option("--db", metavar="NAME", help="The database's name. Default: simplewaiter.")
@click.pass_context
def cli(ctx: click.Context, kitchen: str | None, db: str | None) -> None:
    """Spread one command over a pile of inputs, on one machine or a fleet.

    \b
    seq 100 | waiter run -j4 ./crunch.sh         try it: nothing to set up
    waiter load orders.csv                       a pile that outlives the shell
    waiter deliver ./crunch.sh --some-param 1    in as many terminals as you like
    waiter status
    """
    told = ctx.ensure_object(Told)
    told.kitchen, told.db = kitchen, db


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    stdio.fill_in()
    stdio.show_all()
    args = sys.argv[1:] if args is None else args
    if asked := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        code: int = shell_complete(cli, {}, "waiter", COMPLETE, asked)
    else:
        code = _run(args)
    stdio.flush_or_give_up()
    if asked or "pymongo" in sys.modules:
        os._exit(code)  # Python's own end would wait for the driver's threads, which sleep for half a second
    sys.exit(code)


def _run(args: list[str]) -> int:
    told = Told()

    def call() -> object:
        # Not `cli.main`: it makes an error of a reader that has had enough.
        with cli.make_context("waiter", list(args), obj=told) as context:
            return cli.invoke(context)

    return exit_code(call, lambda: _is_json_wanted(args, told))


def run_verb(verb: click.Command, words: Sequence[str], called: str) -> int:
    """Run one verb as the whole command line does, in this process; `called` is how its user calls it."""
    told = Told(verb=verb, words=tuple(words))

    def call() -> object:
        with verb.make_context(called, list(words), obj=told) as context:
            return verb.invoke(context)

    return exit_code(call, lambda: _is_json_wanted([], told))


def _is_json_wanted(args: list[str], told: Told) -> bool:
    """Whether --json was said to the verb, and not to the command that it runs."""
    words = list(told.words) if told.verb else args
    verb = told.verb
    if verb is None or isinstance(verb, click.Group) or verb.context_settings.get("allow_interspersed_args", True):
        return "--json" in (words[: words.index("--")] if "--" in words else words)
    return bool(verb.make_context(verb.name, words, resilient_parsing=True).params.get("is_json"))
