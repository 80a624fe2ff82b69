"""Load a pile of inputs; each row of FILE becomes an order. `-` reads stdin.

The format is chosen by the ending: .csv, .tsv (tabs, no quotes), .jsonl (a list or an object a line), everything
else plain lines; .gz as well. An Excel workbook (.xlsx) is known by what it holds. Columns of a CSV file that are
certainly separated by semicolons or tabs are read so. Loading the same input again adds nothing, and a file that
has grown adds its new rows.

\b
waiter load orders.csv
find . -name '*.tif' | waiter load -
waiter load --batch align --after prepare --for './align.sh {1}' orders.csv
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import click

from waiter.cli.console import said_if_long, say
from waiter.cli.help_groups import LOAD_GROUPS, GroupedOptions
from waiter.cli.options import PRIORITIES, after_option, complete_file, gathered, open_kitchen_or_exit, with_settings
from waiter.cli.progress import rows_bar
from waiter.cli.tables import show_json
from waiter.delivery.batch_scope import command_line, command_words
from waiter.errors import UsageError
from waiter.intake import Format, Input
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.loading import Loaded, LoadOptions
from waiter.loading import load as load_input
from waiter.matching import OnProgress
from waiter.report.formatting import plural
from waiter.settings import Settings

Told = TypeVar("Told")

_OF_LOADING = ("skip_bad", "unique", "again", "priority", "batch", "weight", "needs_from")


class RowsEach(click.ParamType):  # type: ignore[type-arg] # generic only since Click 8.5
    """How many rows one command gets."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value}: not a number of rows for one command. A waiter's name is --name {value}", param, ctx)
        return int(value)


_READING = (
    click.option(
        "--format",
        "format_",
        type=click.Choice([f.value for f in Format]),
        help="csv, tsv, lines, jsonl or null.",
    ),
    click.option("-0", "--null", is_flag=True, help="Inputs end with a NUL byte, as find -print0 writes them."),
    click.option(
        "-n",
        "--rows-each",
        type=RowsEach(),
        metavar="N",
        default=1,
        help="Give N rows to one command, all their arguments in a row.",
    ),
    click.option("--header", is_flag=True, help="The first row of a CSV file names the arguments: {name}."),
    click.option(
        "--delimiter",
        metavar="CHAR",
        help="What separates the columns of a CSV file: ';', '|', tab. Default: a comma, or what clearly does.",
    ),
    click.option("--sheet", metavar="NAME", help="Which sheet of an Excel workbook. Default: the first."),
    click.option("--skip-bad", is_flag=True, help="Leave out rows that cannot become orders, and list them."),
    click.option("--unique", is_flag=True, help="Leave out rows whose arguments are an order already."),
    click.option("--again", is_flag=True, help="Load again what was loaded before, but what is still READY."),
    click.option("--priority", type=PRIORITIES, metavar="N", default=0, help="Higher goes first. Default: 0."),
    click.option("--batch", metavar="NAME", help="Name this batch."),
    click.option("--needs-from", metavar="COLUMN", help="A column that says what each order needs: cpus=2,mem=4G."),
    click.option(
        "--weight", type=click.IntRange(1, 1_000_000), metavar="N", help="Its share beside other batches. Default: 1."
    ),
)


def reading(function: Any) -> Any:
    """The options that say how an input is to be read and loaded, as one `load_options` value."""
    function = gathered(
        ("format_", "header", "delimiter", "sheet", "rows_each", "null", *_OF_LOADING),
        _load_options,
        "load_options",
    )(function)
    for option in reversed(_READING):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class Before:
    """The batches that come before the one that is loaded, as they were named."""

    after: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()
    after_row: str | None = None


def following(function: Any) -> Any:
    """The options that say for which batches this one waits, as one `before` value."""
    function = gathered(("after", "after_any", "after_row"), Before, "before")(function)
    for option in (
        after_option("--after-row", "Row by row: an order waits until the one of its row there is DONE.", is_one=True),
        after_option("--after-any", "Wait until that batch has ended, well or not. Repeatable."),
        after_option("--after", "Wait until all orders of that batch are DONE. Repeatable."),
    ):
        function = option(function)
    return function


def _load_options(format_: str | None, *, null: bool, **values: Any) -> LoadOptions:
    if null and format_ not in (None, Format.NULL.value):
        raise UsageError(f"--format {format_} and --null are two ways to read\nhint: leave one of them out")
    return LoadOptions(format=Format.NULL if null else Format(format_) if format_ else None, **values)


@contextmanager
def opened_input(source: str, options: LoadOptions) -> Iterator[Input]:
    """The input. Who types it, or waits for a pipe that does not end, is told what is waited for."""
    is_typed = source == "-" and sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    name = "stdin" if source == "-" else source
    if is_typed:
        say("Type the inputs, each on a line of its own; Ctrl-D ends them.")
    with ExitStack() as kept:
        with nullcontext() if is_typed else said_if_long(f"Reading {name} until it ends; nothing starts before that."):
            input = kept.enter_context(options.opened(source))
        for note in input.notes:
            say(note)
        yield input


def load_with_bar(kitchen: Kitchen, source: str | Input, options: LoadOptions) -> Loaded:
    """Load, with a bar on a terminal; who interrupts it is told that nothing is lost."""
    return with_bar(load_input, kitchen, source, options)


