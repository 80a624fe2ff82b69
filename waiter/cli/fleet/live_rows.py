"""A table that grows as hosts answer. Those that answer within a moment come together, in the hosts' order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from waiter.report.formatting import escape_control, truncate

if TYPE_CHECKING:
    from waiter.fleet.runner import Report

HOLD_S = 1.0
"""How long an answer waits for others that come with it."""


class LiveTable:
    """Each group of rows stands below the one before: under the same header, unless it needs columns of its own."""

    def __init__(self, spare: Sequence[str] = ()) -> None:
        self._spare = spare
        self._header: list[str] = []
        self._widths: list[int] = []

    def add(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print them. `header` names all columns that there may be; those that nobody fills are left out."""
        from waiter.fleet import tables

        if not rows:
            return
        used, cells = tables.fitted(header, rows, self._spare)
        is_begun = bool(self._header) and set(used) <= set(self._header)
        if is_begun:
            cells = [[dict(zip(used, row, strict=True)).get(name, "") for name in self._header] for row in cells]
        else:
            self._header, self._widths = used, [len(name) for name in used]
        cells = [[escape_control(cell) for cell in row] for row in cells]
        for row in cells:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        self._print(cells, with_header=not is_begun)

    def _print(self, cells: Sequence[Sequence[str]], *, with_header: bool) -> None:
        from waiter.fleet import tables

        room = max(tables.LAST_WIDTH, tables.WIDTH - sum(width + 2 for width in self._widths[:-1]))
        lines = [self._line(row, room) for row in cells]
        if with_header:
            header = self._line(self._header, room)
            lines.insert(0, click.style(header, bold=True) if sys.stdout.isatty() else header)
        # On a terminal a bar may stand where the lines are to go. It comes again.
        begin = "\r\x1b[2K" if sys.stdout.isatty() and sys.stderr.isatty() else ""
        click.echo(begin + "\n".join(lines))

    def _line(self, row: Sequence[str], room: int) -> str:
        *first, last = row
        padded = [cell.ljust(width) for cell, width in zip(first, self._widths, strict=False)]
        return "  ".join([*padded, truncate(last, room)]).rstrip()


class Answers:
    """Reports on their way to be shown: `show` gets those of a moment, in the order of `names`."""

    def __init__(self, names: Sequence[str], show: Callable[[list[Report]], None]) -> None:
        self._place = {name: number for number, name in enumerate(names)}
        self._show = show
        self._waiting: list[Report] = []
        self._since = 0.0
        self._shown: set[str] = set()

    def saw(self, report: Report | None) -> None:
        """A host has answered; None: a moment has passed in which none did."""
        if report is not None:
            self._since = self._since if self._waiting else time.monotonic()
            self._waiting.append(report)
        if self._waiting and time.monotonic() - self._since >= HOLD_S:
            self._flush()

    def finish(self, reports: Sequence[Report]) -> None:
        """All of them: what is not shown yet is shown now."""
        self._waiting = [report for report in reports if report.host.name not in self._shown]
        self._flush()

    def _flush(self) -> None:
        waiting = sorted(self._waiting, key=lambda report: self._place.get(report.host.name, len(self._place)))
        self._waiting = []
        self._shown.update(report.host.name for report in waiting)
        self._show(waiting)
