"""An SQLite file that is open as a kitchen: its clocks, its id, and transactions that are durable when they end."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Self

from waiter import processes
from waiter.kitchen.contract import LEASE_S
from waiter.kitchen.open_files import still_there
from waiter.kitchen.spans import SpansOfScope
from waiter.kitchen.sqlite.file import Connection, begin_in_turn, connect, translate_errors
from waiter.kitchen.sqlite.rows import ROW_BITS, appended, some_argument_has
from waiter.kitchen.sqlite.scope import numbered_batches


def _no_shift() -> float:
    return 0.0


class Session:
    """An open file: what every method of the kitchen reads and writes through."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        ahead: Callable[[], float] = _no_shift,
        lease_s: float = LEASE_S,
    ) -> None:
        """Open the file; one that is not there is made, or KitchenMissing without `create`.

        `ahead` seconds are added to every reading of a clock.
        """
        self.path = path.absolute()  # at once: a program may go to another folder and open it again
        self.lease_s = lease_s
        self._ahead = ahead
        self._rng = Random()
        self._here = processes.here()
        self._id: str | None = None
        self._spans = SpansOfScope(lambda: numbered_batches(self._read), 1 << ROW_BITS)
        self._db = self._connect(create=create)

    def _connect(self, *, create: bool = False) -> Connection:
        db = connect(self.path, create=create)
        db.row_factory = sqlite3.Row
        db.create_function("some_argument_has", 2, some_argument_has, deterministic=True)
        db.create_function("appended", 2, appended, deterministic=True)
        return db

    @property
    def url(self) -> str:
        return str(self.path)

    @property
    def id(self) -> str:
        self._id = self._id or self._kept_id()
        return self._id

    def _kept_id(self) -> str:
        kept = self._read("SELECT value FROM state WHERE name = 'id'")
        if not kept:
            with self._writing() as db:
                db.execute("INSERT INTO state VALUES ('id', ?) ON CONFLICT DO NOTHING", (os.urandom(16).hex(),))
            kept = self._read("SELECT value FROM state WHERE name = 'id'")
        return str(kept[0]["value"])

    def close(self) -> None:
        self._db.close()

    def beside(self) -> None:
        return None  # a connection to SQLite belongs to one thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def now(self) -> float:
        return time.time() + self._ahead()

    def _steady(self) -> float:
        return processes.boottime() + self._ahead()

    @contextmanager
    def _writing(self, *, is_change: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction that writes. `is_change`: waiters should look again."""
        with translate_errors(self.path):
            try:
                begin_in_turn(self._db)
                yield self._db
                if is_change:
                    self._db.execute(
                        "INSERT INTO state VALUES ('news', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
                    )
                self._db.execute("COMMIT")
                still_there(self.path, self._db.identity)  # after it: what went into a deleted file is not durable
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        with translate_errors(self.path):
            if self._db.is_immutable:
                self._db.close()
                self._db = self._connect()
            rows = self._db.execute(sql, parameters).fetchall()
            still_there(self.path, self._db.identity)
            return rows
