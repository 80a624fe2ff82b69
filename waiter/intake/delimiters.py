"""By what the cells of a CSV file are separated, and whether its first row names them: judged by its beginning.

Pure: text comes in. A delimiter is guessed only where no other reading of the rows makes sense; whatever is less than
certain becomes a hint, and what is loaded does not change.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from waiter.errors import UsageError
from waiter.light_dataclass import dataclass

COMMA = ","

GUESSED = (";", "\t")
"""What a CSV file may have in place of commas: Excel's in half of Europe, and what is copied out of it."""

SUGGESTED = (*GUESSED, "|", COMMA)
"""What is looked for where rows do not fit the delimiter that they are read with."""

_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_ENTITY = re.compile(r"&#?\w+$")
_NAME = re.compile(r"[^\W\d][\w .()/%#-]*")
_NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?%?")
_PLAIN_NAMES = frozenset(("id", "name", "file", "filename", "path", "url", "sample", "date", "email", "key", "title"))
_FEATURES = (
    str.strip,
    _NUMBER.fullmatch,
    re.compile(r"\d").search,
    re.compile(r"[/\\]").search,
    re.compile("@").search,
)


@dataclass(frozen=True, slots=True)
class Look:
    """What the beginning of a file tells."""

    delimiter: str = COMMA
    is_guessed: bool = False
    better: str | None = None  # it makes the rows a table, which `delimiter` does not
    unsure: str | None = None  # it is in every row, and each row is one cell: nobody can know
    header: tuple[str, ...] = ()  # the first row, if it looks like names


def delimiter_from(said: str) -> str:
    """The character that `--delimiter` names. Raises UsageError."""
    delimiter = _NAMES.get(said.lower(), said)
    if len(delimiter) != 1 or delimiter in '"\r\n\0' or (not delimiter.isprintable() and delimiter != "\t"):
        raise UsageError(f"--delimiter {said!r}: expected one character\nhint: write ';', '|' or tab")
    return delimiter


def shown(delimiter: str) -> str:
    """As a message names it."""
    return "tabs" if delimiter == "\t" else f"'{delimiter}'"


def option(delimiter: str) -> str:
    """The option that says it, for a shell."""
    return f"--delimiter {'tab' if delimiter == chr(9) else repr(delimiter)}"


def look(text: str, delimiter: str | None, *, is_cut: bool) -> Look:
    """What the text, the whole of a CSV file or `is_cut` somewhere, tells; `delimiter` is what was said, or None."""
    readings = {one: _rows(text, one, is_cut=is_cut) for one in {*SUGGESTED, delimiter or COMMA}}
    tables = [one for one in SUGGESTED if _width(readings[one]) > 1]
    if delimiter is None and tables and (guess := _guess(readings, tables)):
        return Look(guess, is_guessed=True, header=_header(readings[guess]))
    chosen = delimiter or COMMA
    rows = readings[chosen] or []
    better = next((one for one in tables if not _is_text(one, readings[one] or [])), None)
    unsure = _unsure(rows) if delimiter is None and _width(rows) == 1 else None
    return Look(chosen, better=None if chosen in tables else better, unsure=unsure, header=_header(rows))


def _rows(text: str, delimiter: str, *, is_cut: bool) -> list[list[str]] | None:
    """The rows that are not blank; None if this is no CSV with that delimiter."""
    rows: list[list[str]] = []
    try:
        rows.extend(cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        if not is_cut or "end of data" not in str(error):
            return None
    return [cells for cells in rows if any(map(str.strip, cells))]


def _width(rows: Sequence[Sequence[str]] | None) -> int:
    """How many cells each row has; 0 if they differ, or there is none."""
    widths = {len(cells) for cells in rows or ()}
    return widths.pop() if len(widths) == 1 else 0


def _guess(readings: dict[str, list[list[str]] | None], tables: Sequence[str]) -> str | None:
    """The delimiter, if only this one makes a table of at least two rows, and it is none of the text's own."""
    guess, rows = tables[0], readings[tables[0]] or []
    is_only_one = len(tables) == 1 and guess in GUESSED and len(rows) > 1
    return guess if is_only_one and not _is_text(guess, rows) else None


def _is_text(delimiter: str, rows: Sequence[Sequence[str]]) -> bool:
    """Whether these semicolons may belong to sentences, commands, HTML entities or lists of settings."""
    if delimiter != ";":
        return False
    cells = [cell for row in rows for cell in row]
    is_prose = any(cell.startswith(" ") for row in rows for cell in row[1:])
    has_entity = any(_ENTITY.search(cell) for row in rows for cell in row[:-1])
    return is_prose or has_entity or all("=" in cell for cell in cells if cell)


def _unsure(rows: Sequence[Sequence[str]]) -> str | None:
    return next((one for one in GUESSED if all(one in row[0].strip() for row in rows)), None)


def _header(rows: Sequence[Sequence[str]] | None) -> tuple[str, ...]:
    """The first row if it looks like names of the others' cells."""
    first, *others = rows or [[]]
    names = tuple(cell.strip() for cell in first)
    if len(others) < 2 or len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
        return ()
    columns = [(names[at], [row[at] for row in others if at < len(row)]) for at in range(len(names))]
    is_known = len(names) > 1 and any(name.lower() in _PLAIN_NAMES for name in names)
    return names if is_known or any(_is_unlike(name, cells) for name, cells in columns) else ()


def _is_unlike(name: str, cells: Sequence[str]) -> bool:
    """Whether all cells have something (digits, slashes, an @) that the name above them has not."""
    return any(not feature(name) and all(map(feature, cells)) for feature in _FEATURES)
