"""Orders as the cells of a table: the original's columns, and others on demand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from waiter.errors import UsageError
from waiter.orders import Order
from waiter.report.formatting import escaped

Cell = str | int | float | None

DEFAULT = ("_id", "status", "waiter", "start", "stop", "arguments", "error")
"""The original's columns."""

KEY = "result."
"""Before the key of a result that is a JSON object."""

ARGUMENT = "arguments."
"""Before the name or position of an argument; it can be left out where nothing else has that name."""

_SURROGATE = re.compile("[\ud800-\udfff]")

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def timestamp(at: float | None) -> str | None:
    """ISO 8601, UTC, milliseconds: 2026-11-24T19:03:25.123Z."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration_s(order: Order) -> float | None:
    if order.start is None or order.stop is None:
        return None
    return round(order.stop - order.start, 6)


COLUMNS: Mapping[str, Callable[[Order], Cell]] = {
    "_id": lambda order: order.id,
    "status": lambda order: order.status.value,
    "waiter": lambda order: order.waiter,
    "start": lambda order: timestamp(order.start),
    "stop": lambda order: timestamp(order.stop),
    "arguments": lambda order: json.dumps(list(order.arguments), ensure_ascii=any(map(_is_odd, order.arguments))),
    "error": lambda order: order.error,
    "batch": lambda order: order.batch,
    "row": lambda order: order.row,
    "priority": lambda order: order.priority,
    "attempt": lambda order: order.attempt,
    "failures": lambda order: order.failures,
    "losses": lambda order: order.losses,
    "due": lambda order: None if order.is_held else timestamp(order.due),
    "host": lambda order: order.host,
    "exit_code": lambda order: order.exit_code,
    "signal": lambda order: order.signal,
    "reason": lambda order: order.reason and order.reason.value,
    "error_group": lambda order: order.error_group,
    "duration": duration_s,
    "peak_memory": lambda order: order.peak_memory,
    "command": lambda order: order.command,
    "result": lambda order: order.result,
    "tail": lambda order: order.tail,
}

TIMES = ("start", "stop", "due")

ALL_KEYS = f"{KEY}*"
"""Stands for a column for each key of the results."""

ALL_ARGUMENTS = f"{ARGUMENT}*"
"""Stands for a column for each name of the arguments, or each position where they have none."""

ALL = "*"
"""Stands for both, and for `result` if some results are no JSON object."""

NEED_WHOLE = ("result", "tail")
"""Columns that `Kitchen.find` brings only when it is asked for whole orders."""


def columns(words: str | None) -> tuple[str, ...]:
    """The columns that `--columns a,b` names, as they are written. Raises UsageError for none.

    A name that is none of COLUMNS is an argument's.
    """
    if words is None:
        return DEFAULT
    names = tuple(word.strip() for word in words.split(",") if word.strip())
    if not names:
        raise UsageError(f"--columns: no column named\nhint: known are {', '.join(COLUMNS)}, and result.KEY")
    return names


def is_argument(name: str) -> bool:
    """Whether the column is one argument, by its name or position."""
    return name not in COLUMNS and not name.startswith(KEY) and name not in (ALL, ALL_ARGUMENTS)


def argument_column(name: str) -> str:
    """The column of the argument of that name."""
    return name if is_argument(name) and not name.startswith(ARGUMENT) else ARGUMENT + name


def needs_details(names: Sequence[str]) -> bool:
    return any(name == ALL or name.partition(".")[0] in NEED_WHOLE for name in names)


def values(order: Order, names: Sequence[str]) -> list[object]:
    """What the order has in these columns; what stands under a key of its result as it is."""
    result = result_object(order) if any(name.startswith(KEY) for name in names) else {}
    named = order.named if order.names and any(map(is_argument, names)) else {}
    row: list[object] = []
    for name in names:
        if (column := COLUMNS.get(name)) is not None:
            row.append(column(order))
        elif name.startswith(KEY):
            row.append(result.get(name.removeprefix(KEY)))
        else:
            row.append(_argument(order.arguments, named, name.removeprefix(ARGUMENT)))
    return row


def _argument(arguments: Sequence[object], named: Mapping[str, object], name: str) -> object:
    """The argument of that name, else at that position, counted from 1."""
    if name in named:
        return named[name]
    at = int(name) if name.isascii() and name.isdigit() and len(name) < 9 else 0
    return arguments[at - 1] if 0 < at <= len(arguments) else None


def _typed(order: Order, names: Sequence[str]) -> dict[str, object]:
    """The columns of arguments, as what these were."""
    arguments, named = order.typed_arguments, order.typed_named
    typed = {name: _argument(arguments, named, name.removeprefix(ARGUMENT)) for name in names if is_argument(name)}
    return {**typed, "arguments": list(arguments)} if "arguments" in names else typed


def cells(order: Order, names: Sequence[str]) -> list[Cell]:
    """The same as cells of a table: lists, objects, true and false as JSON."""
    return [_cell(value) for value in values(order, names)]


def result_object(order: Order) -> Mapping[str, object]:
    """The result as a JSON object; empty when it is none."""
    value = order.value
    return value if isinstance(value, dict) else {}


def _cell(value: object) -> Cell:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_odd(text: str) -> bool:
    """Whether it holds bytes that are no UTF-8, which only escapes can show."""
    return bool(_SURROGATE.search(text))


def escape_formula(cell: Cell) -> Cell:
    """The cell so that no spreadsheet runs it as a formula: an apostrophe in front. Numbers are left alone."""
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return "'" + cell
    return cell


def printable(cell: Cell) -> Cell:
    """Text that can be written as UTF-8."""
    return _SURROGATE.sub(lambda found: escaped(found[0]), cell) if isinstance(cell, str) else cell


def record(order: Order, names: Sequence[str]) -> dict[str, object]:
    """The order as a JSON object: arguments as a list, a result that is JSON as itself."""
    facts = dict(zip(names, values(order, names), strict=True))
    if "arguments" in facts:
        facts["arguments"] = list(order.arguments)
    if "result" in facts:
        facts["result"] = order.value
    return facts


def typed_record(order: Order, names: Sequence[str]) -> dict[str, object]:
    """The same with times as `datetime`, and arguments as what they were."""
    facts = record(order, names)
    if order.kinds:
        facts |= _typed(order, names)
    for name in TIMES:
        if name in facts:
            at = getattr(order, name)
            facts[name] = None if at is None else datetime.fromtimestamp(at, UTC)
    return facts
