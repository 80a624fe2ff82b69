"""Inputs that stand on the command line behind the command, as GNU parallel has them: `::: a b c` and `:::: FILE`.

Several make every combination, the last one changing fastest. With a plus (`:::+`, `::::+`) a list goes side by side
with the one before it, and the shorter of the two ends both (GNU parallel's manual, "Linking input sources").
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import BinaryIO, cast

from waiter.errors import InputUnreadable, UsageError
from waiter.intake.source import Format, Input

NAME = ":::"
"""What messages and batches call such an input."""

_MARKS = (":::", "::::", ":::+", "::::+")


def split(words: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The command, and the lists behind it, each with its mark in front."""
    starts = [at for at, word in enumerate(words) if word in _MARKS]
    ends = [*starts[1:], len(words)]
    lists = [tuple(words[start:end]) for start, end in zip(starts, ends, strict=False)]
    return tuple(words[: starts[0]] if starts else words), lists


@contextmanager
def typed_input(lists: Sequence[Sequence[str]], rows_each: int = 1) -> Iterator[Input]:
    """The rows that the lists make, so many of them for one order.

    Raises UsageError for an empty list, InputUnreadable for a file.
    """
    with tempfile.TemporaryFile() as file:
        for row in _rows(lists):
            file.write(json.dumps(row).encode("ascii") + b"\n")
        file.seek(0)
        yield Input(NAME, cast(BinaryIO, file), Format.JSONL, rows_each=rows_each)


def _rows(lists: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    columns: list[list[tuple[str, ...]]] = []
    for mark, *words in lists:
        values: list[tuple[str, ...]] = [(value,) for value in (_lines(words) if mark.startswith("::::") else words)]
        if not words:
            raise UsageError(f"{mark} with nothing behind it\nhint: {NAME} a b c, or :::: FILE")
        if mark.endswith("+") and columns:
            columns[-1] = [(*before, *value) for before, value in zip(columns[-1], values, strict=False)]
        else:
            columns.append(values)
    for parts in product(*columns):
        yield [value for part in parts for value in part]


def _lines(files: Sequence[str]) -> Iterator[str]:
    for name in files:
        try:
            text = Path(name).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise InputUnreadable(f"{name}: cannot be read: {error.strerror}") from None
        yield from (line for line in text.splitlines() if line)
