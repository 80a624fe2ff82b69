"""From lines to rows: CSV and plain lines here, JSON Lines in `json_lines`; and what makes a row a bad one.

Memory stays flat whatever the input holds: no line is kept beyond ARGUMENTS_BYTES, no quoted cell beyond QUOTED_LINES.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, cast

from waiter.errors import BadRow, InputUnreadable
from waiter.intake.fitness import CUT, TOO_LARGE, unfit
from waiter.intake.json_lines import json_row
from waiter.intake.source import Format, Input
from waiter.orders import ARGUMENTS_BYTES

Row = tuple[int, Sequence[str], Sequence[str] | None]
"""Row number, arguments, names or None."""

OnBad = Callable[[BadRow], None]
"""What to do with a bad row: raise it, or note it and go on."""

QUOTED_LINES = 50_000
"""A quote that is not closed within so many lines never is."""


@dataclass(slots=True)
class Seen:
    """What reading has met so far."""

    rows: int = 0  # the number of the last row
    blank: int = 0
    orders: int = 0


class _ShortLines(io.BufferedIOBase):
    """Bytes of a stream, each line cut (and marked so) before it takes more memory than an order may hold."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self.name = name
        self._stream = stream
        self._length = 0  # of the line at hand

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        while piece := self._stream.read(max(size, 1 << 16)):
            if short := self._shortened(piece):
                return short
        return b""

    def _shortened(self, piece: bytes) -> bytes:
        end = piece.find(b"\n")
        length = self._length + (len(piece) if end < 0 else end)
        if self._length > ARGUMENTS_BYTES:  # cut earlier: nothing of it until the next line
            piece = b"" if end < 0 else piece[end:]
        elif length > ARGUMENTS_BYTES:
            piece = CUT.encode() if end < 0 else CUT.encode() + piece[end:]
        self._length = length if end < 0 else len(piece) - piece.rfind(b"\n") - 1
        return piece


def read(input: Input, *, on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    """The rows of an input, from its beginning; `seen` counts them.

    Raises InputUnreadable, BadRow for a header that names nothing, and what `on_bad` raises for bad rows.
    """
    csv.field_size_limit(max(csv.field_size_limit(), ARGUMENTS_BYTES))
    input.file.seek(0)
    stream = cast(IO[bytes], gzip.GzipFile(fileobj=input.file)) if input.is_gzip else input.file
    is_csv = input.format in (Format.CSV, Format.TSV)
    lines = io.TextIOWrapper(
        _ShortLines(input.name, stream), encoding="utf-8-sig", errors="surrogateescape", newline="" if is_csv else "\n"
    )
    try:
        for number, arguments, names in _rows(input, lines, on_bad, seen):
            if (why := unfit(arguments)) is None:
                seen.orders += 1
                yield number, arguments, names
            else:
                on_bad(BadRow(input.name, number, why))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputUnreadable(f"{input.name}: not a whole gzip file ({error}). Make it anew, or unzip it.") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise InputUnreadable(f"{input.name}: cannot be read after row {seen.rows}: {why}.") from None


def _rows(input: Input, lines: Iterator[str], on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    if input.format is Format.LINES:
        return _line_rows(lines, seen)
    if input.format is Format.JSONL:
        return _json_rows(input.name, lines, on_bad, seen)
    rows = _csv_rows(input.name, lines, "\t" if input.format is Format.TSV else ",", on_bad, seen)
    return _with_header(input.name, rows, on_bad) if input.header else rows


def _line_rows(lines: Iterator[str], seen: Seen) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        seen.rows = number
        if line.isspace():
            seen.blank += 1
        elif line.endswith("\r\n"):
            yield number, (line[:-2],), None
        else:
            yield number, (line.removesuffix("\n"),), None


def _csv_rows(source: str, lines: Iterator[str], delimiter: str, on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    taken: list[str] = []  # by the reader, for the row at hand
    again: deque[str] = deque()  # lines after one that opened a bad row: they are rows of their own

    def feed() -> Iterator[str]:
        while again:
            taken.append(again.popleft())
            yield taken[-1]
        for line in lines:
            taken.append(line)
            if len(taken) > QUOTED_LINES:
                return
            yield line

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            seen.rows += 1
            on_bad(BadRow(source, seen.rows, _csv_words(str(error))))
            again.extendleft(reversed(taken[1:]))
            reader = csv.reader(feed(), delimiter=delimiter, strict=True)
            continue
        seen.rows += 1
        if not cells or (len(cells) == 1 and taken[0].isspace()):
            seen.blank += 1
        else:
            yield seen.rows, cells, None


def _csv_words(error: str) -> str:
    if "end of data" in error:
        return 'the quote that opens here is never closed. Close it, double it (""), or use --format lines.'
    if "expected after" in error:
        return 'text follows a closing quote. Double the quotes inside a cell (""), or use --format lines.'
    if "field larger" in error:
        return TOO_LARGE
    return f"not CSV: {error}. Mend it, or use --format lines."


def _with_header(source: str, rows: Iterator[Row], on_bad: OnBad) -> Iterator[Row]:
    first = next(rows, None)
    if first is None:
        return
    number, cells, _ = first
    names = tuple(cell.strip() for cell in cells)
    if (why := unfit(names)) is not None:
        raise BadRow(source, number, why)
    if "" in names or len(set(names)) < len(names):
        raise BadRow(source, number, "every column of a header needs its own name. Name them, or leave out --header.")
    for number, cells, _ in rows:
        if len(cells) == len(names):
            yield number, cells, names
        else:
            cell_words = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            why = f"{cell_words}, but the header names {len(names)}. Mend it, or skip such rows with --skip-bad."
            on_bad(BadRow(source, number, why))


def _json_rows(source: str, lines: Iterator[str], on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    names: tuple[str, ...] | None = None
    for number, line in enumerate(lines, 1):
        seen.rows = number
        if line.isspace():
            seen.blank += 1
            continue
        try:
            parsed = json_row(line)
        except (ValueError, RecursionError) as error:
            on_bad(BadRow(source, number, str(error) if error.args else "not JSON."))
            continue
        arguments, own_names = parsed
        if own_names != names:  # rows in succession with the same names share one tuple
            names = own_names
        yield number, arguments, names
