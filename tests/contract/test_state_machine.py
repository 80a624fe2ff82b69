"""Any sequence of what waiters and people do leaves both kitchens where a small model says.

The model is the contract in a hundred lines, with neither transactions nor lost processes: what it says of each order
after each step must be what the kitchen says, and invariants 2-5, 7 and 11 of docs/promises.md hold on the way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import Clock, check_in, fill, outcome
from waiter.errors import ShiftLost
from waiter.kitchen.contract import LEASE_S, Kitchen
from waiter.orders import Order, Reason, Selector, Shift, Status, Verdict, Vitals

ORDERS = 5
MAX_LOSSES = 2
DELAY_S = 17
STEPS_S = (13, 29, LEASE_S + 1)
"""No sum of these is a lease or a delay: what is due at the same second would depend on the speed of the test."""

PICKS = st.lists(st.integers(0, 40), min_size=1, max_size=3, unique=True)
ENDS = st.sampled_from(
    [
        (Status.DONE, None),
        (Status.ERROR, Reason.EXIT),
        (Status.READY, Reason.EXIT),
        (Status.READY, Reason.LOST),
        (Status.READY, Reason.INTERRUPTED),
        (Status.CANCELLED, Reason.CANCELLED),
    ]
)


@dataclass
class Known:
    """What the model knows of an order."""

    status: Status = Status.READY
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    shift: str | None = None
    is_cancel_asked: bool = False
    accepted: list[tuple[str, int]] = field(default_factory=list)
    late: list[tuple[str, int]] = field(default_factory=list)

    def leave(self, status: Status) -> None:
        """It is in nobody's hands any more."""
        if status is Status.READY and self.is_cancel_asked:
            status = Status.CANCELLED
        self.status, self.shift, self.is_cancel_asked = status, None, False

    def facts(self) -> tuple[object, ...]:
        return self.status, self.attempt, self.failures, self.losses, self.shift, self.is_cancel_asked


@dataclass
class Stay:
    """What the model knows of a shift."""

    shift: Shift
    lease_until: float
    is_over: bool = False  # left, or declared lost


