"""Write orders and outcomes as CSV, JSON Lines or Parquet.

Without --columns the columns are _id,status,waiter,start,stop,arguments,error.

\b
waiter extract > all.csv
waiter extract --status ERROR --columns _id,arguments,error -o failed.csv
waiter extract --status DONE --columns sample_id,result.* -o results.csv
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from waiter.cli.console import LOOKING, said_if_long
from waiter.cli.help_groups import GroupedOptions
from waiter.cli.options import (
    Selection,
    complete_file,
    listing,
    open_kitchen_or_exit,
    resolve_selector,
    selecting,
    with_settings,
)
from waiter.cli.stdio import Stdout
from waiter.errors import UsageError
from waiter.kitchen.open_files import is_kitchen
from waiter.report.columns import COLUMNS
from waiter.report.writers import DEFAULT_FORMAT, FORMATS, write_orders
from waiter.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Buffer

_WRITING = "Writing orders to the file…"

STDOUT = ("-", "/dev/stdout")
"""What `-o` calls stdout."""


@click.command(help=__doc__, cls=GroupedOptions)
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option(
    "--columns",
    metavar="A,B,…",
    help=f"Which: {', '.join(COLUMNS)}; an argument's name or 1, 2, …; result.KEY; "
    "arguments.*, result.*, or * for both.",
)
@click.option("--format", "format_", type=click.Choice(FORMATS), default=DEFAULT_FORMAT, show_default=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=complete_file,
    help="Write here, not to stdout (-); the file is whole or not there.",
)
@click.option("--raw", is_flag=True, help="Leave cells that a spreadsheet would run as formulas as they are.")
@listing(None, "age")
@with_settings
def extract(settings: Settings, selection: Selection, columns: str | None, format_: str,
            output: str | None, raw: bool, limit: int | None, sort: str) -> int:  # fmt: skip
    path = None if output in STDOUT else output
    with open_kitchen_or_exit(settings) as kitchen:
        if path and is_kitchen(path):
            raise UsageError(f"-o {path}: that is the kitchen itself\nhint: name another file")
        selector = resolve_selector(kitchen, selection)
        with said_if_long(_WRITING if path else LOOKING) as has_come, _copy_of_stdout(has_come) as stdout:
            write_orders(
                kitchen,
                path or stdout,
                format=format_,
                columns=columns,
                selector=selector,
                sort=sort,
                limit=limit,
                is_raw=raw,
            )
    return 0


class _SeenStdout(Stdout):
    """A copy of stdout that tells when the first rows go there: whoever sees them need not be told of a look."""

    def __init__(self, has_come: Callable[[], None]) -> None:
        super().__init__(os.dup(sys.stdout.fileno()), "wb")
        self._has_come = has_come

    def write(self, content: Buffer, /) -> int:
        self._has_come()
        return super().write(content)


def _copy_of_stdout(has_come: Callable[[], None]) -> io.BufferedWriter:
    sys.stdout.flush()
    return io.BufferedWriter(_SeenStdout(has_come))
