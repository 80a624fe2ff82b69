"""Cancel, priority, pause, resume, drain and wait, as a user types them, on both kitchens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.conftest import check_in, eventually, fill, outcome
from waiter.orders import Selector, Status


@pytest.fixture
def steer(waiter_cli, kitchen_url):
    """Runs a verb against the test's kitchen and expects an exit code."""

    def run(*arguments, code=0, **more):
        ended = waiter_cli("-k", kitchen_url, *arguments, **more)
        assert ended.returncode == code, ended.stderr
        return ended

    run.json = lambda *arguments, **more: json.loads(run(*arguments, "--json", **more).stdout)
    return run


@pytest.fixture
def begin(kitchen_url, home, tmp_path):
    """Starts a verb as a process that the test's end takes down."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "waiter", "-k", kitchen_url, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=home,
            cwd=tmp_path,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def status_of(kitchen):
    return [order.status.value for order in kitchen.find(Selector())]


def test_cancelled_orders_are_off_the_list_and_the_rest_stays(steer, kitchen):
    fill(kitchen, [["1"], ["2"], ["3"]])
    assert "Cancelled 2 orders" in steer("cancel", "--yes", "b-1", "b-3").stderr
    assert status_of(kitchen) == ["CANCELLED", "READY", "CANCELLED"]


def test_cancel_asks_first(steer, kitchen):
    fill(kitchen, [["1"], ["2"]])
    assert "Cancel 2 orders (2 READY)" in steer("cancel", code=2).stderr
    assert status_of(kitchen) == ["READY", "READY"]


def test_cancel_marks_what_runs(steer, kitchen):
    fill(kitchen, [["1"], ["2"]])
    kitchen.claim(check_in(kitchen), limit=1)
    assert steer.json("cancel", "--yes") == {"cancelled": 2, "ready": 1, "running": 1}
    assert kitchen.counts()[Status.CANCELLED] == 1
    assert [order.is_cancel_asked for order in kitchen.find(Selector(statuses=(Status.RUNNING,)))] == [True]


def test_nothing_finished_is_cancelled(steer, kitchen):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=1)])
    assert "Nothing to cancel" in steer("cancel", "--yes").stderr
    assert status_of(kitchen) == ["DONE"]


@pytest.mark.parametrize("number", ["7", "-7"])
def test_priority_decides_who_goes_first(steer, kitchen, number):
    fill(kitchen, [["1"], ["2"]])
    assert steer.json("priority", number, "b-2") == {"changed": 1, "priority": int(number)}
    (first,) = kitchen.claim(check_in(kitchen), limit=1)
    assert first.id == ("b-2" if number == "7" else "b-1")


def test_verbs_name_orders_and_waiters_that_do_not_exist(steer, kitchen):
    fill(kitchen, [["1"]])
    check_in(kitchen, "somebody")
    assert "b-9" in steer("cancel", "--yes", "b-9", code=2).stderr
    assert "b-9" in steer("priority", "1", "b-9", code=2).stderr
    for verb in ("pause", "resume", "drain"):
        assert "At work are somebody" in steer(verb, "nobody", code=2).stderr
    assert "--bogus" in steer("priority", "1", "--bogus", code=2).stderr


def test_a_paused_waiter_takes_nothing_until_it_may_go_on(steer, kitchen):
    fill(kitchen, [["1"], ["2"]])
    a, b = check_in(kitchen, "a"), check_in(kitchen, "b")

    steer("pause", "a", "--reason", "disk full")

    assert kitchen.claim(a, limit=1) == []
    assert len(kitchen.claim(b, limit=1)) == 1
    told = steer("waiters")
    assert "paused" in told.stdout
    assert "a is paused: disk full" in told.stderr
    steer("resume", "a")
    assert len(kitchen.claim(a, limit=1)) == 1


def test_a_pause_of_all_holds_for_waiters_to_come(steer, kitchen):
    fill(kitchen, [["1"]])
    steer("pause")
    shift = check_in(kitchen)
    assert kitchen.claim(shift, limit=1) == []
    steer("resume")
    assert len(kitchen.claim(shift, limit=1)) == 1


def test_a_drained_waiter_finishes_what_it_runs_and_goes_home(steer, begin, kitchen):
    fill(kitchen, [["0.2"]] * 200)
    process = begin("deliver", "-n", "tired", "sleep")
    eventually(lambda: kitchen.counts()[Status.DONE])

    steer("drain", "tired")

    assert process.wait(60) == 0
    counts = kitchen.counts()
    assert counts[Status.READY] > 0
    assert counts[Status.RUNNING] == counts[Status.ERROR] == 0


@pytest.mark.parametrize(("status", "code"), [(Status.DONE, 0), (Status.ERROR, 1)])
def test_wait_ends_with_the_last_order_and_tells_how_it_went(steer, begin, kitchen, status, code):
    fill(kitchen, [["1"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    waiting = begin("wait", "--json", "--timeout", "60")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1.5)

    kitchen.finish(shift, [outcome(order, status)])

    said, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == code
    assert json.loads(said)["counts"][status.value] == 1


def test_wait_ends_with_124_when_the_time_is_up(steer, kitchen):
    fill(kitchen, [["1"]])
    began = time.monotonic()
    told = steer("wait", "--timeout", "1s", code=124)
    assert 1 <= time.monotonic() - began < 20
    assert "No waiter is at work" in told.stderr
    assert "1 READY" in told.stderr


def test_wait_can_mean_one_batch(steer, kitchen):
    fill(kitchen, [["1"]], batch="now")
    shift = check_in(kitchen)
    kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, limit=1)])
    fill(kitchen, [["1"]], batch="later")
    steer("wait", "--batch", "now", "--timeout", "30")
    steer("wait", "--batch", "later", "--timeout", "0.1", code=124)
    assert "nowhere" in steer("wait", "--batch", "nowhere", code=2).stderr


def test_waiting_for_nothing_is_over_at_once(steer, kitchen):
    assert steer.json("wait")["is_done"] is True


def test_ctrl_c_ends_a_wait(begin, kitchen):
    fill(kitchen, [["1"]])
    process = begin("wait")
    assert process.stdout is not None
    assert "No waiter" in process.stdout.readline()
    os.kill(process.pid, 2)
    assert process.wait(15) == 130
