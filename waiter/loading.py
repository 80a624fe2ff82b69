"""One load: a pile of rows becomes orders, and nothing twice.

The first pass checks every row and computes the digest of all; the second inserts. So a bad row leaves nothing
behind, and an input that was loaded before, or half loaded, or has grown since, is recognised by what it holds, not
by its name. What an interruption leaves is a batch that is not complete: its orders are delivered like any others, and
the same load again adds the rest.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO, cast

from waiter.errors import BadRow, InputUnreadable, KitchenError, NoSuchBatch, UsageError, naming
from waiter.intake import Format, Input, Row, RunningDigest, Seen, delimiter_from, opened, python_row, read
from waiter.kitchen.contract import Kitchen
from waiter.known import Pulse, Unique, is_being_loaded, waiting_rows
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
    delimiter: str | None = None  # of CSV; None: a comma, or what the file's beginning leaves no doubt of
    sheet: str | None = None  # of an Excel workbook; None: the first
    skip_bad: bool = False
    unique: bool = False  # leave out rows whose arguments are an order already, of whatever batch
    again: bool = False  # load once more what was loaded, but for rows whose orders are READY still
    priority: int = 0
    batch: str | None = None  # the batch's name

    def __post_init__(self) -> None:
        """Take a format and a delimiter by their names. Raises UsageError for others."""
        if self.format is not None and self.format not in list(Format):
            raise UsageError(f"LoadOptions: format={self.format!r} is not known\nhint: give {', '.join(Format)}")
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", delimiter_from(self.delimiter))

    @contextmanager
    def opened(self, source: str) -> Iterator[Input]:
        """The input, read as these options say. Raises InputUnreadable and UsageError."""
        with opened(source, self.format, header=self.header, delimiter=self.delimiter, sheet=self.sheet) as input:
            yield input


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
    waiting: int = 0  # with `again`: rows left out because their orders are READY still
    header_like: tuple[str, ...] = ()  # the first row, an order like the others, if it looks like names

    @property
    def is_unchanged(self) -> bool:
        """All of it had been loaded before."""
        return not self.new and self.known > 0


def load(
    kitchen: Kitchen,
    source: str | os.PathLike[str] | Input,
    options: LoadOptions | None = None,
    on_progress: OnProgress | None = None,
) -> Loaded:
    """Load a file, or stdin with "-", or an input that is open already, which has its format and header.

    Raises BadRow, InputUnreadable, UsageError and KitchenError. Nothing of the load is in the kitchen then, unless it
    was a KitchenError half way: the same load completes it when it is repeated.
    """
    options = options or LoadOptions()
    with nullcontext(source) if isinstance(source, Input) else options.opened(os.fspath(source)) as input:
        loaded = _load(kitchen, input, options, on_progress or _silent)
        return replace(loaded, header_like=input.header_like)


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
            line = python_row(source, number, row)
            with naming(tempfile.gettempdir()):
                file.write(line)
        input = Input(source, cast(BinaryIO, file), Format.JSONL)
        return _load(kitchen, input, options or LoadOptions(), _silent)


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass


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
    changed: str | None = None  # if NEW: id of the latest batch of the same source
    waiting: bytes = b""  # a mark for each row whose order waits in another batch: it is left out


def _load(kitchen: Kitchen, input: Input, options: LoadOptions, tell: OnProgress) -> Loaded:
    if options.unique and options.again:
        raise UsageError("--unique leaves out what --again asks for. Give one of them.")
    checked = _check(kitchen, input, options, tell)
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
    same = kitchen.batches_of([checked.digest])
    place = _place(kitchen, checked, same, input.name, options)
    if options.again:
        place = replace(place, waiting=_waiting(kitchen, checked, same, place))
    waiting = place.waiting.count(1)
    if waiting == checked.seen.orders:
        return replace(loaded, batch=same[0].id, known=waiting, waiting=waiting)
    try:
        new = 0 if _has_all(kitchen, place) else _insert(kitchen, input, place, options, checked, tell)
    except NoSuchBatch:
        raise KitchenError(
            f"{kitchen.url}: somebody deleted batch {place.batch.id} while {input.name} was loaded into it.\n"
            "hint: load it again"
        ) from None
    return replace(
        loaded,
        batch=place.batch.id,
        new=new,
        known=checked.seen.orders - new,
        waiting=waiting,
        is_grown=place.kind is _Kind.GROWN,
        changed=place.changed,
    )


def _has_all(kitchen: Kitchen, place: _Place) -> bool:
    """Every row has been an order, and they were not all cleaned away since."""
    if place.kind in (_Kind.NEW, _Kind.GROWN) or not place.batch.is_complete:
        return False
    return next(iter(kitchen.find(Selector(batch=place.batch.id), limit=1)), None) is not None


def _check(kitchen: Kitchen, input: Input, options: LoadOptions, tell: OnProgress) -> _Checked:
    bad, seen, digest = _BadRows(options.skip_bad), Seen(), RunningDigest()
    checkpoints = bytearray()
    beginnings: list[tuple[Batch, int]] = []
    for rows in read(input, on_bad=bad, seen=seen):
        beginnings += _beginnings(kitchen, digest, rows, seen.orders)
        digest.add(rows)
        checkpoints += digest.digest()
        tell("checking", seen.orders, None)
    return _Checked(seen, digest.hexdigest(), bytes(checkpoints), bad.count, tuple(bad.first), tuple(beginnings))


def _beginnings(kitchen: Kitchen, digest: RunningDigest, rows: Sequence[Row], to: int) -> Iterator[tuple[Batch, int]]:
    """The batches that end with one of these rows, up to order `to` of the input."""
    start = to - len(rows)
    lengths = set(kitchen.batch_lengths(start, to))
    while lengths:
        ends = dict(_digests(digest, rows, [length - start for length in sorted(lengths)]))
        found = kitchen.batches_of(ends)
        # Those that another load has made longer since we asked for the lengths.
        grown = {batch.orders for batch in found if start < batch.orders <= to} - lengths
        if not grown:
            yield from ((batch, rows[end - 1][0]) for batch in found if (end := ends.get(batch.digest)))
            return
        lengths |= grown


def _digests(before: RunningDigest, rows: Sequence[Row], ends: Iterable[int]) -> Iterator[tuple[str, int]]:
    """The digest after each of these numbers of rows."""
    digest, done = before.copy(), 0
    for end in ends:
        digest.add(rows[done:end])
        done = end
        yield digest.hexdigest(), end


def _waiting(kitchen: Kitchen, checked: _Checked, same: Sequence[Batch], place: _Place) -> bytes:
    """The rows that wait as orders of other batches of this input: to deliver them again, they must first be."""
    # Not of one that is being loaded just now: two loads on purpose at once are two.
    others = [batch for batch in same if batch.is_complete and batch.id != place.batch.id]
    return waiting_rows(kitchen, others, checked.seen.rows + checked.seen.blank + 1)


def _place(kitchen: Kitchen, checked: _Checked, known: Sequence[Batch], source: str, options: LoadOptions) -> _Place:
    """The batch that this input is, continues, or begins; `known` are those that it is, or was before they grew."""
    # Not of the beginnings: one of them may have grown into this input since.
    same = [batch for batch in known if batch.digest == checked.digest]
    unfinished = next((batch for batch in same if not batch.is_complete), None)
    if unfinished and not (options.again and is_being_loaded(kitchen, unfinished)):
        return _Place(_Kind.SAME, unfinished)
    if not options.again:
        if same:
            return _Place(_Kind.SAME, same[0])
        if known:
            return _Place(_Kind.PART, known[0])
        # Only under the same name: another file may begin with the same rows by chance.
        shorter = [begun for begun in checked.beginnings if Path(begun[0].source).name == Path(source).name]
        if shorter:
            return _Place(_Kind.GROWN, *max(shorter, key=lambda begun: begun[1]))
    changed = None if options.again else _changed(kitchen, source)
    return _Place(_Kind.NEW, _new_batch(kitchen, checked, source, options), changed=changed)


def _new_batch(kitchen: Kitchen, checked: _Checked, source: str, options: LoadOptions) -> Batch:
    def is_taken(id: str) -> bool:
        there = kitchen.batch(id)  # perhaps since a moment ago, by somebody who loads the same
        return there is not None and (options.again or there.digest != checked.digest)

    stem = checked.digest[:10]
    # The same id for the same load, whoever else begins it too; for one more on purpose, an id that nobody else takes.
    ids = (f"{stem}.{secrets.token_hex(2) if options.again else n}" for n in count(2))
    return Batch(
        id=next(id for id in chain([stem], ids) if not is_taken(id)),
        name=options.batch,
        source=source,
        digest=checked.digest,
        rows=checked.seen.rows,
        orders=checked.seen.orders,
        priority=options.priority,
        loaded_at=0.0,
        is_complete=False,
    )


def _insert(
    kitchen: Kitchen, input: Input, place: _Place, options: LoadOptions, checked: _Checked, tell: OnProgress
) -> int:
    """Add the rows that are missing. Returns how many there were."""
    if place.kind is _Kind.PART:
        return _add_all(kitchen, input, place, options, checked, tell)
    batch, now = place.batch, kitchen.now()
    whole = replace(
        batch,
        name=batch.name or options.batch,
        digest=checked.digest,
        earlier=(batch.digest, *batch.earlier) if place.kind is _Kind.GROWN else batch.earlier,
        rows=checked.seen.rows,
        orders=checked.seen.orders,
        loaded_at=batch.loaded_at if place.kind is _Kind.GROWN and batch.is_complete else now,
        is_complete=True,
    )
    pulse = Pulse(kitchen, whole)  # from here on the batch is this input, whatever stops us

    def go_on(what: str, done: int, total: int | None) -> None:
        pulse.beat()
        tell(what, done, total)

    try:
        new = _add_all(kitchen, input, place, options, checked, go_on)
    except InputUnreadable:
        _undo(kitchen, place)
        raise
    except KeyboardInterrupt:
        pulse.stop()
        raise
    kitchen.renew_batch(whole)
    return new


def _add_all(
    kitchen: Kitchen, input: Input, place: _Place, options: LoadOptions, checked: _Checked, tell: OnProgress
) -> int:
    new, done = 0, 0
    certain = place.last_row if place.batch.is_complete else 0  # rows up to this one are orders
    with Unique(kitchen) if options.unique else nullcontext() as unique:
        for rows in _verified(input, checked):
            done += len(rows)
            wanted = [row for row in rows if row[0] > certain] if rows[0][0] <= certain else rows
            if place.waiting:
                wanted = [row for row in wanted if not place.waiting[row[0]]]
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


def _changed(kitchen: Kitchen, source: str) -> str | None:
    if source in ("stdin", "python") or source.startswith("/dev/"):  # which names nothing: <(seq 9) is /dev/fd/63
        return None
    return latest.id if (latest := kitchen.latest_batch(source)) else None
