"""Writing a report, for the verbs that do: whether it can be is said before anything is waited for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from waiter.atomic_write import atomic_write
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.open_files import is_kitchen
from waiter.settings import Settings

Write = Callable[[Kitchen, str | None], None]
"""Writes the report of a kitchen, or of one batch of it. Raises FileUnusable, NoSuchBatch."""


def html_writer(file: str, settings: Settings) -> Write:
    """What writes it; `-` is stdout. Raises UsageError."""
    try:
        from waiter.web.report_file import report_html
    except ImportError as error:
        raise UsageError(f"a report needs {error.name}\nhint: pip install 'simple-waiter[web]'") from None
    if file != "-" and is_kitchen(file):
        raise UsageError(f"{file}: that is the kitchen itself\nhint: name another file")

    def write(kitchen: Kitchen, batch: str | None) -> None:
        text = report_html(kitchen, batch, settings.prices)
        if file == "-":
            click.echo(text)
            return
        with atomic_write(file) as path:
            Path(path).write_text(text, encoding="utf-8")

    return write
