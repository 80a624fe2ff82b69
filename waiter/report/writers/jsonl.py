"""Orders as JSON Lines: one object a line, lists and results as themselves."""

from __future__ import annotations

import json
from typing import IO

from waiter.report.columns import record
from waiter.report.writers import Table, Writer


def _write(table: Table, file: IO[bytes]) -> None:
    names = tuple(table.columns)
    for order in table.orders:
        file.write(json.dumps(record(order, names)).encode() + b"\n")


WRITER = Writer(_write)
