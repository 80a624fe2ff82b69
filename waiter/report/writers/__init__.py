"""Writers of orders as files: one module per format, found by its name. `extract` and Python programs use them.

A new format is a new module here and nothing else: `--format`, its help and its completion come from the folder. The
module holds a `WRITER`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import IO

from waiter.atomic_write import atomic_write
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector
from waiter.report.survey import OrderFinder, find_columns

FORMATS = tuple(sorted(module.name for module in iter_modules(__path__)))
"""The formats by name."""

DEFAULT_FORMAT = "csv"


@dataclass(frozen=True, slots=True)
class Table:
    """Orders as the rows of a table."""

    columns: Mapping[str, str]  # the type of each, see `survey`
    orders: Iterable[Order]
    is_raw: bool = False  # cells that a spreadsheet would run as formulas are left as they are


@dataclass(frozen=True, slots=True)
class Writer:
    """A format: how a table is written. `check` raises UsageError where it cannot be written into this file."""

    write: Callable[[Table, IO[bytes]], None]
    check: Callable[[IO[bytes]], None] = lambda _file: None
    has_types: bool = False  # the types of result columns must stand before the first row


def writer_of(format: str) -> Writer:
    """The writer of a format. Raises UsageError for one that does not exist."""
    if format not in FORMATS:
        raise UsageError(f"--format {format}: no such format\nhint: known are {', '.join(FORMATS)}")
    writer = import_module(f"{__name__}.{format}").WRITER
    assert isinstance(writer, Writer)
    return writer


def write_orders(
    kitchen: Kitchen,
    output: str | IO[bytes],
    *,
    format: str = DEFAULT_FORMAT,
    columns: str | None = None,
    selector: Selector | None = None,
    sort: str = "age",
    limit: int | None = None,
    is_raw: bool = False,
) -> None:
    """Write the orders that match to a file, by its path (then it is whole or not there) or opened for bytes.

    `columns` is what `--columns` takes. Memory stays flat; the orders are read twice where columns or their types
    follow from all of them. Raises UsageError, FileUnusable and KitchenError.
    """
    if isinstance(output, str):
        with atomic_write(output) as path, path.open("wb") as file:
            write_orders(kitchen, file, format=format, columns=columns, selector=selector, sort=sort, limit=limit,
                         is_raw=is_raw)  # fmt: skip
        return
    writer = writer_of(format)
    writer.check(output)
    finder = OrderFinder(kitchen, selector or Selector(), sort, limit)
    found = find_columns(columns, finder, has_types=writer.has_types)
    writer.write(Table(found, finder.find(found), is_raw), output)
