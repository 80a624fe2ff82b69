"""Orders as Parquet, where pyarrow is installed: times, numbers and lists as themselves.

The columns' types must stand before the first row is written, so the keys of results are looked through once more
than for other formats.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

from waiter.atomic_write import atomic_write
from waiter.errors import UsageError, WaiterError
from waiter.orders import Order
from waiter.report.columns import ALL_KEYS, printable, result_object, values

ROWS = 20_000
CHARACTERS = 16 << 20
"""The most that one row group holds of either: memory stays flat."""

NUMBERS = ("row", "priority", "attempt", "failures", "losses", "exit_code", "signal", "peak_memory")
TIMES = ("start", "stop", "due")

NARROWER = {"double": {"double", "int64"}}

_LARGEST = 2**63 - 1


class OrdersChanged(WaiterError):
    """While the orders were written, a result of another type came in."""


def write(find: Callable[[], Iterator[Order]], names: Sequence[str], output: str | None) -> None:
    """Write the columns of the orders that `find` brings to the file, or to stdout where that is no terminal.

    Raises UsageError without pyarrow or a place to write to.
    """
    if output is None and sys.stdout.isatty():
        raise UsageError("--format parquet is nothing for a terminal: name a file with -o orders.parquet")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("--format parquet needs pyarrow. Install it: pip install 'waiter[parquet]'") from None
    kinds = column_kinds(find, names)
    special = {"time": pyarrow.timestamp("ms", tz="UTC"), "texts": pyarrow.list_(pyarrow.string())}
    schema = pyarrow.schema(
        (printable(name), special.get(kind) or pyarrow.type_for_alias(kind)) for name, kind in kinds.items()
    )
    with _sink(output) as to, pyarrow.parquet.ParquetWriter(to, schema) as writer:
        for rows in portions(fitted(order, kinds) for order in find()):
            writer.write_table(pyarrow.table([list(column) for column in zip(*rows, strict=True)], schema=schema))


@contextmanager
def _sink(output: str | None) -> Iterator[IO[bytes] | str]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    with atomic_write(output) as path:
        yield str(path)


def column_kinds(find: Callable[[], Iterable[Order]], names: Sequence[str]) -> dict[str, str]:
    """The columns with their types; those of results have the narrowest one that takes all their values."""
    wanted = {name for name in names if name.startswith("result.")}
    results = _kinds_of_results(find(), wanted) if wanted else {}
    kinds: dict[str, str] = {}
    for name in names:
        kinds |= results if name == ALL_KEYS else {name: results.get(name) or _own_kind(name)}
    return kinds


def _own_kind(name: str) -> str:
    if name in NUMBERS:
        return "int64"
    return "time" if name in TIMES else {"arguments": "texts", "duration": "double"}.get(name, "string")


def _kinds_of_results(orders: Iterable[Order], wanted: Collection[str]) -> dict[str, str]:
    """bool, int64, double or string for the keys of these orders' results, in the order of their appearance."""
    kinds: dict[str, str] = {}
    for order in orders:
        for key, value in result_object(order.result).items():
            name = f"result.{key}"
            if ALL_KEYS in wanted or name in wanted:
                before, kind = kinds.setdefault(name, "null"), _kind_of(value)
                kinds[name] = kind if before == "null" else before if kind in ("null", before) else _wider(before, kind)
    return {name: "string" if kind == "null" else kind for name, kind in kinds.items()}


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int64" if abs(value) <= _LARGEST else "string"
        case float():
            return "double"
    return "string"


def _wider(one: str, other: str) -> str:
    return "double" if {one, other} == {"int64", "double"} else "string"


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
        elif name.startswith("result.") and _kind_of(value) not in NARROWER.get(kind, {kind}):
            raise OrdersChanged(f"{order.id} brought a {name} of another type while the orders were read. Try again.")
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
