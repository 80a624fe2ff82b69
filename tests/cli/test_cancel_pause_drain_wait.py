"""Cancel, priority, pause, resume, drain and wait, as a user types them, on both kitchens."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from tests.conftest import check_in, eventually, fill, outcome, said_on_any_machine
from waiter.kitchen.contract import grace_s
from waiter.orders import Selector, Status, Vitals


def status_of(kitchen):
    return [order.status.value for order in kitchen.find(Selector())]


def test_cancelled_orders_are_off_the_list_and_the_rest_stays(ask, kitchen):
    fill(kitchen, [["1"], ["2"], ["3"]])
    assert "Cancelled 2 orders" in ask("cancel", "--yes", "b-1", "b-3").stderr
    assert status_of(kitchen) == ["CANCELLED", "READY", "CANCELLED"]


def test_cancel_asks_first(ask, kitchen):
    fill(kitchen, [["1"], ["2"]])
    assert "Cancel 2 orders (2 READY)" in ask("cancel", code=2).stderr
    assert status_of(kitchen) == ["READY", "READY"]


def test_cancel_marks_what_runs(ask, kitchen):
    fill(kitchen, [["1"], ["2"]])
    kitchen.claim(check_in(kitchen), limit=1)
    assert ask.json("cancel", "--yes") == {"cancelled": 2, "ready": 1, "running": 1}
    assert kitchen.counts()[Status.CANCELLED] == 1
    assert [order.is_cancel_asked for order in kitchen.find(Selector(statuses=(Status.RUNNING,)))] == [True]


def test_nothing_finished_is_cancelled(ask, kitchen):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=1)])
    assert "Nothing to cancel" in ask("cancel", "--yes").stderr
    assert status_of(kitchen) == ["DONE"]


@pytest.mark.parametrize("number", ["7", "-7"])
def test_priority_decides_who_goes_first(ask, kitchen, number):
    fill(kitchen, [["1"], ["2"]])
    assert ask.json("priority", number, "b-2") == {"changed": 1, "priority": int(number)}
    (first,) = kitchen.claim(check_in(kitchen), limit=1)
    assert first.id == ("b-2" if number == "7" else "b-1")


def test_verbs_name_orders_and_waiters_that_do_not_exist(ask, kitchen):
    fill(kitchen, [["1"]])
    check_in(kitchen, "somebody")
    assert "b-9" in ask("cancel", "--yes", "b-9", code=2).stderr
    assert "b-9" in ask("priority", "1", "b-9", code=2).stderr
    for verb in ("pause", "resume", "drain"):
        assert "At work are somebody" in ask(verb, "nobody", code=2).stderr
    assert "--bogus" in ask("priority", "1", "--bogus", code=2).stderr


SELECTING = [["orders"], ["show"], ["extract"], ["errors"], ["reset", "--yes"], ["cancel", "--yes"], ["clean", "--yes"]]


def test_groups_and_versions_that_do_not_exist_change_nothing(ask, kitchen):
    fill(kitchen, [["1"], ["2"]])
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order, command="c0ffee0123") for order in kitchen.claim(shift, limit=1)])

    for words in (*SELECTING, ["priority", "9"]):
        assert "waiter errors" in ask(*words, "--like", "00000000", code=2).stderr
        assert "There is c0ffee0123." in ask(*words, "--except-command", "c0ffee", code=2).stderr

    assert kitchen.counts().by_status == {Status.DONE: 1, Status.READY: 1}


def test_the_same_options_mean_the_same_orders_for_every_verb(ask, kitchen):
    fill(kitchen, [["small"], ["huge"], ["x"], ["y"], ["huge"]])
    ada, ben = check_in(kitchen, "ada"), check_in(kitchen, "ben")
    done = [outcome(order, stop=order.start + 9, command="0ld") for order in kitchen.claim(ada, limit=3)]
    kitchen.finish(ada, done)
    kitchen.finish(ben, [outcome(order, command="11ew") for order in kitchen.claim(ben, limit=1)])

    def rows(*words):
        return [order["row"] for order in ask.json("orders", *words)["orders"]]

    assert rows("--waiter", "ada") == rows("--longer-than", "5s") == rows("--except-command", "11ew") == [1, 2, 3]
    assert rows("--since", "1h") == [1, 2, 3, 4]
    words = ["--match", "huge", "--waiter", "ada"]
    assert [order["row"] for order in ask.json("show", *words)["orders"]] == [2]
    assert ask("extract", "--columns", "row", *words).stdout == "row\n2\n"
    assert ask.json("reset", "--yes", "--status", "DONE", *words)["reset"] == 1
    assert ask.json("priority", "9", "--match", "huge")["changed"] == 2
    assert ask.json("cancel", "--yes", "--match", "huge")["cancelled"] == 2
    assert ask.json("clean", "--yes", "--match", "huge")["deleted"] == 2


def test_a_paused_waiter_takes_nothing_until_it_may_go_on(ask, kitchen):
    fill(kitchen, [["1"], ["2"]])
    a, b = check_in(kitchen, "a"), check_in(kitchen, "b")

    ask("pause", "a", "--reason", "disk full")

    assert kitchen.claim(a, limit=1) == []
    assert len(kitchen.claim(b, limit=1)) == 1
    told = ask("waiters")
    assert "paused" in told.stdout
    assert "a is paused: disk full" in told.stderr
    ask("resume", "a")
    assert len(kitchen.claim(a, limit=1)) == 1


def test_a_pause_of_all_holds_for_waiters_to_come(ask, kitchen):
    fill(kitchen, [["1"]])
    ask("pause")
    shift = check_in(kitchen)
    assert kitchen.claim(shift, limit=1) == []
    ask("resume")
    assert len(kitchen.claim(shift, limit=1)) == 1


def test_a_drained_waiter_finishes_what_it_runs_and_goes_home(ask, begin, kitchen):
    fill(kitchen, [["0.2"]] * 200)
    process = begin("deliver", "-n", "tired", "sleep")
    eventually(lambda: kitchen.counts()[Status.DONE])

    ask("drain", "tired")

    assert process.wait(60) == 0
    counts = kitchen.counts()
    assert counts[Status.READY] > 0
    assert counts[Status.RUNNING] == counts[Status.ERROR] == 0


@pytest.mark.parametrize(("status", "code"), [(Status.DONE, 0), (Status.ERROR, 1)])
def test_wait_ends_with_the_last_order_and_tells_how_it_went(ask, begin, kitchen, status, code):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    waiting = begin("wait", "--json", "--timeout", "60")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1.5)

    kitchen.finish(shift, [outcome(order, status)])

    said, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == code
    assert json.loads(said_on_any_machine(said))["counts"][status.value] == 1


def test_wait_ends_with_124_when_the_time_is_up(ask, kitchen):
    fill(kitchen, [["1"]])
    began = time.monotonic()
    told = ask("wait", "--timeout", "1s", code=124)
    assert 1 <= time.monotonic() - began < 50
    assert "No waiter is at work" in told.stderr
    assert "1 READY" in told.stderr


def test_wait_can_mean_one_batch(ask, kitchen):
    fill(kitchen, [["1"]], batch="now")
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=1)])
    fill(kitchen, [["1"]], batch="later")
    ask("wait", "--batch", "now", "--timeout", "30")
    ask("wait", "--batch", "later", "--timeout", "0.1", code=124)
    assert "nowhere" in ask("wait", "--batch", "nowhere", code=2).stderr


def test_waiting_for_nothing_is_over_at_once(ask, kitchen):
    assert ask.json("wait")["is_done"] is True


def next_line(process):
    """What it says next; on a busy machine it may first say that the kitchen takes its time."""
    while (line := process.stdout.readline()).startswith("Waiting for"):
        pass
    return line


def test_ctrl_c_ends_a_wait(begin, kitchen):
    fill(kitchen, [["1"]])
    process = begin("wait")
    assert process.stdout is not None
    assert "No waiter" in next_line(process)
    os.kill(process.pid, 2)
    assert process.wait(60) == 130


def test_wait_gives_up_when_nobody_comes(ask, kitchen):
    fill(kitchen, [["1"]])

    told = ask("wait", "--unattended", "0.6", code=125)

    assert [line for line in told.stderr.splitlines() if not line.startswith("Waiting for")] == [
        "No waiter is at work. Start one: waiter deliver CMD…",
        "Nobody is at work: 1 READY.",
    ]


def fall_silent(kitchen, clock):
    """Its lease ran out a minute ago by everybody else's clock, and a look missed it just as long ago as it takes."""
    clock.advance(-kitchen.lease_s - 60)
    kitchen.heartbeat(kitchen.shifts()[0], Vitals())
    clock.advance(kitchen.lease_s + 60 - grace_s(kitchen.lease_s) + 5)
    kitchen.reclaim()


