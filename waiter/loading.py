"""One load: a pile of rows becomes orders, and nothing twice.

The first pass checks every row and computes the digest of all; the second inserts. So a bad row leaves nothing
behind, and an input that was loaded before, or half loaded, or has grown since, is recognised by what it holds, not
by its name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from waiter.errors import BadRow, InputUnreadable
from waiter.intake import Format, Row, RunningDigest, Seen, format_of, open_input, read
from waiter.kitchen.contract import Kitchen
from waiter.orders import Batch, Selector

CHUNK = 5000
"""Rows that go to the kitchen at once."""

PROGRESS_ROWS = 20_000
LISTED_BAD_ROWS = 20

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

    batch: str  # id
    source: str
    rows: int  # of the input
    new: int
    known: int  # orders that were there before
    blank: int
    bad: int
    bad_rows: tuple[BadRow, ...]  # the first of them
    is_grown: bool  # the batch was there, and the input has more rows now
    changed: str | None = None  # id of a batch of the same source with other rows


@dataclass(frozen=True, slots=True)
class _Checked:
    """What the first pass found."""

    seen: Seen
    digest: str
    bad: int
    bad_rows: tuple[BadRow, ...]
    prefix: Batch | None  # the longest known batch that this input begins with


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


def load(
    kitchen: Kitchen, source: str, options: LoadOptions | None = None, on_progress: OnProgress | None = None
) -> Loaded:
    """Load a file, or stdin with "-".

    Raises BadRow, InputUnreadable and KitchenError. Nothing of the load is in the kitchen then, unless it was a
    KitchenError half way: the same load completes it when it is repeated.
    """
    options = options or LoadOptions()
    tell = on_progress or (lambda _what, _done, _total: None)
    with ExitStack() as stack:
        if source == "-":
            name, path = "stdin", stack.enter_context(_copied(sys.stdin.buffer))
        else:
            name, path = source, Path(source)
            if path.exists() and not path.is_file() and not path.is_dir():  # a pipe, such as /dev/fd/63
                try:
                    path = stack.enter_context(_copied(stack.enter_context(path.open("rb"))))
                except OSError as error:
                    raise InputUnreadable(f"{source}: cannot be read: {error.strerror}") from None
        format = options.format or (Format.LINES if source == "-" else format_of(source))
        return _load(kitchen, _Input(name, path, format, options), options, tell)


def load_rows(
    kitchen: Kitchen, rows: Iterable[Sequence[str]], options: LoadOptions | None = None, *, source: str = "python"
) -> Loaded:
    """Load rows of arguments, as `load` does with those of a file."""
    options = replace(options or LoadOptions(), format=Format.JSONL)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="ascii") as file:
        for row in rows:
            file.write(json.dumps([str(argument) for argument in row]) + "\n")
        file.flush()
        return _load(kitchen, _Input(source, Path(file.name), Format.JSONL, options), options, lambda *_: None)


@dataclass(frozen=True, slots=True)
class _Input:
    """Something that can be read twice."""

    name: str
    path: Path
    format: Format
    options: LoadOptions

    def rows(self, bad: _BadRows, seen: Seen) -> Iterator[Row]:
        with open_input(self.path) as text:
            yield from read(self.name, text, self.format, header=self.options.header, on_bad=bad, seen=seen)


def _load(kitchen: Kitchen, input: _Input, options: LoadOptions, tell: OnProgress) -> Loaded:
    batches = kitchen.batches()
    checked = _check(input, batches, tell)
    batch = _batch_for(checked, batches, input.name, options, kitchen)
    is_known = checked.prefix is not None and batch.id == checked.prefix.id
    loaded = Loaded(
        batch=batch.id,
        source=input.name,
        rows=checked.seen.rows,
        new=0,
        known=checked.seen.orders,
        blank=checked.seen.blank,
        bad=checked.bad,
        bad_rows=checked.bad_rows,
        is_grown=is_known and batch.digest != checked.digest,
        changed=None if is_known else _changed(batches, input.name),
    )
    if is_known and batch.is_complete and batch.digest == checked.digest:
        return loaded
    new = _insert(kitchen, input, batch, checked, tell)
    return replace(loaded, new=new, known=checked.seen.orders - new)


def _check(input: _Input, batches: Sequence[Batch], tell: OnProgress) -> _Checked:
    bad, seen, digest = _BadRows(input.options.skip_bad), Seen(), RunningDigest()
    lengths = {batch.orders for batch in batches}
    digests = {batch.digest: batch for batch in batches}
    prefix: Batch | None = None
    for count, (_, arguments, names) in enumerate(input.rows(bad, seen), 1):
        digest.add(arguments, names)
        if count in lengths and (batch := digests.get(digest.hexdigest())) is not None:
            prefix = batch
        if count % PROGRESS_ROWS == 0:
            tell("checking", count, None)
    if prefix is not None and prefix.orders < seen.orders and prefix.source != input.name:
        prefix = None  # another input that happens to begin with the same rows
    return _Checked(seen, digest.hexdigest(), bad.count, tuple(bad.first), prefix)


def _batch_for(
    checked: _Checked, batches: Sequence[Batch], source: str, options: LoadOptions, kitchen: Kitchen
) -> Batch:
    """The batch that this input is, continues, or begins."""
    same = [batch for batch in batches if batch.digest == checked.digest]
    if same and options.again:
        unfinished = next((batch for batch in same if not batch.is_complete), None)
        if unfinished is not None:
            return unfinished
    elif checked.prefix is not None:
        return next((batch for batch in same if not batch.is_complete), same[0] if same else checked.prefix)
    taken = {batch.id for batch in batches}
    stem = checked.digest[:10]
    id = next(name for name in (stem, *(f"{stem}.{n}" for n in range(2, sys.maxsize))) if name not in taken)
    return Batch(
        id=id,
        name=options.batch,
        source=source,
        digest=checked.digest,
        rows=checked.seen.rows,
        orders=checked.seen.orders,
        priority=options.priority,
        loaded_at=kitchen.now(),
        is_complete=False,
    )


def _insert(kitchen: Kitchen, input: _Input, batch: Batch, checked: _Checked, tell: OnProgress) -> int:
    facts = {"digest": checked.digest, "rows": checked.seen.rows, "orders": checked.seen.orders}
    if batch.is_complete:
        kitchen.open_batch(replace(batch, is_complete=False))  # it grows: until that is done its old digest holds
    else:
        kitchen.open_batch(replace(batch, **facts))  # type: ignore[arg-type]
    digest, new, done = RunningDigest(), 0, 0
    with ExitStack() as stack:
        is_new = stack.enter_context(_Unique(kitchen)) if input.options.unique else None
        for rows in _chunks(input, digest):
            done += len(rows)
            wanted = [row for row in rows if is_new(row[1])] if is_new else rows
            new += kitchen.add(batch.id, wanted, input.options.priority)
            tell("loading", done, checked.seen.orders)
    if digest.hexdigest() != checked.digest:
        if checked.prefix is None:
            kitchen.remove_batch(batch.id)
        raise InputUnreadable(f"{input.name}: changed while it was loaded. Load it again when nobody writes to it.")
    kitchen.open_batch(replace(batch, is_complete=True, loaded_at=kitchen.now(), **facts))  # type: ignore[arg-type]
    return new


def _chunks(input: _Input, digest: RunningDigest) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in input.rows(_BadRows(input.options.skip_bad), Seen()):
        digest.add(row[1], row[2])
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _changed(batches: Sequence[Batch], source: str) -> str | None:
    if source in ("stdin", "python"):
        return None
    return next((batch.id for batch in reversed(batches) if batch.source == source), None)


class _Unique:
    """Which arguments are new: a set on disk of all that the kitchen has, so that memory stays flat."""

    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen

    def __enter__(self) -> _Unique:
        self._file = tempfile.NamedTemporaryFile(suffix=".sqlite")
        self._db = sqlite3.connect(self._file.name, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE known (key BLOB PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")
        keys = ((_key(order.arguments),) for order in self._kitchen.find(Selector()))
        self._db.executemany("INSERT OR IGNORE INTO known VALUES (?)", keys)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._file.close()

    def __call__(self, arguments: Sequence[str]) -> bool:
        return self._db.execute("INSERT OR IGNORE INTO known VALUES (?)", (_key(arguments),)).rowcount == 1


def _key(arguments: Sequence[str]) -> bytes:
    return hashlib.blake2b("\0".join(arguments).encode("utf-8", "surrogateescape"), digest_size=16).digest()


@contextmanager
def _copied(stream: BinaryIO) -> Iterator[Path]:
    """A stream that can be read once, as a file that can be read twice."""
    with tempfile.NamedTemporaryFile(suffix=".stdin") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
        file.flush()
        yield Path(file.name)
