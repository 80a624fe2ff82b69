"""How the work went over time: the same from both kitchens, exact for few orders and near the truth for many."""

from __future__ import annotations

import random

import pytest

from tests.conftest import check_in, fill, outcome
from tests.toy_kitchen import ToyKitchen
from waiter.errors import NoSuchBatch, UsageError
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.mongo import queries as mongo_queries
from waiter.kitchen.mongo import timeline as mongo_timeline
from waiter.kitchen.sqlite import queries as sqlite_queries
from waiter.kitchen.sqlite import timeline as sqlite_timeline
from waiter.kitchen.sqlite.rows import EVERYTHING
from waiter.kitchen.timeline import MOST_STEPS, duration_class, read_timeline
from waiter.orders import Reason, Selector, Status, Vitals

MINUTE = 60.0
BEGIN = 1_700_000_040.0  # a whole minute


def work(kitchen: Kitchen) -> None:
    """Ten minutes long: an order of 30 s begins each minute, every third fails; and others."""
    fill(kitchen, [[str(n)] for n in range(11)], batch="a")
    fill(kitchen, [[str(n)] for n in range(5)], batch="b")
    shift = check_in(kitchen)
    for at, order in enumerate(kitchen.claim(shift, limit=10)):
        start = BEGIN + at * MINUTE
        status = Status.ERROR if at % 3 == 2 else Status.DONE
        facts = {"start": start, "stop": start + 30, "peak_memory": 1_000_000 * (at + 1)}
        kitchen.finish(shift, [outcome(order, status, **facts)])
    last, again, running = kitchen.claim(shift, limit=3)
    kitchen.finish(shift, [outcome(last, start=BEGIN, stop=BEGIN + 120)])
    facts = {"start": BEGIN, "stop": BEGIN + 1, "reason": Reason.EXIT, "delay_s": 3600.0}
    kitchen.finish(shift, [outcome(again, Status.READY, **facts)])
    kitchen.release(shift, [running])
    kitchen.cancel(Selector(ids=("b-3", "b-4")))  # they stop, and never began


def numbers(line) -> list[tuple[int, int]]:
    return [(step.done, step.failed) for step in line.steps]


@pytest.fixture(params=["its own", "by default"])
def worked(request: pytest.FixtureRequest, kitchen: Kitchen, tmp_path) -> Kitchen:
    """Each of our kitchens, and one that answers from the list of its orders."""
    work(kitchen)
    if request.param == "its own":
        return kitchen
    return listed(kitchen, tmp_path)


def test_what_was_finished_is_told_step_by_step(worked):
    line = worked.timeline(step_s=MINUTE)

    assert (line.since, line.share, len(line.steps)) == (BEGIN, 1.0, 10)
    assert numbers(line) == [(1, 0), (1, 0), (1, 1), (1, 0), (1, 0), (0, 1), (1, 0), (1, 0), (0, 1), (1, 0)]
    assert (line.done, line.failed) == (8, 3)
    assert line.steps[2].mean_s == pytest.approx(75)
    assert line.steps[2].quantiles_s == pytest.approx((30, 120, 120))
    busy = [1.5 + 1 / 60, 1.5, *[0.5] * 8]
    assert [step.busy for step in line.steps] == pytest.approx(busy)
    assert line.durations == {duration_class(30): 10, duration_class(120): 1}
    assert line.peak_memory == 10_000_000
    assert sum(line.memory.values()) == 10

    assert numbers(worked.timeline(step_s=MINUTE, batch="a"))[:3] == numbers(line)[:3]
    assert worked.timeline(batch="b").done == 0
    assert line.finished == {"a": dict(enumerate(numbers(line)))}


@pytest.mark.parametrize("batch", [None, "b"])
def test_of_many_orders_a_few_are_looked_at_and_tell_of_all(kitchen, monkeypatch, batch):
    for source in (sqlite_timeline.Source, mongo_timeline.Source):
        monkeypatch.setattr(source, "most", 200)
    for queries in (sqlite_queries, mongo_queries):
        monkeypatch.setattr(queries, "MOST_COUNTED", 500)
    fill(kitchen, [[str(n)] for n in range(2000)])
    shift, rng, now = check_in(kitchen), random.Random(7), kitchen.now()
    while orders := kitchen.claim(shift, limit=64):
        stops = (now - rng.uniform(0, 1800) for _ in orders)
        ends = zip(orders, stops, (rng.expovariate(1 / 10) for _ in orders), strict=True)
        kitchen.finish(shift, [outcome(order, start=stop - took, stop=stop) for order, stop, took in ends])

    whole, half_hour = kitchen.timeline(batch=batch), kitchen.timeline(now - 1800, 300.0, batch)

    for line in (whole, half_hour):
        assert 1 / 20 < line.share < 1 / 5
        assert 1000 < line.done < 3000
        assert 6 < line.mean_s < 15
        assert 4 < sum(step.busy for step in line.steps) * line.step_s / 1800 < 22
    assert len(half_hour.steps) in (6, 7)
    rates = [kitchen.throughput(window_s) for window_s in (900, 1800)]
    assert [0.5 < seen.done / seen.window_s / (2000 / 1800) < 1.5 and 6 < seen.mean_s < 15 for seen in rates] == [1, 1]
    assert kitchen.throughput(1).done < 20, "of few orders the number is known"


