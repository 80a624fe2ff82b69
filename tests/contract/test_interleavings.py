"""What every kitchen promises when things cross: cancelled while running, finished twice, reclaimed by many, lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import check_in, fill, let_leases_run_out, only, outcome
from waiter.errors import ShiftLost
from waiter.kitchen.contract import CLAIM_LIMIT, LEASE_S, MAX_LOSSES, Kitchen, grace_s
from waiter.orders import FinishResult, Outcome, Reason, Selector, Shift, Status, Vitals

LONGEST_BACKOFF_S = 601.0


def whole(kitchen: Kitchen):
    return list(kitchen.find(Selector(), with_details=True))


def run_one(kitchen: Kitchen, name: str = "a"):
    """One order, claimed: its shift and itself."""
    fill(kitchen, [["x"]])
    shift = check_in(kitchen, name)
    (order,) = kitchen.claim(shift, limit=1)
    return shift, order


def at_once(works: Sequence[Callable[[], object]]) -> None:
    """Run all of them at the same moment, each in a thread; an exception of one is raised here."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait(60)
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for ended in [pool.submit(run, work) for work in works]:
            ended.result(60)


# Cancelled while it ran


def test_an_order_that_failed_after_its_cancel_was_asked_gets_no_other_try(kitchen):
    shift, order = run_one(kitchen)
    kitchen.cancel(Selector())

    ended = outcome(order, Status.READY, reason=Reason.EXIT, exit_code=1, delay_s=30)
    assert kitchen.finish(shift, [ended]) == [FinishResult.ACCEPTED]

    stored = only(kitchen)
    assert (stored.status, stored.due, stored.is_cancel_asked) == (Status.CANCELLED, None, False)
    assert (stored.waiter, stored.start, stored.stop) == ("a", ended.start, ended.stop)
    assert [(event.what, event.status) for event in stored.history] == [("finish", Status.CANCELLED)]


def test_an_order_that_was_done_before_its_cancel_arrived_is_done(kitchen):
    shift, order = run_one(kitchen)
    kitchen.cancel(Selector())

    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.ACCEPTED]

    assert (only(kitchen).status, only(kitchen).is_cancel_asked) == (Status.DONE, False)


@pytest.mark.parametrize("way", ["release", "check out"])
def test_an_order_given_back_after_its_cancel_was_asked_is_cancelled(kitchen, way):
    shift, order = run_one(kitchen)
    kitchen.cancel(Selector())

    if way == "release":
        kitchen.release(shift, [order])
    else:
        kitchen.check_out(shift)

    stored = only(kitchen)
    assert (stored.status, stored.attempt, stored.reason) == (Status.CANCELLED, 0, Reason.CANCELLED)
    assert (stored.stop is not None, stored.shift, stored.is_cancel_asked) == (True, None, False)
    assert [event.what for event in stored.history] == ["cancel"]


def test_a_waiter_hears_of_its_own_cancelled_orders_only(kitchen):
    fill(kitchen, [["1"], ["2"]])
    a, b = check_in(kitchen, "a"), check_in(kitchen, "b")
    (first,), (second,) = kitchen.claim(a, limit=1), kitchen.claim(b, limit=1)

    assert kitchen.cancel(Selector()) == 2
    assert kitchen.cancel(Selector()) == 0

    assert kitchen.heartbeat(a, Vitals()).cancelled == (first.id,)
    assert kitchen.heartbeat(b, Vitals()).cancelled == (second.id,)


def test_a_reset_forgets_that_a_cancel_was_asked(kitchen):
    shift, order = run_one(kitchen)
    kitchen.cancel(Selector())
    kitchen.reset(Selector(), from_living=True)

    (again,) = kitchen.claim(shift, limit=1)

    assert (again.id, again.is_cancel_asked) == (order.id, False)
    assert kitchen.heartbeat(shift, Vitals()).cancelled == ()


# Finished


def test_the_same_outcome_twice_in_one_message_is_accepted_once(kitchen):
    shift, order = run_one(kitchen)

    assert kitchen.finish(shift, [outcome(order), outcome(order)]) == [FinishResult.ACCEPTED, FinishResult.KNOWN]

    assert len(only(kitchen).history) == 1


