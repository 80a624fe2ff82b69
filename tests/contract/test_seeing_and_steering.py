"""What people are promised by every kitchen: loading, selecting, counting, resetting, cancelling, pausing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import check_in, fill, let_leases_run_out, outcome
from waiter.errors import UsageError
from waiter.kitchen.mongo import batches
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Batch, FinishResult, Reason, Selector, Status, Vitals


def by_argument(kitchen, **selected):
    return {order.arguments[0]: order for order in kitchen.find(Selector(**selected), with_details=True)}


def test_rows_that_are_orders_already_are_left_alone(kitchen):
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    kitchen.finish(shift, [outcome(order)])

    assert kitchen.add("b", [(1, ["1"], None), (2, ["2"], None), (3, ["3"], None)]) == 1

    assert {argument: order.status for argument, order in by_argument(kitchen).items()} == {
        "1": Status.DONE,
        "2": Status.READY,
        "3": Status.READY,
    }


def test_bytes_that_are_no_utf8_come_back_as_they_were(kitchen):
    arguments = ("plain", "caf\u00e9 \U0001f600", b"\xff\xfe/\x80".decode("utf-8", "surrogateescape"), "", "-n", "a\nb")
    fill(kitchen, [arguments])

    (found,) = kitchen.find(Selector())
    (claimed,) = kitchen.claim(check_in(kitchen), limit=1)

    assert found.arguments == claimed.arguments == arguments


def test_names_stay_with_their_arguments(kitchen):
    fill(kitchen, [])
    kitchen.add("b", [(2, ["7", "x"], ["size", "name"])])

    (order,) = kitchen.claim(check_in(kitchen), limit=1)

    assert (order.named, order.row, order.batch) == ({"size": "7", "name": "x"}, 2, "b")


def test_removing_a_batch_takes_its_orders_along(kitchen):
    fill(kitchen, [["1"], ["2"]], batch="one")
    fill(kitchen, [["3"]], batch="two")

    assert kitchen.remove_batch("one") == 2

    assert [batch.id for batch in kitchen.batches()] == ["two"]
    assert list(by_argument(kitchen)) == ["3"]


def test_an_unknown_batch_is_named(kitchen):
    fill(kitchen, [["1"]])
    with pytest.raises(UsageError, match="nowhere"):
        kitchen.counts(Selector(batch="nowhere"))


def deliver_four(kitchen):
    """One DONE, two in ERROR (on two hosts), one RUNNING, one READY."""
    fill(kitchen, [["done"], ["bad one"], ["bad two"], ["runs"], ["waits"]])
    a, b = check_in(kitchen, "a"), check_in(kitchen, "b")
    done, bad = kitchen.claim(a, limit=2)
    (worse,) = kitchen.claim(b, limit=1)
    failure = {"reason": Reason.EXIT, "exit_code": 3, "error": "no such tile", "error_group": "0123abcd"}
    kitchen.finish(a, [outcome(done, command="c1"), outcome(bad, Status.ERROR, command="c1", tail="boom", **failure)])
    kitchen.finish(b, [outcome(worse, Status.ERROR, command="c2", **failure)])
    (running,) = kitchen.claim(a, limit=1)
    return a, b, running


def test_selectors_pick_what_they_say(kitchen):
    deliver_four(kitchen)
    (done,) = kitchen.find(Selector(statuses=(Status.DONE,)))

    def chosen(**selected):
        return sorted(by_argument(kitchen, **selected))

    assert chosen(ids=(done.id,)) == ["done"]
    assert chosen(statuses=(Status.ERROR, Status.READY)) == ["bad one", "bad two", "waits"]
    assert chosen(batch="b") == ["bad one", "bad two", "done", "runs", "waits"]
    assert chosen(waiter="a") == ["bad one", "done", "runs"]
    assert chosen(host="host-of-b") == ["bad two"]
    assert chosen(match="bad") == ["bad one", "bad two"]
    assert chosen(error_group="0123abcd") == ["bad one", "bad two"]
    assert chosen(except_command="c1") == ["bad two"]
    assert chosen(since=kitchen.now() + 100) == []
    assert chosen(since=kitchen.now() - 100) == ["bad one", "bad two", "done", "runs"]
    assert chosen(longer_than_s=0.5, statuses=(Status.DONE,)) == ["done"]
    assert chosen(longer_than_s=2, statuses=(Status.DONE,)) == []
    assert chosen(ids=("b-99", "nonsense")) == []


def test_counts_are_those_of_the_selected_orders(kitchen):
    deliver_four(kitchen)

    counts = kitchen.counts()

    assert {status: counts[status] for status in Status} == {
        Status.READY: 1,
        Status.RUNNING: 1,
        Status.DONE: 1,
        Status.ERROR: 2,
        Status.CANCELLED: 0,
    }
    assert (counts.total, counts.finished) == (5, 3)
    assert kitchen.counts(Selector(waiter="b")).total == 1


def test_orders_are_found_in_the_order_that_was_asked_for(kitchen):
    fill(kitchen, [[str(n)] for n in range(4)])
    shift = check_in(kitchen)
    for stop in (30, 10, 20, 40):
        (order,) = kitchen.claim(shift, limit=1)
        kitchen.finish(shift, [outcome(order, start=1000.0, stop=1000.0 + stop)])

    def sorted_by(sort, limit=None):
        return [order.arguments[0] for order in kitchen.find(Selector(), sort=sort, limit=limit)]

    assert sorted_by("age") == ["0", "1", "2", "3"]
    assert sorted_by("-age", limit=2) == ["3", "2"]
    assert sorted_by("stop") == sorted_by("duration") == ["1", "2", "0", "3"]
    assert sorted_by("-duration") == ["3", "0", "2", "1"]


def test_one_may_change_orders_while_reading_them(kitchen):
    fill(kitchen, [[str(n)] for n in range(300)])
    seen = 0
    for order in kitchen.find(Selector()):
        seen += 1
        if order.row % 100 == 0:
            kitchen.cancel(Selector(ids=(order.id,)))

    assert seen == 300
    assert kitchen.counts()[Status.CANCELLED] == 3


def test_failures_are_grouped_with_their_hosts_and_an_example(kitchen):
    deliver_four(kitchen)

    (group,) = kitchen.failure_groups()

    assert (group.group, group.count, group.message, group.exit_code) == ("0123abcd", 2, "no such tile", 3)
    assert (group.hosts, group.reason) == (("host-of-a", "host-of-b"), Reason.EXIT)
    assert group.example in {order.id for order in kitchen.find(Selector(statuses=(Status.ERROR,)))}
    assert group.first <= group.last


def test_throughput_and_versions_are_the_kitchens_own(kitchen):
    deliver_four(kitchen)

    recent = kitchen.throughput(60)

    assert (recent.done, recent.failed, recent.mean_s) == (1, 2, pytest.approx(1.0))
    assert list(kitchen.commands().items()) == [("c1", 2), ("c2", 1)]
    assert sum(kitchen.commands(Selector(statuses=(Status.DONE,))).values()) == 1


def test_a_reset_makes_orders_ready_and_keeps_their_past(kitchen):
    deliver_four(kitchen)

    assert kitchen.reset(Selector(statuses=(Status.ERROR,))) == 2

    bad = by_argument(kitchen)["bad one"]
    assert (bad.status, bad.failures, bad.error, bad.exit_code, bad.tail) == (Status.READY, 0, None, None, None)
    assert [event.what for event in bad.history] == ["finish", "reset"]
    again = next(order for order in kitchen.claim(check_in(kitchen, "c"), limit=9) if order.id == bad.id)
    assert again.attempt == 2


def test_a_reset_leaves_a_living_waiters_order_alone_unless_it_is_told_otherwise(kitchen):
    shift, _, running = deliver_four(kitchen)

    assert kitchen.reset(Selector(statuses=(Status.RUNNING,))) == 0
    assert kitchen.reset(Selector(statuses=(Status.RUNNING,)), from_living=True) == 1

    assert kitchen.finish(shift, [outcome(running)]) == [FinishResult.LATE]
    assert by_argument(kitchen)["runs"].status is Status.READY


def test_a_reset_takes_the_orders_of_the_dead(kitchen, clock):
    deliver_four(kitchen)
    let_leases_run_out(kitchen, clock)

    assert kitchen.reset(Selector(statuses=(Status.RUNNING,))) == 1


def test_a_cancelled_order_is_never_claimed(kitchen):
    fill(kitchen, [["1"], ["2"]])

    assert kitchen.cancel(Selector(match="1")) == 1

    assert [order.arguments for order in kitchen.claim(check_in(kitchen), limit=5)] == [("2",)]
    assert by_argument(kitchen)["1"].status is Status.CANCELLED


def test_a_running_order_is_cancelled_by_its_waiter(kitchen):
    shift, _, running = deliver_four(kitchen)
    before = kitchen.change_token()

    assert kitchen.cancel(Selector(ids=(running.id,))) == 1

    assert kitchen.change_token() != before
    assert kitchen.heartbeat(shift, Vitals()).cancelled == (running.id,)
    cancelled = outcome(running, Status.CANCELLED, reason=Reason.CANCELLED)
    assert kitchen.finish(shift, [cancelled]) == [FinishResult.ACCEPTED]
    assert by_argument(kitchen)["runs"].status is Status.CANCELLED


def test_a_dead_waiters_cancelled_order_is_not_offered_again(kitchen, clock):
    _, _, running = deliver_four(kitchen)
    kitchen.cancel(Selector(ids=(running.id,)))
    let_leases_run_out(kitchen, clock)

    kitchen.reclaim()

    assert by_argument(kitchen)["runs"].status is Status.CANCELLED


def test_a_paused_waiter_gets_nothing_until_it_is_resumed(kitchen):
    fill(kitchen, [["1"], ["2"]])
    a, b = check_in(kitchen, "a"), check_in(kitchen, "b")

    assert kitchen.pause("a", "too hot") == 1

    assert kitchen.heartbeat(a, Vitals()).is_paused
    assert kitchen.claim(a, limit=1) == []
    assert len(kitchen.claim(b, limit=1)) == 1
    assert {s.waiter: (s.is_paused, s.pause_reason) for s in kitchen.shifts()} == {
        "a": (True, "too hot"),
        "b": (False, None),
    }
    assert kitchen.resume("a") == 1
    assert len(kitchen.claim(a, limit=1)) == 1


def test_a_pause_for_all_holds_for_those_to_come(kitchen):
    fill(kitchen, [["1"]])
    kitchen.pause()
    shift = check_in(kitchen)

    assert kitchen.claim(shift, limit=1) == []
    kitchen.resume()
    kitchen.heartbeat(shift, Vitals())
    assert len(kitchen.claim(shift, limit=1)) == 1


def test_a_draining_waiter_hears_of_it_and_gets_nothing(kitchen):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen, "a")

    assert kitchen.drain("a") == 1
    assert kitchen.drain("nobody") == 0

    assert kitchen.heartbeat(shift, Vitals()).is_draining
    assert kitchen.claim(shift, limit=1) == []


def test_a_priority_can_be_changed_while_the_order_waits(kitchen):
    fill(kitchen, [["1"], ["2"]])

    assert kitchen.set_priority(Selector(match="2"), 9) == 1

    assert [order.arguments[0] for order in kitchen.claim(check_in(kitchen), limit=2)] == ["2", "1"]


def test_news_change_when_somebody_loads_and_not_by_themselves(kitchen, open_again):
    other = open_again()
    before = other.change_token()
    assert other.change_token() == before

    fill(kitchen, [["1"]])

    assert other.change_token() != before


def test_cleaning_takes_the_selected_orders_or_everything(kitchen):
    deliver_four(kitchen)

    assert kitchen.clean(Selector(statuses=(Status.ERROR,))) == 2
    assert kitchen.counts().total == 3
    assert kitchen.clean() == 3
    assert (kitchen.counts().total, kitchen.batches()) == (0, [])


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_a_change_of_many_orders_tells_how_far_it_is(kitchen, monkeypatch):
    """On MongoDB, where millions take minutes."""
    monkeypatch.setattr(batches, "_STEP", 2)
    fill(kitchen, [[str(n)] for n in range(5)])
    done: list[list[int]] = [[] for _ in range(4)]
    by_priority, by_cancel, by_reset, by_clean = (each.append for each in done)

    kitchen.set_priority(Selector(), 3, told=by_priority)
    kitchen.cancel(Selector(), told=by_cancel)
    kitchen.reset(Selector(), told=by_reset)
    kitchen.clean(told=by_clean)

    assert done == [[2, 2, 1]] * 3 + [[5]]  # a clean deletes whole pieces


def test_the_end_of_the_output_and_the_result_are_kept(kitchen):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    facts = {"tail": "last words\udcff", "result": '{"n": 1}', "peak_memory": 5 << 20, "command": "abc"}
    kitchen.finish(shift, [outcome(order, **facts)])

    (stored,) = kitchen.find(Selector(), with_details=True)
    (light,) = kitchen.find(Selector())

    assert stored.tail is not None
    assert stored.tail.startswith("last words")
    assert (stored.result, stored.peak_memory, stored.command) == ('{"n": 1}', 5 << 20, "abc")
    assert (light.tail, light.result, light.history) == (None, None, ())


def test_a_name_of_a_thousand_batches_selects_the_orders_of_all(kitchen):
    many = 1100 if isinstance(kitchen, SqliteKitchen) else 200  # more than SQLite's question holds, or MongoDB's reply
    for number in range(many):
        batch = Batch(f"b{number}", "night", "x", f"d{number}", 1, 1, 0, 0.0, is_complete=True)
        kitchen.open_batch(batch if number else replace(batch, name="day"))
    for number in (0, 1, many - 1):
        kitchen.add(f"b{number}", [(1, ["x"], None)])
    night = Selector(batch="night")

    assert kitchen.counts(night).total == 2
    assert [order.id for order in kitchen.find(night)] == ["b1-1", f"b{many - 1}-1"]
    assert kitchen.cancel(night) == 2
    assert kitchen.clean(night) == 2
    assert kitchen.counts().total == 1


def test_the_ledger_keeps_what_was_entered_first_and_whoever_changes_it_must_know_what_stands_there(
    kitchen, open_again
):
    other = open_again()
    assert kitchen.enter("fleets/a/calls/1", "intended")
    assert not other.enter("fleets/a/calls/1", "another's")
    assert kitchen.enter("fleets/ab/plan", "{}")

    assert other.enter("fleets/a/calls/1", "done", instead_of="intended")
    assert not kitchen.enter("fleets/a/calls/1", "refused", instead_of="intended")
    assert not kitchen.enter("fleets/a/calls/2", "done", instead_of="intended")
    kitchen.clean()

    assert other.ledger("fleets/a/") == {"fleets/a/calls/1": "done"}
    assert list(kitchen.ledger()) == ["fleets/a/calls/1", "fleets/ab/plan"]
    assert kitchen.id == other.id
