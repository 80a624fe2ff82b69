"""What only the SQLite kitchen promises: it sees dead processes at once, and stays fast and small when it is full."""

from __future__ import annotations

import os
import socket
import sqlite3
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from tests.conftest import check_in, fill, let_leases_run_out, only, outcome
from waiter import processes
from waiter.errors import KitchenError, UsageError
from waiter.kitchen.contract import LEASE_S, sweep_s
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Counts, FinishResult, Reason, Selector, Status, Vitals


@pytest.fixture
def kitchen(tmp_path, clock):
    with SqliteKitchen(tmp_path / "kitchen.sqlite", ahead=clock) as kitchen:
        yield kitchen


def change_shifts(kitchen, change):
    """What a test cannot make happen (a reboot, another process with the same pid) is written into the file."""
    with sqlite3.connect(kitchen.path) as db:
        db.execute(f"UPDATE shifts SET {change}")
    db.close()


def test_a_process_that_provably_lives_is_late_and_never_lost(kitchen, clock):
    """It sleeps, or is frozen: it will go on with its orders when it wakes."""
    fill(kitchen, [["x"]])
    shift = kitchen.check_in("me", socket.gethostname(), os.getpid())
    (order,) = kitchen.claim(shift, 1)

    for _ in range(3):
        let_leases_run_out(kitchen, clock)
        assert not kitchen.reclaim()
        assert kitchen.reset(Selector(statuses=(Status.RUNNING,))) == 0
        assert kitchen.shifts()[0].lease_until > kitchen.now()

    assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.ACCEPTED]


def pass_time(kitchen, clock, seconds):
    """Sweep every 15 s, as waiters do; who was found lost."""
    lost = []
    for _ in range(round(seconds / sweep_s(LEASE_S))):
        lost += kitchen.reclaim().shifts
        clock.advance(sweep_s(LEASE_S))
    return lost


def test_a_shift_of_another_boot_that_beats_lives(kitchen, clock):
    """A container with a boot id of its own: its lease is on a clock that is not ours."""
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    kitchen.claim(shift, 1)
    change_shifts(kitchen, "boot = 'of a container', lease_ends = 1")

    for _ in range(4):
        assert pass_time(kitchen, clock, 30) == []
        assert not kitchen.heartbeat(shift, Vitals()).is_lost
        (seen,) = kitchen.shifts()
        assert seen.lease_until > kitchen.now()
    assert kitchen.held(shift)


def test_a_shift_from_before_a_reboot_is_lost_when_its_heartbeat_was_seen_unchanged_for_a_lease(kitchen, clock):
    fill(kitchen, [["x"]])
    kitchen.claim(check_in(kitchen), 1)
    change_shifts(kitchen, f"boot = 'the one before', lease_ends = {processes.boottime() + 9e6}")

    assert pass_time(kitchen, clock, 60) == []
    assert pass_time(kitchen, clock, 15) == ["a"]

    assert kitchen.counts()[Status.READY] == 1


def test_who_slept_does_not_take_that_for_silence_of_another_boot(kitchen, clock):
    check_in(kitchen)
    change_shifts(kitchen, "boot = 'of a container'")
    assert pass_time(kitchen, clock, 45) == []
    clock.advance(3600)

    assert pass_time(kitchen, clock, 60) == []
    assert pass_time(kitchen, clock, 15) == ["a"]


def test_nothing_is_left_of_who_was_missed(kitchen, clock):
    """One row for each boot that looks, and none for boots that are over."""
    for boot in ("one", "two", "three"):
        check_in(kitchen)
        change_shifts(kitchen, f"boot = '{boot}' WHERE left_at IS NULL AND lost_at IS NULL")
        kitchen._db.execute("INSERT INTO state VALUES (?, '{}')", (f"missed {boot}",))
        pass_time(kitchen, clock, 90)

    rows = kitchen._db.execute("SELECT name FROM state WHERE name GLOB 'missed *'").fetchall()
    assert {row["name"] for row in rows} == {f"missed {processes.boot_id()}", "missed three"}


