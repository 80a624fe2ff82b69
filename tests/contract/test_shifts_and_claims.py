"""What a waiter is promised by every kitchen: shifts, claims, outcomes, releases and rescues."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import pytest

from tests.conftest import check_in, fill, let_leases_run_out, only, outcome
from waiter.errors import ShiftLost
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import LEASE_S, MAX_LOSSES
from waiter.orders import FinishResult, Reason, Scope, Selector, Status, Vitals


def let_it_die(kitchen, clock):
    let_leases_run_out(kitchen, clock)
    return kitchen.reclaim()


def test_a_claimed_order_runs_with_its_shift_and_its_waiters_name(kitchen):
    (order_id,) = fill(kitchen, [["x"]])
    shift = check_in(kitchen, "a")

    (order,) = kitchen.claim(shift, limit=5)

    assert (order.id, order.arguments, order.status) == (order_id, ("x",), Status.RUNNING)
    assert (order.shift, order.waiter, order.host, order.attempt) == (shift.token, "a", "host-of-a", 1)
    assert order.start == pytest.approx(kitchen.now(), abs=10)
    assert only(kitchen, order_id).shift == shift.token


def test_an_order_carries_a_shift_exactly_while_it_runs(kitchen, clock):
    ids = fill(kitchen, [[str(n)] for n in range(6)])
    shift = check_in(kitchen)
    done, failed, again, given_back, lost = kitchen.claim(shift, limit=5)
    kitchen.finish(
        shift, [outcome(done), outcome(failed, Status.ERROR, reason=Reason.EXIT), outcome(again, Status.READY)]
    )
    kitchen.release(shift, [given_back])
    let_leases_run_out(kitchen, clock)
    running_shift = check_in(kitchen, "b")
    kitchen.reclaim()
    kitchen.claim(running_shift, limit=1)

    for order in kitchen.find(Selector(ids=tuple(ids))):
        assert (order.status is Status.RUNNING) == (order.shift is not None), order
        if order.status is Status.RUNNING:
            assert order.waiter == "b"


def test_claims_go_by_priority_then_by_age(kitchen):
    fill(kitchen, [["old-1"], ["old-2"]], batch="one")
    fill(kitchen, [["new"]], batch="two")
    fill(kitchen, [["urgent"]], batch="three", priority=5)

    shift = check_in(kitchen)
    orders = kitchen.claim(shift, limit=1) + kitchen.claim(shift, limit=2) + kitchen.claim(shift, limit=10)

    assert [order.arguments[0] for order in orders] == ["urgent", "old-1", "old-2", "new"]


def test_a_look_at_the_next_order_names_what_a_claim_takes_first_and_takes_nothing(kitchen):
    fill(kitchen, [["low"]], batch="a")
    fill(kitchen, [["high"], ["next"]], batch="b", priority=5)
    shift = check_in(kitchen)

    assert (kitchen.peek().id, kitchen.peek(Scope(batches=("a",))).id) == ("b-1", "a-1")
    assert [order.id for order in kitchen.claim(shift, limit=1, scope=Scope(is_strict=True))] == ["b-1"]
    assert (kitchen.peek().id, kitchen.peek(Scope(match="none"))) == ("b-2", None)


def test_what_is_claimed_together_comes_by_priority_too(kitchen):
    ids = fill(kitchen, [["1"], ["2"], ["3"]])
    kitchen.set_priority(Selector(ids=(ids[2],)), 5)

    assert [order.arguments[0] for order in kitchen.claim(check_in(kitchen), limit=10)] == ["3", "1", "2"]


def test_an_order_is_not_claimed_before_it_is_due(kitchen, clock):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, delay_s=30)])

    assert kitchen.claim(shift, limit=1) == []
    assert kitchen.backlog().next_due_s == pytest.approx(30, abs=5)
    clock.advance(31)
    (again,) = kitchen.claim(shift, limit=1)

    assert (again.id, again.attempt, again.failures) == (order.id, 2, 1)


def test_a_claim_tells_what_the_kitchen_holds_of_its_orders(kitchen, clock):
    fill(kitchen, [["1", "a"], ["2", "\udcff"]], priority=3)
    kitchen.add("b", [(3, ["3", "c"], ("n", "name"))], priority=3)
    shift = check_in(kitchen)
    told = {"reason": Reason.EXIT, "error": "no", "tail": "no", "result": "1", "exit_code": 3, "peak_memory": 5}
    first = kitchen.claim(shift, limit=3)
    kitchen.finish(shift, [outcome(order, Status.READY, delay_s=5, **told) for order in first[:2]])
    kitchen.release(shift, first[2:])
    clock.advance(10)

    again = kitchen.claim(shift, limit=3)

    assert [(order.attempt, order.failures) for order in again] == [(2, 1), (2, 1), (1, 0)]
    assert again == kitchen.held(shift)


def test_excluded_orders_are_left_for_others(kitchen):
    first, second = fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)

    assert [order.id for order in kitchen.claim(shift, limit=1, exclude=[first])] == [second]


def test_a_claim_finds_what_stands_behind_many_excluded_orders(kitchen):
    orders = fill(kitchen, [[str(n)] for n in range(30)])
    shift = check_in(kitchen)

    claimed = kitchen.claim(shift, limit=4, exclude=[*orders[:20], orders[22]])

    assert [order.id for order in claimed] == [orders[20], orders[21], orders[23], orders[24]]


def test_sixteen_waiters_never_get_the_same_order(kitchen, open_again):
    count, waiters = 2000, 16
    fill(kitchen, [[str(n)] for n in range(count)])
    claimed: list[str] = []

    def work(number: int) -> None:
        mine = open_again()
        shift = check_in(mine, f"w{number}")
        while orders := mine.claim(shift, limit=16):
            claimed.extend(order.id for order in orders)
            assert set(mine.finish(shift, [outcome(order) for order in orders])) == {FinishResult.ACCEPTED}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(waiters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert Counter(Counter(claimed).values()) == {1: count}
    assert kitchen.counts()[Status.DONE] == count


def ends_of_all_kinds(orders):
    """An outcome for each order, each with times of its own: forty of each kind and more."""
    kinds = itertools.cycle(
        (
            lambda order, **at: outcome(order, exit_code=0, command="c1", peak_memory=order.row, **at),
            lambda order, **at: outcome(order, result=f"of {order.row}", tail="t", **at),
            lambda order, **at: outcome(order, Status.ERROR, reason=Reason.EXIT, error=f"no {order.row}", **at),
            lambda order, **at: outcome(order, Status.READY, reason=Reason.LOST, delay_s=order.row, **at),
        )
    )
    return [end(order, start=order.row / 7, stop=order.row / 3) for end, order in zip(kinds, orders, strict=False)]


def test_each_of_many_outcomes_of_all_kinds_goes_to_its_own_order(kitchen):
    fill(kitchen, [[str(n)] for n in range(170)])
    shift = check_in(kitchen)
    orders = kitchen.claim(shift, limit=170)
    ends = ends_of_all_kinds(orders)

    assert kitchen.finish(shift, ends) == [FinishResult.ACCEPTED] * 170

    told = ("start", "stop", "exit_code", "reason", "error", "result", "tail", "command", "peak_memory")
    for end, stored in zip(ends, kitchen.find(Selector(), with_details=True), strict=True):
        assert (stored.id, stored.status) == (end.order_id, end.status)
        assert [getattr(stored, fact) for fact in told] == [getattr(end, fact) for fact in told]
        assert (stored.failures, stored.losses) == (end.reason is Reason.EXIT, end.reason is Reason.LOST)
        assert (stored.due is None) == (end.status is not Status.READY)
        (event,) = stored.history
        assert (event.status, event.attempt, event.shift) == (end.status, 1, shift.token)
        assert (event.start, event.stop, event.error) == (end.start, end.stop, end.error)


def test_among_many_outcomes_the_late_ones_alone_change_nothing(kitchen):
    ids = fill(kitchen, [[str(n)] for n in range(100)])
    shift = check_in(kitchen)
    orders = kitchen.claim(shift, limit=100)
    kitchen.reset(Selector(ids=(ids[3], ids[70])), from_living=True)

    results = kitchen.finish(shift, [outcome(order) for order in orders])

    late = [order_id for order_id, result in zip(ids, results, strict=True) if result is FinishResult.LATE]
    assert late == [ids[3], ids[70]]
    assert [order.id for order in kitchen.find(Selector(statuses=(Status.READY,)))] == late
    assert kitchen.counts()[Status.DONE] == 98


def test_a_finish_whose_reply_was_lost_can_be_repeated(kitchen):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    ended = outcome(order, exit_code=0, result="42")

    assert kitchen.finish(shift, [ended]) == [FinishResult.ACCEPTED]
    assert kitchen.finish(shift, [ended]) == [FinishResult.KNOWN]

    stored = only(kitchen, order.id)
    assert [event.what for event in stored.history] == ["finish"]
    assert (stored.status, stored.exit_code, stored.result, stored.late) == (Status.DONE, 0, "42", ())
    assert (stored.start, stored.stop) == (ended.start, ended.stop)


def test_a_retry_whose_reply_was_lost_can_be_repeated_too(kitchen):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    ended = outcome(order, Status.READY, reason=Reason.EXIT, exit_code=1)
    kitchen.finish(shift, [ended])
    (again,) = kitchen.claim(shift, limit=1)

    assert kitchen.finish(shift, [ended]) == [FinishResult.KNOWN]
    assert only(kitchen, order.id).status is Status.RUNNING
    assert kitchen.finish(shift, [outcome(again)]) == [FinishResult.ACCEPTED]


def test_a_lost_waiters_order_is_delivered_by_another(kitchen, clock):
    fill(kitchen, [["x"]])
    lost = check_in(kitchen, "a")
    (order,) = kitchen.claim(lost, limit=1)

    reclaimed = let_it_die(kitchen, clock)

    assert (reclaimed.ready, reclaimed.shifts) == (1, ("a",))
    clock.advance(700)  # longer than any backoff after a loss
    (again,) = kitchen.claim(check_in(kitchen, "b"), limit=1)
    assert (again.id, again.attempt, again.losses) == (order.id, order.attempt + 1, 1)


def test_a_lost_shift_changes_nothing_any_more_and_its_outcome_is_kept_as_late(kitchen, clock):
    fill(kitchen, [["x"]])
    lost = check_in(kitchen, "a")
    (order,) = kitchen.claim(lost, limit=1)
    let_it_die(kitchen, clock)
    clock.advance(700)
    (again,) = kitchen.claim(check_in(kitchen, "b"), limit=1)

    late = outcome(order, Status.ERROR, reason=Reason.EXIT, exit_code=7)
    assert kitchen.finish(lost, [late]) == [FinishResult.LATE]
    assert kitchen.finish(lost, [late]) == [FinishResult.LATE]

    stored = only(kitchen, order.id)
    assert (stored.status, stored.waiter) == (Status.RUNNING, "b")
    assert [(event.waiter, event.exit_code) for event in stored.late] == [("a", 7)]
    assert again.attempt == 2
    with pytest.raises(ShiftLost):
        kitchen.claim(lost, limit=1)
    assert kitchen.heartbeat(lost, Vitals()).is_lost


def test_a_heartbeat_keeps_a_shift_and_its_orders(kitchen, clock):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    for _ in range(4):
        clock.advance(LEASE_S / 2)
        assert not kitchen.heartbeat(shift, Vitals(slots=4, busy=1, running=(order.id,))).is_lost
        assert not kitchen.reclaim()

    (seen,) = kitchen.shifts()
    assert (seen.token, seen.vitals.slots, seen.vitals.running) == (shift.token, 4, (order.id,))
    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.ACCEPTED]


def test_a_late_heartbeat_is_welcome_while_nobody_declared_the_shift_lost(kitchen, clock):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    clock.advance(LEASE_S * 3)

    assert not kitchen.heartbeat(shift, Vitals()).is_lost
    assert not kitchen.reclaim()
    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.ACCEPTED]


def test_a_release_charges_no_attempt(kitchen):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)

    assert kitchen.release(shift, [order]) == 1
    assert kitchen.release(shift, [order]) == 0

    (again,) = kitchen.claim(shift, limit=1)
    assert (again.attempt, again.losses, again.failures) == (1, 0, 0)


def test_a_release_that_arrives_late_leaves_the_next_claim_alone(kitchen, clock):
    """It was sent twice because its reply was lost; meanwhile the same shift runs the order, and the same attempt."""
    fill(kitchen, [["x"], ["y"]])
    shift = check_in(kitchen)
    first = kitchen.claim(shift, limit=2)
    assert kitchen.release(shift, first) == 2
    clock.advance(0.01)  # the kitchen's clock has moved on, by its smallest step at least
    again = kitchen.claim(shift, limit=2)

    assert kitchen.release(shift, first) == 0

    assert [order.attempt for order in again] == [1, 1]
    assert kitchen.finish(shift, [outcome(order) for order in again]) == [FinishResult.ACCEPTED] * 2


def test_checking_out_gives_everything_back(kitchen):
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)
    kitchen.claim(shift, limit=2)

    kitchen.check_out(shift)

    assert kitchen.counts()[Status.READY] == 2
    assert kitchen.shifts() == []
    assert [s.token for s in kitchen.shifts(include_left=True)] == [shift.token]
    assert [o.attempt for o in kitchen.claim(check_in(kitchen, "b"), limit=2)] == [1, 1]


def test_an_order_that_kills_its_waiters_ends_in_error_and_the_others_go_on(kitchen, clock):
    poison, innocent = fill(kitchen, [["poison"], ["innocent"]])
    for number in range(MAX_LOSSES):
        shift = check_in(kitchen, f"w{number}")
        (order,) = kitchen.claim(shift, limit=1, exclude=[innocent])
        assert order.id == poison
        let_it_die(kitchen, clock)
        clock.advance(700)

    stored = only(kitchen, poison)
    assert (stored.status, stored.reason, stored.losses) == (Status.ERROR, Reason.LOST, MAX_LOSSES)
    assert len([event for event in stored.history if event.what == "lost"]) == MAX_LOSSES
    assert [order.id for order in kitchen.claim(check_in(kitchen, "z"), limit=5)] == [innocent]


def test_an_order_that_was_lost_is_claimed_alone(kitchen, clock):
    fill(kitchen, [["was lost"], ["1"], ["2"]])
    shift = check_in(kitchen)
    kitchen.claim(shift, limit=1)
    let_it_die(kitchen, clock)
    clock.advance(700)
    shift = check_in(kitchen, "b")

    claims = [[order.arguments[0] for order in kitchen.claim(shift, limit=10)] for _ in range(2)]

    assert sorted(claims, key=len) == [["was lost"], ["1", "2"]]


def test_what_a_shift_holds_can_be_asked_after_a_claim_without_a_reply(kitchen):
    fill(kitchen, [["1"], ["2"], ["3"]])
    shift = check_in(kitchen)
    claimed = kitchen.claim(shift, limit=2)

    assert sorted(order.id for order in kitchen.held(shift)) == sorted(order.id for order in claimed)
    assert kitchen.held(check_in(kitchen, "b")) == []


def test_a_finish_of_an_order_that_is_gone_is_late(kitchen):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    kitchen.clean()

    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.LATE]


def test_a_lost_outcome_counts_a_loss_and_a_failed_one_a_failure(kitchen):
    fill(kitchen, [["lost"], ["failed"], ["interrupted"]])
    shift = check_in(kitchen)
    lost, failed, interrupted = kitchen.claim(shift, limit=3)
    kitchen.finish(
        shift,
        [
            outcome(lost, Status.READY, reason=Reason.LOST),
            outcome(failed, Status.ERROR, reason=Reason.EXIT),
            outcome(interrupted, Status.READY, reason=Reason.INTERRUPTED),
        ],
    )

    counted = {order.arguments[0]: (order.losses, order.failures) for order in kitchen.find(Selector())}
    assert counted == {"lost": (1, 0), "failed": (0, 1), "interrupted": (0, 0)}


def test_the_backlog_says_what_is_left(kitchen):
    assert kitchen.backlog().is_done
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)

    backlog = kitchen.backlog()

    assert (backlog.ready, backlog.running, backlog.is_empty, backlog.is_done) == (1, 1, False, False)
    assert not kitchen.is_only_running()
    kitchen.finish(shift, [outcome(order)])
    (other,) = kitchen.claim(shift, limit=1)
    assert (kitchen.backlog().is_empty, kitchen.backlog().is_done) == (True, False)
    assert kitchen.is_only_running()
    kitchen.finish(shift, [outcome(other, Status.READY, delay_s=600.0)])
    assert not kitchen.is_only_running(), "it comes again, later"


def test_when_nothing_is_left_nothing_runs(kitchen):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)

    kitchen.finish(shift, [outcome(order)])

    assert kitchen.backlog().is_done
    assert not kitchen.is_only_running()


def test_what_a_waiter_told_last_stays_with_its_shift(kitchen):
    told = Vitals(slots=4, delivered=7, failed=2)
    kitchen.check_out(check_in(kitchen, "a"), told)
    kitchen.check_out(check_in(kitchen, "b"))

    a, b = kitchen.shifts(include_left=True)
    assert (a.vitals, b.vitals) == (told, Vitals())


@pytest.mark.parametrize("end", ["failed", "lost"])
def test_what_waits_for_another_try_says_who_had_it_last(kitchen, clock, end):
    (order_id,) = fill(kitchen, [["x"]])
    shift = check_in(kitchen, "a")
    (order,) = kitchen.claim(shift, limit=1)
    if end == "lost":
        let_it_die(kitchen, clock)
    else:
        kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, exit_code=3)])

    waiting = only(kitchen, order_id)

    assert (waiting.status, waiting.shift) == (Status.READY, None)
    assert (waiting.waiter, waiting.host) == ("a", "host-of-a")
    assert waiting.start is not None
    assert waiting.stop >= waiting.start
    assert [found.id for found in kitchen.find(Selector(waiter="a", statuses=(Status.READY,)))] == [order_id]
    assert kitchen.throughput(3600).failed == 0


def test_what_is_given_back_was_never_in_anybodys_hands(kitchen):
    (order_id,) = fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    kitchen.release(shift, kitchen.claim(shift, limit=1))

    assert (only(kitchen, order_id).waiter, only(kitchen, order_id).start) == (None, None)


def test_a_kitchen_has_one_id_for_all_who_open_it_and_keeps_it(kitchen, open_again, tmp_path):
    other = open_again()

    assert other.id == kitchen.id
    assert len(kitchen.id) == 32
    kitchen.clean()
    assert open_again().id == kitchen.id
    with open_kitchen(str(tmp_path / "another.sqlite")) as another:
        assert another.id != kitchen.id


def test_a_kitchen_knows_the_shifts_that_checked_in_there(kitchen):
    here, left = check_in(kitchen), check_in(kitchen)
    kitchen.check_out(left)

    assert [kitchen.knows(token) for token in (here.token, left.token, "f" * 32)] == [True, True, False]