def test_wait_takes_the_dead_for_no_help(ask, kitchen, clock):
    fill(kitchen, [["1"]])
    kitchen.claim(kitchen.check_in("dead", "elsewhere", 1), limit=1)
    kitchen.cancel(Selector())  # so that taking it back ends it
    fall_silent(kitchen, clock)

    told = ask("wait", "--timeout", "30", code=1)

    assert "Reclaimed the orders of waiters that died (dead)" in told.stderr
    assert "1 CANCELLED" in told.stderr


def test_wait_says_when_all_are_paused_and_when_they_go_on(begin, kitchen):
    fill(kitchen, [["1"]])
    check_in(kitchen)
    kitchen.pause()
    process = begin("wait")
    assert "All waiters are paused" in next_line(process)

    kitchen.resume()

    assert "at work" in next_line(process)
    kitchen.cancel(Selector())
    assert process.wait(30) == 1


def test_what_changes_orders_says_so_in_json(ask, kitchen, tmp_path):
    (tmp_path / "in.csv").write_text("1\n\n2\n")
    loaded = ask.json("load", "in.csv")
    assert (loaded["new"], loaded["known"], loaded["blank"], loaded["source"]) == (2, 0, 1, "in.csv")
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order, Status.ERROR) for order in kitchen.claim(shift, limit=1)])
    assert ask.json("reset", "--yes") == {"reset": 1, "reclaimed": 0}
    assert ask.json("clean", "--yes") == {"deleted": 2}


