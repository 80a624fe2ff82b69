"""A sheet of an Excel workbook as CSV, which everything else reads: in a temporary file without a name.

openpyxl reads a sheet row by row; of the workbook it holds the shared texts in memory, of ours nothing is kept.
"""

from __future__ import annotations

import csv
import datetime
import io
import shlex
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO, cast

from waiter.errors import InputUnreadable, UsageError, naming

LOOKED_AT = 1000
"""In so many rows is looked for formulas whose value was never computed."""

_BROKEN = (zipfile.BadZipFile, KeyError, ValueError, IndexError, TypeError, AttributeError, SyntaxError, EOFError)
"""What openpyxl, and the parser of XML below it, raise for a file that is none of Excel's."""


def is_workbook(file: BinaryIO) -> bool:
    """Whether it is a workbook, whatever its name."""
    try:
        with zipfile.ZipFile(file) as packed:
            return "xl/workbook.xml" in packed.namelist()
    except zipfile.BadZipFile:
        return False


@contextmanager
def sheet_as_csv(name: str, file: BinaryIO, sheet: str | None) -> Iterator[tuple[BinaryIO, str | None]]:
    """The sheet of that title, or the first one that is shown, as CSV; and what to say of the others, if any.

    Raises InputUnreadable, and UsageError for a title that no sheet has.
    """
    openpyxl = _openpyxl(name)
    with warnings.catch_warnings(), _opened(openpyxl, name, file, is_computed=True) as book:
        warnings.simplefilter("ignore")  # of drawings and rules that it leaves out
        wanted = _sheet(name, book.worksheets, sheet)
        note = None
        if sheet is None and len(book.worksheets) > 1:
            others = ", ".join(repr(one.title) for one in book.worksheets if one is not wanted)
            note = f"{name}: sheet '{wanted.title}' is read, and not {others:.200}\nhint: --sheet names another one"
        _refuse_uncomputed(openpyxl, name, file, wanted)
        with tempfile.TemporaryFile() as as_read, tempfile.TemporaryFile() as padded:
            with _understood(name), naming(tempfile.gettempdir()):
                widest, is_even = _write(as_read, _texts(wanted))
                if not is_even:
                    _write(padded, (row + [""] * (widest - len(row)) if row else row for row in _read(as_read)))
            yield cast(BinaryIO, as_read if is_even else padded), note


def _openpyxl(name: str) -> Any:
    try:
        import openpyxl  # here, because it is an extra
    except ImportError:
        raise InputUnreadable(
            f"{name}: an Excel workbook, which needs one package more: pip install 'simple-waiter[xlsx]'\n"
            f"hint: or convert it: libreoffice --headless --convert-to csv {_as_file(name)}"
        ) from None
    return openpyxl


def _as_file(name: str) -> str:
    return "FILE" if name == "stdin" else shlex.quote(name)


@contextmanager
def _understood(name: str) -> Iterator[None]:
    """Inside, what is no workbook is told as such."""
    try:
        yield
    except _BROKEN as error:
        said = str(error).partition("\n")[0]
        raise InputUnreadable(f"{name}: not a whole Excel workbook ({said:.100})\nhint: save it anew as CSV") from None


@contextmanager
def _opened(openpyxl: Any, name: str, file: BinaryIO, *, is_computed: bool) -> Iterator[Any]:
    file.seek(0)
    with _understood(name):
        book = openpyxl.load_workbook(file, read_only=True, data_only=is_computed, keep_links=False)
    try:
        yield book
    finally:
        book.close()


def _sheet(name: str, sheets: Sequence[Any], title: str | None) -> Any:
    if not sheets:
        raise InputUnreadable(f"{name}: no sheet has any cells")
    if title is None:
        return next((sheet for sheet in sheets if sheet.sheet_state == "visible"), sheets[0])
    found = next((sheet for sheet in sheets if sheet.title == title), None)
    if found is None:
        there = ", ".join(repr(sheet.title) for sheet in sheets)
        raise UsageError(f"--sheet {title!r}: {name} has no such sheet\nhint: there is {there:.200}")
    return found


def _cells(sheet: Any) -> Iterator[Sequence[Any]]:
    sheet.reset_dimensions()  # what a program wrote there is often wrong
    return cast(Iterator[Sequence[Any]], sheet.iter_rows())


def _refuse_uncomputed(openpyxl: Any, name: str, file: BinaryIO, sheet: Any) -> None:
    """Raise InputUnreadable for a formula whose value the file does not hold: it would be an empty argument."""
    with _opened(openpyxl, name, file, is_computed=False) as book, _understood(name):
        there = zip(_cells(sheet), _cells(book[sheet.title]), strict=True)
        for number, (values, formulas) in enumerate(islice(there, LOOKED_AT), 1):
            for column, (value, formula) in enumerate(zip(values, formulas, strict=True), 1):
                if value.value is None and formula.data_type == "f":
                    cell = f"{openpyxl.utils.get_column_letter(column)}{number}"
                    raise InputUnreadable(
                        f"{name}, sheet '{sheet.title}', cell {cell}: a formula whose value was never computed\n"
                        "hint: open the file once in a spreadsheet program, and save it"
                    )


def _texts(sheet: Any) -> Iterator[list[str]]:
    """The rows as text, without the empty cells at their ends."""
    for cells in _cells(sheet):
        row = [_text(cell) for cell in cells]
        while row and not row[-1]:
            row.pop()
        yield row


def _text(cell: Any) -> str:
    """What a person sees in the cell, but for its layout: 3 for 3.0, dates as ISO 8601 has them."""
    match value := cell.value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
        case datetime.datetime():
            has_time = value.time() != datetime.time() or "h" in str(cell.number_format).lower()
            return value.isoformat() if has_time else value.date().isoformat()
        case datetime.date() | datetime.time():
            return value.isoformat()
    return str(value)


def _write(to: BinaryIO | Any, rows: Iterator[list[str]]) -> tuple[int, bool]:
    """Write the rows as CSV, blank ones as blank lines. Returns the widest's cells, and whether all have as many."""
    text = io.TextIOWrapper(to, encoding="utf-8", errors="surrogatepass", newline="")
    writer = csv.writer(text, lineterminator="\n")
    widths = set()
    for row in rows:
        if row:
            writer.writerow(row)
            widths.add(len(row))
        else:
            text.write("\n")
    text.detach().seek(0)  # it has flushed
    return max(widths, default=0), len(widths) < 2


def _read(file: BinaryIO | Any) -> Iterator[list[str]]:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogatepass", newline="")
    yield from csv.reader(text)
    text.detach()
