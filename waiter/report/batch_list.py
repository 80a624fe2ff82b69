"""All batches, a page at a time: which are asked for, and where the next page begins.

It is made of what the poller of the page asked for anyway, so a page of ten thousand batches costs the kitchen nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from waiter.orders import Batch, BatchProgress, Counts, Status
from waiter.report.batches import left_s, rate
from waiter.report.waiting import WaitingBatch, counts_by_word


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch stands in the list: the latest come first. It is one also when the batch is deleted."""

    loaded_at: float
    id: str

    @property
    def key(self) -> tuple[float, str]:
        return -self.loaded_at, self.id


@dataclass(frozen=True, slots=True)
class ListedBatch:
    """A batch with how far it is."""

    batch: Batch
    progress: BatchProgress
    waiting: WaitingBatch | None  # for others, all of it or some of its orders

    @property
    def id(self) -> str:
        return self.batch.id

    @property
    def counts(self) -> Counts:
        return self.progress.counts

    @property
    def left(self) -> int:
        return self.counts.total - self.counts.finished

    @property
    def rate(self) -> float:
        """Orders finished per second lately."""
        return rate(self.progress)

    @property
    def left_s(self) -> float | None:
        """Seconds until it is done at that rate."""
        return left_s(self.progress)

    @property
    def shown_counts(self) -> list[tuple[str, int]]:
        """Orders by status; what waits stands apart, if there is any."""
        return list(counts_by_word(self.counts, (self.waiting,) if self.waiting else ()).items())


ONLY: Mapping[str, tuple[str, Callable[[ListedBatch], bool]]] = {
    "left": ("with orders left", lambda one: one.left > 0),
    "failed": ("with failures", lambda one: one.counts[Status.ERROR] > 0),
    "waiting": ("that wait for others", lambda one: one.waiting is not None),
    "paused": ("that are paused", lambda one: one.batch.pause_reason is not None),
}
"""Which batches may be asked for, in words."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which batches somebody wants to see."""

    only: str | None = None  # a key of ONLY
    match: str = ""  # what the name or the id has
    after: Place | None = None  # of the last batch of the page before
    limit: int = 100

    def has(self, one: ListedBatch) -> bool:
        has_words = self.match in one.batch.id or self.match in (one.batch.name or "")
        return has_words and (self.only is None or ONLY[self.only][1](one))


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some of the batches that are wanted."""

    batches: Sequence[ListedBatch]
    before: int  # so many come before them
    number: int  # so many are wanted in all
    next: Place | None  # where the next page begins; None: this is the last one


@dataclass(frozen=True, slots=True, eq=False)
class BatchList:
    """All batches at one moment, the latest first. Each is equal to itself alone: nobody compares ten thousand."""

    now: float  # kitchen's clock
    batches: Sequence[ListedBatch] = ()

    def page(self, wanted: Wanted) -> BatchPage:
        found = [one for one in self.batches if wanted.has(one)]
        before = 0 if wanted.after is None else sum(place_of(one).key <= wanted.after.key for one in found)
        shown = found[before : before + wanted.limit]
        is_last = before + len(shown) == len(found)
        return BatchPage(shown, before, len(found), None if is_last else place_of(shown[-1]))


def place_of(one: ListedBatch) -> Place:
    return Place(one.batch.loaded_at, one.id)


def batch_list(
    now: float, batches: Sequence[Batch], progress: Mapping[str, BatchProgress], waiting: Sequence[WaitingBatch]
) -> BatchList:
    """The list of these; of batches that came after the progress was asked for nothing is known."""
    waits = {one.id: one for one in waiting}
    listed = [ListedBatch(one, progress[one.id], waits.get(one.id)) for one in batches if one.id in progress]
    return BatchList(now, sorted(listed, key=lambda one: place_of(one).key))
