"""Loading orders, writing them out, doing them again, and deleting them."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain
from typing import IO, Any

import click

from waiter import intake
from waiter.atomic_write import whole_file
from waiter.cli.options import (
    PRIORITIES,
    SORTS,
    agreed,
    chosen,
    complete_file,
    kitchen_options,
    opened,
    plural,
    said_if_long,
    say,
    selected,
    selecting,
)
from waiter.cli.progress import rows_bar
from waiter.cli.stdio import Stdout
from waiter.cli.tables import show_json
from waiter.errors import KitchenMissing, UsageError
from waiter.intake import Format, Input
from waiter.kitchen.address import shown
from waiter.kitchen.contract import Kitchen, Rescued
from waiter.kitchen.open_files import is_kitchen
from waiter.loading import Loaded, LoadOptions
from waiter.loading import load as load_input
from waiter.orders import Counts, Order, Selector, Status
from waiter.report import columns as report_columns
from waiter.report.formatting import plain

LOOK_AGAIN_S = 1.0
"""How often a reset looks whether those who are missed live."""

STDOUT = ("-", "/dev/stdout")
"""What `-o` calls stdout."""


def reading(function: Any) -> Any:
    """The options that say how an input is to be read and loaded: `load` and `run` share them."""
    for option in reversed(
        (
            click.option(
                "--format", "format_", type=click.Choice([f.value for f in Format]), help="csv, tsv, lines or jsonl."
            ),
            click.option("--header", is_flag=True, help="The first row of a CSV file names the arguments: {name}."),
            click.option("--skip-bad", is_flag=True, help="Leave out rows that cannot become orders, and list them."),
            click.option("--unique", is_flag=True, help="Leave out rows whose arguments are an order already."),
            click.option("--again", is_flag=True, help="Load once more what was loaded; not what is READY still."),
            click.option("--priority", type=PRIORITIES, metavar="N", default=0, help="Higher goes first. Default: 0."),
            click.option("--batch", metavar="NAME", help="Name this pile."),
        )
    ):
        function = option(function)
    return function


def load_options(said: dict[str, Any]) -> LoadOptions:
    """The options of `reading` as a value."""
    return LoadOptions(
        format=Format(said["format_"]) if said["format_"] else None,
        header=said["header"],
        skip_bad=said["skip_bad"],
        unique=said["unique"],
        again=said["again"],
        priority=said["priority"],
        batch=said["batch"],
    )


@contextmanager
def opened_input(source: str, options: LoadOptions) -> Iterator[Input]:
    """The input. Who types it, or waits for a pipe that does not end, is told what is waited for."""
    is_typed = source == "-" and sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    name = "stdin" if source == "-" else source
    if is_typed:
        say("Type the inputs, each on a line of its own; Ctrl-D ends them.")
    with ExitStack() as kept:
        with nullcontext() if is_typed else said_if_long(f"Reading {name} until it ends; nothing starts before that."):
            input = kept.enter_context(intake.opened(source, options.format, header=options.header))
        yield input


def load_with_bar(place: Kitchen, source: str | Input, options: LoadOptions) -> Loaded:
    """Load, with a bar on a terminal; who interrupts it is told that nothing is lost."""
    try:
        with (
            opened_input(source, options) if isinstance(source, str) else nullcontext(source) as input,
            rows_bar() as bar,
        ):
            return load_input(place, input, options, bar)
    except KeyboardInterrupt:
        say("Interrupted. The same load again adds what is missing.")
        raise


def tell_loaded(loaded: Loaded) -> None:
    """One line with counts, and warnings where something was left out."""
    for row in loaded.bad_rows:
        say(f"left out: {row}")
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
    if loaded.changed and loaded.new:
        say(
            f"{loaded.source} was loaded before with other rows (batch {loaded.changed}). Rows that both have are "
            "orders twice now; --unique would have left them out."
        )


@click.command()
@click.argument("source", metavar="FILE", shell_complete=complete_file)
@reading
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
def load(source: str, kitchen: str | None, db: str | None, is_json: bool, **said: Any) -> int:
    """Load a pile of inputs; each row of FILE becomes an order. `-` reads stdin.

    The format is chosen by the ending: .csv, .tsv (tabs, no quotes), .jsonl (a list or an object a line), everything
    else plain lines; .gz as well. Loading the same input again adds nothing, and a file that has grown adds its new
    rows.

    \b
    waiter load orders.csv
    find . -name '*.tif' | waiter load -
    """
    with opened(chosen(kitchen, db), create=True) as place:
        loaded = load_with_bar(place, source, load_options(said))
    if is_json:
        show_json(_loaded_facts(loaded))
    else:
        tell_loaded(loaded)
    if loaded.is_unchanged and (said["priority"] or said["batch"]):
        say("Its name and priority stay as they were; `waiter priority N --batch BATCH` changes that of READY orders.")
    return 0


def _loaded_facts(loaded: Loaded) -> dict[str, Any]:
    facts = {name: getattr(loaded, name) for name in ("batch", "source", "rows", "new", "known", "blank", "bad")}
    return {**facts, "bad_rows": [str(row) for row in loaded.bad_rows], "changed": loaded.changed}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option(
    "--columns",
    metavar="A,B,…",
    help=f"Which columns: {', '.join(report_columns.COLUMNS)}, result.KEY; result.* is all keys.",
)
@click.option("--format", "format_", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=complete_file,
    help="Write here, not to stdout (-); the file is whole or not there.",
)
@click.option("--raw", is_flag=True, help="Leave cells that a spreadsheet would run as formulas as they are.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most this many orders.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="age",
    show_default=True,
    metavar="KEY",
    help="age, start, stop or duration; -stop for the latest first.",
)
@kitchen_options
def extract(kitchen: str | None, db: str | None, ids: tuple[str, ...], columns: str | None, format_: str,
            output: str | None, raw: bool, limit: int | None, sort: str, **said: Any) -> int:  # fmt: skip
    """Write orders and what became of them: CSV with the columns _id,status,waiter,start,stop,arguments,error.

    \b
    waiter extract > all.csv
    waiter extract --status ERROR --columns _id,arguments,error -o failed.csv
    waiter extract --status DONE --columns arguments,result.* -o results.csv
    """
    names = report_columns.columns(columns)
    output = None if output in STDOUT else output
    with opened(chosen(kitchen, db)) as place:
        if output and is_kitchen(output):
            raise UsageError(f"-o {output}: that is the kitchen itself. Name another file.")
        which = selected(place, ids, **said)

        def found() -> Iterator[Order]:
            return place.find(which, sort=sort, limit=limit, is_whole=report_columns.is_whole_needed(names))

        if format_ == "parquet":
            from waiter.report.parquet import write

            write(found, names, output)
            return 0
        if report_columns.ALL_KEYS in names:
            names = report_columns.unpacked(names, found())
        with _written(output) as file:
            _write_rows(file, found(), names, is_json=format_ == "jsonl", is_raw=raw)
    return 0


def _write_rows(file: IO[str], orders: Iterator[Order], names: Sequence[str], *, is_json: bool, is_raw: bool) -> None:
    if is_json:
        for order in orders:
            file.write(json.dumps(report_columns.record(order, names)) + "\n")
        return
    writer = csv.writer(file, lineterminator="\n")
    for cells in chain([names], (report_columns.cells(order, names) for order in orders)):
        line = map(_shown if file.isatty() else report_columns.printable, cells)
        writer.writerow(line if is_raw else map(report_columns.harmless, line))


def _shown(cell: report_columns.Cell) -> report_columns.Cell:
    """A cell on a terminal, which would obey what a command wrote."""
    return plain(cell) if isinstance(cell, str) else cell


@contextmanager
def _written(output: str | None) -> Iterator[IO[str]]:
    """Stdout, or a file that appears under its name when it is whole."""
    if output is None:
        sys.stdout.flush()
        with io.TextIOWrapper(io.BufferedWriter(Stdout(os.dup(sys.stdout.fileno()), "wb")), encoding="utf-8") as file:
            yield file
        return
    with whole_file(output) as path, path.open("w", encoding="utf-8", newline="") as file:
        yield file


def touched(counts: Counts) -> str:
    """What would be touched: `12 ERROR, 3 RUNNING`."""
    return ", ".join(f"{counts[status]:,} {status.value}" for status in Status if counts[status])


@click.command()
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option("--running", is_flag=True, help="Also orders that living waiters run: they lose them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
def reset(kitchen: str | None, db: str | None, ids: tuple[str, ...], running: bool, yes: bool, is_json: bool,
          **said: Any) -> int:  # fmt: skip
    """Make orders READY again: those in ERROR, and those RUNNING whose waiter is gone.

    A waiter is gone when it ran on this machine and its process is dead, or when its lease ran out and it does not
    say within some seconds that it lives: the kitchen may just have been away. What happened to the orders before stays
    in their history.

    \b
    waiter reset                       all that failed or got stuck
    waiter reset --like 3f9c2a1b       failures of one kind, see `waiter errors`
    waiter reset 7f2e90c14ab3-17       one order, also if it is DONE
    """
    with opened(chosen(kitchen, db)) as place:
        which = _resettable(selected(place, ids, **said), is_from_living=running)
        rescued = place.rescue() if running else _rescued_patiently(place)  # who is dead is dead
        counts = place.counts(which)
        question = f"Reset {plural(counts.total, 'order')} ({touched(counts)}) in {place.url}?"
        is_agreed = not counts.total or agreed(question, is_yes=yes)
        done = place.reset(which, from_living=running) if counts.total and is_agreed else 0
    if is_json:
        show_json({"reset": done, "rescued": rescued.ready})
        return 0
    if rescued.ready:
        say(f"Took back {plural(rescued.ready, 'order')} of waiters that are gone.")
    if done:
        say(f"Reset {plural(done, 'order')}.")
    elif counts[Status.RUNNING] and not running and is_agreed:
        say(f"{plural(counts[Status.RUNNING], 'order')} RUNNING in the hands of living waiters: --running takes them.")
    elif is_agreed and not rescued.ready:
        say("Nothing to reset.")
    return 0


def _rescued_patiently(place: Kitchen) -> Rescued:
    """Take back the orders of the dead; who is missed first gets the time to say that it lives."""
    rescued = place.rescue()
    if not rescued.missed:
        return rescued
    names = ", ".join(rescued.missed[:5]) + (" and others" if len(rescued.missed) > 5 else "")
    say(
        f"Nothing was heard of {names} for longer than a lease lasts: dead, or {place.url} was out of reach. "
        f"Waiting {rescued.missed_s:.0f} s for those who live to say so.\n"
        "hint: who cannot wait takes the orders of everybody: waiter reset --running"
    )
    ready, failed, ends = rescued.ready, rescued.failed, time.monotonic() + rescued.missed_s + 2 * LOOK_AGAIN_S
    while rescued.missed and time.monotonic() < ends:
        time.sleep(LOOK_AGAIN_S)
        rescued = place.rescue()
        ready, failed = ready + rescued.ready, failed + rescued.failed
    return replace(rescued, ready=ready, failed=failed)


def _resettable(which: Selector, *, is_from_living: bool) -> Selector:
    """The orders of a selector that a reset changes. Without a word on it those that failed; never READY ones."""
    statuses = which.statuses
    if not statuses:
        is_any = which.ids or which.except_command is not None
        statuses = tuple(Status) if is_any else (Status.ERROR, *([Status.RUNNING] if is_from_living else []))
    if statuses == (Status.READY,):
        raise UsageError("--status READY: those are READY already. A reset is for the others, above all ERROR.")
    return replace(which, statuses=tuple(status for status in statuses if status is not Status.READY))


@click.command()
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
def clean(kitchen: str | None, db: str | None, ids: tuple[str, ...], yes: bool, is_json: bool, **said: Any) -> int:
    """Delete orders: all of them, or those that are selected.

    \b
    waiter clean
    waiter clean --batch night --status DONE
    """
    settings = chosen(kitchen, db)
    try:
        place = opened(settings)
    except KitchenMissing:  # as clean as can be
        where = f" into {shown(settings.kitchen)}" if settings.kitchen else ""
        show_json({"deleted": 0}) if is_json else say(f"Deleted 0 orders: nothing was loaded{where} yet.")
        return 0
    with place:
        which = selected(place, ids, **said)
        counts = place.counts(which)
        question = f"Delete {plural(counts.total, 'order')} ({touched(counts)}) from {place.url}?"
        is_agreed = not counts.total or agreed(question, is_yes=yes)
        deleted = place.clean(None if which == Selector() else which) if is_agreed else 0
    if is_json:
        show_json({"deleted": deleted})
    elif is_agreed:
        say(f"Deleted {plural(deleted, 'order')} from {place.url}.")
    return 0
