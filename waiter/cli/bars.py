"""Bars on stderr, where somebody sees them. Rich is imported when the first one is drawn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_S = 0.5
"""What is done sooner needs no bar."""


@contextmanager
def rows_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for a load: the function that it yields is told what is done, how many rows, and of how many."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    began = time.monotonic()
    bar: Any = None
    task: Any = None

    def tell(what: str, done: int, total: int | None) -> None:
        nonlocal bar, task
        if bar is None and time.monotonic() - began > PATIENCE_S:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            bar.start()
            task = bar.add_task(what, total=total)
        if bar is not None:
            bar.update(task, description=what, completed=done, total=total)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.stop()
