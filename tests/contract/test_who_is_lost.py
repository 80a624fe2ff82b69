"""Who may be declared lost, and when: the dead on this machine at once, the silent at a second look, nobody else."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from typing import NoReturn

import pytest

from tests.conftest import check_in, eventually, fill, let_leases_run_out, outcome, with_database
from waiter.kitchen.contract import LEASE_S, grace_s, sweep_s
from waiter.kitchen.intervals import STRAYS_S, turn_s
from waiter.kitchen.mongo.kitchen import MongoKitchen
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


def change_orders(kitchen, **facts: object) -> None:
    """The same, for orders that are RUNNING."""
    if hasattr(kitchen, "_db"):
        sets = ", ".join(f"{name} = :{name}" for name in facts)
        kitchen._db.execute(f"UPDATE orders SET {sets} WHERE status = 'RUNNING'", facts)
    else:
        kitchen._to.orders.update_many({"status": "RUNNING"}, {"$set": facts})


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


def test_a_fleet_that_sweeps_gives_up_the_dead_within_a_lease_and_a_sweep(kitchen, open_again, clock):
    """Whoever has the turn may die in it: the next is somebody else's."""
    run_one(kitchen, check_in(kitchen, "dead"))
    died_at, fleet = kitchen.now(), [kitchen, open_again(), open_again()]
    living = [check_in(one, name) for one, name in zip(fleet, "abc", strict=True)]
    found: list[str] = []
    while not found:
        for one, shift in zip(fleet, living, strict=True):
            one.heartbeat(shift, Vitals())
            found += one.sweep().shifts
        assert kitchen.now() - died_at < LEASE_S + sweep_s(LEASE_S)
        clock.advance(sweep_s(LEASE_S) / 3)

    assert (found, statuses(kitchen)) == (["dead"], {Status.READY})
    assert kitchen.now() - died_at >= LEASE_S


def test_whoever_sweeps_sees_who_died_on_its_own_machine(kitchen, open_again, mortal):
    assert not kitchen.sweep()
    mortal.kill()
    mortal.wait()

    assert open_again().sweep().shifts == ("mortal",)

    assert statuses(kitchen) == {Status.READY}


def test_what_no_shift_has_is_found_before_long(kitchen, open_again, clock):
    """A claim that took effect after its shift was over, and that nobody knows of any more."""
    run_one(kitchen, check_in(kitchen))
    change_orders(kitchen, shift="0" * 32)
    kitchen.sweep()
    run_one(kitchen, check_in(kitchen, "b"))
    change_orders(kitchen, shift="1" * 32)

    clock.advance(STRAYS_S)

    assert open_again().sweep().ready == 1
    assert statuses(kitchen) == {Status.READY}


def test_who_has_a_longer_lease_lives_longer_without_a_heartbeat(kitchen, clock):
    """In a fleet of thousands, where heartbeats are rarer."""
    shift = check_in(kitchen)
    run_one(kitchen, shift)
    kitchen.heartbeat(shift, Vitals(), 3 * LEASE_S)
    for _ in range(2):
        clock.advance(LEASE_S + sweep_s(LEASE_S))
        assert not kitchen.sweep()
    assert not kitchen.shifts()[0].lease_until <= kitchen.now()
    clock.advance(sweep_s(LEASE_S))
    for _ in range(3):
        kitchen.sweep()
        clock.advance(sweep_s(LEASE_S))
    assert kitchen.sweep().ready or statuses(kitchen) == {Status.READY}


def test_each_waiter_hears_how_many_there_are_and_whether_nobody_sweeps(mongod_kitchens, clock):
    first, second = mongod_kitchens
    shift, _ = check_in(first), check_in(first, "b")
    assert first.heartbeat(shift, Vitals()).fleet_size == 0

    second.sweep()
    first.change_token()

    assert first.heartbeat(shift, Vitals()).fleet_size == 2
    clock.advance(2 * turn_s(LEASE_S) - 2)
    first.change_token()
    assert not first.heartbeat(shift, Vitals()).is_sweep_overdue
    clock.advance(3)
    first.change_token()
    assert first.heartbeat(shift, Vitals()).is_sweep_overdue, "the others are dead, perhaps"


def test_in_each_interval_one_of_a_fleet_sweeps(mongod_kitchens, clock):
    """On a machine alone a sweep costs next to nothing, and is everybody's."""
    turns = [[one.sweep().next_s for one in mongod_kitchens]]
    clock.advance(turn_s(LEASE_S) - 1)
    turns.append([one.sweep().next_s for one in mongod_kitchens])
    clock.advance(1)
    turns.append([one.sweep().next_s for one in reversed(mongod_kitchens)])

    assert [[next_s is None for next_s in turn] for turn in turns] == [[True, False], [False, False], [True, False]]
    assert turns[1] == [pytest.approx(1, abs=0.9)] * 2


def test_a_sweep_that_was_broken_off_is_done_by_the_next_one(mongod_kitchens, clock, monkeypatch):
    first, second = mongod_kitchens
    shift = check_in(first)
    run_one(first, shift)
    first.sweep()  # strays were looked for
    let_leases_run_out(first, clock)
    with monkeypatch.context() as dying:
        dying.setattr("waiter.kitchen.mongo.sweeps._take_back", dies)
        with pytest.raises(SystemExit):
            first.sweep()
    assert [shift.lost_at is not None for shift in second.shifts()] == [True]
    assert statuses(second) == {Status.RUNNING}

    clock.advance(sweep_s(LEASE_S))

    assert second.sweep().ready == 1


def dies(*_: object) -> NoReturn:
    raise SystemExit


@pytest.fixture
def mongod_kitchens(mongod_url, tmp_path, clock):
    """The same kitchen twice, on MongoDB: where sweeps are taken in turns."""
    url = with_database(mongod_url, f"waiter_test_{secrets.token_hex(6)}")
    with MongoKitchen(url, ahead=clock) as one, MongoKitchen(url, ahead=clock) as another:
        yield [one, another]
        one._to._client.drop_database(one._to.db.name)