def test_verdicts_come_in_the_order_of_the_outcomes(kitchen):
    fill(kitchen, [[str(n)] for n in range(200)])
    shift = check_in(kitchen)
    orders = [order for _ in range(4) for order in kitchen.claim(shift, limit=50)]
    known, taken = orders[17], orders[140]
    kitchen.finish(shift, [outcome(known)])
    kitchen.reset(Selector(ids=(taken.id,)), from_living=True)

    outcomes = [outcome(order, Status.DONE if order.row % 3 else Status.ERROR) for order in orders]
    outcomes.insert(3, Outcome("gone-1", 1, Status.DONE, 0.0, 1.0))
    results = dict(zip([ended.order_id for ended in outcomes], kitchen.finish(shift, outcomes), strict=True))

    others = {order.id: FinishResult.ACCEPTED for order in orders}
    assert results == others | {known.id: FinishResult.KNOWN, taken.id: FinishResult.LATE, "gone-1": FinishResult.LATE}


def test_nothing_to_finish_and_nothing_to_release_is_fine(kitchen):
    shift = check_in(kitchen)

    assert kitchen.finish(shift, []) == []
    assert kitchen.release(shift, []) == 0


def test_an_outcome_of_an_earlier_attempt_is_late(kitchen, clock):
    shift, first = run_one(kitchen)
    kitchen.reset(Selector(), from_living=True)
    (second,) = kitchen.claim(shift, limit=1)

    assert kitchen.finish(shift, [outcome(first, Status.ERROR)]) == [FinishResult.LATE]
    assert kitchen.finish(shift, [outcome(second)]) == [FinishResult.ACCEPTED]

    stored = only(kitchen)
    assert (stored.status, [event.attempt for event in stored.late]) == (Status.DONE, [1])


def test_an_acknowledged_outcome_outlives_its_shift_and_everything_but_a_reset(kitchen, clock):
    shift, order = run_one(kitchen)
    kitchen.finish(shift, [outcome(order, result="42")])

    let_leases_run_out(kitchen, clock)
    kitchen.reclaim()
    kitchen.cancel(Selector())
    kitchen.release(shift, [order])
    kitchen.check_out(shift)

    assert (only(kitchen).status, only(kitchen).result, only(kitchen).attempt) == (Status.DONE, "42", 1)


def test_a_running_order_shows_nothing_of_its_earlier_attempt(kitchen):
    shift, order = run_one(kitchen)
    failure = {"reason": Reason.EXIT, "exit_code": 3, "error": "boom", "error_group": "0123abcd", "tail": "boom"}
    kitchen.finish(shift, [outcome(order, Status.READY, **failure)])

    (again,) = kitchen.claim(shift, limit=1)

    stored = only(kitchen)
    for seen in (again, stored):
        assert (seen.reason, seen.exit_code, seen.error, seen.error_group, seen.stop) == (None,) * 5
    assert stored.tail is None
    assert [(event.exit_code, event.error) for event in stored.history] == [(3, "boom")]


# Clocks


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_waiters_clock_decides_nothing(kitchen, clock, hours):
    shift, order = run_one(kitchen)
    off = hours * 3600.0 + (order.start or 0)

    kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, start=off, stop=off + 1, delay_s=60)])

    clock.advance(50)
    kitchen.heartbeat(shift, Vitals())
    assert kitchen.claim(shift, limit=1) == []
    clock.advance(15)
    assert [again.id for again in kitchen.claim(shift, limit=1)] == [order.id]


def test_an_order_that_fell_due_counts_as_ready(kitchen, clock):
    shift, order = run_one(kitchen)
    kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, delay_s=60)])

    before = kitchen.backlog()
    clock.advance(61)
    after = kitchen.backlog()

    assert (before.ready, before.next_due_s, before.is_empty) == (0, pytest.approx(60, abs=5), False)
    assert (after.ready, after.next_due_s, after.is_done) == (1, None, False)


# Shifts


def test_who_is_unknown_or_went_home_is_told_so(kitchen):
    gone = check_in(kitchen, "a")
    kitchen.check_out(gone)
    stranger = Shift("0" * 32, "b", "h", 1, 0.0, 0.0, 0.0)

    for shift in (gone, stranger):
        assert kitchen.heartbeat(shift, Vitals()).is_lost
        with pytest.raises(ShiftLost):
            kitchen.claim(shift, limit=1)
        assert kitchen.held(shift) == []


