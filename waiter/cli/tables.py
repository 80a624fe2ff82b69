"""Tables on stdout: Rich on a terminal, plain columns without colour elsewhere, 80 columns at most by themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from waiter.report.formatting import escape_control

STYLES = {"READY": "cyan", "RUNNING": "yellow", "DONE": "green", "ERROR": "red", "CANCELLED": "magenta"}


def write_line(line: str = "") -> None:
    """Text for people on stdout; nothing in it makes a terminal obey, whoever's words it holds."""
    click.echo(escape_control(line))


def show_json(value: object) -> None:
    """Exactly one JSON value."""
    click.echo(json.dumps(value, ensure_ascii=True))


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table; the columns numbered in `right` are aligned to the right."""
    rows = [[escape_control(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _show_plain(header, rows, right)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, title in enumerate(header):
        table.add_column(title, justify="right" if number in right else "left", overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def _show_plain(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        write_line("  ".join(cells).rstrip())