def test_what_was_delivered_is_counted_although_many_more_are_to_be_tried_again(kitchen, monkeypatch):
    for source in (sqlite_timeline.Source, mongo_timeline.Source):
        monkeypatch.setattr(source, "most", 20)
    for queries in (sqlite_queries, mongo_queries):
        monkeypatch.setattr(queries, "MOST_COUNTED", 50)
    fill(kitchen, [[str(n)] for n in range(100)])
    shift, now = check_in(kitchen), kitchen.now()
    orders = kitchen.claim(shift, limit=100)
    ends = [(Status.READY if n % 14 else Status.DONE, now - 50 + n / 2) for n in range(len(orders))]
    kitchen.finish(
        shift,
        [
            outcome(order, status, start=stop - 1, stop=stop, delay_s=999.0 if status is Status.READY else 0.0)
            for order, (status, stop) in zip(orders, ends, strict=True)
        ],
    )

    assert kitchen.throughput(60.0).done == 8


def test_a_crowd_that_stopped_at_one_moment_is_not_looked_for_for_ever(kitchen, monkeypatch):
    for source in (sqlite_timeline.Source, mongo_timeline.Source):
        monkeypatch.setattr(source, "most", 10)
    fill(kitchen, [[str(n)] for n in range(100)])
    shift = check_in(kitchen)
    while orders := kitchen.claim(shift, limit=64):
        kitchen.finish(shift, [outcome(order, start=BEGIN, stop=BEGIN + 1) for order in orders])

    line = kitchen.timeline()

    assert (line.since, line.failed, len(line.steps)) == (BEGIN, 0, 2)
    assert line.share < 1


def test_an_index_alone_answers(kitchen, kitchen_url):
    work(kitchen)
    if kitchen_url.startswith("mongodb"):
        db = kitchen._to.db
        db.command("profile", 2)
        kitchen.timeline()
        db.command("profile", 0)
        asked = [*db["system.profile"].find({"command.aggregate": "orders"})]
        assert [one["docsExamined"] for one in asked] == [0, 0, 0]
        return
    said: list[tuple[str, object]] = []

    def read(sql: str, values: object = ()) -> list[object]:
        said.append((sql, values))
        return kitchen._read(sql, values)

    read_timeline(sqlite_timeline.Source(read, EVERYTHING, None), kitchen.now(), None, None)

    plans = [kitchen._read(f"EXPLAIN QUERY PLAN {sql}", values) for sql, values in said if "by_stop" in sql]
    assert len(plans) == 3
    assert all("USING COVERING INDEX by_stop" in step["detail"] for plan in plans for step in plan)


def test_what_makes_no_sense_is_refused(kitchen):
    work(kitchen)
    for words in ({"step_s": 0.0}, {"since": BEGIN, "step_s": 0.001}):
        with pytest.raises(UsageError):
            kitchen.timeline(**words)
    with pytest.raises(NoSuchBatch):
        kitchen.timeline(batch="none")


def listed(kitchen: Kitchen, tmp_path) -> Kitchen:
    """The same orders in a kitchen that answers from the list of its orders."""
    toy = ToyKitchen(f"toy://{tmp_path / 'toy'}", "", create=True)
    toy.orders = lambda: kitchen.find(Selector(), with_details=True)
    toy.batches, toy.now = kitchen.batches, kitchen.now
    return toy


