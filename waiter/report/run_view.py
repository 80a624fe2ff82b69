"""A whole run for a page or a report: how it went over time, its batches side by side, one of them alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from waiter.kitchen.contract import Finished, Kitchen, Timeline
from waiter.orders import Batch, BatchProgress, Counts, Selector, Status
from waiter.report.batches import RECENT_S, left_s, own_pace, rate, recent_of
from waiter.report.capacity import at_work
from waiter.report.claimed import claimed_ahead
from waiter.report.dashboard import Seen
from waiter.report.poller import ThrottledQuery
from waiter.report.waiting import WaitingBatch, counts_by_word

SHARES = {"counts": 0.005, **dict.fromkeys(("line", "batches", "progress", "failures", "shifts"), 0.003)}
"""How much of one core of the kitchen each question may use."""

CHARTS_EVERY_S = 5.0
"""Charts are made anew no more often."""

CLAIMED_S = 10.0
"""An order is claimed no longer than this before its slot is free, as a rule."""

BATCHES_SHOWN = 12
"""So many batches stand side by side: those that run first, then those with work left, the latest first."""


@dataclass(frozen=True, slots=True)
class Aspect:
    """What of a kitchen somebody looks at."""

    batch: str | None = None  # its id or name; None: all orders
    last_s: float | None = None  # charts are of so many seconds up to now; None: of the whole run


WHOLE = Aspect()


@dataclass(frozen=True, slots=True)
class BatchSeen:
    """One of several batches."""

    id: str
    name: str | None
    counts: Counts
    rate: float  # orders finished per second lately
    left_s: float | None  # until it is done at that rate
    pause_reason: str | None
    finished: Finished  # by the steps of the whole run
    waiting: WaitingBatch | None = None  # for others, all of it or some of its orders

    @property
    def shown_counts(self) -> list[tuple[str, int]]:
        """Orders by status; what waits stands apart, if there is any."""
        return list(counts_by_word(self.counts, (self.waiting,) if self.waiting else ()).items())


@dataclass(frozen=True, slots=True)
class RunView:
    """What charts show, of all orders or of one batch."""

    line: Timeline
    batches: tuple[BatchSeen, ...] = ()  # none where there is but one
    more_batches: int = 0  # that are not among them
    name: str | None = None  # of the batch, where it is of one alone


class RunPoller:
    """Asks for a run again and again, at a bounded cost; of one batch, also for what its page says besides."""

    def __init__(self, kitchen: Kitchen, of: Aspect = WHOLE, every_s: float = 1.0) -> None:
        self._batch = batch = of.batch

        def asked(name: str, ask: Callable[[], Any], least_s: float = every_s) -> ThrottledQuery[Any]:
            return ThrottledQuery(ask, SHARES[name], least_s)

        self._questions: Mapping[str, ThrottledQuery[Any]] = {
            "line": asked("line", lambda: _line(kitchen, of), CHARTS_EVERY_S),
            "batches": asked("batches", kitchen.batches),
            "progress": asked("progress", lambda: _progress(kitchen)),
        }
        if batch is not None:
            mine = Selector(batch=batch)
            self._questions |= {
                "counts": asked("counts", lambda: kitchen.counts(mine)),
                "failures": asked("failures", lambda: kitchen.failure_groups(mine)),
                "shifts": asked("shifts", lambda: kitchen.shifts(include_left=True)),
            }

    def forget(self) -> None:
        """Ask everything anew with the next look: something was changed."""
        for question in self._questions.values():
            question.forget()

    def _answer(self, name: str) -> Any:
        return self._questions[name].answer()

    def view(self, waiting: Sequence[WaitingBatch] = ()) -> RunView:
        """The latest view, in which these batches wait for others. Raises KitchenError."""
        line: Timeline = self._answer("line")
        found: Sequence[Batch] = self._answer("batches")
        if self._batch is not None:
            names = {batch.name for batch in found if self._batch in (batch.id, batch.name)}
            return RunView(line, name=names.pop() if len(names) == 1 else None)
        if len(found) < 2:
            return RunView(line)
        progress: Mapping[str, BatchProgress] = self._answer("progress")
        known = [batch for batch in found if batch.id in progress]  # others came after that was asked for
        shown = sorted(known, key=lambda one: (*_rank(progress[one.id].counts), -one.loaded_at))[:BATCHES_SHOWN]
        waits = {one.id: one for one in waiting}
        seen = tuple(_seen(one, progress[one.id], line, waits.get(one.id)) for one in shown)
        return RunView(line, seen, len(known) - len(seen))

    def seen(self, whole: Seen) -> Seen:
        """What was seen of all, for the batch alone: with its own rates, and an end where nothing else is left.

        Raises KitchenError.
        """
        if self._batch is None:
            return whole
        counts: Counts = self._answer("counts")
        ids = {batch.id for batch in self._answer("batches") if self._batch in (batch.id, batch.name)}
        recent = recent_of(self._answer("progress"), ids)
        own, capacity = own_pace(recent, self._answer("line"), self._answer("shifts"), whole.now)
        return replace(
            whole,
            counts=counts,
            recent=own,
            longer=own,
            capacity=capacity,
            running=[order for order in whole.running if order.batch in ids],
            failures=self._answer("failures"),
            waiting=[one for one in whole.waiting if one.id in ids],
            of_batches=tuple(ids),
            is_alone=counts.total - counts.finished == whole.counts.total - whole.counts.finished,
        )


def _line(kitchen: Kitchen, of: Aspect) -> Timeline:
    now = kitchen.now()
    running = kitchen.counts(Selector(statuses=(Status.RUNNING,), batch=of.batch))[Status.RUNNING]
    ids = None if of.batch is None else {one.id for one in kitchen.batches() if of.batch in (one.id, one.name)}
    shifts = kitchen.shifts()
    ahead = claimed_ahead(running, shifts, now, ids)
    line = kitchen.timeline(None if of.last_s is None else now - of.last_s, None, of.batch, not_begun=ahead)
    return within_slots(line, sum(shift.vitals.slots for shift in at_work(shifts, now))) if running else line


def within_slots(line: Timeline, slots: int) -> Timeline:
    """The same, lately no more slots busy than there are.

    A RUNNING order counts from when it was claimed, and it may have waited for its slot, in which another one ended.
    """
    lately = line.until - max(CLAIMED_S, line.step_s)
    steps = tuple(
        replace(step, busy=min(step.busy, slots)) if line.since + (at + 1) * line.step_s > lately else step
        for at, step in enumerate(line.steps)
    )
    return replace(line, steps=steps)


def _progress(kitchen: Kitchen) -> Mapping[str, BatchProgress]:
    return kitchen.batch_progress(RECENT_S)


def _rank(counts: Counts) -> tuple[bool, bool]:
    """What runs comes first, then what has work left."""
    return counts.finished == counts.total, not counts[Status.RUNNING]


def _seen(batch: Batch, progress: BatchProgress, whole: Timeline, waiting: WaitingBatch | None) -> BatchSeen:
    finished = whole.finished.get(batch.id, {})
    pace, left = rate(progress), left_s(progress)
    return BatchSeen(batch.id, batch.name, progress.counts, pace, left, batch.pause_reason, finished, waiting)
