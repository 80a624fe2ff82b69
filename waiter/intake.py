"""Rows of CSV, lines or JSON Lines become the arguments of orders. Pure reading: it knows no kitchen.

A row's number is what a spreadsheet shows: from 1, a header and blank rows included. Bytes that are no UTF-8 become
surrogate escapes, so that `os.fsencode` gives them back as they were.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from waiter.errors import BadRow, InputUnreadable
from waiter.orders import ARGUMENTS_BYTES

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

Row = tuple[int, Sequence[str], Sequence[str] | None]
"""Row number, arguments, names or None."""

OnBad = Callable[[BadRow], None]
"""What to do with a bad row: raise it, or note it and go on."""


class Format(StrEnum):
    """How rows are written."""

    CSV = "csv"
    LINES = "lines"
    JSONL = "jsonl"


ENDINGS: Mapping[str, Format] = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}


def format_of(name: str) -> Format:
    """The format that a file's ending stands for; a further .gz does not count, and what is not known is lines."""
    return ENDINGS.get(Path(name.lower().removesuffix(".gz")).suffix, Format.LINES)


@dataclass(slots=True)
class Seen:
    """What reading has met so far."""

    rows: int = 0  # the number of the last row
    blank: int = 0
    orders: int = 0


def open_input(path: Path) -> IO[str]:
    """The text of a file, unzipped if it ends in .gz. Raises InputUnreadable."""
    if path.is_dir():
        raise InputUnreadable(f"{path}: a directory. Give a file, or list it: ls {path} | waiter load -")
    try:
        raw: IO[bytes] = path.open("rb")
    except OSError as error:
        raise InputUnreadable(f"{path}: cannot be read: {error.strerror}") from None
    if path.name.lower().endswith(".gz"):
        raw = io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 20)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def read(source: str, text: IO[str], format: Format, *, header: bool, on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    """The rows of an opened input. `source` is its name for messages.

    Raises InputUnreadable, and what `on_bad` raises.
    """
    rows: Iterator[Row]
    if format is Format.LINES:
        rows = _line_rows(text, seen)
    elif format is Format.JSONL:
        rows = _json_rows(source, text, on_bad, seen)
    else:
        rows = _csv_rows(source, text, on_bad, seen)
        if header:
            rows = _with_header(source, rows, on_bad)
    try:
        for number, arguments, names in rows:
            if (why := _unfit(arguments)) is None:
                seen.orders += 1
                yield number, arguments, names
            else:
                on_bad(BadRow(source, number, why))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputUnreadable(f"{source}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise InputUnreadable(f"{source}: cannot be read after row {seen.rows}: {error.strerror or error}") from None


def _unfit(arguments: Sequence[str]) -> str | None:
    """Why these arguments cannot be an order's, or None."""
    joined = "".join(arguments)
    if joined.isascii():
        size = len(joined)
    else:
        try:
            size = len(joined.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            return "half of a surrogate pair stands for no bytes. Mend the \\u escape, or use --skip-bad."
    if "\0" in joined:
        return "a NUL byte cannot be passed to a command. Remove it, or skip such rows with --skip-bad."
    if size > ARGUMENTS_BYTES:
        return f"{size:,} bytes are more than an order may hold ({ARGUMENTS_BYTES:,}). Pass a file's name instead."
    return None


def _line_rows(text: IO[str], seen: Seen) -> Iterator[Row]:
    # newline="" keeps line ends as they are; a line ends at \n, and one \r before it belongs to the end.
    for number, line in enumerate(text, 1):
        seen.rows = number
        value = line.rstrip("\n").removesuffix("\r") if line.endswith("\n") else line.removesuffix("\r")
        if value.strip():
            yield number, (value,), None
        else:
            seen.blank += 1


def _csv_rows(source: str, text: IO[str], on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    reader = csv.reader(text, strict=True)
    number = 0
    while True:
        number += 1
        starts_at = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            seen.rows = number
            on_bad(BadRow(source, number, _csv_words(str(error), starts_at)))
            continue
        seen.rows = number
        if not cells or (len(cells) == 1 and not cells[0].strip()):
            seen.blank += 1
        else:
            yield number, cells, None


def _csv_words(error: str, line: int) -> str:
    if "end of data" in error:
        return f'the quote that opens in line {line} is never closed. Close it, double it (""), or use --format lines.'
    if "expected after" in error:
        return f'text after a closing quote in line {line}. Double quotes inside a cell (""), or use --format lines.'
    return f"not CSV in line {line}: {error}. Mend it, or use --format lines."


def _with_header(source: str, rows: Iterator[Row], on_bad: OnBad) -> Iterator[Row]:
    first = next(rows, None)
    if first is None:
        return
    number, cells, _ = first
    names = tuple(cell.strip() for cell in cells)
    if "" in names or len(set(names)) < len(names):
        raise BadRow(source, number, "every column of a header needs its own name. Name them, or leave out --header.")
    for number, cells, _ in rows:
        if len(cells) == len(names):
            yield number, cells, names
        else:
            on_bad(BadRow(source, number, f"{len(cells)} cell(s), but the header names {len(names)}."))


def _json_rows(source: str, text: IO[str], on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    known: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all rows with the same keys
    for number, line in enumerate(text, 1):
        seen.rows = number
        if not line.strip():
            seen.blank += 1
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            on_bad(BadRow(source, number, f"not JSON: {error}. Every line is a list or an object."))
            continue
        if isinstance(value, list):
            yield number, [_json_text(item) for item in value], None
        elif isinstance(value, dict):
            names = tuple(value)
            yield number, [_json_text(item) for item in value.values()], known.setdefault(names, names)
        else:
            on_bad(BadRow(source, number, 'neither a list nor an object. Write ["a", "b"] or {"name": "value"}.'))


def _json_text(value: object) -> str:
    """Strings are themselves, everything else is its JSON text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class RunningDigest:
    """A digest over rows that can be read off after any of them.

    It covers names and arguments, not the file's name nor how the rows were written: the same rows as CSV and as
    JSON lists have the same digest, and a file that has grown begins with the digest it had.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, arguments: Sequence[str], names: Sequence[str] | None) -> None:
        # No argument holds a NUL byte, so \0 ends each and the text is unambiguous.
        text = "\0".join(arguments) + ("\0\n" if names is None else "\0\0" + "\0".join(names) + "\0\n")
        self._hash.update(text.encode("utf-8", "surrogateescape"))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