def test_an_id_never_reaches_into_another_batch(kitchen):
    fill(kitchen, [["1"], ["2"]], batch="one")
    fill(kitchen, [["3"]], batch="two")
    strange = [
        f"one-{2**32 + 1}",
        "one-01",
        "one-+1",
        "one-\u0661",
        "one-",
        "one",
        "one-99999999999999999999",
        "one-\udcff",
    ]

    assert list(kitchen.find(Selector(ids=tuple(strange)))) == []
    shift = check_in(kitchen)
    order = kitchen.claim(shift, 1)[0]
    assert kitchen.release(shift, [replace(order, id=order_id) for order_id in strange]) == 0
    for order_id in strange:
        ended = outcome(order)
        assert kitchen.finish(shift, [type(ended)(order_id, 1, Status.DONE, 0.0, 1.0)]) == [FinishResult.LATE]
    assert [held.id for held in kitchen.held(shift)] == ["one-1"]


def test_an_order_that_is_cancelled_while_it_fails_gets_no_other_try(kitchen):
    (order_id,) = fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, 1)
    kitchen.cancel(Selector())

    kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, exit_code=3, delay_s=50)])

    stored = only(kitchen, order_id)
    assert (stored.status, stored.due, stored.exit_code) == (Status.CANCELLED, None, 3)
    assert (stored.waiter, stored.start, stored.stop) == ("a", order.start, order.start + 1)
    assert [event.status for event in stored.history] == [Status.CANCELLED]


def test_a_cancelled_order_that_is_given_back_says_why_it_ended(kitchen):
    (order_id,) = fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    kitchen.claim(shift, 1)
    kitchen.cancel(Selector())

    kitchen.check_out(shift)

    stored = only(kitchen, order_id)
    assert (stored.status, stored.reason, stored.attempt) == (Status.CANCELLED, Reason.CANCELLED, 0)
    assert [(event.what, event.waiter) for event in stored.history] == [("cancel", "a")]


def test_a_failure_is_shown_until_the_next_try_begins(kitchen):
    (order_id,) = fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, 1)
    kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT, exit_code=3, error="no", tail="no\n")])

    waiting = only(kitchen, order_id)
    kitchen.claim(shift, 1)
    again = only(kitchen, order_id)

    assert (waiting.exit_code, waiting.reason, waiting.error, waiting.tail) == (3, Reason.EXIT, "no", "no\n")
    assert (again.exit_code, again.reason, again.error, again.tail) == (None, None, None, None)


def test_words_that_are_no_utf8_are_taken_everywhere(kitchen):
    fill(kitchen, [["x"]])
    shift = kitchen.check_in("w\udcff", "h\udcff", 1)

    assert kitchen.pause("w\udcff", "why\udcff") == 1
    assert kitchen.resume("w\udcff") == 1
    assert kitchen.claim(shift, 1)[0].host == "h\ufffd"
    assert kitchen.counts(Selector(waiter="w\udcff", host="h\udcff")).total == 1
    assert kitchen.counts(Selector(except_command="\udcff", error_group="\ud800")).total == 0
    assert kitchen.drain("w\udcff") == 1


def test_an_unknown_batch_is_answered_with_those_that_exist(kitchen):
    with pytest.raises(UsageError, match="load something first"):
        kitchen.counts(Selector(batch="spring"))
    for number in range(12):
        fill(kitchen, [], batch=f"b{number}")

    with pytest.raises(UsageError, match=r"no such batch: spring\. There is b2, .*b11, and 2 older ones\."):
        kitchen.find(Selector(batch="spring"))


def test_a_batch_that_is_being_loaded_is_not_cleaned_away(kitchen):
    fill(kitchen, [["x"]], batch="old")
    (old,) = kitchen.batches()
    kitchen.open_batch(type(old)("new", None, "new.csv", "new", 1, 1, 0, 0.0, False))

    kitchen.clean(Selector(statuses=(Status.READY,)))

    assert [batch.id for batch in kitchen.batches()] == ["new"]


