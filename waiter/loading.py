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
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import BinaryIO, cast

from waiter.errors import BadRow, InputUnreadable, KitchenError, NoSuchBatch, UsageError, naming
from waiter.intake import Format, Input, Row, RunningDigest, Seen, delimiter_from, opened, python_row, read
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.stages import batch_named
from waiter.known import Pulse, Unique, waiting_rows
from waiter.light_dataclass import dataclass
from waiter.matching import Checked, Match, MatchKind, OnProgress, check_rows, match_batch
from waiter.orders import Batch, Selector
from waiter.row_numbers import PYTHON, shift_of

REMOVED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How an input is to be read and loaded."""

    format: Format | None = None  # None: by the file's ending; stdin is lines
    header: bool = False
    delimiter: str | None = None  # of CSV; None: a comma, or what the file's beginning leaves no doubt of
    sheet: str | None = None  # of an Excel workbook; None: the first
    rows_each: int = 1  # so many rows in succession become one order; their names are left out
    skip_bad: bool = False
    unique: bool = False  # leave out rows whose arguments are an order already, of whatever batch
    again: bool = False  # load once more what was loaded, but for rows whose orders are READY still
    priority: int = 0
    batch: str | None = None  # the batch's name
    command: tuple[str, ...] | None = None  # the words of the command that the batch is reserved for
    weight: int | None = None  # the batch's share of the claims, see `orders.Batch`
    needs_from: str | None = None  # the column, by name or number, that says what each order needs of its host
    after: tuple[str, ...] = ()  # batches, by id or name, that must be well before the first order is taken
    after_any: tuple[str, ...] = ()  # batches that must have ended, however
    after_row: str | None = None  # a batch: each order waits for the one of its row there to be well
    stage: str = ""  # what tells this batch from others of the same rows, whatever it waits for

    def __post_init__(self) -> None:
        """Take a format and a delimiter by their names. Raises UsageError for others."""
        if self.format is not None and self.format not in list(Format):
            raise UsageError(f"LoadOptions: format={self.format!r} is not known\nhint: give {', '.join(Format)}")
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", delimiter_from(self.delimiter))
        if self.rows_each < 1:
            raise UsageError(f"LoadOptions: rows_each={self.rows_each} is not a number of rows\nhint: give 1 or more")

    @contextmanager
    def opened(self, source: str) -> Iterator[Input]:
        """The input, read as these options say. Raises InputUnreadable and UsageError."""
        with opened(source, self.format, header=self.header, delimiter=self.delimiter, sheet=self.sheet) as input:
            yield replace(input, rows_each=self.rows_each)


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
    shift: int = 0  # joined to rows of another batch, its own are numbered as those: see `row_shift`

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
        loaded = _load(kitchen, replace(input, needs_from=options.needs_from), options, on_progress or _silent)
        return replace(loaded, header_like=input.header_like)


def load_rows(
    kitchen: Kitchen,
    rows: Iterable[Sequence[object] | Mapping[str, object]],
    options: LoadOptions | None = None,
    *,
    source: str = PYTHON,
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
        options = options or LoadOptions()
        input = Input(source, cast(BinaryIO, file), Format.JSONL, rows_each=options.rows_each)
        input = replace(input, needs_from=options.needs_from)
        return _load(kitchen, input, options, _silent)


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass


def _load(kitchen: Kitchen, input: Input, options: LoadOptions, tell: OnProgress) -> Loaded:
    if options.unique and options.again:
        raise UsageError("--unique leaves out what --again asks for\nhint: give one of them")
    options = _with_ids(kitchen, options)
    input = replace(input, shift=shift_of(kitchen, input, options.after_row))
    checked = check_rows(kitchen, input, tell, skip_bad=options.skip_bad, stage=_stage(options))
    loaded = _checked_only(input, checked)
    if not checked.seen.orders:
        return loaded
    same = kitchen.batches_of([checked.digest])
    match = _match(kitchen, checked, same, input.name, options)
    waiting = match.waiting.count(1)
    if waiting == checked.seen.orders:
        return replace(loaded, batch=same[0].id, known=waiting, waiting=waiting)
    try:
        new = 0 if _has_all(kitchen, match) else _insert(kitchen, input, match, options, checked, tell)
    except NoSuchBatch:
        raise KitchenError(
            f"{kitchen.url}: somebody deleted batch {match.batch.id} while {input.name} was loaded into it.\n"
            "hint: load it again"
        ) from None
    return replace(
        loaded,
        batch=match.batch.id,
        new=new,
        known=checked.seen.orders - new,
        waiting=waiting,
        is_grown=match.kind is MatchKind.GROWN,
        changed=match.changed,
    )


def _checked_only(input: Input, checked: Checked) -> Loaded:
    """What a load has done that has added nothing yet."""
    return Loaded(
        batch=None,
        source=input.name,
        rows=checked.seen.rows,
        new=0,
        known=0,
        blank=checked.seen.blank,
        bad=checked.bad,
        bad_rows=checked.bad_rows,
        is_grown=False,
        shift=input.shift,
    )


def _with_ids(kitchen: Kitchen, options: LoadOptions) -> LoadOptions:
    """The options with the ids of the batches that they name. Raises NoSuchBatch."""
    if not _is_stage(options):
        return options
    every = kitchen.batches()

    def ids(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(batch_named(every, name).id for name in names)

    joined = None
    if options.after_row is not None:
        kitchen.release_rows()  # a kitchen that cannot join batches says so
        joined = batch_named(every, options.after_row).id
    return replace(options, after=ids(options.after), after_any=ids(options.after_any), after_row=joined)


def _is_stage(options: LoadOptions) -> bool:
    return bool(options.after or options.after_any or options.after_row is not None)


def _stage(options: LoadOptions) -> str:
    """What tells a batch that waits for others from one of the same rows that does not; nothing for the latter.

    It has a name or a command, for two batches may wait for the same one.
    """
    if options.stage:
        return "\0".join(("stage", options.stage, options.after_row or ""))
    if not _is_stage(options):
        return ""
    called = [options.batch] if options.batch else options.command or ()
    return "\0".join((*options.after, "", *options.after_any, "", options.after_row or "", "", *called))


def _has_all(kitchen: Kitchen, match: Match) -> bool:
    """Every row has been an order, and they were not all cleaned away since."""
    if match.kind in (MatchKind.NEW, MatchKind.GROWN) or not match.batch.is_complete:
        return False
    return next(iter(kitchen.find(Selector(batch=match.batch.id), limit=1)), None) is not None


def _waiting(kitchen: Kitchen, checked: Checked, same: Sequence[Batch], match: Match) -> bytes:
    """The rows that wait as orders of other batches of this input: to deliver them again, they must first be."""
    # Not of one that is being loaded just now: two loads on purpose at once are two.
    others = [batch for batch in same if batch.is_complete and batch.id != match.batch.id]
    return waiting_rows(kitchen, others, checked.seen.rows + checked.seen.blank + 1)


def _match(kitchen: Kitchen, checked: Checked, same: Sequence[Batch], source: str, options: LoadOptions) -> Match:
    """The batch to which the rows belong: one that the kitchen has, or a new one."""
    match = match_batch(kitchen, checked, same, source, is_again=options.again)
    if match is None:
        changed = None if options.again or checked.stage else _changed(kitchen, source)
        match = Match(MatchKind.NEW, new_batch(kitchen, checked, source, options), changed=changed)
    return replace(match, waiting=_waiting(kitchen, checked, same, match)) if options.again else match


def new_batch(kitchen: Kitchen, checked: Checked, source: str, options: LoadOptions) -> Batch:
    """A batch for this input, which the kitchen does not have yet."""
    return Batch(
        id=_free_id(kitchen, checked.digest, is_again=options.again),
        name=options.batch,
        source=source,
        digest=checked.digest,
        rows=checked.seen.rows,
        orders=checked.seen.orders,
        priority=options.priority,
        loaded_at=0.0,
        is_complete=False,
        after=options.after,
        after_any=options.after_any,
        after_row=options.after_row,
        needs_from=options.needs_from,
    )


def _free_id(kitchen: Kitchen, digest: str, *, is_again: bool) -> str:
    """The same id for the same load, whoever else begins it; for one more on purpose, one that nobody else takes."""
    stem, number = digest[:10], 2
    id = stem
    while _is_taken(kitchen, id, digest, is_again=is_again):
        id = f"{stem}.{secrets.token_hex(2) if is_again else number}"
        number += 1
    return id


def _is_taken(kitchen: Kitchen, id: str, digest: str, *, is_again: bool) -> bool:
    """Whether a batch of that id is there: perhaps since a moment ago, by somebody who loads the same."""
    batch = kitchen.batch(id)
    return batch is not None and (is_again or batch.digest != digest)


def _insert(
    kitchen: Kitchen, input: Input, match: Match, options: LoadOptions, checked: Checked, tell: OnProgress
) -> int:
    """Add the rows that are missing. Returns how many there were."""
    if match.kind is MatchKind.PART:
        return _add_all(kitchen, input, match, options, checked, tell)
    batch, now = match.batch, kitchen.now()
    whole = replace(
        batch,
        name=batch.name or options.batch,
        digest=checked.digest,
        earlier=(batch.digest, *batch.earlier) if match.kind is MatchKind.GROWN else batch.earlier,
        rows=checked.seen.rows,
        orders=checked.seen.orders,
        loaded_at=batch.loaded_at if match.kind is MatchKind.GROWN and batch.is_complete else now,
        is_complete=True,
    )
    pulse = Pulse(kitchen, whole)  # from here on the batch is this input, whatever stops us
    if options.command is not None:
        kitchen.amend_batch(whole.id, command=options.command)
    if options.weight is not None:
        kitchen.amend_batch(whole.id, weight=options.weight)

    def go_on(what: str, done: int, total: int | None) -> None:
        pulse.beat()
        tell(what, done, total)

    try:
        new = _add_all(kitchen, input, match, options, checked, go_on)
    except InputUnreadable:
        _undo(kitchen, match)
        raise
    except KeyboardInterrupt:
        pulse.stop()
        raise
    kitchen.renew_batch(whole)
    return new


def _add_all(
    kitchen: Kitchen, input: Input, match: Match, options: LoadOptions, checked: Checked, tell: OnProgress
) -> int:
    new, done = 0, deque[int]()
    certain = match.last_row if match.batch.is_complete else 0  # rows up to this one are orders

    def portions(unique: Unique | None) -> Iterator[list[Row]]:
        read = 0
        for rows in verified(input, checked):
            read += len(rows)
            done.append(read)
            wanted = [row for row in rows if row[0] > certain] if rows[0][0] <= certain else rows
            if match.waiting:
                wanted = [row for row in wanted if not match.waiting[row[0]]]
            yield [row for row in wanted if unique.is_new(row[1])] if unique else wanted

    with Unique(kitchen) if options.unique else nullcontext() as unique:
        for added in kitchen.add_portions(match.batch.id, portions(unique), options.priority):
            new += added
            tell("loading", done.popleft(), checked.seen.orders)
    return new


def verified(input: Input, checked: Checked) -> Iterator[list[Row]]:
    """The rows that the first pass saw. Raises InputUnreadable before the first that it did not see."""
    digest, position = RunningDigest(checked.stage), 0
    changed = InputUnreadable(
        f"{input.name}: changed while it was loaded\nhint: load it when nobody writes to it any more"
    )
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


def _undo(kitchen: Kitchen, match: Match) -> None:
    """Leave nothing of an input that changed while it was loaded; what was added to complete a batch stays."""
    batch = match.batch
    if match.kind is MatchKind.NEW:
        kitchen.remove_batch(batch.id)
    elif match.kind is MatchKind.GROWN:
        last = Selector(batch=batch.id)
        while more := [o.id for o in kitchen.find(last, sort="-age", limit=REMOVED_AT_ONCE) if o.row > match.last_row]:
            kitchen.clean(Selector(ids=tuple(more)))
        kitchen.open_batch(batch)


def _changed(kitchen: Kitchen, source: str) -> str | None:
    # What names nothing: <(seq 9) is /dev/fd/63.
    if source in ("stdin", PYTHON, ":::") or source.startswith("/dev/"):
        return None
    return latest.id if (latest := kitchen.latest_batch(source)) else None