class KitchenMachine(RuleBasedStateMachine):
    kitchen: Kitchen
    clock: Clock

    @initialize()
    def open(self) -> None:
        self.orders = {order_id: Known() for order_id in fill(self.kitchen, [[str(n)] for n in range(ORDERS)])}
        self.stays: list[Stay] = []
        self.claims: list[tuple[Shift, Order]] = []  # all that ever were

    def teardown(self) -> None:
        for stay in getattr(self, "stays", []):
            self.kitchen.check_out(stay.shift)
        self.kitchen.clean()

    # What the model says.

    def is_expired(self, stay: Stay) -> bool:
        return stay.lease_until < self.clock()

    def stay(self, pick: int) -> Stay:
        return self.stays[pick % len(self.stays)]

    def picked_claims(self, picks: list[int]) -> list[tuple[Shift, Order]]:
        return [self.claims[n] for n in dict.fromkeys(pick % len(self.claims) for pick in picks)]

    def picked_orders(self, picks: list[int]) -> dict[str, Known]:
        ids = [*self.orders]
        return {ids[pick % len(ids)]: self.orders[ids[pick % len(ids)]] for pick in picks}

    def seen(self) -> dict[str, Order]:
        return {order.id: order for order in self.kitchen.find(Selector(), is_whole=True)}

    # What waiters do.

    @rule()
    def check_in(self) -> None:
        shift = check_in(self.kitchen, f"w{len(self.stays)}")
        self.stays.append(Stay(shift, self.clock() + LEASE_S))

    @precondition(lambda self: self.stays)
    @rule(pick=st.integers(0, 9))
    def heartbeat(self, pick: int) -> None:
        stay = self.stay(pick)

        notice = self.kitchen.heartbeat(stay.shift, Vitals())

        assert notice.is_lost == stay.is_over
        if not stay.is_over:
            mine = {i for i, known in self.orders.items() if known.shift == stay.shift.token and known.is_cancel_asked}
            assert set(notice.cancelled) == mine
            stay.lease_until = self.clock() + LEASE_S

    @precondition(lambda self: self.stays)
    @rule(pick=st.integers(0, 9), limit=st.integers(1, 3))
    def claim(self, pick: int, limit: int) -> None:
        stay = self.stay(pick)
        if stay.is_over:
            with pytest.raises(ShiftLost):
                self.kitchen.claim(stay.shift, limit)
            return
        now = self.kitchen.now()
        ready = [o for o in self.seen().values() if o.status is Status.READY and (o.due is None or o.due <= now)]

        claimed = self.kitchen.claim(stay.shift, limit)

        assert len(claimed) <= limit
        assert len(claimed) == 1 or not any(order.losses for order in claimed), "a lost order is claimed alone"
        assert bool(claimed) == bool(ready and not self.is_expired(stay))
        for order in claimed:
            known = self.orders[order.id]
            assert (known.status, known.attempt + 1) == (Status.READY, order.attempt)
            assert order.id in {o.id for o in ready}, "claimed before it was due"
            known.status, known.shift, known.attempt = Status.RUNNING, stay.shift.token, order.attempt
            self.claims.append((stay.shift, order))

    @precondition(lambda self: self.stays)
    @rule(pick=st.integers(0, 9))
    def held(self, pick: int) -> None:
        token = self.stay(pick).shift.token
        held = {order.id for order in self.kitchen.held(self.stay(pick).shift)}
        assert held == {order_id for order_id, known in self.orders.items() if known.shift == token}

    @precondition(lambda self: self.claims)
    @rule(picks=PICKS, end=ENDS, is_repeated=st.booleans())
    def finish(self, picks: list[int], end: tuple[Status, Reason | None], is_repeated: bool) -> None:
        """Outcomes of claims of any time: of now, repeated, stale, of the lost and the reset."""
        status, reason = end
        delay_s = DELAY_S if status is Status.READY else 0
        (token, some) = next(iter(self.by_shift(self.picked_claims(picks)).items()))
        shift = next(stay.shift for stay in self.stays if stay.shift.token == token)
        outcomes = [outcome(order, status, reason=reason, delay_s=delay_s) for order in some]
        for _ in range(1 + is_repeated):
            expected = [self.expect_finish(token, order, status, reason) for order in some]
            assert self.kitchen.finish(shift, outcomes) == expected

    def by_shift(self, claims: list[tuple[Shift, Order]]) -> dict[str, list[Order]]:
        sorted_out: dict[str, dict[str, Order]] = {}
        for shift, order in claims:
            sorted_out.setdefault(shift.token, {})[order.id] = order
        return {token: [*orders.values()] for token, orders in sorted_out.items()}

    def expect_finish(self, token: str, order: Order, status: Status, reason: Reason | None) -> Verdict:
        known, attempt = self.orders[order.id], (token, order.attempt)
        if (known.status, known.shift, known.attempt) == (Status.RUNNING, *attempt):
            is_innocent = status in (Status.DONE, Status.CANCELLED) or reason in (Reason.LOST, Reason.INTERRUPTED)
            known.failures += not is_innocent
            known.losses += reason is Reason.LOST
            known.accepted.append(attempt)
            known.leave(status)
            return Verdict.ACCEPTED
        if attempt in known.accepted:
            return Verdict.KNOWN
        if attempt not in known.late:
            known.late.append(attempt)
        return Verdict.LATE

    @precondition(lambda self: self.claims)
    @rule(picks=PICKS)
    def release(self, picks: list[int]) -> None:
        (token, some) = next(iter(self.by_shift(self.picked_claims(picks)).items()))
        shift = next(stay.shift for stay in self.stays if stay.shift.token == token)
        held = [self.orders[order.id] for order in some if self.orders[order.id].shift == token]

        assert self.kitchen.release(shift, [order.id for order in some]) == len(held)

        self.give_back(held)

    def give_back(self, held: list[Known]) -> None:
        for known in held:
            known.attempt -= 1
            known.leave(Status.READY)

    @precondition(lambda self: self.stays)
    @rule(pick=st.integers(0, 9))
    def check_out(self, pick: int) -> None:
        stay = self.stay(pick)
        self.kitchen.check_out(stay.shift)
        self.give_back([known for known in self.orders.values() if known.shift == stay.shift.token])
        stay.is_over = True

    @rule()
    def rescue(self) -> None:
        lost = [stay for stay in self.stays if not stay.is_over and self.is_expired(stay)]
        tokens = {stay.shift.token for stay in lost}
        theirs = [known for known in self.orders.values() if known.shift in tokens]

        rescued = self.kitchen.rescue(MAX_LOSSES)

        assert Counter(rescued.shifts) == Counter(stay.shift.waiter for stay in lost)
        for stay in lost:
            stay.is_over = True
        for known in theirs:
            known.losses += 1
            is_hopeless = known.losses >= MAX_LOSSES and not known.is_cancel_asked
            known.leave(Status.ERROR if is_hopeless else Status.READY)
        ends = Counter(known.status for known in theirs)
        assert (rescued.ready, rescued.failed) == (ends[Status.READY], ends[Status.ERROR])

    @rule(seconds=st.sampled_from(STEPS_S))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # What people do.

    @rule(picks=PICKS, from_living=st.booleans())
    def reset(self, picks: list[int], from_living: bool) -> None:
        chosen = self.picked_orders(picks)
        living = {s.shift.token for s in self.stays if not s.is_over and not self.is_expired(s)}
        changed = [
            known
            for known in chosen.values()
            if known.status is not Status.READY and (from_living or known.shift not in living)
        ]

        assert self.kitchen.reset(Selector(ids=tuple(chosen)), from_living=from_living) == len(changed)

        for known in changed:
            known.is_cancel_asked, known.failures, known.losses = False, 0, 0
            known.leave(Status.READY)

    @rule(picks=PICKS)
    def cancel(self, picks: list[int]) -> None:
        chosen = self.picked_orders(picks)
        self.kitchen.cancel(Selector(ids=tuple(chosen)))
        for known in chosen.values():
            if known.status is Status.READY:
                known.leave(Status.CANCELLED)
            known.is_cancel_asked = known.status is Status.RUNNING

    # What must hold after every step.

    @invariant()
    def the_kitchen_says_what_the_model_says(self) -> None:
        if not hasattr(self, "orders"):
            return
        seen = self.seen()
        assert seen.keys() == self.orders.keys()
        for order_id, known in self.orders.items():
            order = seen[order_id]
            facts = order.status, order.attempt, order.failures, order.losses, order.shift, order.is_cancel_asked
            assert facts == known.facts(), order
            assert (order.status is Status.RUNNING) == (order.shift is not None)
            assert order.status is not Status.READY or order.waiter is None
            finishes = [(event.shift, event.attempt) for event in order.history if event.what == "finish"]
            assert finishes == known.accepted, order
            assert len({attempt for _, attempt in finishes}) == len(finishes), "an attempt was accepted twice"
            assert [(event.shift, event.attempt) for event in order.late] == known.late, order


def test_any_sequence_of_steps_leaves_the_kitchen_where_the_model_says(kitchen, clock):
    class Machine(KitchenMachine):
        pass

    Machine.kitchen, Machine.clock = kitchen, clock
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