def test_a_shift_whose_lease_ran_out_gets_no_order_even_before_a_sweep(kitchen, clock):
    shift = check_in(kitchen)
    fill(kitchen, [["x"]])
    clock.advance(LEASE_S + 1)

    assert kitchen.claim(shift, limit=1) == []


def test_checking_out_twice_is_fine_and_takes_nobody_elses_orders(kitchen):
    shift, order = run_one(kitchen)
    kitchen.check_out(shift)
    other = check_in(kitchen, "b")
    kitchen.claim(other, limit=1)

    kitchen.check_out(shift)

    assert [held.id for held in kitchen.held(other)] == [order.id]


def test_a_lost_shift_is_shown_for_a_day(kitchen, clock):
    check_in(kitchen, "a")
    let_leases_run_out(kitchen, clock)
    kitchen.reclaim()

    (lost,) = kitchen.shifts()
    assert (lost.waiter, lost.lost_at is not None) == ("a", True)
    clock.advance(25 * 3600)
    assert kitchen.shifts() == []


def test_tokens_are_128_bits_and_never_the_same(kitchen):
    tokens = {check_in(kitchen, "a").token for _ in range(20)}

    assert len(tokens) == 20
    assert {len(bytes.fromhex(token)) for token in tokens} == {16}


def test_two_waiters_of_one_name_keep_their_orders_apart(kitchen):
    fill(kitchen, [["1"], ["2"]])
    one, two = check_in(kitchen, "a"), check_in(kitchen, "a")
    (first,), (second,) = kitchen.claim(one, limit=1), kitchen.claim(two, limit=1)

    assert kitchen.finish(two, [outcome(first)]) == [FinishResult.LATE]
    assert kitchen.release(two, [first]) == 0
    assert kitchen.finish(one, [outcome(first)]) == [FinishResult.ACCEPTED]
    assert kitchen.finish(two, [outcome(second)]) == [FinishResult.ACCEPTED]


# Rescues


def forget_shifts(kitchen: Kitchen) -> None:
    """As if somebody had deleted them: no verb does that to the living."""
    if hasattr(kitchen, "_db"):
        kitchen._db.execute("DELETE FROM shifts")
    else:
        kitchen._to.shifts.delete_many({})


def test_an_order_of_a_shift_that_nobody_knows_is_rescued(kitchen):
    shift, order = run_one(kitchen)
    forget_shifts(kitchen)

    assert kitchen.reclaim().ready == 1

    assert (only(kitchen).status, only(kitchen).losses) == (Status.READY, 1)
    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.LATE]


def test_a_rescue_takes_nothing_from_the_living(kitchen, clock):
    fill(kitchen, [["1"], ["2"]])
    dead = check_in(kitchen, "dead")
    kitchen.claim(dead, limit=1)
    clock.advance(LEASE_S / 2)
    living = check_in(kitchen, "living")
    (theirs,) = kitchen.claim(living, limit=1)
    clock.advance(LEASE_S / 2 + 1)
    assert kitchen.reclaim().missed == ("dead",)
    kitchen.heartbeat(living, Vitals())
    clock.advance(grace_s(LEASE_S))

    reclaimed = kitchen.reclaim()

    assert (reclaimed.ready, reclaimed.failed, reclaimed.shifts) == (1, 0, ("dead",))
    assert not kitchen.reclaim()
    assert [order.id for order in kitchen.held(living)] == [theirs.id]


def test_many_rescues_at_once_charge_one_loss(kitchen, open_again, clock):
    fill(kitchen, [[str(n)] for n in range(40)])
    shift = check_in(kitchen, "a")
    assert len(kitchen.claim(shift, limit=40)) == 40
    let_leases_run_out(kitchen, clock)
    sweepers, reclaimed = [open_again() for _ in range(6)], []

    at_once([lambda sweeper=sweeper: reclaimed.append(sweeper.reclaim()) for sweeper in sweepers])

    assert sum(one.ready for one in reclaimed) == 40
    assert [name for one in reclaimed for name in one.shifts] == ["a"]
    assert {(order.losses, len(order.history)) for order in whole(kitchen)} == {(1, 1)}