def steps(kitchen, ask):
    """How many hundreds of instructions SQLite's machine runs for a question: the same on every computer."""
    counted = 0

    def count():
        nonlocal counted
        counted += 1

    kitchen._db.set_progress_handler(count, 100)
    try:
        ask()
    finally:
        kitchen._db.set_progress_handler(None, 0)
    return counted


@pytest.mark.parametrize("limit", [1, 64])
def test_a_claim_costs_the_same_however_many_orders_wait(tmp_path, limit):
    cost = {}
    for count in (1000, 20_000):
        with SqliteKitchen(tmp_path / f"{count}.sqlite") as kitchen:
            fill(kitchen, [["x"]] * count)
            shift = check_in(kitchen)
            cost[count] = steps(kitchen, lambda kitchen=kitchen, shift=shift: kitchen.claim(shift, limit))

    assert cost[20_000] <= 1.5 * cost[1000] + 1


def test_no_question_that_waiters_ask_reads_every_order(kitchen):
    fill(kitchen, [["x"]] * 20_000)

    for ask in (kitchen.backlog, kitchen.reclaim, kitchen.change_token, lambda: kitchen.throughput(60)):
        assert steps(kitchen, ask) < 100  # ten thousand instructions; to read the orders takes a hundred thousand


def test_a_large_load_that_fails_or_repeats_rows_leaves_the_counts_right(kitchen):
    rows = [(number, [str(number)], None) for number in range(1, 12_001)]

    def broken():
        yield from rows
        raise OSError("the input is gone")

    fill(kitchen, [])
    with pytest.raises(KitchenError, match="the input is gone"):
        kitchen.add("b", broken())
    assert kitchen.counts() == Counts({})

    assert kitchen.add("b", rows[::3]) == 4_000
    assert kitchen.add("b", rows) == 8_000
    assert kitchen.add("b", [(12_001, ["one more"], None)]) == 1
    kitchen.finish(shift := check_in(kitchen), [outcome(order) for order in kitchen.claim(shift, 1)])
    assert kitchen.counts() == Counts({Status.READY: 12_000, Status.DONE: 1})


def test_of_many_who_write_all_the_time_each_has_its_turn(kitchen):
    rounds, together = [[0] * 8 for _ in range(8)], Barrier(8, timeout=60)

    def write(number):
        with SqliteKitchen(kitchen.path) as mine:
            shift = check_in(mine, f"w{number}")
            for written in rounds:
                together.wait()
                while sum(written) < 500:
                    mine.heartbeat(shift, Vitals())
                    written[number] += 1

    with ThreadPoolExecutor(8) as crew:
        list(crew.map(write, range(8)))

    # By itself SQLite lets some write once, while others write hundreds of times, in nearly every round; a busy machine
    # does so in some.
    assert sum(min(written) > 2 for written in rounds) >= 2


def test_huge_rows_are_loaded_in_flat_memory(kitchen):
    fill(kitchen, [])
    tracemalloc.start()
    try:
        added = kitchen.add("b", ((number, ["y" * (1 << 20)], None) for number in range(1, 101)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert added == 100
    assert peak < 16 << 20


@pytest.mark.parametrize("sort", ["age", "-stop", "duration"])
def test_orders_are_found_in_flat_memory(kitchen, sort):
    fill(kitchen, [["y" * 1000]] * 5000)
    tracemalloc.start()
    try:
        found = sum(1 for _ in kitchen.find(Selector(), sort=sort))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == 5000
    assert peak < 1 << 20


def test_a_running_order_is_sorted_by_how_long_it_runs_by_now(kitchen, clock):
    fill(kitchen, [["short"], ["running"], ["never"]])
    shift = check_in(kitchen)
    short, _ = kitchen.claim(shift, 2)
    kitchen.finish(shift, [outcome(short)])
    clock.advance(20)

    longest = [order.arguments[0] for order in kitchen.find(Selector(), sort="-duration")]

    assert longest == ["running", "short", "never"]
