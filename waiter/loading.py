"""One load: a pile of rows becomes orders, and nothing twice.

The first pass checks every row and computes the digest of all; the second inserts. So a bad row leaves nothing
behind, and an input that was loaded before, or half loaded, or has grown since, is recognised by what it holds, not
by its name. What an interruption leaves is a batch that is not complete: its orders are delivered like any others, and
the same load again adds the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO, Self, cast

from waiter.errors import BadRow, InputUnreadable, UsageError
from waiter.intake import Format, Input, Row, RunningDigest, Seen, opened, read
from waiter.kitchen.contract import Kitchen
from waiter.orders import Batch, Selector

LISTED_BAD_ROWS = 20
REMOVED_AT_ONCE = 1000

OnProgress = Callable[[str, int, int | None], None]
"""Told what is going on ("checking", "loading"), rows so far, and of how many."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How an input is to be read and loaded."""

    format: Format | None = None  # None: by the file's ending; stdin is lines
    header: bool = False
    skip_bad: bool = False
    unique: bool = False  # leave out rows whose arguments are an order already, of whatever batch
    again: bool = False  # load it once more, though it was loaded
    priority: int = 0
    batch: str | None = None  # the batch's name


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did."""

    batch: str | None  # id; None if there was nothing to load
    source: str
    rows: int  # of the input
    new: int
    known: int  # rows that were orders before
    blank: int
    bad: int
    bad_rows: tuple[BadRow, ...]  # the first of them
    is_grown: bool  # the batch was there, and the input has more rows now
    changed: str | None = None  # id of a batch of the same source with other rows

    @property
    def is_unchanged(self) -> bool:
        """All of it had been loaded before."""
        return not self.new and self.known > 0


def load(
    kitchen: Kitchen, source: str | Input, options: LoadOptions | None = None, on_progress: OnProgress | None = None
) -> Loaded:
    """Load a file, or stdin with "-", or an input that is open already, which has its format and header.

    Raises BadRow, InputUnreadable, UsageError and KitchenError. Nothing of the load is in the kitchen then, unless it
    was a KitchenError half way: the same load completes it when it is repeated.
    """
    options = options or LoadOptions()
    with (
        nullcontext(source)
        if isinstance(source, Input)
        else opened(source, options.format, header=options.header) as input
    ):
        return _load(kitchen, input, options, on_progress or _silent)


def load_rows(
    kitchen: Kitchen,
    rows: Iterable[Sequence[object] | Mapping[str, object]],
    options: LoadOptions | None = None,
    *,
    source: str = "python",
) -> Loaded:
    """Load rows of arguments, or of arguments by name, as `load` does with those of a file.

    So the same rows again add nothing, unless `options.again`. What is no text becomes text as `str` makes it; bytes
    are passed on as they are. `options.format` and `header` say nothing here.
    """
    with tempfile.TemporaryFile() as file:
        for number, row in enumerate(rows, 1):
            file.write(json.dumps(_plain(source, number, row)).encode() + b"\n")
        input = Input(source, cast(BinaryIO, file), Format.JSONL)
        return _load(kitchen, input, options or LoadOptions(), _silent)


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass


def _plain(source: str, number: int, row: object) -> object:
    if isinstance(row, str | bytes) or not isinstance(row, Iterable):
        raise UsageError(f"{source}, row {number}: {row!r:.60} is not a list of arguments. Write [{row!r:.60}].")
    if isinstance(row, Mapping):
        return {str(name): _text(argument) for name, argument in row.items()}
    return [_text(argument) for argument in row]


def _text(argument: object) -> str:
    return os.fsdecode(argument) if isinstance(argument, bytes) else str(argument)


class _BadRows:
    """Raises the first bad row, or counts them when they are to be skipped."""

    def __init__(self, is_skipping: bool) -> None:
        self.is_skipping = is_skipping
        self.count = 0
        self.first: list[BadRow] = []

    def __call__(self, row: BadRow) -> None:
        if not self.is_skipping:
            raise row
        self.count += 1
        if len(self.first) < LISTED_BAD_ROWS:
            self.first.append(row)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What the first pass found."""

    seen: Seen
    digest: str
    checkpoints: bytes  # the digests after each list of rows, one after the other
    bad: int
    bad_rows: tuple[BadRow, ...]
    beginnings: tuple[tuple[Batch, int], ...]  # the batches that this input begins with, and their last row


