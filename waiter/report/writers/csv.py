"""Orders as CSV, for spreadsheets and everything else."""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import IO

from waiter.report.columns import Cell, cells, escape_formula, printable
from waiter.report.formatting import escape_control
from waiter.report.writers import Table, Writer


def _write(table: Table, file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    shown = _shown if file.isatty() else printable
    writer = csv.writer(text, lineterminator="\n")
    names = tuple(table.columns)
    try:
        for row in chain([names], (cells(order, names) for order in table.orders)):
            line = map(shown, row)
            writer.writerow(line if table.is_raw else map(escape_formula, line))
    finally:
        text.detach()  # flushes, and leaves the file open to its owner


def _shown(cell: Cell) -> Cell:
    """A cell on a terminal, which would obey what a command wrote."""
    return escape_control(cell) if isinstance(cell, str) else cell


WRITER = Writer(_write)
