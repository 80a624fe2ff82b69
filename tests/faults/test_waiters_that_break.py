"""Something breaks inside a waiter that nobody expected: it leaves, says so, and no order pays for it twice.

The oracle is outside the kitchen, as in `test_waiters_that_die`: the command writes down each execution.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from tests.conftest import check_in, eventually, fill
from tests.faults.floor import ORACLE, Floor, all_orders, check_promises, is_alive
from waiter.delivery.calls import Call
from waiter.delivery.functions import FunctionRunner
from waiter.delivery.runner.client import Ended, Job, ProcessRunner, RunnerDied, RunnerOptions
from waiter.orders import Reason, Status
from waiter.processes import boottime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

WAIT = "while [ ! -e never ]; do sleep 0.05; done"


@pytest.fixture
def floor(kitchen_url, tmp_path, home):
    home["XDG_STATE_HOME"] = str(tmp_path / "state")
    floor = Floor(kitchen_url, tmp_path, home)
    yield floor
    floor.close()


def start(floor: Floor, what: str, work: str, **options: object):
    """A waiter in which `what` breaks as soon as there is a file named `break`."""
    settings = json.dumps({"name": "fragile", **options})
    program = [sys.executable, "-m", "tests.faults.breaking_waiter", floor.url, "3", settings, what]
    with (floor.folder / "talk-0").open("wb") as talk:
        waiter = subprocess.Popen(
            [*program, "sh", "-c", ORACLE.format(work=work), "sh"],
            cwd=floor.folder,
            env=floor.env,
            stdout=talk,
            stderr=talk,
        )
    floor.waiters.append(waiter)
    return waiter


@pytest.mark.parametrize("what", ["heartbeat", "change_token"])
def test_a_waiter_whose_pulse_breaks_goes_home_and_says_why(kitchen, floor, what):
    fill(kitchen, [["x"]])
    waiter = start(floor, what, WAIT)
    ((_, _, command),) = eventually(lambda: floor.oracle("begin"))

    (floor.folder / "break").touch()

    assert waiter.wait(60) == 1
    assert f"RuntimeError: {what} is broken" in floor.talk(waiter)
    assert not is_alive(command)
    assert kitchen.shifts() == [], "it did not check out"
    (order,) = all_orders(kitchen)
    assert [(event.attempt, event.reason) for event in order.history] == [(1, Reason.LOST)]


def test_after_an_error_what_had_begun_is_charged_and_what_had_not_is_not(kitchen, floor, clock):
    """The first orders are short, so that others are claimed ahead of their turn."""
    fill(kitchen, [[str(n)] for n in range(20)])
    waiter = start(floor, "sweep", f"[ $1 != 7 ] || {{ {WAIT}; }}")
    eventually(lambda: any(order == "b-8" for order, _, _ in floor.oracle("begin")))
    eventually(lambda: kitchen.counts()[Status.RUNNING] > 1)

    (floor.folder / "break").touch()

    assert waiter.wait(60) == 1
    assert "RuntimeError: sweep is broken" in floor.talk(waiter)
    check_promises(kitchen, floor)
    begun = {order for order, _, _ in floor.oracle("begin")}
    orders = {order.id: order for order in all_orders(kitchen)}
    assert {id for id, order in orders.items() if order.attempt} == begun
    assert {id for id, order in orders.items() if order.losses} == {"b-8"}
    clock.advance(600)
    shift = check_in(kitchen)
    again = [order for _ in range(2) for order in kitchen.claim(shift, limit=64)]
    assert {order.attempt for order in again if order.id == "b-8"} == {2}, "no two executions share a number"
    assert {order.attempt for order in again if order.id != "b-8"} <= {1}


def test_an_order_that_breaks_its_waiter_ends_in_error(kitchen, floor):
    fill(kitchen, [["x"]])

    assert start(floor, "sweep", f"touch break; {WAIT}", max_losses=1).wait(60) == 1

    (order,) = all_orders(kitchen)
    assert (order.status, order.reason, order.losses) == (Status.ERROR, Reason.LOST, 1)
    assert order.error == "its waiter stopped with an error while it ran"


def test_a_listener_that_breaks_costs_no_order_its_number(kitchen, floor):
    """Several ends are heard at once, and it breaks at one of them."""
    fill(kitchen, [[str(n)] for n in range(200)])
    waiter = start(floor, "finished", "[ $1 != 90 ] || touch break", jobs="2")

    assert waiter.wait(60) == 1

    assert "RuntimeError: finished is broken" in floor.talk(waiter)
    executed = Counter(order for order, _, _ in floor.oracle("begin"))
    assert set(executed.values()) == {1}
    charged = {order.id for order in all_orders(kitchen) if order.attempt}
    assert set(executed) <= charged
    assert len(charged - set(executed)) <= 2, "besides what was killed before its first word"
    for order in all_orders(kitchen):
        is_lost = [event.reason for event in order.history] == [Reason.LOST]
        assert (order.status is Status.DONE or is_lost) == (order.id in charged), order
    check_promises(kitchen, floor)


def test_a_joblog_that_takes_no_more_costs_no_outcome(kitchen, floor):
    fill(kitchen, [["x"], ["y"], ["z"]])
    joblog = floor.folder / "joblog"
    os.mkfifo(joblog)
    waiter = floor.start(work="while [ ! -e go ]; do sleep 0.02; done", joblog=str(joblog))
    with joblog.open() as reader:
        assert reader.readline().startswith("Seq")
    (floor.folder / "go").touch()

    assert waiter.wait(60) == 0

    assert floor.talk(waiter).count(f"--joblog {joblog}: cannot be written: nobody reads it any more") == 1
    assert {(order.status, order.attempt, order.losses) for order in all_orders(kitchen)} == {(Status.DONE, 1, 0)}
    assert len(floor.oracle("end")) == 3


# What a runner says of its jobs when it is closed


def test_a_closed_runner_names_the_jobs_that_had_begun(tmp_path):
    runner = ProcessRunner(RunnerOptions(1, "/bin/sh", dict(os.environ)))
    runner.set_deadline(boottime() + 60)
    runner.submit([Job("ended", ("sh", "-c", "true"))])
    eventually(lambda: any(isinstance(event, Ended) for event in runner.events(0.1)))
    runner.events(0)  # that end has been dealt with
    begun = tmp_path / "begun"
    runner.submit([Job("runs", ("sh", "-c", f"touch {begun}; sleep 60")), Job("waits", ("sh", "-c", "true"))])
    eventually(begun.exists)

    assert list(runner.close()) == ["runs"]
    assert list(runner.close()) == []


def test_an_end_that_was_told_last_is_not_taken_for_dealt_with():
    runner = ProcessRunner(RunnerOptions(1, "/bin/sh", dict(os.environ)))
    runner.set_deadline(boottime() + 60)
    runner.submit([Job("ended", ("sh", "-c", "true"))])
    eventually(lambda: any(isinstance(event, Ended) for event in runner.events(0.1)))

    assert list(runner.close()) == ["ended"]


def test_a_job_whose_runner_died_is_named_once_more_at_the_close(tmp_path):
    runner = ProcessRunner(RunnerOptions(1, "/bin/sh", dict(os.environ)))
    runner.set_deadline(boottime() + 60)
    runner.submit([Job("poison", ("sh", "-c", "kill -KILL $PPID; sleep 60"))])
    eventually(lambda: RunnerDied(("poison",)) in runner.events(0.1))

    assert list(runner.close()) == ["poison"]


def test_a_closed_runner_of_functions_begins_nothing_more():
    gate, called = threading.Event(), []

    def call(ids: list[str]) -> list[Call]:
        called.extend(ids)
        gate.wait(60)
        return [Call() for _ in ids]

    runner = FunctionRunner(call, slots=1)
    runner.set_deadline(boottime() + 60)
    runner.submit([Job("runs", ("f",)), Job("waits", ("f",))])
    eventually(lambda: called)

    assert list(runner.close()) == ["runs"]

    gate.set()
    eventually(lambda: any(event.ids == ("waits",) for event in runner.events(0.1) if hasattr(event, "ids")))
    assert called == ["runs"]
