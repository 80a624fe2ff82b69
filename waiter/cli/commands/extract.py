"""Write orders and their outcomes as CSV, JSON Lines or Parquet.

Without --columns the columns are _id,status,waiter,start,stop,arguments,error.

\b
waiter extract > all.csv
waiter extract --status ERROR --columns _id,arguments,error -o failed.csv
waiter extract --status DONE --columns arguments,result.* -o results.csv
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import IO

import click

from waiter.atomic_write import atomic_write
from waiter.cli.options import (
    SORTS,
    Selection,
    complete_file,
    open_kitchen_or_exit,
    resolve_selector,
    selecting,
    with_settings,
)
from waiter.cli.stdio import Stdout
from waiter.errors import UsageError
from waiter.kitchen.open_files import is_kitchen
from waiter.orders import Order
from waiter.report import columns as report_columns
from waiter.report.formatting import escape_control
from waiter.settings import Settings

STDOUT = ("-", "/dev/stdout")
"""What `-o` calls stdout."""


@click.command(help=__doc__)
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
@with_settings
def extract(settings: Settings, selection: Selection, columns: str | None, format_: str,
            output: str | None, raw: bool, limit: int | None, sort: str) -> int:  # fmt: skip
    names = report_columns.columns(columns)
    output = None if output in STDOUT else output
    with open_kitchen_or_exit(settings) as kitchen:
        if output and is_kitchen(output):
            raise UsageError(f"-o {output}: that is the kitchen itself. Name another file.")
        selector = resolve_selector(kitchen, selection)

        def found() -> Iterator[Order]:
            return kitchen.find(selector, sort=sort, limit=limit, with_details=report_columns.needs_details(names))

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
        writer.writerow(line if is_raw else map(report_columns.escape_formula, line))


def _shown(cell: report_columns.Cell) -> report_columns.Cell:
    """A cell on a terminal, which would obey what a command wrote."""
    return escape_control(cell) if isinstance(cell, str) else cell


@contextmanager
def _written(output: str | None) -> Iterator[IO[str]]:
    """Stdout, or a file that appears under its name when it is whole."""
    if output is None:
        sys.stdout.flush()
        with io.TextIOWrapper(io.BufferedWriter(Stdout(os.dup(sys.stdout.fileno()), "wb")), encoding="utf-8") as file:
            yield file
        return
    with atomic_write(output) as path, path.open("w", encoding="utf-8", newline="") as file:
        yield file
