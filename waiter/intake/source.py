"""Where rows come from: a file, a zipped one, a pipe or stdin, as something that can be read twice."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from waiter.errors import InputUnreadable, UsageError
from waiter.kitchen.open_files import is_kitchen


class Format(StrEnum):
    """How rows are written."""

    CSV = "csv"
    TSV = "tsv"
    LINES = "lines"
    JSONL = "jsonl"


ENDINGS: Mapping[str, Format] = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}


_GZIP = b"\x1f\x8b"
_NO_ROWS = {
    b"SQLite f": "an SQLite database. Select of it: sqlite3 -csv FILE 'SELECT …' | waiter load --format csv -",
    b"PK\3\4": "a zip file, as Excel's workbooks are. Unzip it, or save the sheet as CSV.",
    b"\xfd7zXZ\0": "packed with xz. Unpack it on the way: xzcat FILE | waiter load --format csv -",
    b"\x28\xb5\x2f\xfd": "packed with zstd. Unpack it on the way: zstdcat FILE | waiter load --format csv -",
    **{
        b"BZh%d1AY" % level: "packed with bzip2. Unpack it on the way: bzcat FILE | waiter load --format csv -"
        for level in range(1, 10)
    },
}


def format_of(name: str) -> Format:
    """The format that a file's ending stands for; a further .gz does not count, and what is not known is lines."""
    return ENDINGS.get(Path(name.lower().removesuffix(".gz")).suffix, Format.LINES)


@dataclass(frozen=True, slots=True)
class Input:
    """Something that can be read as often as one likes."""

    name: str  # for messages and the batch
    file: BinaryIO
    format: Format
    header: bool = False
    is_gzip: bool = False


@contextmanager
def opened(source: str, format: Format | None = None, *, header: bool = False) -> Iterator[Input]:
    """A file, or stdin with "-". What can be read only once is copied to a temporary file first.

    Raises InputUnreadable, and UsageError for a header where there is none.
    """
    is_stdin = source == "-"
    format = format or (Format.LINES if is_stdin else format_of(source))
    if header and format not in (Format.CSV, Format.TSV):
        raise UsageError(f"--header is for CSV, and {source} is read as {format}. Add --format csv, or leave it out.")
    name = "stdin" if is_stdin else source
    with _stdin() if is_stdin else _file(source) as raw, _seekable(name, raw) as file:
        start = file.read(8)
        if what := _what_has_no_rows(start):
            raise InputUnreadable(f"{name}: {what}")
        is_gzip = start.startswith(_GZIP) or source.lower().endswith(".gz")
        yield Input(name, file, format, header, is_gzip)


def _what_has_no_rows(start: bytes) -> str | None:
    """What begins like this, if it is known to be neither text nor gzip, and what to do about it."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") and b"\0" in start[:4]:
        return "UTF-16, as Excel's Unicode text is. Save it as UTF-8."
    return next((what for magic, what in _NO_ROWS.items() if start.startswith(magic)), None)


@contextmanager
def _stdin() -> Iterator[BufferedReader]:
    if sys.stdin is None or sys.stdin.closed:
        raise InputUnreadable("stdin is closed. Pipe rows into it, or name a file.")
    yield cast(BufferedReader, sys.stdin.buffer)


@contextmanager
def _file(source: str) -> Iterator[BufferedReader]:
    path = Path(source)
    try:
        if not source:
            raise InputUnreadable("the input's name is empty. Name a file, or - for stdin.")
        if path.is_dir():
            raise InputUnreadable(f"{source}: a directory. Name a file, or list it: ls {source} | waiter load -")
        if is_kitchen(path):
            raise InputUnreadable(f"{source}: that is the kitchen itself. Name another file.")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputUnreadable(f"{source}: cannot be read: {why}. Look at its name and permissions.") from None
    with file:
        yield file


@contextmanager
def _seekable(name: str, raw: BufferedReader) -> Iterator[BinaryIO]:
    """`raw` itself if it is a regular file, or a copy of what comes out of it."""
    if name != "stdin" and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        yield raw
        return
    with tempfile.TemporaryFile() as copy:  # it has no name, so nothing stays behind, even after kill -9
        try:
            while chunk := raw.read1(1 << 20):  # not `read`: who types would have to end the input twice
                copy.write(chunk)
            copy.seek(0)
        except OSError as error:
            folder = tempfile.gettempdir()
            why = f"cannot be copied to {folder}: {error.strerror}. Set TMPDIR to a folder with room"
            raise InputUnreadable(f"{name}: {why}.") from None
        yield copy
