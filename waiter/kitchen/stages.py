"""Batches that follow one another: which of them wait, for what, and whether their turn can still come by itself.

Who claims asks here which batches to leave out, so a claim costs what it always does; no order is touched when the
turn of its batch comes. All of it follows from what batches say (`Batch.after`, `after_any`) and from how far
those are that they name. Orders that wait for the same row of another batch (`after_row`) the kitchen itself holds.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from waiter.errors import UsageError
from waiter.kitchen.contract import CLAIM_LIMIT, Backlog, Kitchen
from waiter.kitchen.selecting import unknown_batch
from waiter.light_dataclass import dataclass
from waiter.orders import Batch, Scope, Selector, Status

STALE_S = 10.0
"""A load that has said nothing for so long goes on no more."""

_FAILED = (Status.ERROR, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch whose turn has not come, or that of some of its orders."""

    blockers: tuple[Batch, ...]  # for which it waits
    is_stuck: bool  # they have ended: its turn does not come by itself
    is_empty: bool  # it has nothing to be done
    is_by_row: bool = False  # only orders wait whose row there is not DONE; the others may be taken


class Stages:
    """The batches of a kitchen at one moment; each is looked at once, and only if another one waits for it."""

    def __init__(self, kitchen: Kitchen, batches: Mapping[str, Batch]) -> None:
        self._kitchen = kitchen
        self._batches = batches
        self._backlogs: dict[str, Backlog] = {}
        self._well: dict[str, bool] = {}
        self._over: dict[str, bool] = {}

    def blockers(self, batch: Batch) -> list[Batch]:
        """The batches that keep this one waiting; none: its orders may be taken. What was deleted keeps nobody."""
        first = [other for other in self._known(batch.after) if not self._is_well(other)]
        return first + [other for other in self._known(batch.after_any) if not self.is_over(other)]

    def is_stuck(self, batch: Batch) -> bool:
        """Whether it waits, and its turn does not come unless somebody helps: those that it waits for have ended."""
        blockers = self.blockers(batch)
        return bool(blockers) and all(self.is_over(blocker) for blocker in blockers)

    def is_empty(self, batch: Batch) -> bool:
        """Whether none of its orders is left to be done."""
        return self._backlog(batch).is_done and not self._backlog(batch).held

    def is_over(self, batch: Batch) -> bool:
        """Whether nothing happens to its orders any more by itself."""
        if batch.id not in self._over:
            self._over[batch.id] = True  # in a ring nobody's turn comes
            self._over[batch.id] = self._ends_here(batch)
        return self._over[batch.id]

    def _ends_here(self, batch: Batch) -> bool:
        if not batch.is_complete and self._kitchen.now() - batch.loaded_at < STALE_S:
            return False
        backlog = self._backlog(batch)
        if backlog.is_done:
            return not backlog.held or self._is_over_by_row(batch)
        return not backlog.running and self.is_stuck(batch)

    def holds(self, batch: Batch) -> bool:
        """Whether some of its orders wait for those of the same row in another batch."""
        return batch.after_row is not None and bool(self._backlog(batch).held)

    def _is_over_by_row(self, batch: Batch) -> bool:
        return all(self.is_over(other) for other in self._known([batch.after_row or ""]))

    def look_at(self, batch: Batch) -> Waiting | None:
        """Whether its orders wait, or some of them; None: they do not."""
        if blockers := self.blockers(batch):
            return Waiting(tuple(blockers), self.is_stuck(batch), self.is_empty(batch))
        if not self.holds(batch):
            return None
        others = tuple(self._known([batch.after_row or ""]))
        return Waiting(others, self._is_over_by_row(batch), is_empty=False, is_by_row=True)

    def _is_well(self, batch: Batch) -> bool:
        if batch.id not in self._well:
            might_be = batch.is_complete and self.is_empty(batch) and not self._has_failed(batch)
            self._well[batch.id] = might_be and self._is_all_done(batch)
        return self._well[batch.id]

    def _is_all_done(self, batch: Batch) -> bool:
        """Of each order: what had failed when the backlog was empty may be READY since, by a reset."""
        counts = self._kitchen.counts(Selector(batch=batch.id))
        if counts[Status.DONE] == counts.total:
            return True
        del self._backlogs[batch.id]  # it was of a moment that is over
        return False

    def _has_failed(self, batch: Batch) -> bool:
        return any(self._kitchen.find(Selector(batch=batch.id, statuses=_FAILED), limit=1))

    def _backlog(self, batch: Batch) -> Backlog:
        if batch.id not in self._backlogs:
            self._backlogs[batch.id] = self._kitchen.backlog(Scope((batch.id,)))
        return self._backlogs[batch.id]

    def _known(self, ids: Sequence[str]) -> list[Batch]:
        return [self._batches[id] for id in ids if id in self._batches]