def test_a_reset_tells_of_orders_that_it_took_from_the_dead(ask, kitchen, clock):
    fill(kitchen, [["1"]])
    kitchen.claim(kitchen.check_in("dead", "elsewhere", 1), limit=1)
    fall_silent(kitchen, clock)

    told = ask("reset", "--yes").stderr

    assert "No heartbeat of dead for longer than a lease lasts" in told
    assert "Reclaimed 1 order of waiters that are gone." in told


def test_a_reset_after_an_outage_lets_those_who_live_say_so(begin, kitchen, clock):
    fill(kitchen, [["1"]])
    shift = kitchen.check_in("far", "elsewhere", 1)
    kitchen.claim(shift, limit=1)
    clock.advance(-kitchen.lease_s - 60)
    kitchen.heartbeat(shift, Vitals())
    clock.advance(kitchen.lease_s + 60)
    process = begin("reset", "--yes", "--status", "RUNNING")
    assert "No heartbeat of far" in next_line(process)

    kitchen.heartbeat(shift, Vitals())

    assert process.wait(30) == 0
    assert "1 order still running; add --running to reset them." in process.stdout.read()
    assert [order.id for order in kitchen.held(shift)] == ["b-1"]


def test_a_reset_of_what_somebody_runs_says_how_to_take_it(ask, kitchen):
    fill(kitchen, [["1"]])
    kitchen.claim(check_in(kitchen), limit=1)

    assert "add --running to reset them" in ask("reset", "b-1", "--yes").stderr

    assert "Reset 1 order" in ask("reset", "b-1", "--yes", "--running").stderr
    assert status_of(kitchen) == ["READY"]


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_a_priority_that_loading_again_does_not_give_is_said(ask, kitchen):
    ask("load", "-", input="a\n")

    again = ask("load", "--priority", "7", "-", input="a\n")

    assert "Its priority stays as it was" in again.stderr
    assert [order.priority for order in kitchen.find(Selector())] == [0]
