"""Who may be declared lost, and when: the dead on this machine at once, the silent at a second look, nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import check_in, eventually, fill, let_leases_run_out, outcome
from waiter.kitchen.contract import LEASE_S, grace_s, sweep_s
from waiter.orders import FinishResult, Selector, Shift, Status, Vitals

RUNNING = Selector(statuses=(Status.RUNNING,))


def run_one(kitchen, shift: Shift):
    fill(kitchen, [["x"]], batch=shift.waiter)
    (order,) = kitchen.claim(shift, limit=1)
    return order


def statuses(kitchen) -> set[Status]:
    return {order.status for order in kitchen.find(Selector())}


def be_away(clock) -> None:
    """Nobody hears of anybody for longer than a lease: the kitchen is away, or everybody sleeps."""
    clock.advance(LEASE_S + 15)


@pytest.mark.parametrize("verb", ["reclaim", "reset"])
def test_after_an_outage_nobody_who_lives_is_given_up(kitchen, open_again, clock, verb):
    shifts = [check_in(kitchen, name) for name in ("ada", "bob", "cyd")]
    orders = [run_one(kitchen, shift) for shift in shifts]
    be_away(clock)

    fresh = open_again()  # who was not there cannot know of the outage
    check_in(fresh, "eve")
    for _ in range(3):
        assert not fresh.reclaim() if verb == "reclaim" else not fresh.reset(RUNNING)
        clock.advance(grace_s(LEASE_S) / 4)
    assert [kitchen.heartbeat(shift, Vitals()).is_lost for shift in shifts] == [False] * 3
    clock.advance(sweep_s(LEASE_S))
    assert not fresh.reclaim()

    for shift, order in zip(shifts, orders, strict=True):
        assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.ACCEPTED]


@pytest.mark.parametrize("verb", ["reclaim", "reset"])
def test_after_an_outage_the_dead_are_given_up_a_sweep_later(kitchen, clock, verb):
    dead, living = check_in(kitchen, "dead"), check_in(kitchen, "living")
    run_one(kitchen, dead)
    run_one(kitchen, living)
    be_away(clock)
    missed = kitchen.reclaim()
    kitchen.heartbeat(living, Vitals())

    clock.advance(sweep_s(LEASE_S))

    assert sorted(missed.missed) == ["dead", "living"]
    assert missed.missed_s == pytest.approx(grace_s(LEASE_S), abs=2)
    if verb == "reclaim":
        reclaimed = kitchen.reclaim()
        assert (reclaimed.ready, reclaimed.shifts, reclaimed.missed) == (1, ("dead",), ())
    else:
        assert kitchen.reset(RUNNING) == 1
    assert len(kitchen.held(living)) == 1


def test_one_that_died_while_others_live_is_given_up_within_its_lease_and_one_sweep(kitchen, clock):
    run_one(kitchen, check_in(kitchen, "dead"))
    died_at = kitchen.now()
    living = check_in(kitchen, "living")
    clock.advance(7)  # the others' sweeps are not in step with it

    while not (reclaimed := kitchen.reclaim()):
        kitchen.heartbeat(living, Vitals())
        assert kitchen.now() - died_at < LEASE_S + sweep_s(LEASE_S)
        clock.advance(sweep_s(LEASE_S))

    assert (reclaimed.ready, reclaimed.shifts) == (1, ("dead",))
    assert kitchen.now() - died_at >= LEASE_S


def test_who_was_missed_once_long_ago_is_missed_anew(kitchen, clock):
    """Between the looks the kitchen was away again, or all slept again."""
    shift = check_in(kitchen)
    run_one(kitchen, shift)
    be_away(clock)
    assert not kitchen.reclaim()
    be_away(clock)

    assert not kitchen.reclaim()

    assert not kitchen.heartbeat(shift, Vitals()).is_lost


def test_a_heartbeat_takes_back_that_one_was_missed(kitchen, clock):
    shift = check_in(kitchen)
    be_away(clock)
    kitchen.reclaim()
    kitchen.heartbeat(shift, Vitals())
    clock.advance(LEASE_S + 1)

    assert not kitchen.reclaim()


@pytest.fixture
def mortal(kitchen):
    """A waiter's process on this machine that a test may kill, with the order that it runs."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    shift = kitchen.check_in("mortal", socket.gethostname(), process.pid)
    run_one(kitchen, shift)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("verb", ["reclaim", "reset"])
def test_a_waiter_whose_process_died_on_this_machine_is_seen_at_once(kitchen, mortal, verb):
    assert not kitchen.reclaim()
    assert kitchen.shifts()[0].lease_until > kitchen.now()

    mortal.kill()
    mortal.wait()

    assert kitchen.shifts()[0].lease_until <= kitchen.now()
    if verb == "reclaim":
        reclaimed = kitchen.reclaim()
        assert (reclaimed.ready, reclaimed.shifts, reclaimed.missed) == (1, ("mortal",), ())
    else:
        assert kitchen.reset(RUNNING) == 1
    assert statuses(kitchen) == {Status.READY}


def test_a_zombie_is_dead(kitchen, mortal):
    mortal.kill()  # and nobody waits for it

    assert eventually(kitchen.reclaim).shifts == ("mortal",)


def change_shifts(kitchen, **facts: object) -> None:
    """What a test cannot make happen (another machine, another process with the same pid) is written down."""
    if hasattr(kitchen, "_db"):
        sets = ", ".join(f"{name} = :{name}" for name in facts)
        kitchen._db.execute(f"UPDATE shifts SET {sets}", facts)
    else:
        kitchen._to.shifts.update_many({}, {"$set": facts})


def test_another_process_with_the_same_pid_is_no_sign_of_life(kitchen, mortal):
    change_shifts(kitchen, pid_started="1")

    assert kitchen.reclaim().shifts == ("mortal",)


@pytest.mark.parametrize("where", ["host", "boot", "namespace"])
def test_a_process_elsewhere_is_judged_by_its_lease_alone(kitchen, mortal, clock, where):
    """Even where its pid is free here."""
    change_shifts(kitchen, **{where: "another"})
    mortal.kill()
    mortal.wait()

    assert not kitchen.reclaim()
    assert kitchen.reset(RUNNING) == 0
    if where == "boot":
        return  # on SQLite its lease is on another clock: see tests/unit/test_sqlite_kitchen.py
    let_leases_run_out(kitchen, clock)
    assert kitchen.reclaim().shifts == ("mortal",)


def test_of_many_that_sweep_at_once_one_declares_the_dead_lost(kitchen, open_again, mortal):
    mortal.kill()
    mortal.wait()
    kitchens = [kitchen, open_again(), open_again()]

    assert [name for one in kitchens for name in one.reclaim().shifts] == ["mortal"]


def test_shifts_of_this_very_process_live(kitchen):
    shift = kitchen.check_in("me", socket.gethostname(), os.getpid())
    assert not kitchen.reclaim()
    assert not kitchen.heartbeat(shift, Vitals()).is_lost
