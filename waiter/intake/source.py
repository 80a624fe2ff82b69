"""Where rows come from: a file, a zipped one, a workbook, a pipe or stdin, as something that can be read twice."""

from __future__ import annotations

import gzip
import os
import shlex
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from waiter.errors import InputUnreadable, UsageError
from waiter.intake import delimiters
from waiter.intake.workbook import is_workbook, sheet_as_csv
from waiter.kitchen.open_files import is_kitchen
from waiter.light_dataclass import dataclass


class Format(StrEnum):
    """How rows are written."""

    CSV = "csv"
    TSV = "tsv"
    LINES = "lines"
    JSONL = "jsonl"
    NULL = "null"  # lines that end with a NUL byte, as find -print0 writes them


ENDINGS: Mapping[str, Format] = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}


SAMPLE_BYTES = 1 << 16
"""By so much of its beginning an input's delimiter and header are judged."""

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\3\4"
_NO_ROWS = {
    b"SQLite f": "an SQLite database\nhint: select of it: sqlite3 -csv FILE 'SELECT …' | waiter load --format csv -",
    _ZIP: "a zip file, but not a complete Excel workbook\nhint: unzip it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook, or one with a password\nhint: save the sheet as CSV, or as .xlsx",
    b"\xfd7zXZ\0": "packed with xz\nhint: unpack it on the way: xzcat FILE | waiter load --format csv -",
    b"\x28\xb5\x2f\xfd": "packed with zstd\nhint: unpack it on the way: zstdcat FILE | waiter load --format csv -",
    **{
        b"BZh%d1AY" % level: "packed with bzip2\nhint: unpack it on the way: bzcat FILE | waiter load --format csv -"
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
    delimiter: str = delimiters.COMMA  # of CSV
    better: str | None = None  # the delimiter that rows seem to have, where they do not fit this one
    header_like: tuple[str, ...] = ()  # the first row, if it looks like names and is an order
    notes: tuple[str, ...] = ()  # how it is read, where the user may have thought otherwise
    needs_from: str | None = None  # the column, by name or number, that says what each order needs
    rows_each: int = 1  # so many rows in succession become one order, without names
    shift: int = 0  # the numbers of its rows are those in the file and so much more


@contextmanager
def opened(
    source: str,
    format: Format | None = None,
    *,
    header: bool = False,
    delimiter: str | None = None,
    sheet: str | None = None,
) -> Iterator[Input]:
    """A file, or stdin with "-". What can be read only once is copied to a temporary file first.

    Without `delimiter`, that of CSV is guessed if it is certain. Raises InputUnreadable, and UsageError for a header,
    a delimiter or a sheet where there is none.
    """
    is_stdin = source == "-"
    name = "stdin" if is_stdin else source
    with ExitStack() as kept:
        raw = kept.enter_context(_stdin() if is_stdin else _file(source))
        file, notes = kept.enter_context(_seekable(name, raw)), []
        start = file.read(8)
        if start.startswith(_ZIP) and is_workbook(file):
            _refuse_for_workbook(name, format, delimiter)
            file, note = kept.enter_context(sheet_as_csv(name, file, sheet))
            start, format, delimiter, notes = b"", Format.CSV, delimiters.COMMA, [note] if note else []
        elif sheet is not None:
            raise UsageError(f"--sheet is for Excel's workbooks, and {name} is none\nhint: leave it out")
        format = format or _format(source, delimiter)
        _refuse_for_format(source, format, header=header, delimiter=delimiter)
        if what := _what_has_no_rows(start):
            raise InputUnreadable(f"{name}: {what}")
        is_gzip = start.startswith(_GZIP) or (bool(start) and source.lower().endswith(".gz"))
        yield _looked_at(Input(name, file, format, header, is_gzip, notes=tuple(notes)), delimiter)


def _format(source: str, delimiter: str | None) -> Format:
    """By the file's ending; whoever names a delimiter means CSV where it says nothing.

    Raises InputUnreadable for .json: most such files are one document, and would become an order for each of its lines.
    """
    if source.lower().removesuffix(".gz").endswith(".json"):
        raise InputUnreadable(
            f"{source}: .json says nothing of rows\n"
            f"hint: --format jsonl for one value a line; of a list make that: jq -c '.[]' {shlex.quote(source)}"
        )
    format = Format.LINES if source == "-" else format_of(source)
    return Format.CSV if format is Format.LINES and delimiter is not None else format


def _refuse_for_format(source: str, format: Format, *, header: bool, delimiter: str | None) -> None:
    """Raise UsageError for an option that says nothing of this format."""
    if header and format not in (Format.CSV, Format.TSV):
        raise UsageError(
            f"--header is for CSV, and {source} is read as {format}\nhint: add --format csv, or leave it out"
        )
    if delimiter is not None and format is not Format.CSV:
        raise UsageError(f"--delimiter is for CSV, and {source} is read as {format}\nhint: add --format csv")


def _refuse_for_workbook(name: str, format: Format | None, delimiter: str | None) -> None:
    if format not in (None, Format.CSV):
        raise UsageError(f"--format {format}: {name} is an Excel workbook\nhint: leave it out")
    if delimiter is not None:
        raise UsageError(f"--delimiter: {name} is an Excel workbook, whose cells need none\nhint: leave it out")


def _looked_at(input: Input, said: str | None) -> Input:
    """The input with what its beginning tells."""
    if input.format not in (Format.CSV, Format.TSV):
        return input
    said = "\t" if input.format is Format.TSV else said
    text, is_cut = _sample(input)
    look = delimiters.look(text, said, is_cut=is_cut)
    notes = [*input.notes]
    if look.is_guessed:
        notes.append(f"{input.name}: columns are separated by {delimiters.shown(look.delimiter)}")
    elif look.unsure:
        notes.append(
            f"{input.name}: each row is one argument, although all hold {delimiters.shown(look.unsure)}\n"
            f"hint: if that separates columns: {delimiters.option(look.unsure)}"
        )
    return replace(
        input,
        delimiter=look.delimiter,
        better=look.better if input.format is Format.CSV else None,
        header_like=() if input.header else look.header,
        notes=tuple(notes),
    )


def _sample(input: Input) -> tuple[str, bool]:
    """The beginning of the text, and whether there is more. What cannot be read is told when it is read."""
    sample = b""
    with suppress(OSError, EOFError, zlib.error):
        input.file.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=input.file)) if input.is_gzip else input.file
        sample = stream.read(SAMPLE_BYTES)
    is_cut = len(sample) == SAMPLE_BYTES
    if is_cut:
        sample = sample[: sample.rfind(b"\n") + 1]
    return sample.decode("utf-8-sig", "surrogateescape"), is_cut


