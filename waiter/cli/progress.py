"""Bars on stderr, where somebody sees them. Rich is imported when the first one is drawn."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock, Timer
from typing import Any

from waiter.cli.console import said_if_long, say
from waiter.report.formatting import per_second, plural, truncate

NO_BAR_S = 0.5
"""What is done sooner needs no bar."""

REDRAW_S = 0.1
"""How often a bar is drawn at most."""


SAID_EVERY_S = 30.0
"""How often those who see no bar are told how far it is."""

ROOMY = 110
"""So many columns hold the bar and an order's arguments."""


def is_drawable() -> bool:
    """Whether stderr is a terminal that can draw over a line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _console() -> Any:
    """Stderr, whose cursor stays: whatever ends this process, nobody would bring it back."""
    from rich.console import Console

    class WithCursor(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False

    return WithCursor(stderr=True)


def _columns(*own: Any) -> list[Any]:
    """How far, how fast and how long, with a word beside each time."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(per_second(speed) if speed else "")

    how_far = [BarColumn(bar_width=12), MofNCompleteColumn(), TextColumn("{task.percentage:.0f} %"), *own, Rate()]
    times = [TimeElapsedColumn(), TextColumn("elapsed"), TimeRemainingColumn(), TextColumn("left")]
    return [*how_far, *times]


@contextmanager
def rows_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for a load: the function that it yields is told what is done, how many rows, and of how many."""
    with _late_bar(_columns) as draw:
        yield lambda what, done, total: draw(what, done, total, "")


@contextmanager
def changing(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Say that so many orders are changed once that has taken a moment, and how far it is where the kitchen tells the
    function that it yields: a bar on a terminal, else a line now and then."""
    done, said_at = 0, time.monotonic()
    with said_if_long(f"{doing} {plural(total, 'order')}…") as has_come, rows_bar() as draw:

        def told(more: int) -> None:
            nonlocal done, said_at
            done += more
            if is_drawable():
                has_come()
                draw(doing, done, total)
            elif time.monotonic() - said_at >= SAID_EVERY_S:
                say(f"{doing}: {done:,} of {plural(total, 'order')} so far.")
                said_at = time.monotonic()

        yield told


@contextmanager
def hosts_bar() -> Iterator[Callable[[str, int, int | None, str], None]]:
    """A bar for a fleet's verb: the function that it yields is told what is done, on how many hosts, of how many, and
    what the others are waited for."""

    def columns() -> list[Any]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

        words = TextColumn("{task.fields[words]}", markup=False)
        return [BarColumn(bar_width=12), MofNCompleteColumn(), TimeElapsedColumn(), words]

    from shutil import get_terminal_size

    with _late_bar(columns) as draw:

        def fitting(what: str, done: int, total: int | None, words: str) -> None:
            # Rich would rather shorten the numbers.
            others = len(what) + 12 + 2 * len(str(total)) + 1 + len("0:00:00") + 5
            draw(what, done, total, truncate(words, max(10, get_terminal_size().columns - others)))

        yield fitting


@contextmanager
def _late_bar(columns: Callable[[], list[Any]]) -> Iterator[Callable[[str, int, int | None, str], None]]:
    """A bar that comes once it has taken a moment, where somebody sees it."""
    if not is_drawable():
        yield lambda _what, _done, _total, _words: None
        return
    began = time.monotonic()
    bar: Any = None
    task: Any = None

    def draw(what: str, done: int, total: int | None, words: str) -> None:
        nonlocal bar, task
        if bar is None and (words or time.monotonic() - began > NO_BAR_S):  # what is waited for takes a moment
            from rich.progress import Progress, TextColumn

            bar = Progress(TextColumn("{task.description}"), *columns(), console=_console(), transient=True)
            bar.start()
            task = bar.add_task(what, total=total, words=words)
        if bar is not None:
            bar.update(task, description=what, completed=done, total=total, words=words)

    try:
        yield draw
    finally:
        if bar is not None:
            bar.stop()


class OrdersBar:
    """A bar for orders, of which `done` are finished already. It steps aside for what is written to the terminal.

    It comes back a moment later, not after each line: to draw it costs more than a quick command does.
    """

    def __init__(self, total: int, done: int) -> None:
        from rich.progress import Progress, TextColumn

        console = _console()
        self._has_room = console.width >= ROOMY
        columns = _columns(TextColumn("{task.fields[failed]}"))
        last = TextColumn("{task.fields[last]}", markup=False)
        self._rich = Progress(
            *columns, last, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._rich.add_task("", total=total, completed=done, failed="", last="")
        self._drawn_at = 0.0
        self._lock = RLock()  # a timer brings the bar back
        self._is_shown = True
        self._is_mid_line = self._is_over = False
        self._rich.start()

    def close(self) -> None:
        """Away with it for good."""
        with self._lock:
            self._is_over = True
            self._end_line()
            self._rich.stop()

    def show(self, done: int, failed: int, last: str) -> None:
        """Tell how many are finished and failed, and the last one."""
        if time.monotonic() - self._drawn_at < REDRAW_S:
            return
        self._drawn_at = time.monotonic()
        words = f"[red]{failed} failed[/]" if failed else ""
        self._rich.update(self._task, completed=done + failed, failed=words, last=last if self._has_room else "")

    @contextmanager
    def aside(self, written: bytes = b"\n") -> Iterator[None]:
        """Inside, the bar is away from the terminal, and this is written to it."""
        with self._lock:
            if self._is_shown:
                self._is_shown = False
                self._rich.stop()
                back = Timer(REDRAW_S, self._come_back)
                back.daemon = True
                back.start()
            self._is_mid_line = not written.endswith(b"\n")
            yield

    def _come_back(self) -> None:
        with self._lock:
            if not self._is_over:
                self._end_line()
                self._is_shown = True
                self._rich.start()

    def _end_line(self) -> None:
        """Begin a new line where output has left one open: else it would be drawn over."""
        if self._is_mid_line:
            self._is_mid_line = False
            sys.stderr.write("\n")
            sys.stderr.flush()
