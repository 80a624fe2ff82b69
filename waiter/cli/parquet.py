"""Orders as a Parquet file, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from waiter.cli.whole_file import whole_file
from waiter.errors import UsageError
from waiter.orders import Order
from waiter.report.extraction import cells, printable

ROWS = 50_000
"""Rows in a row group."""


def write(orders: Iterator[Order], names: Sequence[str], output: str | None) -> None:
    """Write the columns to `output`. Raises UsageError without pyarrow or a file's name."""
    if output is None:
        raise UsageError("--format parquet: name a file with -o orders.parquet")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("--format parquet needs pyarrow. Install it: pip install 'waiter[parquet]'") from None
    numbers = {"row", "priority", "attempt", "failures", "losses", "exit_code", "signal", "peak_memory"}
    kinds = {name: pyarrow.int64() if name in numbers else pyarrow.string() for name in names}
    kinds |= {name: pyarrow.float64() for name in names if name == "duration"}
    schema = pyarrow.schema(list(kinds.items()))
    with whole_file(output) as path, pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while chunk := [list(map(printable, cells(order, names))) for order in islice(orders, ROWS)]:
            columns = [
                [value if kinds[name] != pyarrow.string() or value is None else str(value) for value in column]
                for name, column in zip(names, zip(*chunk, strict=True), strict=True)
            ]
            writer.write_table(pyarrow.table(dict(zip(names, columns, strict=True)), schema=schema))
