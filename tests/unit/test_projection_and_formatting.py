"""What is reckoned from what was seen: ends, costs, shares, and words that upset no terminal."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from waiter.orders import Counts, FailureGroup, Reason, Shift, Status, Throughput, Vitals
from waiter.report.capacity import Capacity, measure_capacity
from waiter.report.dashboard import Seen
from waiter.report.eta import clip_to_busy, eta, rate
from waiter.report.failures import how, only_host
from waiter.report.formatting import escape_control, last_lines, per_second, size
from waiter.report.projection import Sample, cost, projected
from waiter.report.waiting import WaitingBatch


def a_sample(times, failed=0):
    return Sample(tuple(sorted(times)), failed, None)


def delivered_in(times, slots):
    """When the last of these orders is done, each slot taking the next one."""
    ends = [0.0] * slots
    for seconds in times:
        slot = ends.index(min(ends))
        ends[slot] += seconds
    return max(ends)


@pytest.mark.parametrize("draw", [lambda rng: rng.uniform(1, 3), lambda rng: rng.expovariate(1)])
def test_the_end_is_inside_the_projected_range_nearly_nine_times_out_of_ten(draw):
    rng, inside = Random(7), 0
    for _ in range(200):
        end = projected(a_sample([draw(rng) for _ in range(20)]), 400, 8)
        inside += end.soonest_s <= delivered_in([draw(rng) for _ in range(400)], 8) <= end.latest_s
    assert 0.82 <= inside / 200 <= 0.97


def test_even_orders_leave_no_doubt():
    end = projected(a_sample([2.0] * 20), 100, 10)
    assert (end.soonest_s, end.latest_s) == (20.0, 20.0)


def test_nothing_left_has_no_end_to_project():
    assert projected(a_sample([1.0]), 0, 4) is None


def test_more_slots_than_orders_take_as_long_as_one_order():
    end = projected(a_sample([2.0] * 5), 3, 320)
    assert (end.soonest_s, end.latest_s) == (2.0, 2.0)


def test_cost_is_hosts_by_hours_by_price():
    end = projected(a_sample([3600.0] * 5), 80, 40)
    assert cost(end, hosts=10, price=0.5) == pytest.approx((10.0, 10.0))


def test_quantiles_are_times_that_were_measured():
    sample = a_sample(range(1, 21))
    assert (sample.quantile(0.5), sample.quantile(0.95), sample.quantile(1.0)) == (10, 19, 20)


def test_no_failure_in_a_few_is_no_promise_for_all():
    low, high = a_sample([1.0] * 20).failure_interval()
    assert low == 0
    assert 0.05 < high < 0.2
    assert a_sample([1.0] * 20, failed=20).failure_interval()[1] == 1


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ((Reason.EXIT, 3, None), "exit 3"),
        ((Reason.SIGNAL, None, 9), "SIGKILL"),
        ((Reason.TIMEOUT, None, 15), "timeout"),
        ((Reason.LOST, None, None), "lost"),
        ((None, None, None), ""),
    ],
)
def test_how_a_failure_ended_is_said_in_a_word(facts, words):
    assert how(*facts) == words


def a_group(count, *hosts):
    return FailureGroup("g", count, "boom", 1, None, Reason.EXIT, hosts, 1.0, 2.0, "b-1")


def test_a_host_is_blamed_only_when_others_deliver_and_more_than_one_order_failed():
    assert only_host(a_group(37, "a"), {"a", "b"}) == "a"
    assert only_host(a_group(1, "a"), {"a", "b"}) is None
    assert only_host(a_group(37, "a"), {"a"}) is None
    assert only_host(a_group(37, "a", "b"), {"a", "b"}) is None
    assert only_host(a_group(37), {"a", "b"}) is None


def test_nothing_that_a_terminal_obeys_is_shown():
    assert escape_control("a\x1b[2J\x07b\x9b") == "a\\x1b[2J\\x07b\\x9b"
    assert escape_control(b"\xff".decode("utf-8", "surrogateescape")) == "\\xff"
    assert escape_control("two\nlines\té ✓") == "two\nlines\té ✓"


def test_last_lines_are_those_that_say_something():
    assert last_lines("one\ntwo\n\n  \nthree\n\n", 2) == ["two", "three"]
    assert last_lines("one", 0) == last_lines(None, 3) == []


def test_sizes_and_rates_are_short():
    assert [size(n) for n in (None, 512, 1536, 3 << 30)] == ["", "512 B", "1.5 KiB", "3 GiB"]
    assert [per_second(r) for r in (0, 0.001, 0.05, 2.5, 1240)] == ["0/s", "3.6/h", "3/min", "2.5/s", "1,240/s"]


def a_shift(since, **facts):
    return Shift("t", "a", "h", 1, since, lease_until=1e9, **{"heartbeat_at": 1000, **facts})


@pytest.mark.parametrize(
    ("shifts", "worked"),
    [
        ([], 60),  # nobody: the whole window
        ([a_shift(0)], 60),
        ([a_shift(990)], 10),
        ([a_shift(1000)], 1),
        ([a_shift(990), a_shift(970, left_at=980)], 20),
        ([a_shift(990), a_shift(980), a_shift(970, left_at=985)], 30),
        ([a_shift(990), a_shift(0, left_at=900)], 10),
        ([a_shift(990), a_shift(0, lost_at=900)], 10),
    ],
)
def test_a_rate_is_that_of_the_time_that_somebody_was_at_work(shifts, worked):
    seen = clip_to_busy(Throughput(60, 60, 0, 1.0), measure_capacity(shifts, 1000, 60))
    assert (seen.window_s, rate(seen)) == (worked, 60 / worked)


def test_the_end_is_a_range_that_narrows_with_what_was_seen():
    counts = Counts({Status.READY: 90, Status.RUNNING: 10, Status.DONE: 400})
    few, many = Capacity(60, 60, 1, 1), Capacity(60, 900, 15, 1)
    little, much = eta(counts, Throughput(60, 9, 0, 6.6), few), eta(counts, Throughput(60, 800, 100, 0.99), many)
    assert little.soonest_s < 100 / (9 / 60) < little.latest_s
    assert much.soonest_s < 100 / 15 < much.latest_s
    assert much.latest_s / much.soonest_s < 1.2 < little.latest_s / little.soonest_s
    assert eta(counts, Throughput(60, 2, 0, 1.0), few) is None


def ends(shifts, *, left=6000, finished=600, mean_s=1.0, **more):
    """When it ends, after a minute in which so many orders were finished."""
    counts = Counts({Status.READY: left})
    return eta(counts, Throughput(60, finished, 0, mean_s), measure_capacity(shifts, 1000, 60), **more)


TEN_SLOTS = Vitals(slots=10)


def test_the_end_is_reckoned_for_todays_fleet_not_for_that_of_a_minute_ago():
    one = a_shift(0, vitals=TEN_SLOTS)
    others = [a_shift(1000, vitals=TEN_SLOTS) for _ in range(3)]
    alone, together = ends([one]), ends([one, *others])
    assert together.latest_s == pytest.approx(alone.latest_s / 4)
    left = ends([one, a_shift(0, left_at=1000, vitals=TEN_SLOTS)], finished=1200)
    assert left.latest_s == pytest.approx(alone.latest_s, rel=0.05)


@pytest.mark.parametrize(
    "facts", [{"is_paused": True}, {"is_draining": True}, {"lost_at": 1000.0}, {"left_at": 1000.0}]
)
def test_who_takes_no_orders_brings_no_end_nearer(facts):
    assert ends([a_shift(0, vitals=TEN_SLOTS, **facts)]) is None
    both = ends([a_shift(0, vitals=TEN_SLOTS, **facts), a_shift(990, vitals=TEN_SLOTS)])
    assert both.latest_s > 500


def test_the_end_comes_nearer_with_more_hosts_down_to_the_time_of_one_order():
    hosts = [a_shift(0, vitals=TEN_SLOTS), replace(a_shift(0, vitals=TEN_SLOTS), host="h2")]
    now, doubled, endless = (ends(hosts, finished=1200, more_hosts=more) for more in (0, 2, 10**6))
    assert doubled.latest_s == pytest.approx(now.latest_s / 2)
    assert endless.soonest_s == pytest.approx(1.0, rel=0.1)


def test_a_fleet_that_had_nothing_to_do_until_now_is_not_taken_for_a_slow_one():
    end = ends([a_shift(0, vitals=TEN_SLOTS)], finished=100)  # ten seconds' work in a minute
    assert end.soonest_s < 6000 / 10 * 1.02 < end.latest_s


def test_the_last_orders_take_the_time_of_an_order_and_a_slow_one_as_long_again():
    shifts = [a_shift(0, vitals=TEN_SLOTS)]
    assert ends(shifts, left=2).soonest_s == pytest.approx(1.0, rel=0.1)
    assert ends(shifts, left=2, oldest_s=300).latest_s == 300


def test_no_end_is_told_where_all_that_is_left_waits_for_what_failed():
    counts, lately = Counts({Status.DONE: 97, Status.ERROR: 3, Status.READY: 5}), Throughput(60.0, 97, 3, 1.0)
    seen = Seen("k", 0.0, counts, lately, lately, Capacity(60.0, 240.0, 4, 1), (), (), (), ())
    stuck = WaitingBatch("b", None, 5, "waits for batch a: 3 ERROR")

    assert seen.eta
    assert replace(seen, waiting=[stuck]).eta is None
    assert replace(seen, waiting=[replace(stuck, orders=4)]).eta
