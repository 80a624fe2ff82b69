"""Rows that say in one of their columns what their orders need; what nobody understands there makes a row bad."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from waiter.errors import UsageError
from waiter.needs import needs_in

if TYPE_CHECKING:
    from waiter.intake.rows import Row


def with_sound_needs(rows: list[Row], column: str, reject: Callable[[int, str], None]) -> list[Row]:
    """The rows whose needs can be read; `reject` is told of the others."""
    sound = []
    for row in rows:
        number, arguments, names = row
        try:
            needs_in(arguments, names, column)
        except UsageError as error:
            why = str(error).partition("\n")[0]
            reject(number, f"{why}\nhint: fix it, or skip such rows with --skip-bad")
        else:
            sound.append(row)
    return sound
