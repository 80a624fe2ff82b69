"""What the kitchen knows already when an input is loaded: arguments, rows that wait, and a load that goes on."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self

from waiter.kitchen.contract import Kitchen
from waiter.kitchen.stages import STALE_S
from waiter.orders import Batch, Selector, Status

BEAT_S = STALE_S / 5
"""How often a load says that it goes on."""

_LOOK_S = 0.2


class Unique:
    """Which arguments are new: a set on disk of all that the kitchen has, so that memory stays flat.

    Two loads at the same time do not see each other's rows.
    """

    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen

    def __enter__(self) -> Self:
        self._db = sqlite3.connect("", isolation_level=None)  # a temporary file without a name
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA cache_size = -16384")
        self._db.execute("CREATE TABLE known (key BLOB PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")
        keys = ((_key(order.arguments),) for order in self._kitchen.find(Selector()))
        self._db.executemany("INSERT OR IGNORE INTO known VALUES (?)", keys)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def is_new(self, arguments: Sequence[str]) -> bool:
        """Nobody asked for these arguments before, neither here nor in the kitchen."""
        return self._db.execute("INSERT OR IGNORE INTO known VALUES (?)", (_key(arguments),)).rowcount == 1


def row_key(arguments: Sequence[str], names: Sequence[str] | None) -> bytes:
    """What tells a row from others: its arguments and what they are called."""
    return _key(arguments if names is None else (*arguments, "\0", *names))


def _key(arguments: Sequence[str]) -> bytes:
    text = "".join(argument + "\0" for argument in arguments)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def waiting_rows(kitchen: Kitchen, batches: Iterable[Batch], rows: int) -> bytes:
    """A mark for each of the rows, from 0, whose order of one of these batches is READY: a byte each, no more."""
    marks = bytearray(rows + 1)
    for batch in batches:
        for order in kitchen.find(Selector(batch=batch.id, statuses=(Status.READY,))):
            if order.row <= rows:
                marks[order.row] = 1
    return bytes(marks)


class Pulse:
    """Says that a batch is being loaded, by the time that it carries until it is complete."""

    def __init__(self, kitchen: Kitchen, batch: Batch) -> None:
        self._kitchen = kitchen
        self._batch = replace(batch, is_complete=False)
        self._kitchen.open_batch(replace(self._batch, loaded_at=kitchen.now()))
        self._said_at = time.monotonic()

    def _say(self, at: float) -> None:
        self._kitchen.renew_batch(replace(self._batch, loaded_at=at))
        self._said_at = time.monotonic()

    def beat(self) -> None:
        """It goes on."""
        if time.monotonic() - self._said_at >= BEAT_S:
            self._say(self._kitchen.now())

    def stop(self) -> None:
        """It goes on no more: nobody needs to wait until that is sure."""
        self._say(self._kitchen.now() - STALE_S)


def is_being_loaded(kitchen: Kitchen, batch: Batch) -> bool:
    """Whether somebody loads this incomplete batch just now. Waits until that is sure: STALE_S at most."""
    while kitchen.now() - batch.loaded_at < STALE_S:
        time.sleep(_LOOK_S)
        now = kitchen.batch(batch.id)
        if now is None or now.is_complete or now.loaded_at != batch.loaded_at:
            return True
    return False
