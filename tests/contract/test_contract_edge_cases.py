"""What every kitchen promises to those who look, choose and change: ids, sorts, windows, pauses, news, batches."""

from __future__ import annotations

import dataclasses
import tracemalloc

import pytest

from tests.conftest import check_in, fill, outcome
from waiter.errors import UsageError
from waiter.kitchen.contract import CLAIM_LIMIT
from waiter.orders import FinishResult, Reason, Selector, Status, Vitals

ODD = b"w\xff\xfe".decode("utf-8", "surrogateescape")
"""A name that is no UTF-8, as a host may have it."""


def arguments(kitchen, selector=None, **how):
    return [order.arguments[0] for order in kitchen.find(selector or Selector(), **how)]


# Choosing


def test_an_id_means_one_order_and_only_as_it_is_written(kitchen):
    fill(kitchen, [["1"], ["2"]], batch="one")
    fill(kitchen, [["3"]], batch="two")

    near_misses = (
        "one-01",
        "one-+1",
        "one- 1",
        f"one-{(1 << 32) + 1}",
        f"one-{(1 << 40) + 1}",
        f"one-{1 << 70}",
        "one",
    )
    assert arguments(kitchen, Selector(ids=near_misses)) == []
    assert arguments(kitchen, Selector(ids=("two-1", "one-2"))) == ["2", "3"]


def test_a_batch_may_be_chosen_by_its_name(kitchen):
    fill(kitchen, [["1"]], batch="one")
    fill(kitchen, [["2"]], batch="two")
    (batch,) = [batch for batch in kitchen.batches() if batch.id == "two"]
    kitchen.open_batch(dataclasses.replace(batch, name="evening"))

    assert arguments(kitchen, Selector(batch="evening")) == arguments(kitchen, Selector(batch="two")) == ["2"]


def test_arguments_are_searched_for_bytes_that_are_no_utf8_too(kitchen):
    fill(kitchen, [[ODD], ["w"], ["(w.*"], ["W"]])

    assert arguments(kitchen, Selector(match=ODD[1:])) == [ODD]
    assert arguments(kitchen, Selector(match="(w.*")) == ["(w.*"]
    assert arguments(kitchen, Selector(match="w")) == [ODD, "w", "(w.*"]


def test_an_order_that_runs_longer_than_said_is_found_while_it_runs(kitchen, clock):
    fill(kitchen, [["long"], ["short"], ["waits"]])
    shift = check_in(kitchen)
    kitchen.claim(shift, limit=1)
    clock.advance(50)
    kitchen.claim(shift, limit=1)

    assert arguments(kitchen, Selector(longer_than_s=40)) == ["long"]


def test_every_field_of_a_selector_must_hold(kitchen):
    fill(kitchen, [["1"], ["2"], ["3"]])
    shift = check_in(kitchen, "a")
    kitchen.claim(shift, limit=2)

    chosen = Selector(statuses=(Status.RUNNING,), waiter="a", match="2")
    assert arguments(kitchen, chosen) == ["2"]
    assert kitchen.counts(chosen).total == 1
    assert kitchen.clean(chosen) == 1
    assert arguments(kitchen) == ["1", "3"]


# Finding


def test_what_runs_is_sorted_by_how_long_it_has_been_running(kitchen, clock):
    fill(kitchen, [["done"], ["runs"]])
    shift = check_in(kitchen)
    (done,) = kitchen.claim(shift, limit=1)
    kitchen.finish(shift, [outcome(done)])
    kitchen.claim(shift, limit=1)
    clock.advance(20)

    assert arguments(kitchen, sort="-duration") == ["runs", "done"]
    assert arguments(kitchen, sort="duration") == ["done", "runs"]


def test_orders_can_be_sorted_by_their_start(kitchen, clock):
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)
    (first,) = kitchen.claim(shift, limit=1)
    clock.advance(5)
    kitchen.claim(shift, limit=1)
    kitchen.release(shift, [first])
    clock.advance(5)
    kitchen.claim(shift, limit=1)

    assert arguments(kitchen, sort="start") == ["2", "1"]
    assert arguments(kitchen, sort="-start", limit=1) == ["1"]


@pytest.mark.parametrize("sort", ["colour", "", "--age"])
def test_an_unknown_sort_is_refused(kitchen, sort):
    with pytest.raises(UsageError):
        list(kitchen.find(Selector(), sort=sort))


