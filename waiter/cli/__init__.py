"""The `waiter` command: parse, one call, print, exit code. No logic.

Each verb is a file in `commands` and is imported when it is called: `waiter --help` stays quick, and no verb pays for
the libraries of another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import chain
from keyword import iskeyword

import click

from waiter import __version__
from waiter.cli import stdio
from waiter.cli.exit_codes import exit_code
from waiter.cli.help_groups import VERB_GROUPS
from waiter.errors import ExitCode
from waiter.kitchen import ADDRESSES, has_lasting_threads
from waiter.light_dataclass import dataclass

KITCHEN_HELP = f"Where the orders are: {ADDRESSES}."

VERBS = tuple(chain.from_iterable(VERB_GROUPS.values()))
"""All verbs, in the order of `waiter --help`."""


def verb_module(verb: str) -> str:
    """Where a verb is: the module that holds its command, under the verb's name (`try_` for Python's own words)."""
    if verb == "fleet":
        return "waiter.cli.fleet.commands"
    return f"waiter.cli.commands.{_attribute(verb)}"


def _attribute(verb: str) -> str:
    return f"{verb}_" if iskeyword(verb) else verb


def purpose(verb: str) -> str:
    """What a verb is for: the first sentence of its module's docstring, which is read without importing it."""
    from pkgutil import get_data  # for the help alone

    package, _, module = verb_module(verb).rpartition(".")
    source = (get_data(package, f"{module}.py") or b"").decode()
    return source.partition('"""')[2].partition('"""')[0].partition("\n")[0].partition(". ")[0].removesuffix(".") + "."


COMPLETE = "_WAITER_COMPLETE"
"""The variable through which a shell asks what may come next (Click's convention)."""


@dataclass(slots=True)
class CliState:
    """What was said before the verb, the verb, and what was said after it."""

    kitchen: str | None = None
    db: str | None = None
    require: bool = False
    verb: click.Command | None = None
    words: tuple[str, ...] = ()


class Verbs(click.Group):
    """A group whose verbs are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = getattr(import_module(verb_module(name)), _attribute(name))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == "help" and not ctx.resilient_parsing:  # by habit of git and others
            args = [*args[1:], "--help"]
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
        if args[0] not in VERBS and not ctx.resilient_parsing:
            from difflib import get_close_matches  # here, because nobody else needs it

            alike = get_close_matches(args[0], VERBS, n=1)
            meant = f" Did you mean {alike[0]}?" if alike else ""
            ctx.fail(f"no such verb: {args[0]}.{meant or _as_command(args[0])}")
        name, command, words = super().resolve_command(ctx, args)
        if isinstance(ctx.obj, CliState):
            ctx.obj.verb, ctx.obj.words = command, tuple(words)
        return name, command, words

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, VERBS))
        for heading, verbs in VERB_GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{verb:<{widest}}", purpose(verb)) for verb in verbs])


def _as_command(word: str) -> str:
    """What to write where a command stands in the place of the verb."""
    from shutil import which

    if word.startswith(":::"):
        return f" To run a command over inputs: waiter run CMD {word} …"
    return f" To run {word} over inputs: waiter run {word}" if which(word) else ""


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: " + "; ".join(f"{code.value} {code.words.partition(' (')[0]}" for code in ExitCode) + ".",
)
@click.version_option(__version__, prog_name="waiter")
@click.option("-k", "--kitchen", metavar="URL", help=KITCHEN_HELP)
@click.option("--db", metavar="NAME", help="The database's name. Default: simplewaiter.")
@click.option("--require-kitchen", "require", is_flag=True, help="Refuse the default kitchen where none is named.")
@click.pass_context
def cli(ctx: click.Context, kitchen: str | None, db: str | None, require: bool) -> None:
    """Spread one command over a pile of inputs, on one machine or a fleet.

    \b
    seq 100 | waiter run -j4 ./crunch.sh         try it: nothing to set up
    waiter load orders.csv                       a pile that outlives the shell
    waiter deliver ./crunch.sh --some-param 1    in as many terminals as you like
    waiter status
    """
    state = ctx.ensure_object(CliState)
    state.kitchen, state.db, state.require = kitchen, db, require


def main(args: list[str] | None = None) -> None:
    """Run the command line within a user's program, and exit with its code."""
    code = run(sys.argv[1:] if args is None else args)
    if has_lasting_threads():
        os._exit(code)  # Python's own end would wait for the driver's threads, which sleep for half a second
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run the command line; returns its exit code when all is said."""
    stdio.fill_in()
    stdio.show_all()
    if asked := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        code: int = shell_complete(cli, {}, "waiter", COMPLETE, asked)
    else:
        code = _run(args)
    stdio.flush_or_give_up()
    return code


def _run(args: Sequence[str]) -> int:
    state = CliState()

    def call() -> object:
        # Not `cli.main`: it makes an error of a reader that has had enough.
        with cli.make_context("waiter", list(args), obj=state) as context:
            return cli.invoke(context)

    return exit_code(call, lambda: _is_json_wanted([*args], state))


def run_verb(verb: click.Command, words: Sequence[str], called: str) -> int:
    """Run one verb as the whole command line does, in this process; `called` is how its user calls it."""
    state = CliState(verb=verb, words=tuple(words))

    def call() -> object:
        with verb.make_context(called, list(words), obj=state) as context:
            return verb.invoke(context)

    return exit_code(call, lambda: _is_json_wanted([], state))


def _is_json_wanted(args: list[str], state: CliState) -> bool:
    """Whether --json was said to the verb, and not to the command that it runs."""
    words = list(state.words) if state.verb else args
    verb = state.verb
    if verb is None or isinstance(verb, click.Group) or verb.context_settings.get("allow_interspersed_args", True):
        return "--json" in (words[: words.index("--")] if "--" in words else words)
    return bool(verb.make_context(verb.name, words, resilient_parsing=True).params.get("is_json"))
