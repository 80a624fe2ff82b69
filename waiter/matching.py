"""What an input is to a kitchen: which batch it is, was before that grew, or continues; else it is a new one.

The first pass over an input checks every row and computes the digest of all, and on its way meets the batches that the
input begins with. An input is recognised by what it holds, not by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from pathlib import Path

from waiter.errors import BadRow
from waiter.intake import Input, Row, RunningDigest, Seen, read
from waiter.kitchen.contract import Kitchen
from waiter.known import is_being_loaded
from waiter.light_dataclass import dataclass
from waiter.orders import Batch

LISTED_BAD_ROWS = 20

OnProgress = Callable[[str, int, int | None], None]
"""Told what is going on ("checking", "loading"), rows so far, and of how many."""


class BadRows:
    """Raises the first bad row, or counts them when they are to be skipped."""

    def __init__(self, *, is_skipping: bool) -> None:
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
class Checked:
    """What the first pass found."""

    seen: Seen
    digest: str
    checkpoints: bytes  # the digests after each list of rows, one after the other
    bad: int
    bad_rows: tuple[BadRow, ...]
    beginnings: tuple[tuple[Batch, int], ...]  # the batches that this input begins with, and their last row
    stage: str = ""  # what tells the same rows of another stage from these


class MatchKind(Enum):
    """What an input is to the kitchen."""

    NEW = auto()
    SAME = auto()  # a batch's rows, all of them
    PART = auto()  # what a batch was before it grew
    GROWN = auto()  # a batch's rows and more


@dataclass(frozen=True, slots=True)
class Match:
    """The batch to which the rows belong: `batch` is as the kitchen has it, or as it will be when NEW."""

    kind: MatchKind
    batch: Batch
    last_row: int = 0  # if GROWN: of those that the batch had
    changed: str | None = None  # if NEW: id of the latest batch of the same source
    waiting: bytes = b""  # a mark for each row whose order waits in another batch: it is left out


def check_rows(kitchen: Kitchen, input: Input, tell: OnProgress, *, skip_bad: bool, stage: str = "") -> Checked:
    """The first pass. Raises BadRow for the first bad row, unless they are skipped, and InputUnreadable."""
    bad, seen, digest = BadRows(is_skipping=skip_bad), Seen(), RunningDigest(stage)
    checkpoints = bytearray()
    beginnings: list[tuple[Batch, int]] = []
    for rows in read(input, on_bad=bad, seen=seen):
        beginnings += _beginnings(kitchen, digest, rows, seen.orders)
        digest.add(rows)
        checkpoints += digest.digest()
        tell("checking", seen.orders, None)
    return Checked(seen, digest.hexdigest(), bytes(checkpoints), bad.count, tuple(bad.first), tuple(beginnings), stage)


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


def match_batch(
    kitchen: Kitchen, checked: Checked, known: Sequence[Batch], source: str, *, is_again: bool
) -> Match | None:
    """The batch that this input is or continues, None if it begins one; `known` are those that it is, or was before
    they grew. With `is_again` it continues only what an interruption left.
    """
    # Not of the beginnings: one of them may have grown into this input since.
    same = [batch for batch in known if batch.digest == checked.digest]
    unfinished = next((batch for batch in same if not batch.is_complete), None)
    if unfinished and not (is_again and is_being_loaded(kitchen, unfinished)):
        return Match(MatchKind.SAME, unfinished)
    if not is_again:
        if same:
            return Match(MatchKind.SAME, same[0])
        if known:
            return Match(MatchKind.PART, known[0])
        # Only under the same name: another file may begin with the same rows by chance.
        shorter = [begun for begun in checked.beginnings if Path(begun[0].source).name == Path(source).name]
        if shorter:
            return Match(MatchKind.GROWN, *max(shorter, key=lambda begun: begun[1]))
    return None