def test_orders_are_streamed_in_flat_memory(kitchen):
    count, width = 4000, 2000
    fill(kitchen, [[f"{n:0{width}}"] for n in range(count)])
    tracemalloc.start()
    try:
        found = sum(1 for _ in kitchen.find(Selector()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == count
    assert peak < count * width, "it holds less than the arguments alone"


def test_who_stops_reading_leaves_nothing_behind(kitchen):
    fill(kitchen, [[str(n)] for n in range(3000)])
    reading = kitchen.find(Selector())
    next(reading)
    reading.close()

    assert kitchen.clean() == 3000


# Counting


def test_throughput_counts_what_ended_well_or_badly_within_its_window(kitchen, clock):
    fill(kitchen, [["old"], ["done"], ["bad"], ["cancelled"], ["again"]])
    shift = check_in(kitchen)
    old, done, bad, cancelled, again = kitchen.claim(shift, limit=5)
    kitchen.finish(shift, [outcome(old)])
    clock.advance(100)
    now = kitchen.now()
    recent = {"start": now - 4, "stop": now}
    kitchen.finish(
        shift,
        [
            outcome(done, **recent),
            outcome(bad, Status.ERROR, reason=Reason.EXIT, start=now - 2, stop=now),
            outcome(cancelled, Status.CANCELLED, reason=Reason.CANCELLED, **recent),
            outcome(again, Status.READY, reason=Reason.EXIT, **recent),
        ],
    )

    seen = kitchen.throughput(50)

    assert (seen.window_s, seen.done, seen.failed, seen.mean_s) == (50, 1, 1, pytest.approx(3.0))
    assert kitchen.throughput(1000).done == 2
    took = kitchen.durations(now - 50, [1.5, 2.5, 3.5])
    assert (took.counts, took.failed, took.total_s) == ((0, 1, 0, 1), 1, pytest.approx(6.0))
    assert kitchen.durations(now - 1000, [1.5]).counts == (1, 2)


def test_an_idle_kitchen_has_no_throughput_no_failures_and_no_versions(kitchen):
    seen = kitchen.throughput(60)

    assert (seen.done, seen.failed, seen.mean_s) == (0, 0, None)
    assert (kitchen.failure_groups(), kitchen.commands(), kitchen.counts().total) == ([], {}, 0)


def test_failure_groups_come_largest_first_and_of_the_chosen_orders(kitchen):
    fill(kitchen, [["1"], ["2"], ["3"]])
    shift = check_in(kitchen)
    orders = kitchen.claim(shift, limit=3)
    groups = ["aaaa0000", "bbbb0000", "bbbb0000"]
    kitchen.finish(
        shift,
        [
            outcome(
                order, Status.ERROR, reason=Reason.SIGNAL, signal=9, error=f"e{n}", error_group=group, stop=1000.0 + n
            )
            for n, (order, group) in enumerate(zip(orders, groups, strict=True))
        ],
    )

    large, small = kitchen.failure_groups()

    assert (large.group, large.count, small.group, small.count) == ("bbbb0000", 2, "aaaa0000", 1)
    assert (large.first, large.last, large.example, large.message) == (1001.0, 1002.0, orders[2].id, "e2")
    assert (large.signal, large.exit_code, large.reason) == (9, None, Reason.SIGNAL)
    assert [group.group for group in kitchen.failure_groups(Selector(ids=(orders[0].id,)))] == ["aaaa0000"]


def test_the_backlog_counts_no_further_than_a_claim_takes(kitchen):
    fill(kitchen, [[str(n)] for n in range(3 * CLAIM_LIMIT)])
    shift = check_in(kitchen)
    for _ in range(2):
        kitchen.claim(shift, limit=CLAIM_LIMIT)

    seen = kitchen.backlog()

    assert (seen.ready, seen.running, seen.next_due_s) == (CLAIM_LIMIT, CLAIM_LIMIT, None)


# Changing


def test_only_orders_whose_priority_changes_are_counted(kitchen):
    fill(kitchen, [["1"], ["2"], ["3"]])
    kitchen.claim(check_in(kitchen), limit=1)

    assert kitchen.set_priority(Selector(), 5) == 2
    assert kitchen.set_priority(Selector(), 5) == 0


def test_a_reset_counts_what_it_changed(kitchen):
    fill(kitchen, [["ready"], ["done"], ["cancelled"]])
    kitchen.cancel(Selector(match="cancelled"))
    shift = check_in(kitchen)
    ready = kitchen.claim(shift, limit=1)
    (done,) = kitchen.claim(shift, limit=1)
    kitchen.finish(shift, [outcome(done)])
    kitchen.release(shift, ready)

    assert kitchen.reset(Selector()) == 2

    assert kitchen.counts()[Status.READY] == 3


def test_every_change_that_waiters_should_hear_of_is_news(kitchen, open_again):
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen, "a")
    (order,) = kitchen.claim(shift, limit=1)
    kitchen.finish(shift, [outcome(order, Status.ERROR)])
    other, heard = open_again(), []

    for change in (
        lambda: kitchen.reset(Selector()),
        lambda: kitchen.cancel(Selector()),
        lambda: kitchen.pause("a"),
        lambda: kitchen.resume("a"),
        kitchen.pause,
        kitchen.resume,
        lambda: kitchen.add("b", [(7, ["7"], None)]),
    ):
        before = other.change_token()
        change()
        heard.append(other.change_token() != before)

    assert heard == [True] * 7


def test_cleaning_some_orders_leaves_a_batch_that_is_being_loaded(kitchen):
    fill(kitchen, [["old"]], batch="old")
    (old,) = kitchen.batches()
    kitchen.open_batch(dataclasses.replace(old, id="new", digest="new", is_complete=False))

    assert kitchen.clean(Selector(batch="old")) == 1

    assert kitchen.add("new", [(1, ["1"], None)]) == 1
    assert [batch.id for batch in kitchen.batches()] == ["new"]


def test_cleaning_everything_keeps_those_who_are_at_work(kitchen):
    shift = check_in(kitchen, "a")
    kitchen.check_out(check_in(kitchen, "b"))

    kitchen.clean()

    assert [one.waiter for one in kitchen.shifts(include_left=True)] == ["a"]
    assert not kitchen.heartbeat(shift, Vitals()).is_lost


def test_removing_a_batch_takes_running_orders_from_their_waiters(kitchen):
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)

    assert kitchen.remove_batch("b") == 2

    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.LATE]
    assert (kitchen.held(shift), kitchen.backlog().is_done) == ([], True)
    for forgotten in (lambda: kitchen.remove_batch("b"), lambda: kitchen.add("b", [(1, ["1"], None)])):
        with pytest.raises(UsageError, match="no such batch: b"):
            forgotten()