@pytest.mark.parametrize("kind", ["its own", "by default"])
@pytest.mark.parametrize("batch", [None, "b"])
def test_what_was_finished_before_the_clock_was_set_back_stays_in_the_charts(kitchen, clock, tmp_path, kind, batch):
    fill(kitchen, [[str(n)] for n in range(6)])
    shift, before = check_in(kitchen), kitchen.now()
    *ended, _runs_on = kitchen.claim(shift, limit=4)
    kitchen.finish(
        shift, [outcome(o, start=before - 90 + 30 * n, stop=before - 60 + 30 * n) for n, o in enumerate(ended)]
    )
    clock.advance(-3 * 3600)
    kitchen.heartbeat(shift, Vitals())
    last, _begins_now = kitchen.claim(shift, limit=2)
    now = kitchen.now()
    kitchen.finish(shift, [outcome(last, start=now - 30, stop=now)])
    asked = kitchen if kind == "its own" else listed(kitchen, tmp_path)

    whole, minutes, hour, long_ago = (
        asked.timeline(since, step, batch)
        for since, step in ((None, None), (now - 3600, MINUTE), (now - 3600, None), (now - 86_400, 7200.0))
    )

    for line in (whole, minutes, hour, long_ago):
        assert line.done == 4
        assert before <= line.until <= before + MINUTE
        assert max(step.busy for step in line.steps) <= 3
    at = [number for number, step in enumerate(minutes.steps) if step.done]
    assert [now - 3600 + number * MINUTE for number in at][-1] == pytest.approx(before, abs=2 * MINUTE)
    assert len(at) in (3, 4)
    assert sum(step.busy for step in minutes.steps) * MINUTE == pytest.approx(120, abs=MINUTE)
    assert [asked.throughput(window_s).done for window_s in (60, 4 * 3600)] == [1, 4]
    assert asked.batch_progress(300)["b"].recent.done == 1


def test_a_clock_that_was_set_back_by_years_leaves_the_last_hour_what_it_has(kitchen, clock):
    work(kitchen)
    kitchen.finish(shift := check_in(kitchen), [outcome(order) for order in kitchen.claim(shift, limit=1)])
    clock.advance(BEGIN - 7 * 86_400 - kitchen.now())
    now = kitchen.now()
    kitchen.heartbeat(shift, Vitals())
    (order,) = kitchen.claim(shift, limit=1)
    kitchen.finish(shift, [outcome(order, start=now - 5, stop=now)])

    hour = kitchen.timeline(now - 3600, MINUTE)

    assert len(hour.steps) == MOST_STEPS
    assert [step.done for step in hour.steps if step.done] == [1]
    with pytest.raises(UsageError):
        kitchen.timeline(now - 3600, 0.1)


def test_many_that_are_ahead_of_the_clock_are_estimated_as_they_are_counted(kitchen, clock, monkeypatch):
    for source in (sqlite_timeline.Source, mongo_timeline.Source):
        monkeypatch.setattr(source, "most", 100)
    for queries in (sqlite_queries, mongo_queries):
        monkeypatch.setattr(queries, "MOST_COUNTED", 200)
    fill(kitchen, [[str(n)] for n in range(1000)])
    shift, rng, now = check_in(kitchen), random.Random(7), kitchen.now()
    while orders := kitchen.claim(shift, limit=64):
        stops = [now - rng.uniform(0, 1800) for _ in orders]
        kitchen.finish(shift, [outcome(o, start=stop - 1, stop=stop) for o, stop in zip(orders, stops, strict=True)])
    clock.advance(-900)

    assert 700 < kitchen.throughput(950).done < 1300
    assert 500 < kitchen.timeline(kitchen.now() - 3600, 300.0).done < 1500


def test_an_empty_kitchen_has_an_empty_timeline(kitchen):
    line = kitchen.timeline()

    assert (line.done, line.failed, line.mean_s, line.durations) == (0, 0, None, {})


def test_a_kitchen_of_before_gets_the_index_when_work_is_brought(kitchen, kitchen_url, open_again):
    work(kitchen)
    if kitchen_url.startswith("mongodb"):
        orders = kitchen._to.orders
        orders.drop_index("ended")
        orders.create_index("stop", name="stop", sparse=True)
        open_again()
        assert {"ended", "stop"} & set(orders.index_information()) == {"ended"}
    else:
        kitchen._db.execute("DROP INDEX by_stop")
        kitchen._db.execute("CREATE INDEX by_stop ON orders (stop) WHERE stop IS NOT NULL")
        assert kitchen.timeline().done == 8  # slower, and right
        open_again()
        assert (
            "peak_memory" in kitchen._db.execute("SELECT sql FROM sqlite_master WHERE name = 'by_stop'").fetchone()[0]
        )
    assert kitchen.timeline().done == 8


def test_orders_that_are_claimed_ahead_keep_no_slot_busy(kitchen, clock):
    fill(kitchen, [[str(n)] for n in range(4)])
    kitchen.claim(check_in(kitchen), limit=4)
    clock.advance(3 * MINUTE)

    def busy(not_begun: int) -> float:
        """Two minutes ago, when all four were RUNNING for all of that step."""
        return kitchen.timeline(kitchen.now() - 2 * MINUTE, MINUTE, not_begun=not_begun).steps[0].busy

    assert [busy(ahead) for ahead in (0, 3, 4, 9)] == pytest.approx([4, 1, 0, 0])