def test_an_outcome_that_meets_a_rescue_is_accepted_or_late_and_never_both(kitchen, open_again, clock):
    fill(kitchen, [[str(n)] for n in range(60)])
    shift = check_in(kitchen, "a")
    orders = kitchen.claim(shift, limit=60)
    let_leases_run_out(kitchen, clock)
    hands, sweeper, results = open_again(), open_again(), {}

    def finish() -> None:
        for order in orders:
            (results[order.id],) = hands.finish(shift, [outcome(order)])

    def sweep() -> None:
        while len(results) < 10:
            pass
        sweeper.reclaim()

    at_once([finish, sweep])

    assert set(results.values()) <= {FinishResult.ACCEPTED, FinishResult.LATE}
    for order in whole(kitchen):
        is_accepted = results[order.id] is FinishResult.ACCEPTED
        assert [event.what for event in order.history] == (["finish"] if is_accepted else ["lost"])
        assert (order.status is Status.DONE, len(order.late)) == (is_accepted, 0 if is_accepted else 1)


def test_losses_are_counted_anew_after_a_reset(kitchen, clock):
    fill(kitchen, [["x"]])
    for _ in range(MAX_LOSSES):
        kitchen.claim(check_in(kitchen), limit=1)
        let_leases_run_out(kitchen, clock)
        kitchen.reclaim()
        clock.advance(LONGEST_BACKOFF_S)
    assert only(kitchen).status is Status.ERROR

    kitchen.reset(Selector())
    kitchen.claim(check_in(kitchen), limit=1)
    let_leases_run_out(kitchen, clock)
    kitchen.reclaim()

    assert (only(kitchen).status, only(kitchen).losses) == (Status.READY, 1)


def test_an_order_lost_to_the_end_shows_nothing_of_an_earlier_attempt(kitchen, clock):
    shift, order = run_one(kitchen)
    kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, exit_code=1, tail="boom", command="c1")])
    kitchen.claim(shift, limit=1)
    let_leases_run_out(kitchen, clock)

    assert kitchen.reclaim(max_losses=1).failed == 1

    stored = only(kitchen)
    assert (stored.status, stored.reason, stored.exit_code) == (Status.ERROR, Reason.LOST, None)
    assert (stored.tail, stored.command, stored.waiter, stored.stop is not None) == (None, None, "a", True)


# Claims


def test_an_order_that_is_cancelled_while_others_reach_for_it_runs_with_a_mark_or_not_at_all(kitchen, open_again):
    fill(kitchen, [[str(n)] for n in range(900)])
    canceller, claimers, claimed, asked = open_again(), [open_again() for _ in range(3)], [], set()

    def claim(mine: Kitchen) -> None:
        shift = check_in(mine)
        while orders := mine.claim(shift, limit=8):
            claimed.extend(order.id for order in orders)

    def cancel() -> None:
        # The first that wait: the very ones that the others reach for.
        while first := list(canceller.find(Selector(statuses=(Status.READY,)), limit=2)):
            asked.update(order.id for order in first)
            canceller.cancel(Selector(ids=tuple(order.id for order in first)))

    at_once([cancel, *(lambda mine=mine: claim(mine) for mine in claimers)])

    ran = set(claimed)
    assert len(ran) == len(claimed)
    for order in whole(kitchen):
        assert order.status is (Status.RUNNING if order.id in ran else Status.CANCELLED)
        assert [event.what for event in order.history] == ([] if order.id in ran else ["cancel"])
        assert order.is_cancel_asked == (order.id in ran & asked)


def test_a_claim_takes_no_more_than_its_limit(kitchen):
    fill(kitchen, [[str(n)] for n in range(CLAIM_LIMIT + 10)])
    shift = check_in(kitchen)

    assert kitchen.claim(shift, limit=0) == []
    assert len(kitchen.claim(shift, limit=3)) == 3
    assert len(kitchen.claim(shift, limit=CLAIM_LIMIT + 100)) == CLAIM_LIMIT


def test_many_waiters_may_open_a_new_kitchen_at_the_same_time(open_again):
    opened = []

    at_once([lambda: opened.append(open_again()) for _ in range(8)])

    for number, kitchen in enumerate(opened):
        check_in(kitchen, f"w{number}")
    assert len(opened[0].shifts()) == 8
