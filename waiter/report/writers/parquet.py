"""Orders as Parquet, where pyarrow is installed: times, numbers and lists as themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from waiter.errors import UsageError, WaiterError
from waiter.orders import Order
from waiter.report.columns import KEY, TIMES, printable, values
from waiter.report.survey import kind_of
from waiter.report.writers import Table, Writer

ROWS = 20_000
CHARACTERS = 16 << 20
"""The most that one row group holds of either: memory stays flat."""

NARROWER = {"double": {"double", "int64"}}


class OrdersChanged(WaiterError):
    """While the orders were written, a result of another type came in."""


def _check(file: IO[bytes]) -> None:
    """Refuse a terminal, and a Python without pyarrow."""
    if file.isatty():
        raise UsageError("--format parquet is nothing for a terminal: name a file with -o orders.parquet")
    try:
        import pyarrow  # noqa: F401 - whether it is there
    except ImportError:
        raise UsageError(
            "--format parquet needs pyarrow\nhint: install it: pip install 'simple-waiter[parquet]'"
        ) from None


def _write(table: Table, file: IO[bytes]) -> None:
    import pyarrow
    import pyarrow.parquet

    special = {"time": pyarrow.timestamp("ms", tz="UTC"), "texts": pyarrow.list_(pyarrow.string())}
    schema = pyarrow.schema(
        (printable(name), special.get(kind) or pyarrow.type_for_alias(kind)) for name, kind in table.columns.items()
    )
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for rows in portions(fitted(order, table.columns) for order in table.orders):
            writer.write_table(pyarrow.table([list(column) for column in zip(*rows, strict=True)], schema=schema))


def fitted(order: Order, kinds: Mapping[str, str]) -> list[Any]:
    """The order's values as their columns' types. Raises OrdersChanged."""
    row: list[Any] = []
    for (name, kind), value in zip(kinds.items(), values(order, tuple(kinds)), strict=True):
        if value is None:
            row.append(None)
        elif name in TIMES:
            row.append(datetime.fromtimestamp(getattr(order, name), UTC))
        elif name == "arguments":
            row.append([printable(argument) for argument in order.arguments])
        elif kind == "string":
            row.append(printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
        elif name.startswith(KEY) and kind_of(value) not in NARROWER.get(kind, {kind}):
            raise OrdersChanged(
                f"{order.id} brought a {name} of another type while the orders were read\nhint: try again"
            )
        else:
            row.append(value)
    return row


def portions(rows: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    """The rows in lists for one row group each."""
    portion: list[list[Any]] = []
    characters = 0
    for row in rows:
        portion.append(row)
        characters += sum(len(value) if isinstance(value, str) else sum(map(len, value)) for value in row
                          if isinstance(value, str | list))  # fmt: skip
        if len(portion) == ROWS or characters >= CHARACTERS:
            yield portion
            portion, characters = [], 0
    if portion:
        yield portion


WRITER = Writer(_write, _check, has_types=True)
