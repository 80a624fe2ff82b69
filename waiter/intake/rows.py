"""From lines to rows: CSV, TSV and plain lines here, JSON Lines in `json_lines`; and what makes a row a bad one.

Rows go from hand to hand by the thousand: what Python does to each alone costs more than reading it. So a piece of the
input is looked at as a whole, and row by row only if something in it is odd. Memory stays flat whatever the input
holds: no line is kept beyond ARGUMENTS_BYTES, no quoted cell beyond QUOTED_LINES.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, repeat
from typing import IO, cast

from waiter.errors import BadRow, InputUnreadable
from waiter.intake import delimiters
from waiter.intake.json_lines import json_row
from waiter.intake.needs_column import with_sound_needs
from waiter.intake.source import Format, Input
from waiter.intake.validation import CUT, TOO_LARGE, unfit
from waiter.light_dataclass import dataclass
from waiter.limits import ARGUMENTS_BYTES

Row = tuple[int, Sequence[str], Sequence[str] | None]
"""Row number, arguments, names or None."""

OnBad = Callable[[BadRow], None]
"""What to do with a bad row: raise it, or note it and go on."""

Reject = Callable[[int, str], None]
"""Told the number of a bad row, and why it is one."""

PIECE = 128 * 1024
"""About how many characters of lines are read, and become rows, at once."""

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
        self.is_odd = False  # a NUL byte or a line of more than a piece was met
        self._stream = stream
        self._length = 0  # of the line at hand

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        while piece := self._stream.read(max(size, 1 << 16)):
            if short := self._shortened(piece):
                self.is_odd = self.is_odd or self._length > PIECE or b"\0" in short
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


class _Swapped:
    """Bytes of a stream in which line ends and NUL bytes have changed places: what ends with NUL is read as lines."""

    _OTHERS = bytes.maketrans(b"\0\n", b"\n\0")

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        return self._stream.read(size).translate(self._OTHERS)


def read(input: Input, *, on_bad: OnBad, seen: Seen) -> Iterator[list[Row]]:
    """The rows of an input, from its beginning, by the thousand; `seen` counts them.

    Where one list ends and the next begins follows from what the input holds alone. Raises InputUnreadable, BadRow for
    a header that names nothing, and what `on_bad` raises for bad rows, which it is told in their order.
    """
    csv.field_size_limit(max(csv.field_size_limit(), ARGUMENTS_BYTES))
    rejected: list[BadRow] = []
    seen.rows += input.shift
    try:

        def reject(number: int, why: str) -> None:
            rejected.append(BadRow(input.name, number - input.shift, why))

        rows_of_orders = _rows(input, reject, seen)
        for rows in rows_of_orders if input.rows_each == 1 else _joined(rows_of_orders, input.rows_each, reject):
            if input.needs_from is not None:
                rows = with_sound_needs(rows, input.needs_from, reject)  # noqa: PLW2901
            for bad in sorted(rejected, key=lambda bad: bad.row):
                on_bad(bad)
            rejected.clear()
            seen.orders += len(rows)
            if rows:
                yield rows
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputUnreadable(
            f"{input.name}: not a whole gzip file ({error})\nhint: make it anew, or unzip it"
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise InputUnreadable(f"{input.name}: cannot be read after row {seen.rows - input.shift}: {why}.") from None


def _rows(input: Input, reject: Reject, seen: Seen) -> Iterator[list[Row]]:
    input.file.seek(0)
    stream = cast(IO[bytes], gzip.GzipFile(fileobj=input.file)) if input.is_gzip else input.file
    if input.format is Format.NULL:
        stream = cast(IO[bytes], _Swapped(stream))
    short = _ShortLines(input.name, stream)
    lines = io.TextIOWrapper(
        short, encoding="utf-8-sig", errors="surrogateescape", newline="" if input.format is Format.CSV else "\n"
    )
    names = _header(input, lines, seen) if input.header else None
    for rows in _reader(input)(lines, reject, seen):
        fit = _fit(rows, reject) if short.is_odd or input.format is Format.JSONL else rows
        yield fit if names is None else _named(fit, names, input, reject)


def _joined(lists: Iterator[list[Row]], rows_each: int, reject: Reject) -> Iterator[list[Row]]:
    """So many rows in succession as one, by the number of the first; the last may be of fewer."""
    begun: list[Row] = []
    for rows in lists:
        begun += rows
        whole = len(begun) // rows_each * rows_each
        yield _fit([_one(begun[at : at + rows_each]) for at in range(0, whole, rows_each)], reject)
        begun = begun[whole:]
    if begun:
        yield _fit([_one(begun)], reject)


def _one(rows: Sequence[Row]) -> Row:
    return rows[0][0], [argument for _, arguments, _ in rows for argument in arguments], None


def _fit(rows: list[Row], reject: Reject) -> list[Row]:
    fit = []
    for row in rows:
        if why := unfit(row[1]):
            reject(row[0], why)
        else:
            fit.append(row)
    return fit


def _line_rows(lines: io.TextIOWrapper, _reject: Reject, seen: Seen) -> Iterator[list[Row]]:
    while some := lines.readlines(PIECE):
        rows: list[Row] = [
            (number, (_without_end(line),), None)
            for number, line in enumerate(some, seen.rows + 1)
            if not line.isspace()
        ]
        seen.rows += len(some)
        seen.blank += len(some) - len(rows)
        yield rows


def _null_rows(lines: io.TextIOWrapper, reject: Reject, seen: Seen) -> Iterator[list[Row]]:
    """A name may consist of blanks, and may hold line ends, which are NUL bytes here (see _Swapped)."""
    while some := lines.readlines(PIECE):
        rows: list[Row] = []
        for number, line in enumerate(some, seen.rows + 1):
            if CUT in line:
                reject(number, TOO_LARGE)
            elif line != "\n":
                rows.append((number, (line.removesuffix("\n").replace("\0", "\n"),), None))
        seen.rows += len(some)
        seen.blank += some.count("\n")
        yield rows


def _tsv_rows(lines: io.TextIOWrapper, _reject: Reject, seen: Seen) -> Iterator[list[Row]]:
    """A line is a row, whatever it holds: TSV knows no quotes (IANA, text/tab-separated-values). Tabs only: blank."""
    while some := lines.readlines(PIECE):
        rows: list[Row] = [
            (number, _without_end(line).split("\t"), None)
            for number, line in enumerate(some, seen.rows + 1)
            if not line.isspace()
        ]
        seen.rows += len(some)
        seen.blank += len(some) - len(rows)
        yield rows


def _without_end(line: str) -> str:
    return line[:-2] if line.endswith("\r\n") else line.removesuffix("\n")


def _csv_rows(lines: io.TextIOWrapper, reject: Reject, seen: Seen, input: Input) -> Iterator[list[Row]]:
    while some := lines.readlines(PIECE):
        is_plain = not any(map(str.isspace, some))
        try:
            cells = list(csv.reader(some, strict=True, delimiter=input.delimiter)) if is_plain else []
        except csv.Error:  # in most files: a quoted cell that goes on in the next piece
            is_plain = False
        if is_plain and all(map(any, cells)):  # no row without anything in it
            rows: list[Row] = list(zip(count(seen.rows + 1), cells, repeat(None)))
            seen.rows += len(rows)
            yield rows
        else:
            yield list(_careful_csv_rows(some, lines, reject, seen, input))


def _careful_csv_rows(some: list[str], more: Iterator[str], reject: Reject, seen: Seen, input: Input) -> Iterator[Row]:
    """The rows that begin in some lines. Of `more` is taken what a cell that is still open there needs."""
    taken: list[str] = []  # by the reader, for the row at hand
    left = deque(some)

    def feed() -> Iterator[str]:
        while left:
            taken.append(left.popleft())
            yield taken[-1]
        for line in more:
            taken.append(line)
            if len(taken) > QUOTED_LINES:
                return
            yield line

    reader = csv.reader(feed(), strict=True, delimiter=input.delimiter)
    while left:
        taken.clear()
        seen.rows += 1
        try:
            cells = next(reader)
        except csv.Error as error:
            reject(seen.rows, _blaming_delimiter(input, _csv_words(str(error))))
            left.extendleft(reversed(taken[1:]))  # the lines after the one that opened it are rows of their own
            reader = csv.reader(feed(), strict=True, delimiter=input.delimiter)
            continue
        if _is_blank(cells, taken[0]):
            seen.blank += 1
        elif why := unfit(cells):
            reject(seen.rows, why)
        else:
            yield seen.rows, cells, None


def _is_blank(cells: Sequence[str], line: str) -> bool:
    """Nothing but white space, or but delimiters, as Excel writes the rows under a table; `""` is an argument."""
    return line.isspace() or (len(cells) > 1 and not any(cells) and '"' not in line)


def _blaming_delimiter(input: Input, why: str) -> str:
    """Why the row is a bad one, and the true remedy where the rows have another delimiter than they are read with."""
    if input.better is None or why == TOO_LARGE:
        return why
    what = why.partition("\n")[0]
    return (
        f"{what}; columns look separated by {delimiters.shown(input.better)}\nhint: {delimiters.option(input.better)}"
    )


def _csv_words(error: str) -> str:
    if "end of data" in error:
        return 'the quote that opens here is never closed\nhint: close it, double it (""), or use --format lines'
    if "expected after" in error:
        return 'text follows a closing quote\nhint: double the quotes inside a cell (""), or use --format lines'
    if "field larger" in error:
        return TOO_LARGE
    return f"not CSV: {error}\nhint: fix it, or use --format lines"


def _header(input: Input, lines: io.TextIOWrapper, seen: Seen) -> tuple[str, ...]:
    """The names in the first row that is not blank. Raises BadRow: without them no row can be read."""

    def refuse(number: int, why: str) -> None:
        raise BadRow(input.name, number - input.shift, why)

    for number, cells, _ in _first_row(input, lines, refuse, seen):
        names = tuple(cell.strip() for cell in cells)
        if "" in names or len(set(names)) < len(names):
            why = "every column of a header needs its own name\nhint: name them, or leave out --header"
            refuse(number, _blaming_delimiter(input, why))
        return names
    return ()


def _first_row(input: Input, lines: io.TextIOWrapper, refuse: Reject, seen: Seen) -> Iterator[Row]:
    while line := lines.readline():
        if input.format is Format.CSV:
            yield from _careful_csv_rows([line], lines, refuse, seen, input)
            continue
        seen.rows += 1
        if not line.isspace():
            yield seen.rows, _without_end(line).split("\t"), None
        else:
            seen.blank += 1


def _named(rows: list[Row], names: tuple[str, ...], input: Input, reject: Reject) -> list[Row]:
    named: list[Row] = [(number, cells, names) for number, cells, _ in rows if len(cells) == len(names)]
    if len(named) < len(rows):
        for number, cells, _ in rows:
            if len(cells) != len(names):
                reject(number, _blaming_delimiter(input, _width_words(len(cells), len(names))))
    return named


def _width_words(cells: int, names: int) -> str:
    words = "1 cell" if cells == 1 else f"{cells} cells"
    return f"{words}, but the header names {names}\nhint: fix it, or skip such rows with --skip-bad"


def _json_rows(lines: io.TextIOWrapper, reject: Reject, seen: Seen) -> Iterator[list[Row]]:
    names: tuple[str, ...] | None = None
    while some := lines.readlines(PIECE):
        rows: list[Row] = []
        for line in some:
            seen.rows += 1
            if line.isspace():
                seen.blank += 1
                continue
            try:
                arguments, own_names = json_row(line)
            except ValueError as error:
                reject(seen.rows, str(error))
                continue
            if own_names != names:  # rows in succession with the same names share one tuple
                names = own_names
            rows.append((seen.rows, arguments, names))
        yield rows


def _reader(input: Input) -> Callable[[io.TextIOWrapper, Reject, Seen], Iterator[list[Row]]]:
    if input.format is Format.CSV:
        return partial(_csv_rows, input=input)
    return _READERS[input.format]


_READERS: Mapping[Format, Callable[[io.TextIOWrapper, Reject, Seen], Iterator[list[Row]]]] = {
    Format.TSV: _tsv_rows,
    Format.LINES: _line_rows,
    Format.NULL: _null_rows,
    Format.JSONL: _json_rows,
}