def _what_has_no_rows(start: bytes) -> str | None:
    """What begins like this, if it is known to be neither text nor gzip, and what to do about it."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") and b"\0" in start[:4]:
        return "UTF-16, as Excel's Unicode text is\nhint: save it as UTF-8"
    return next((what for magic, what in _NO_ROWS.items() if start.startswith(magic)), None)


@contextmanager
def _stdin() -> Iterator[BufferedReader]:
    if sys.stdin is None or sys.stdin.closed:
        raise InputUnreadable("stdin is closed\nhint: pipe rows into it, or name a file")
    yield cast(BufferedReader, sys.stdin.buffer)


@contextmanager
def _file(source: str) -> Iterator[BufferedReader]:
    path = Path(source)
    try:
        if not source:
            raise InputUnreadable("the input's name is empty\nhint: name a file, or - for stdin")
        if path.is_dir():
            raise InputUnreadable(f"{source}: a directory\nhint: name a file, or list it: ls {source} | waiter load -")
        if is_kitchen(path):
            raise InputUnreadable(f"{source}: that is the kitchen itself\nhint: name another file")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputUnreadable(f"{source}: cannot be read: {why}\nhint: look at its name and permissions") from None
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
            why = f"cannot be copied to {folder}: {error.strerror}\nhint: set TMPDIR to a folder with room"
            raise InputUnreadable(f"{name}: {why}.") from None
        yield copy
