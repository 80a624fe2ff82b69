"""The input of a run that goes on: rows that are orders already stay so, others are added, and what is gone goes.

Rows are compared by their arguments and names, not by where they stand, and as often as they are there. So a row that
changed is a new one, and the one that it was is gone. An order that is gone and not delivered is taken out; what was
delivered stays, with its result.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from waiter.errors import InputUnreadable
from waiter.intake import Input
from waiter.kitchen.contract import Kitchen
from waiter.known import Unique, row_key
from waiter.light_dataclass import dataclass
from waiter.loading import Loaded, LoadOptions, load, new_batch, verified
from waiter.matching import Checked, OnProgress, check_rows
from waiter.orders import Batch, Order, Selector, Status

OPEN = (Status.READY, Status.ERROR, Status.CANCELLED)
"""Orders of these may be taken out: nobody has them, and nobody had a result of them."""

REMOVED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of an input and of the orders that were there."""

    loaded: Loaded
    taken_out: int  # orders whose rows are gone, and which were not delivered
    kept: int  # orders whose rows are gone, and which were, or run


def reconcile(kitchen: Kitchen, input: Input, options: LoadOptions, tell: OnProgress) -> Reconciled:
    """Make the kitchen's orders those of this input, which is all that it is to hold.

    Raises BadRow and InputUnreadable, and leaves the kitchen as it was then; KitchenError half way is made up for by
    the same call. An input without rows takes nothing out.
    """
    checked = check_rows(kitchen, input, tell, skip_bad=options.skip_bad)
    if _only_grows(kitchen, checked, input.name):
        return Reconciled(load(kitchen, input, options, tell), 0, 0)
    seen = checked.seen
    loaded = Loaded(
        batch=None,
        source=input.name,
        rows=seen.rows,
        new=0,
        known=0,
        blank=seen.blank,
        bad=checked.bad,
        bad_rows=checked.bad_rows,
        is_grown=False,
        header_like=input.header_like,
    )
    if not seen.orders:
        return Reconciled(loaded, 0, 0)
    with _rows_there(kitchen) as there:
        batch, new = _add_missing(kitchen, input, options, checked, there, tell)
        taken_out = _take_out(kitchen, there)
        kept = there.left()
    loaded = replace(loaded, batch=batch.id, new=new, known=seen.orders - new, is_grown=bool(new))
    return Reconciled(loaded, taken_out, kept)


def _only_grows(kitchen: Kitchen, checked: Checked, source: str) -> bool:
    """Whether the input begins with, or is, the one batch that the kitchen holds, of which nothing was taken out.

    Then its orders need not be compared with its rows.
    """
    batches = kitchen.batches()
    if len(batches) != 1 or kitchen.counts().total != batches[0].orders or not batches[0].is_complete:
        return False
    is_known_by_name = Path(batches[0].source).name == Path(source).name
    is_begun = any(batch.id == batches[0].id for batch, _ in checked.beginnings)
    return batches[0].digest == checked.digest or (is_begun and is_known_by_name)


class _Rows:
    """How often each row is an order: on disk, so that memory stays flat."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, orders: Iterator[Order]) -> None:
        keys = ((row_key(order.arguments, order.names),) for order in orders)
        again = "ON CONFLICT (key) DO UPDATE SET n = n + 1"
        self._db.executemany(f"INSERT INTO there VALUES (?, 1) {again}", keys)

    def take(self, arguments: Sequence[str], names: Sequence[str] | None) -> bool:
        """One less of this row; False if there is none."""
        sql = "UPDATE there SET n = n - 1 WHERE key = ? AND n > 0"
        return self._db.execute(sql, (row_key(arguments, names),)).rowcount == 1

    def left(self) -> int:
        """How many orders are left over."""
        (left,) = self._db.execute("SELECT ifnull(sum(n), 0) FROM there").fetchone()
        return int(left)


@contextmanager
def _rows_there(kitchen: Kitchen) -> Iterator[_Rows]:
    db = sqlite3.connect("", isolation_level=None)  # a temporary file without a name
    try:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("CREATE TABLE there (key BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID")
        db.execute("BEGIN")
        there = _Rows(db)
        there.put(kitchen.find(Selector()))
        yield there
    finally:
        db.close()


def _add_missing(
    kitchen: Kitchen, input: Input, options: LoadOptions, checked: Checked, there: _Rows, tell: OnProgress
) -> tuple[Batch, int]:
    """Add the rows that are no orders, as a batch of their own. Returns it, or the latest, and how many they were."""
    batch, new, done = new_batch(kitchen, checked, input.name, replace(options, again=True)), 0, 0
    try:
        with Unique(kitchen) if options.unique else nullcontext() as unique:
            for rows in verified(input, checked):
                done += len(rows)
                wanted = [row for row in rows if not there.take(row[1], row[2])]
                if unique:
                    wanted = [row for row in wanted if unique.is_new(row[1])]
                if wanted and not new:
                    kitchen.open_batch(batch)
                new += kitchen.add(batch.id, wanted, options.priority) if wanted else 0
                tell("loading", done, checked.seen.orders)
    except InputUnreadable:
        if new:
            kitchen.remove_batch(batch.id)
        raise
    if not new:
        return kitchen.batches()[-1], 0
    kitchen.renew_batch(replace(batch, loaded_at=kitchen.now(), is_complete=True))
    return batch, new


def _take_out(kitchen: Kitchen, there: _Rows) -> int:
    """Delete the orders whose rows are gone, if they were not delivered. Returns how many they were."""
    open_ = kitchen.find(Selector(statuses=OPEN))
    gone = [order.id for order in open_ if there.take(order.arguments, order.names)]
    taken_out = 0
    for at in range(0, len(gone), REMOVED_AT_ONCE):
        taken_out += kitchen.clean(Selector(ids=tuple(gone[at : at + REMOVED_AT_ONCE]), statuses=OPEN))
    return taken_out
