"""Walks several shifts through all that can happen to orders, at random, and compares with a model after each step.

The model is what docs/promises.md says, written as if there were one thread and no store. Time goes in steps of 25 s,
while leases last 60 s and retries wait 40 s: no step ends so near to one of these that the seconds of the test matter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import Clock, check_in, fill, outcome
from waiter.errors import ShiftLost
from waiter.kitchen.contract import LEASE_S, Kitchen, sweep_s
from waiter.kitchen.mongo import pieces, tally
from waiter.kitchen.stages import waiting
from waiter.orders import Batch, Counts, FinishResult, Order, Reason, Selector, Shift, Status, Vitals

STEP_S = 25.0
DELAY_S = 40.0
MARGIN_S = 5.0
MAX_LOSSES = 2
ORDERS = 3
JOINED = 2
"""So many orders of another batch come each after the one of its row."""
EXAMPLES = 30
STEPS = 40

Execution = tuple[Shift, Order]
"""A claim of any time: who had the order, and as what it was given out."""

End = tuple[Status, Reason | None, float]
"""How an attempt ends, and how many seconds later it may go again."""

ENDS: list[End] = [
    *[(Status.DONE, None, 0.0)] * 4,  # most work is done well, and what comes after it begins then
    (Status.ERROR, Reason.EXIT, 0.0),
    (Status.READY, Reason.EXIT, 0.0),
    (Status.READY, Reason.EXIT, DELAY_S),
    (Status.READY, Reason.LOST, DELAY_S),
    (Status.READY, Reason.INTERRUPTED, 0.0),
    (Status.CANCELLED, Reason.CANCELLED, 0.0),
]


@dataclass
class Told:
    """What the model knows of an order."""

    id: str
    age: int  # its place among all orders
    waits_for: Told | None = None  # the order of the same row in the batch before
    is_held: bool = False
    status: Status = Status.READY
    priority: int = 0
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    due: float | None = None
    token: str | None = None
    start: float | None = None  # of the last claim
    is_cancel_asked: bool = False
    accepted: list[tuple[int, str]] = field(default_factory=list)
    late: set[tuple[int, str]] = field(default_factory=set)
    past: Counter[str] = field(default_factory=Counter)  # how often it was lost and reset

    def free(self, status: Status, due: float | None = None) -> None:
        self.status, self.due, self.token, self.is_cancel_asked, self.is_held = status, due, None, False, False

    def leave(self) -> None: ...

    def give_back(self) -> None:
        self.attempt -= 1
        self.free(Status.CANCELLED if self.is_cancel_asked else Status.READY)


@dataclass
class Stay:
    """What the model knows of a shift."""

    name: str
    lease_ends: float
    is_over: bool = False  # lost, or left
    is_paused: bool = False
    missed_at: float | None = None  # a sweep or a reset missed it then, and it was silent since


class Kitchens(RuleBasedStateMachine):
    """One kitchen, its model, and every verb of both."""

    shifts = Bundle("shifts")
    executions = Bundle("executions")
    numbers = st.integers(0, ORDERS + JOINED - 1)
    names = st.integers(0, 2)
    limits = st.integers(1, 3)
    ends = st.sampled_from(ENDS)

    def __init__(self, kitchen: Kitchen, clock: Clock) -> None:
        super().__init__()
        self.kitchen, self.clock = kitchen, clock
        self.kitchen.clean()
        self.stays: dict[str, Stay] = {}
        self.opened: list[Shift] = []
        self.is_paused = False
        self.counted: list[Order] = []  # the orders when their counts were compared last
        self.looked_at: object = None  # what batches that wait depend on, when they were looked at last
        ids = fill(kitchen, [[str(n)] for n in range(1, ORDERS + 1)])
        first = [Told(order_id, age) for age, order_id in enumerate(ids)]
        kitchen.open_batch(Batch("j", None, "j", "j", 0, 0, 0, 0.0, is_complete=True, after_row="b"))
        kitchen.add("j", [(row, (str(row),), None) for row in range(1, JOINED + 1)])
        joined = [Told(f"j-{age + 1}", ORDERS + age, told, is_held=True) for age, told in enumerate(first[:JOINED])]
        self.orders = {told.id: told for told in (*first, *joined)}

    def teardown(self) -> None:
        counts = Counter(told.status for told in self.orders.values())
        assert {status: n for status, n in self.kitchen.counts().by_status.items() if n} == counts
        for shift in self.opened:
            self.kitchen.check_out(shift)
        self.kitchen.resume()

    def now(self) -> float:
        return self.kitchen.now()

    def is_alive(self, token: str | None) -> bool:
        stay = self.stays.get(token or "")
        return stay is not None and not stay.is_over

    def _order(self, number: int) -> Told:
        return [*self.orders.values()][number]

    def held(self, token: str) -> list[Told]:
        return [told for told in self.orders.values() if told.token == token]

    # Shifts

    @initialize(target=shifts, preferred=numbers)
    def begin(self, preferred: int) -> object:
        for name, before in (
            ("next", {"after": ("b",)}),
            ("last", {"after_any": ("b",)}),
            ("end", {"after": ("next",)}),
        ):
            self.kitchen.open_batch(Batch(name, None, name, name, 0, 0, 0, 0.0, is_complete=True, **before))
        self._set_priority(self._order(preferred), 1)
        return multiple(self.check_in(0), self.check_in(1))

    @rule(target=shifts, number=names)
    def check_in_another(self, number: int) -> Shift:
        return self.check_in(number)

    def check_in(self, number: int) -> Shift:
        shift = check_in(self.kitchen, f"w{number}")
        assert shift.token not in self.stays
        assert shift.is_paused == self.is_paused
        self.stays[shift.token] = Stay(shift.waiter, self.now() + LEASE_S, is_paused=self.is_paused)
        self.opened.append(shift)
        return shift

    @rule(shift=shifts)
    def heartbeat(self, shift: Shift) -> None:
        stay = self.stays[shift.token]
        notice = self.kitchen.heartbeat(shift, Vitals())
        assert notice.is_lost == stay.is_over
        if not stay.is_over:
            stay.lease_ends, stay.missed_at = self.now() + LEASE_S, None
            assert notice.is_paused == stay.is_paused
            held = self.held(shift.token)
            assert sorted(notice.cancelled) == sorted(told.id for told in held if told.is_cancel_asked)
            assert [order.id for order in self.kitchen.held(shift)] == [told.id for told in held]

    @rule(shift=shifts)
    def check_out(self, shift: Shift) -> None:
        self.kitchen.check_out(shift)
        self.stays[shift.token].is_over = True
        for told in self.held(shift.token):
            told.give_back()

    @rule(steps=st.integers(1, 3))
    def let_time_pass(self, steps: int) -> None:
        self.clock.advance(steps * STEP_S)

    @rule()
    def reclaim(self) -> None:
        reclaimed = self.kitchen.reclaim(MAX_LOSSES)

        assert Counter(reclaimed.shifts) == Counter(stay.name for stay in self._look())
        assert Counter(reclaimed.missed) == Counter(stay.name for stay in self._lapsed())
        lost = [told for told in self.orders.values() if told.token and not self.is_alive(told.token)]
        for told in lost:
            self._lose(told)
        ends = Counter(told.status for told in lost)
        assert (reclaimed.ready, reclaimed.failed) == (ends[Status.READY], ends[Status.ERROR])

    def _lapsed(self) -> list[Stay]:
        return [stay for stay in self.stays.values() if not stay.is_over and stay.lease_ends <= self.now()]

    def _look(self) -> list[Stay]:
        """Who is silent and was missed before, not too long ago, is lost; who is silent is missed."""
        now, lost = self.now(), []
        for stay in self.stays.values():
            is_marked = stay.missed_at is not None and now - stay.missed_at <= LEASE_S
            if not stay.is_over and stay.lease_ends <= now and is_marked and now - stay.missed_at > MARGIN_S:
                stay.is_over = True
                lost.append(stay)
            elif not stay.is_over and stay.lease_ends < now + sweep_s(LEASE_S) and not is_marked:
                stay.missed_at = now
        return lost

    def _lose(self, told: Told) -> None:
        told.losses += 1
        told.past["lost"] += 1
        if told.is_cancel_asked:
            told.free(Status.CANCELLED)
        elif told.losses >= MAX_LOSSES:
            told.free(Status.ERROR)
        else:
            (stored,) = self.kitchen.find(Selector(ids=(told.id,)))
            longest = min(600.0, 5.0 * 2**told.losses)
            assert stored.due is not None
            assert -MARGIN_S < stored.due - self.now() <= longest
            told.free(Status.READY, stored.due)

    # Delivery

    @rule(target=executions, shift=shifts, limit=limits, end=st.none() | ends)
    def claim(self, shift: Shift, limit: int, end: End | None) -> object:
        """Many of them finish at once: else chance would seldom get that far."""
        claimed = [(shift, order) for order in self._claim(shift, limit)]
        if end:
            self._finish(claimed, end)
        return multiple(*claimed)

    def _claim(self, shift: Shift, limit: int) -> list[Order]:
        stay = self.stays[shift.token]
        try:
            orders = self.kitchen.claim(shift, limit)
        except ShiftLost:
            assert stay.is_over
            return []
        assert not stay.is_over
        if stay.is_paused or stay.lease_ends <= self.now():
            assert orders == []
        else:
            self._check_choice([order.id for order in orders], limit)
        for order in orders:
            told = self.orders[order.id]
            told.status, told.token, told.due, told.attempt = Status.RUNNING, shift.token, None, told.attempt + 1
            told.start = order.start
            assert (order.attempt, order.shift, order.waiter) == (told.attempt, shift.token, shift.waiter)
        return orders

    def _check_choice(self, ids: list[str], limit: int) -> None:
        """By priority, then age; what was lost before goes alone; a few seconds around `due` both answers are right."""
        now = self.now()
        ready = [told for told in self.orders.values() if told.status is Status.READY and not told.is_held]
        ready.sort(key=lambda told: (-told.priority, told.age))
        if any(told.due and abs(told.due - now) < MARGIN_S for told in ready):
            assert set(ids) <= {told.id for told in ready if (told.due or 0) < now + MARGIN_S}
            return
        able = [told for told in ready if (told.due or 0) <= now]
        together = list(takewhile(lambda told: not told.losses, able)) or able[:1]
        assert ids == [told.id for told in together[:limit]]

    @rule(some=st.lists(executions, min_size=1, max_size=3), end=ends, times=st.integers(1, 2))
    def finish(self, some: list[Execution], end: End, times: int) -> None:
        """Outcomes of any time: of now, repeated, stale, of the lost, the reset and the released."""
        for _ in range(times):
            self._finish([(shift, order) for shift, order in some if shift is some[0][0]], end)

    def _finish(self, some: list[Execution], end: End) -> None:
        status, reason, delay_s = end
        outcomes = [outcome(order, status, reason=reason, delay_s=delay_s) for _, order in some]
        if outcomes:
            expected = [self._finished(shift, order, end) for shift, order in some]
            assert self.kitchen.finish(some[0][0], outcomes) == expected

    def _finished(self, shift: Shift, order: Order, end: End) -> FinishResult:
        told, attempt = self.orders[order.id], (order.attempt, shift.token)
        if (told.status, told.attempt, told.token) != (Status.RUNNING, *attempt):
            if attempt in told.accepted:
                return FinishResult.KNOWN
            told.late.add(attempt)
            return FinishResult.LATE
        status, reason, delay_s = end
        told.accepted.append(attempt)
        told.losses += reason is Reason.LOST
        told.failures += reason is Reason.EXIT
        if status is Status.READY and told.is_cancel_asked:
            status = Status.CANCELLED
        told.free(status, self.now() + delay_s if status is Status.READY and delay_s else None)
        if status is Status.DONE:
            self._let_go(told)
        return FinishResult.ACCEPTED

    def _let_go(self, done: Told) -> None:
        for told in self.orders.values():
            if told.waits_for is done and told.is_held:
                told.free(Status.READY)

    def _hold_again(self) -> None:
        """What has not begun waits once more for those that are to be done again."""
        for told in self.orders.values():
            if told.status is Status.READY and told.waits_for and told.waits_for.status is not Status.DONE:
                told.due, told.is_held = None, True

    @rule(execution=executions)
    def release(self, execution: Execution) -> None:
        shift, order = execution
        told = self.orders[order.id]
        is_held = (told.token, told.start) == (shift.token, order.start)  # and not claimed again since

        assert self.kitchen.release(shift, [order]) == is_held

        if is_held:
            told.give_back()

    # Steering: one rule for all of it, for else nobody would get to work

    @rule(number=numbers, verb=st.sampled_from(["cancel", "reset", "reset from the living", "prefer", "defer"]))
    def steer(self, number: int, verb: str) -> None:
        told = self._order(number)
        if verb == "cancel":
            self._cancel(told)
        elif verb in ("prefer", "defer"):
            self._set_priority(told, 1 if verb == "prefer" else -1)
        else:
            self._reset(told, from_living=verb == "reset from the living")

    def _reset(self, told: Told, *, from_living: bool) -> None:
        if not from_living:
            self._look()
        is_due = told.status.is_final or (told.token and (from_living or not self.is_alive(told.token)))

        assert self.kitchen.reset(Selector(ids=(told.id,)), from_living=from_living) == bool(is_due)

        if is_due:
            told.past["reset"] += 1
            told.failures = told.losses = 0
            told.free(Status.READY)
        self._hold_again()

    def _cancel(self, told: Told) -> None:
        is_open = told.status is Status.READY or (told.token is not None and not told.is_cancel_asked)

        assert self.kitchen.cancel(Selector(ids=(told.id,))) == is_open

        if told.token:
            told.is_cancel_asked = True
        elif is_open:
            told.free(Status.CANCELLED)

    def _set_priority(self, told: Told, priority: int) -> None:
        is_changed = told.status is Status.READY and told.priority != priority

        assert self.kitchen.set_priority(Selector(ids=(told.id,)), priority) == is_changed

        if is_changed:
            told.priority = priority

    @rule(number=st.none() | names)
    def pause_and_resume(self, number: int | None) -> None:
        """What is paused is resumed, and the other way round."""
        name = None if number is None else f"w{number}"
        stays = [stay for stay in self.stays.values() if not stay.is_over and name in (None, stay.name)]
        if is_paused := not (self.is_paused if name is None else any(stay.is_paused for stay in stays)):
            self.kitchen.pause(name)
        else:
            self.kitchen.resume(name)
        if name is None:
            self.is_paused = is_paused
        for stay in stays:
            stay.is_paused = is_paused

    # What holds after every step

    @invariant()
    def the_kitchen_is_as_the_model_says(self) -> None:
        stored = list(self.kitchen.find(Selector(), with_details=True))
        assert [order.id for order in stored] == list(self.orders)
        for order in stored:
            self._compare(order, self.orders[order.id])
        if stored != self.counted:
            self._compare_counts(stored)
            self.counted = stored

    def _compare_counts(self, stored: list[Order]) -> None:
        """What the kitchen keeps of its orders is what a count finds.

        Asked when an order has changed, for it costs six questions: what a step without a change did wrong shows then.
        """
        assert self.kitchen.counts() == Counts(Counter(order.status for order in stored))
        assert self.kitchen.is_only_running() == self.kitchen.backlog().is_only_running
        progress = self.kitchen.batch_progress(60.0)
        for batch in ("b", "j"):
            counted = Counts(Counter(order.status for order in stored if order.batch == batch))
            assert progress[batch].counts == counted
            assert self.kitchen.counts(Selector(batch=batch)) == counted

    @invariant()
    def batches_wait_for_others_as_the_model_says(self) -> None:
        """One that comes after all of it well, one after its end, one behind the first, which has no orders, and one
        row by row.

        To look is half of what a step costs, so it is done when what they depend on has changed.
        """
        seen = {(told.status, told.is_held, told.due is None, told.waits_for is None) for told in self.orders.values()}
        if seen == self.looked_at:
            return
        self.looked_at = seen
        statuses = {told.status for told in self.orders.values() if told.waits_for is None}
        is_over = statuses.isdisjoint({Status.READY, Status.RUNNING})
        expected = {} if statuses == {Status.DONE} else {"next": is_over}
        batches = {batch.id: batch for batch in self.kitchen.batches()}
        if "next" in batches:
            found = waiting(self.kitchen, batches.values(), batches)
            expected |= {} if is_over else {"last": False}
            expected |= {"j": is_over} if any(told.is_held for told in self.orders.values()) else {}
            assert {id: one.is_stuck for id, one in found.items()} == expected

    def _compare(self, order: Order, told: Told) -> None:
        facts = ("status", "is_held", "priority", "attempt", "failures", "losses", "is_cancel_asked")
        assert {name: getattr(order, name) for name in facts} == {name: getattr(told, name) for name in facts}
        assert order.shift == told.token
        assert (order.shift is not None) == (order.status is Status.RUNNING)
        assert order.waiter == (self.stays[told.token].name if told.token else order.waiter)
        assert order.waiter is not None or order.start is None
        assert order.status is Status.READY or (order.stop is not None) == order.status.is_final
        if told.due is not None and told.due > self.now() + MARGIN_S:
            assert order.due == pytest.approx(told.due, abs=MARGIN_S)
        assert order.status is Status.READY or order.due is None
        assert [(event.attempt, event.shift) for event in order.history if event.what == "finish"] == told.accepted
        assert len(set(told.accepted)) == len(told.accepted)
        assert {(event.attempt, event.shift) for event in order.late} == told.late
        assert len(order.late) == len(told.late)
        assert Counter(event.what for event in order.history if event.what in ("lost", "reset")) == told.past


@pytest.mark.timeout(600)
def test_whatever_happens_in_whatever_order_the_kitchen_keeps_its_promises(kitchen, clock, monkeypatch):
    for module in (pieces, tally):  # so small that some have ended while there is work in others
        monkeypatch.setattr(module, "PIECE", 2)
    monkeypatch.setattr(tally, "_IN_A_BATCH", 2)
    run_state_machine_as_test(
        lambda: Kitchens(kitchen, clock),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # a failure is told as it was found: to shrink it takes too long
            suppress_health_check=list(HealthCheck),
        ),
    )