def test_a_batch_is_set_anew_and_keeps_its_place(kitchen):
    fill(kitchen, [["1"]], batch="one")
    fill(kitchen, [["2"]], batch="two")
    first, _ = kitchen.batches()

    grown = dataclasses.replace(first, name="one more", rows=5, orders=5, is_complete=False)
    kitchen.open_batch(grown)

    assert [batch.id for batch in kitchen.batches()] == ["one", "two"]
    assert kitchen.batches()[0] == grown


# Pausing and draining


def test_everybody_can_be_resumed_whoever_was_paused(kitchen):
    fill(kitchen, [["1"]])
    a, b = check_in(kitchen, "a"), check_in(kitchen, "b")
    kitchen.pause("a", "too hot")

    assert kitchen.resume("b") == 0
    assert kitchen.resume() == 1

    assert not kitchen.heartbeat(a, Vitals()).is_paused
    assert not kitchen.heartbeat(b, Vitals()).is_paused


def test_a_pause_leaves_what_runs_with_its_waiter(kitchen):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    kitchen.pause(reason="lunch")

    assert check_in(kitchen, "late").pause_reason == "lunch"
    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.ACCEPTED]


def test_a_waiter_with_an_odd_name_can_be_steered_by_it(kitchen):
    fill(kitchen, [["1"]])
    shift = kitchen.check_in(ODD, ODD, 1)

    assert (kitchen.pause(ODD), kitchen.resume(ODD), kitchen.drain(ODD)) == (1, 1, 1)
    assert kitchen.heartbeat(shift, Vitals(command=ODD)).is_draining


def test_who_went_home_is_neither_paused_nor_drained(kitchen):
    kitchen.check_out(check_in(kitchen, "a"))

    assert (kitchen.pause("a"), kitchen.drain("a")) == (0, 0)


# Storing


def test_an_order_may_have_no_argument_many_or_a_large_one(kitchen):
    rows = [[], [str(n) for n in range(1000)], ["x" * (1 << 20)]]
    kept = {"b-1": (), "b-2": tuple(rows[1]), "b-3": tuple(rows[2])}
    fill(kitchen, rows)

    assert {order.id: order.arguments for order in kitchen.claim(check_in(kitchen), limit=3)} == kept


def test_names_that_are_no_utf8_come_back_too(kitchen):
    fill(kitchen, [])
    kitchen.add("b", [(1, ["7"], [ODD])])

    (order,) = kitchen.find(Selector())

    assert order.named == {ODD: "7"}