def waiting(kitchen: Kitchen, asked: Iterable[Batch], batches: Mapping[str, Batch]) -> dict[str, Waiting]:
    """Which of the batches that are asked for wait, by their ids; `batches` are all that there are."""
    stages = Stages(kitchen, batches)
    found = ((batch.id, stages.look_at(batch)) for batch in asked if before(batch))
    return {id: one for id, one in found if one is not None}


def why_waiting(kitchen: Kitchen, batch: Batch, one: Waiting) -> str:
    """For what it waits, in words with counts."""
    if lacks_rows(kitchen, one):
        held = kitchen.backlog(Scope((batch.id,))).held
        rows = "1 row" if held == 1 else f"{'at least ' if held >= CLAIM_LIMIT else ''}{held:,} rows"
        names = ", ".join(other.name or other.id for other in one.blockers)
        return f"waits row by row for batch {names}: all DONE, and it lacks {rows}"
    if one.is_by_row:
        ways = [f"batch {_how_far(kitchen, other)}" for other in one.blockers]
        return f"waits row by row for {', '.join(ways) or 'a batch that was deleted'}"
    ends = {other.id: "" if other.id in batch.after else "the end of " for other in one.blockers}
    return "waits for " + ", and ".join(f"{ends[o.id]}batch {_how_far(kitchen, o)}" for o in one.blockers)


def lacks_rows(kitchen: Kitchen, one: Waiting) -> bool:
    """Whether all that there is of what it waits for row by row is DONE: the rest waits for rows that are not there."""
    if not (one.is_by_row and one.is_stuck and one.blockers):
        return False
    unfinished = (Status.READY, Status.RUNNING, *_FAILED)
    return not any(any(kitchen.find(Selector(batch=other.id, statuses=unfinished), limit=1)) for other in one.blockers)


def _how_far(kitchen: Kitchen, blocker: Batch) -> str:
    counts = kitchen.counts(Selector(batch=blocker.id))
    parts = [] if blocker.is_complete else ["its load is not complete"]
    if left := counts[Status.READY] + counts[Status.RUNNING]:
        parts.append(f"{left:,} left")
    parts += [f"{counts[status]:,} {status.value}" for status in _FAILED if counts[status]]
    return f"{blocker.name or blocker.id}: {', '.join(parts) or 'all DONE by now'}"


def batch_named(batches: Sequence[Batch], name: str) -> Batch:
    """The batch with that id, or the latest of that name. Raises NoSuchBatch, which names the nearest one."""
    found = [batch for batch in batches if name in (batch.id, batch.name)]
    if not found:
        raise unknown_batch(name, [(batch.id, batch.name) for batch in batches])
    return found[-1]


def refuse_ring(batches: Mapping[str, Batch], id: str, before: Sequence[str]) -> None:
    """Raise UsageError if one of the batches `before` comes, in the end, after the batch `id`: the path is named."""
    for other in before:
        if (path := _path(batches, other, id, ())) is not None:
            named = " → ".join((batches[one].name or one) if one in batches else one for one in (id, *path))
            raise UsageError(
                f"these batches would wait for each other: {named}\n"
                f"hint: let one of them wait no more: waiter batch release {shlex.quote(named.split(' → ')[1])}"
            )


def _path(batches: Mapping[str, Batch], start: str, goal: str, seen: tuple[str, ...]) -> tuple[str, ...] | None:
    """From one batch over those that it waits for to another."""
    if start == goal:
        return (*seen, start)
    batch = batches.get(start)
    if batch is None or start in seen:
        return None
    ways = (_path(batches, other, goal, (*seen, start)) for other in before(batch))
    return next((way for way in ways if way is not None), None)


def before(batch: Batch) -> tuple[str, ...]:
    """The ids of all batches that it waits for, however."""
    return (*batch.after, *batch.after_any, *((batch.after_row,) if batch.after_row else ()))
