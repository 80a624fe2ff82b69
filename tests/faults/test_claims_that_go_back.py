"""What a waiter claimed ahead and does not soon begin goes back to the kitchen, for whoever has a free slot."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import eventually, fill
from tests.faults.floor import all_orders, check_promises
from waiter.kitchen.contract import Kitchen
from waiter.orders import Status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLOW = "while [ ! -e open ]; do sleep 0.05; done"
SLOW_FROM_40 = f"[ $1 = urgent ] || [ $1 -lt 40 ] || {SLOW}"


def running(kitchen: Kitchen) -> dict[str, set[str]]:
    """The rows in each waiter's hands."""
    held: dict[str, set[str]] = {}
    for order in all_orders(kitchen):
        if order.status is Status.RUNNING:
            held.setdefault(order.waiter or "", set()).add(order.arguments[0])
    return held


def told(kitchen: Kitchen) -> list[tuple[int, tuple[str, ...], int]]:
    """What waiters with something in their slots say: how many are busy, with which orders, and how many wait."""
    vitals = [shift.vitals for shift in kitchen.shifts() if shift.vitals.running]
    return [(each.busy, each.running, each.claimed) for each in vitals]


def test_what_waits_behind_a_slow_order_is_delivered_by_others(kitchen, floor):
    fill(kitchen, [[str(n)] for n in range(60)])
    first = floor.start(work=SLOW_FROM_40)
    eventually(lambda: any(order == "b-41" for order, _, _ in floor.oracle("begin")))
    assert len(running(kitchen)["w0"]) > 1, "it claimed nothing ahead: the scene is not set"

    second = floor.start(work="true")

    eventually(lambda: kitchen.counts()[Status.DONE] == 59)
    assert running(kitchen) == {"w0": {"40"}}
    # What the second one told at some moment of its short orders stands until its next heartbeat.
    eventually(lambda: told(kitchen) == [(1, ("b-41",), 0)], 60)
    (floor.folder / "open").touch()
    assert (first.wait(60), second.wait(60)) == (0, 0), floor.talk(first)
    assert {order.attempt for order in all_orders(kitchen)} == {1}
    check_promises(kitchen, floor)


def test_a_pause_starts_no_more_of_what_was_claimed(kitchen, floor):
    fill(kitchen, [[str(n)] for n in range(400)])
    waiter = floor.start(work="sleep 0.05", until="stopped")
    eventually(lambda: len(running(kitchen).get("w0", ())) > 5)

    kitchen.pause()

    eventually(lambda: not running(kitchen))
    begun = len(floor.oracle("begin"))
    assert kitchen.counts()[Status.DONE] == begun < 400
    kitchen.resume()
    eventually(lambda: kitchen.counts()[Status.DONE] > begun)
    assert kitchen.drain("w0") == 1
    assert waiter.wait(60) == 0, floor.talk(waiter)
    check_promises(kitchen, floor)


def test_an_urgent_order_does_not_wait_behind_a_pile_that_was_claimed(kitchen, floor):
    fill(kitchen, [[str(n)] for n in range(100)])
    first = floor.start(work=SLOW_FROM_40)
    eventually(lambda: any(order == "b-41" for order, _, _ in floor.oracle("begin")))
    eventually(lambda: running(kitchen) == {"w0": {"40"}})

    fill(kitchen, [["urgent"]], batch="u", priority=9)
    (floor.folder / "open").touch()

    assert first.wait(60) == 0, floor.talk(first)
    begun = [order for order, _, _ in floor.oracle("begin")]
    assert begun.index("u-1") == 41
