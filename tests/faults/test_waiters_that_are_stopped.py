"""Waiters are drained, signalled, paused and resumed for real while they deliver: what runs, and what goes back."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.conftest import eventually, fill
from tests.faults.floor import all_orders, is_alive
from waiter.orders import Reason, Selector, Status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("ask", ["signal", "kitchen"])
def test_a_drain_finishes_what_runs_and_gives_the_rest_back(kitchen, floor, ask):
    fill(kitchen, [[str(n)] for n in range(50)])
    waiter = floor.start(work="sleep 0.4", jobs="2", until="stopped", name="drained")
    eventually(lambda: len(floor.oracle("begin")) >= 3)

    if ask == "signal":
        waiter.send_signal(signal.SIGTERM)
    else:
        kitchen.drain("drained")

    assert waiter.wait(20) == 0, floor.talk(waiter)
    begun, ended = floor.oracle("begin"), floor.oracle("end")
    assert sorted(begun) == sorted(ended)
    counts = kitchen.counts()
    assert (counts[Status.RUNNING], counts[Status.DONE], counts.total) == (0, len(ended), 50)
    assert all(order.attempt == (order.status is Status.DONE) for order in all_orders(kitchen))


def hit(pid: int, number: int) -> None:
    """Signal a command and all that it runs, as whoever stops a whole service or a machine does."""
    os.killpg(pid, number)


@pytest.mark.parametrize("first", ["waiter", "command"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_waiter_and_its_commands_gives_their_orders_back(kitchen, floor, first, number):
    fill(kitchen, [["dies"], ["says so"]])
    trap = f"trap 'exit {128 + number}' {number:d}"
    work = f'[ "$1" = dies ] || {trap}; touch "ready $1"; sleep 60 & wait'
    waiter = floor.start(work=work, jobs="2", until="stopped")
    eventually(lambda: len(list(floor.folder.glob("ready *"))) == 2)
    if first == "waiter":
        waiter.send_signal(number)
    for _, _, command in floor.oracle("begin"):
        hit(command, number)
    if first == "command":
        time.sleep(0.1)  # it is sent to one after the other
        waiter.send_signal(number)

    assert waiter.wait(20) == (130 if number == signal.SIGINT else 0), floor.talk(waiter)
    assert [(o.status, o.failures, o.attempt) for o in all_orders(kitchen)] == [(Status.READY, 0, 1)] * 2
    assert {event.reason for o in all_orders(kitchen) for event in o.history} == {Reason.INTERRUPTED}


def test_a_term_to_a_command_alone_is_a_failure(kitchen, floor):
    fill(kitchen, [["x"]])
    waiter = floor.start(work="kill -TERM $$")

    assert waiter.wait(20) == 1
    (order,) = all_orders(kitchen)
    assert (order.status, order.reason, order.signal) == (Status.ERROR, Reason.SIGNAL, signal.SIGTERM)


def test_a_signal_that_was_ignored_stays_ignored_by_a_waiter_and_its_commands(kitchen, floor):
    """As nohup(1) wants it for hangups, and a shell for whatever it runs in the background."""
    fill(kitchen, [[str(n)] for n in range(6)])
    work = "grep SigIgn /proc/self/status >> masks; sleep 0.2"
    ignored = signal.SIGHUP, signal.SIGUSR1
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    try:
        waiter = floor.start(work=work)
    finally:
        for number, handler in zip(ignored, before, strict=True):
            signal.signal(number, handler)
    eventually(lambda: floor.oracle("end"))

    waiter.send_signal(signal.SIGHUP)

    assert waiter.wait(20) == 0, floor.talk(waiter)
    assert kitchen.counts()[Status.DONE] == 6
    masks = {int(line.split()[1], 16) for line in (floor.folder / "masks").read_text().splitlines()}
    named = {mask & 0x7FFF_FFFF for mask in masks}
    assert named == {sum(1 << (number - 1) for number in ignored)}


def test_a_second_signal_stops_the_commands_and_counts_no_failure(kitchen, floor):
    fill(kitchen, [["x"]])
    waiter = floor.start(work="[ $WAITER_ATTEMPT = 2 ] || sleep 600", grace_s=1)
    ((_, _, command),) = eventually(lambda: floor.oracle("begin"))
    waiter.send_signal(signal.SIGINT)
    eventually(lambda: "Draining" in floor.talk(waiter))

    waiter.send_signal(signal.SIGINT)

    assert waiter.wait(50) == 130, floor.talk(waiter)
    (order,) = all_orders(kitchen)
    assert (order.status, order.failures, order.losses) == (Status.READY, 0, 0)
    assert [(event.attempt, event.reason) for event in order.history] == [(1, Reason.INTERRUPTED)]
    assert not is_alive(command)
    assert floor.start(retries=0).wait(20) == 0, "it is offered at once, and was charged no failure"
    assert [attempt for _, attempt, _ in floor.oracle("begin")] == [1, 2], "no two executions share a number"


def test_a_third_signal_leaves_at_once_and_nothing_lives_on(kitchen, floor):
    fill(kitchen, [["x"]])
    waiter = floor.start(work="trap '' TERM; sleep 600 & wait; wait", grace_s=600)
    ((_, _, command),) = eventually(lambda: floor.oracle("begin"))
    for word in ("Draining", "Stopping"):
        waiter.send_signal(signal.SIGINT)
        eventually(lambda word=word: word in floor.talk(waiter))

    waiter.send_signal(signal.SIGINT)

    assert waiter.wait(40) == 130
    eventually(lambda: not is_alive(command))


def test_a_running_order_that_is_cancelled_gets_term(kitchen, floor):
    (order_id, _) = fill(kitchen, [["long"], ["short"]])
    waiter = floor.start(work="[ $1 = short ] || sleep 60")
    ((_, _, command),) = eventually(lambda: floor.oracle("begin"))

    kitchen.cancel(Selector(ids=(order_id,)))

    assert waiter.wait(20) == 1
    assert not is_alive(command)
    assert [o.status for o in all_orders(kitchen)] == [Status.CANCELLED, Status.DONE]


def test_a_paused_waiter_runs_nothing_until_it_is_resumed(kitchen, floor):
    fill(kitchen, [["x"]])
    kitchen.pause(reason="maintenance")
    waiter = floor.start(work="true", until="stopped")
    eventually(kitchen.shifts)
    kitchen.resume()

    eventually(lambda: floor.oracle("end"))
    kitchen.drain("w0")
    assert waiter.wait(20) == 0


@pytest.mark.parametrize("why", ["paused", "busy host"])
def test_a_waiter_that_may_start_nothing_goes_home_when_nothing_is_left(kitchen, floor, why):
    fill(kitchen, [["x"]])
    if why == "paused":
        kitchen.pause()
    waiter = floor.start(max_load=None if why == "paused" else 1e-6)
    eventually(kitchen.shifts)

    kitchen.cancel(Selector())

    assert waiter.wait(20) == 0, floor.talk(waiter)
    assert floor.oracle("begin") == []


def test_the_last_waiter_at_work_does_not_pause_itself(kitchen, floor):
    """Orders that fail everywhere, as those of a group that is done again, would stop a whole fleet."""
    fill(kitchen, [[str(n)] for n in range(100)])
    good = floor.start(work="sleep 0.05", name="good")
    eventually(lambda: any(shift.vitals.delivered > 2 for shift in kitchen.shifts()), within_s=20)
    kitchen.pause("good")
    bad = floor.start(work="exit 1", name="bad", pause_after=5, retries=0, brake=0)

    eventually(lambda: kitchen.counts()[Status.ERROR] >= 20, within_s=60)

    assert [shift.waiter for shift in kitchen.shifts() if shift.is_paused] == ["good"]
    for waiter in (good, bad):
        waiter.kill()


def test_a_waiter_whose_orders_all_fail_while_others_do_well_pauses_itself(kitchen, floor):
    fill(kitchen, [[str(n)] for n in range(400)])
    good = floor.start(work="sleep 0.05", name="good")
    eventually(lambda: any(shift.vitals.delivered > 2 for shift in kitchen.shifts()), within_s=20)
    bad = floor.start(work="exit 1", name="bad", pause_after=5)

    paused = eventually(lambda: [shift for shift in kitchen.shifts() if shift.is_paused], within_s=20)

    assert [shift.waiter for shift in paused] == ["bad"]
    assert "5 orders in a row failed" in paused[0].pause_reason
    for waiter in (good, bad):
        waiter.kill()