def with_bar(
    load: Callable[[Kitchen, Input, LoadOptions, OnProgress], Told],
    kitchen: Kitchen,
    source: str | Input,
    options: LoadOptions,
) -> Told:
    """What brings rows into the kitchen, with a bar on a terminal."""
    try:
        with (
            opened_input(source, options) if isinstance(source, str) else nullcontext(source) as input,
            rows_bar() as bar,
        ):
            return load(kitchen, input, options, bar)
    except KeyboardInterrupt:
        say("Interrupted. The same load again adds what is missing.")
        raise


def tell_loaded(loaded: Loaded) -> None:
    """One line with counts, and warnings where something was left out."""
    for row in loaded.bad_rows:
        say(f"left out: {row.source}, row {row.row}: {row.why}")
    if loaded.bad > len(loaded.bad_rows):
        say(f"left out: {loaded.bad - len(loaded.bad_rows):,} more bad rows")
    known = loaded.known - loaded.waiting
    parts = [f"{known:,} known already"] if known else []
    parts += [f"{loaded.waiting:,} READY still"] if loaded.waiting else []
    parts += [f"{plural(loaded.blank, 'blank row')} skipped"] if loaded.blank else []
    parts += [f"{plural(loaded.bad, 'bad row')} left out"] if loaded.bad else []
    details = f" ({', '.join(parts)})" if parts else ""
    batch = f", batch {loaded.batch}" if loaded.batch else ""
    if loaded.is_unchanged:
        hint = "" if loaded.waiting else " --again loads it once more."
        say(f"Nothing new in {loaded.source}{batch}{details}.{hint}")
    else:
        say(f"Loaded {plural(loaded.new, 'order')} from {loaded.source}{batch}{details}.")
    if loaded.shift and loaded.new:
        this, other, first = ("a", "none", 2) if loaded.shift < 0 else ("no", "one", 1)
        joined = f"its row {first} is joined to row {first + loaded.shift}"
        say(f"{loaded.source} has {this} header, and the batch before it {other}: {joined}, and gets its number.")
    if loaded.header_like and loaded.new:
        say(
            f"{loaded.source}: the first row looks like a header ({', '.join(loaded.header_like):.60}) and is an order."
            "\nhint: --header takes it for the names of the arguments"
        )
    if loaded.changed and loaded.new:
        say(
            f"{loaded.source} was loaded before with other rows (batch {loaded.changed}): rows in both are now "
            "orders twice\nhint: --unique leaves out rows that are orders already"
        )


class LoadCommand(GroupedOptions):
    """`load`, whose options stand in groups of its own."""

    groups = LOAD_GROUPS


@click.command(help=__doc__, cls=LoadCommand)
@click.argument("source", metavar="FILE", shell_complete=complete_file)
@reading
@click.option("--for", "--for-command", "line", metavar="LINE", help="The command that this batch is for: './x {1}'.")
@following
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def load(source: str, settings: Settings, line: str | None, before: Before,
         is_json: bool, load_options: LoadOptions) -> int:  # fmt: skip
    load_options = replace(load_options, after=before.after, after_any=before.after_any, after_row=before.after_row)
    if line is not None:
        load_options = replace(load_options, command=command_words(line))
    with open_kitchen_or_exit(settings, create=True) as kitchen:
        loaded = load_with_bar(kitchen, source, load_options)
        stays = _what_stays(kitchen, loaded, load_options) if loaded.is_unchanged else []
    if is_json:
        show_json(_loaded_facts(loaded))
    else:
        tell_loaded(loaded)
    if load_options.command is None and before != Before() and loaded.new:
        say("Any command may take it once it waits no more\nhint: --for './align.sh {1}' keeps it for one")
    for note in stays:
        say(note)
    return 0


def _what_stays(kitchen: Kitchen, loaded: Loaded, asked: LoadOptions) -> list[str]:
    """A load that adds nothing changes nothing of its batch either, whatever was asked for."""
    is_asked = asked.command is not None or asked.batch is not None or asked.priority
    batch = next((one for one in kitchen.batches() if one.id == loaded.batch), None) if is_asked else None
    if batch is None:
        return []
    id, notes = batch.id, []
    if asked.command is not None and asked.command != batch.command:
        command = command_line(batch.command) if batch.command else "any command"
        notes.append(f"It is still for {command}\nhint: waiter batch bind {id} {command_line(asked.command)}")
    if asked.batch is not None and asked.batch != batch.name:
        notes.append(
            f"It is still called {batch.name or id}\nhint: waiter batch rename {id} {shlex.quote(asked.batch)}"
        )
    if asked.priority:
        notes.append(f"Its priority stays as it was\nhint: waiter priority {asked.priority} --batch {id}")
    return notes


def _loaded_facts(loaded: Loaded) -> dict[str, Any]:
    facts = {name: getattr(loaded, name) for name in ("batch", "source", "rows", "new", "known", "blank", "bad")}
    bad_rows = [f"{row.source}, row {row.row}: {row.why}" for row in loaded.bad_rows]
    return {**facts, "bad_rows": bad_rows, "changed": loaded.changed, "header_like": list(loaded.header_like)}
