"""A whole run for a page or a report: how it went over time, its batches side by side, one of them alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from waiter.kitchen.contract import Kitchen, Timeline
from waiter.orders import Batch, Counts, Selector, Status
from waiter.report.batch_list import BatchList, ListedBatch, batch_list
from waiter.report.batches import RECENT_S, own_pace, recent_of
from waiter.report.capacity import at_work
from waiter.report.claimed import claimed_ahead
from waiter.report.dashboard import Seen
from waiter.report.poller import ThrottledQuery
from waiter.report.waiting import WaitingBatch

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
class RunView:
    """What charts show, of all orders or of one batch."""

    line: Timeline
    batches: tuple[ListedBatch, ...] = ()  # some, side by side; none where there is but one
    more_batches: int = 0  # that are not among them
    name: str | None = None  # of the batch, where it is of one alone
    listing: BatchList | None = None  # all batches, however many; None where it is of one alone


class RunPoller:
    """Asks for a run again and again, at a bounded cost; of one batch, also for what its page says besides."""

    def __init__(self, kitchen: Kitchen, of: Aspect = WHOLE, every_s: float = 1.0) -> None:
        self._batch = batch = of.batch

        def asked(name: str, ask: Callable[[], Any], least_s: float = every_s) -> ThrottledQuery[Any]:
            return ThrottledQuery(ask, SHARES[name], least_s)

        self._questions: Mapping[str, ThrottledQuery[Any]] = {
            "line": asked("line", lambda: _line(kitchen, of), CHARTS_EVERY_S),
            "batches": asked("batches", kitchen.batches),
            "progress": asked("progress", lambda: (kitchen.now(), kitchen.batch_progress(RECENT_S))),
        }
        self._made_of: tuple[object, ...] = ()  # what these are made of
        self._listing = BatchList(0.0)
        self._side_by_side: Sequence[ListedBatch] = ()
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
        self._list(found, waiting)
        shown = tuple(self._side_by_side) if len(found) > 1 else ()
        more = len(self._listing.batches) - len(shown) if shown else 0
        return RunView(line, shown, more, listing=self._listing)

    def _list(self, found: Sequence[Batch], waiting: Sequence[WaitingBatch]) -> None:
        """Put all batches in order, if there are new answers: ten thousand take a moment."""
        now, progress = answer = self._answer("progress")
        made_of = (found, answer, waiting)
        if len(self._made_of) != 3 or any(one is not other for one, other in zip(self._made_of, made_of, strict=True)):
            self._made_of, self._listing = made_of, batch_list(now, found, progress, waiting)
            self._side_by_side = sorted(self._listing.batches, key=lambda one: _rank(one.counts))[:BATCHES_SHOWN]

    def seen(self, whole: Seen) -> Seen:
        """What was seen of all, for the batch alone: with its own rates, and an end where nothing else is left.

        Raises KitchenError.
        """
        if self._batch is None:
            return whole
        counts: Counts = self._answer("counts")
        ids = {batch.id for batch in self._answer("batches") if self._batch in (batch.id, batch.name)}
        recent = recent_of(self._answer("progress")[1], ids)
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
            costs=(),  # machines work for all batches
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


def _rank(counts: Counts) -> tuple[bool, bool]:
    """What runs comes first, then what has work left."""
    return counts.finished == counts.total, not counts[Status.RUNNING]