class _Kind(Enum):
    """What an input is to the kitchen."""

    NEW = auto()
    SAME = auto()  # a batch's rows, all of them
    PART = auto()  # what a batch was before it grew
    GROWN = auto()  # a batch's rows and more


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the rows belong: `batch` is as the kitchen has it, or as it will be when NEW."""

    kind: _Kind
    batch: Batch
    last_row: int = 0  # if GROWN: of those that the batch had


def _load(kitchen: Kitchen, input: Input, options: LoadOptions, tell: OnProgress) -> Loaded:
    if options.unique and options.again:
        raise UsageError("--unique leaves out what --again asks for. Give one of them.")
    batches = kitchen.batches()
    checked = _check(input, options, batches, tell)
    loaded = Loaded(
        batch=None,
        source=input.name,
        rows=checked.seen.rows,
        new=0,
        known=0,
        blank=checked.seen.blank,
        bad=checked.bad,
        bad_rows=checked.bad_rows,
        is_grown=False,
    )
    if not checked.seen.orders:
        return loaded
    place = _place(checked, batches, input.name, options)
    new = 0 if _has_all(kitchen, place) else _insert(kitchen, input, place, options, checked, tell)
    return replace(
        loaded,
        batch=place.batch.id,
        new=new,
        known=checked.seen.orders - new,
        is_grown=place.kind is _Kind.GROWN,
        changed=_changed(batches, input.name) if place.kind is _Kind.NEW and not options.again else None,
    )


def _has_all(kitchen: Kitchen, place: _Place) -> bool:
    """Every row has been an order, and they were not all cleaned away since."""
    if place.kind in (_Kind.NEW, _Kind.GROWN) or not place.batch.is_complete:
        return False
    return next(iter(kitchen.find(Selector(batch=place.batch.id), limit=1)), None) is not None


def _check(input: Input, options: LoadOptions, batches: Sequence[Batch], tell: OnProgress) -> _Checked:
    bad, seen, digest = _BadRows(options.skip_bad), Seen(), RunningDigest()
    lengths = sorted({batch.orders for batch in batches if batch.orders})
    checkpoints = bytearray()
    beginnings: list[tuple[Batch, int]] = []
    for rows in read(input, on_bad=bad, seen=seen):
        start, done = seen.orders - len(rows), 0  # rows before this list, and of this list
        while lengths and lengths[0] <= seen.orders:
            end = lengths.pop(0) - start
            digest.add(rows[done:end])
            now, done = digest.hexdigest(), end
            beginnings += [(batch, rows[end - 1][0]) for batch in batches if _is(batch, now, start + end)]
        digest.add(rows[done:] if done else rows)
        checkpoints += digest.digest()
        tell("checking", seen.orders, None)
    return _Checked(seen, digest.hexdigest(), bytes(checkpoints), bad.count, tuple(bad.first), tuple(beginnings))


def _is(batch: Batch, digest: str, orders: int) -> bool:
    return batch.digest == digest and batch.orders == orders


def _place(checked: _Checked, batches: Sequence[Batch], source: str, options: LoadOptions) -> _Place:
    """The batch that this input is, continues, or begins."""
    same = [batch for batch, _ in checked.beginnings if batch.orders == checked.seen.orders]
    unfinished = next((batch for batch in same if not batch.is_complete), None)
    if unfinished:
        return _Place(_Kind.SAME, unfinished)
    stem = checked.digest[:10]
    if not options.again:
        if same:
            return _Place(_Kind.SAME, same[0])
        # A batch keeps the id of its first rows when it grows.
        part = next((batch for batch in batches if batch.id == stem), None)
        if part and part.digest[:10] != stem and part.orders > checked.seen.orders:
            return _Place(_Kind.PART, part)
        # Only under the same name: another file may begin with the same rows by chance.
        shorter = [begun for begun in checked.beginnings if Path(begun[0].source).name == Path(source).name]
        if shorter:
            return _Place(_Kind.GROWN, *max(shorter, key=lambda begun: begun[1]))
    taken = {batch.id for batch in batches}
    return _Place(
        _Kind.NEW,
        Batch(
            id=next(id for id in (stem, *(f"{stem}.{n}" for n in range(2, len(taken) + 3))) if id not in taken),
            name=options.batch,
            source=source,
            digest=checked.digest,
            rows=checked.seen.rows,
            orders=checked.seen.orders,
            priority=options.priority,
            loaded_at=0.0,
            is_complete=False,
        ),
    )


def _insert(
    kitchen: Kitchen, input: Input, place: _Place, options: LoadOptions, checked: _Checked, tell: OnProgress
) -> int:
    """Add the rows that are missing. Returns how many there were."""
    batch = place.batch
    whole = replace(
        batch,
        name=batch.name or options.batch,
        digest=checked.digest,
        rows=checked.seen.rows,
        orders=checked.seen.orders,
        loaded_at=kitchen.now() if place.kind is _Kind.NEW else batch.loaded_at,
        is_complete=True,
    )
    if place.kind is not _Kind.PART:  # from here on the batch is this input, whatever stops us
        kitchen.open_batch(replace(whole, is_complete=False))
    try:
        new = _add_all(kitchen, input, place, options, checked, tell)
    except InputUnreadable:
        _undo(kitchen, place)
        raise
    if place.kind is not _Kind.PART:
        kitchen.open_batch(whole)
    return new


def _add_all(
    kitchen: Kitchen, input: Input, place: _Place, options: LoadOptions, checked: _Checked, tell: OnProgress
) -> int:
    new, done = 0, 0
    certain = place.last_row if place.batch.is_complete else 0  # rows up to this one are orders
    with _Unique(kitchen) if options.unique else nullcontext() as unique:
        for rows in _verified(input, checked):
            done += len(rows)
            wanted = [row for row in rows if row[0] > certain] if rows[0][0] <= certain else rows
            if unique:
                wanted = [row for row in wanted if unique.is_new(row[1])]
            if wanted:
                new += kitchen.add(place.batch.id, wanted, options.priority)
            tell("loading", done, checked.seen.orders)
    return new


def _verified(input: Input, checked: _Checked) -> Iterator[list[Row]]:
    """The rows that the first pass saw. Raises InputUnreadable before the first that it did not see."""
    digest, position = RunningDigest(), 0
    changed = InputUnreadable(f"{input.name}: changed while it was loaded. Load it when nobody writes to it any more.")
    try:
        for rows in read(input, on_bad=lambda _: None, seen=Seen()):
            digest.add(rows)
            if not checked.checkpoints.startswith(digest.digest(), position):
                raise changed
            position += len(digest.digest())
            yield rows
    except BadRow:  # its header
        raise changed from None
    if position < len(checked.checkpoints):
        raise changed


def _undo(kitchen: Kitchen, place: _Place) -> None:
    """Leave nothing of an input that changed while it was loaded; what was added to complete a batch stays."""
    batch = place.batch
    if place.kind is _Kind.NEW:
        kitchen.remove_batch(batch.id)
    elif place.kind is _Kind.GROWN:
        last = Selector(batch=batch.id)
        while more := [o.id for o in kitchen.find(last, sort="-age", limit=REMOVED_AT_ONCE) if o.row > place.last_row]:
            kitchen.clean(Selector(ids=tuple(more)))
        kitchen.open_batch(batch)


def _changed(batches: Sequence[Batch], source: str) -> str | None:
    if source in ("stdin", "python") or source.startswith("/dev/"):  # which names nothing: <(seq 9) is /dev/fd/63
        return None
    return next((batch.id for batch in reversed(batches) if batch.source == source), None)


class _Unique:
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


def _key(arguments: Sequence[str]) -> bytes:
    text = "".join(argument + "\0" for argument in arguments)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
