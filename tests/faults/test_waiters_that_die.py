"""Waiters, runners and commands are killed and frozen for real while they deliver, and no order is lost by it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import check_in, eventually, fill, outcome, unavailable
from tests.faults import quick_waiter
from tests.faults.floor import Floor, all_orders, check_promises, child, is_alive
from tests.freezing import freeze
from waiter.kitchen.contract import Kitchen
from waiter.orders import Reason, Selector, Status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("victim", ["waiter", "runner", "both", "command"])
def test_a_sigkill_loses_no_order(kitchen, floor, victim):
    ids = fill(kitchen, [[str(n)] for n in range(30)])
    first = floor.start(retries=1, backoff_s=0.1)
    eventually(lambda: len(floor.oracle("end")) >= 3)
    runner = child(child(first.pid))  # between them stands its guard
    order, _, command = eventually(lambda: [b for b in floor.oracle("begin") if b not in floor.oracle("end")])[-1]
    victims = {"waiter": [first.pid], "runner": [runner], "both": [runner, first.pid], "command": [command]}[victim]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            assert victim == "command"  # it had just ended

    eventually(lambda: not is_alive(command))
    if victim in ("waiter", "both"):
        first.wait(60)
        floor.start()

    def are_all_done() -> bool:
        # A loss is followed by a backoff of some seconds; nobody needs to wait for it here.
        kitchen.reclaim()
        return kitchen.counts()[Status.DONE] == len(ids)

    eventually(are_all_done, within_s=40)
    check_promises(kitchen, floor)


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)  # on SQLite who lives is late, not lost
def test_a_frozen_waiters_order_is_delivered_by_another_and_its_outcome_is_late(kitchen, floor):
    (order_id,) = fill(kitchen, [["x"]])
    frozen = floor.start(work="[ $WAITER_ATTEMPT -gt 1 ] || sleep 3", lease_s=1.5, until="stopped")
    eventually(lambda: floor.oracle("begin"))
    freeze(frozen.pid)
    second = floor.start(work="true", lease_s=1.5)

    assert second.wait(40) == 0
    frozen.send_signal(signal.SIGCONT)

    def order():
        return next(kitchen.find(Selector(ids=(order_id,)), with_details=True))

    late = eventually(lambda: order().late)
    assert (order().status, order().attempt) == (Status.DONE, 2)
    assert [event.attempt for event in late] == [1]
    check_promises(kitchen, floor)


def test_waiters_that_slept_past_their_lease_give_nobody_up(kitchen, floor):
    """A laptop's lid: all of them are frozen, and wake one after the other."""
    lease_s, number = 2.0, 3
    fill(kitchen, [[str(n)] for n in range(number)])
    work = "while [ ! -e go ]; do sleep 0.02; done"
    waiters = [floor.start(work=work, lease_s=lease_s, name=f"sleeper-{n}") for n in range(number)]
    eventually(lambda: len(floor.oracle("begin")) == number)
    for _ in range(2):
        for waiter in waiters:
            freeze(waiter.pid)
        time.sleep(1.5 * lease_s)  # the sleep is what happens here
        for waiter in waiters:
            waiter.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        time.sleep(lease_s)  # time enough for some sweeps, which must find nothing
    fresh = floor.start(work=work, lease_s=lease_s)
    time.sleep(lease_s)
    (floor.folder / "go").touch()

    assert [waiter.wait(30) for waiter in (*waiters, fresh)] == [0] * 4, [floor.talk(waiter) for waiter in waiters]

    assert {(order.attempt, order.losses, order.late) for order in all_orders(kitchen)} == {(1, 0, ())}
    assert len(floor.oracle("begin")) == number
    assert "Reclaimed" not in "".join(map(floor.talk, floor.waiters))


@pytest.fixture
def in_container(floor, tmp_path):
    """Starts a waiter with a boot id of its own, as some containers have it; returns its process."""
    boot_id = "/proc/sys/kernel/random/boot_id"
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        unavailable("only root may mount another boot id")

    def start(name: str, **options: object):
        own = tmp_path / f"boot-of-{name}"
        own.write_text(f"{name}\n")
        floor.before = ["unshare", "--mount", "sh", "-c", f'mount --bind {own} {boot_id} && exec "$@"', "sh"]
        return floor.start(name=name, **options)

    return start


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_containers_with_boot_ids_of_their_own_share_a_file_and_see_who_dies(kitchen, floor, in_container):
    lease_s = 2.0
    fill(kitchen, [["1"], ["2"], ["3"]])
    one, *others = [
        in_container(name, work="while [ ! -e go ]; do sleep 0.02; done", lease_s=lease_s)
        for name in ("one", "two", "three")
    ]
    eventually(lambda: len(floor.oracle("begin")) == 3)
    boots = {row["boot"] for row in kitchen._db.execute("SELECT boot FROM shifts")}
    assert len(boots) == 3, "they do not see their own boot ids"
    beats = {shift.waiter: shift.heartbeat_at for shift in kitchen.shifts()}
    eventually(lambda: all(s.heartbeat_at > beats[s.waiter] + 2 * lease_s for s in kitchen.shifts()))
    assert {order.attempt for order in all_orders(kitchen)} == {1}

    one.kill()
    one.wait()
    eventually(lambda: any(order.losses for order in all_orders(kitchen)), within_s=20)
    (floor.folder / "go").touch()

    assert [waiter.wait(60) for waiter in others] == [0, 0], floor.talk(others[0])
    losses = {order.history[0].waiter: order.losses for order in all_orders(kitchen)}
    assert losses == {"one": 1, "two": 0, "three": 0}
    check_promises(kitchen, floor)


def test_an_order_that_kills_its_runner_ends_in_error_and_the_others_are_delivered(kitchen, floor):
    fill(kitchen, [["poison"], *([str(n)] for n in range(5))])
    # Two losses are the end here: the third would only add a longer backoff.
    waiter = floor.start(work="[ $1 != poison ] || kill -9 $PPID", max_losses=2)

    waiter.wait(60)

    by_argument = {order.arguments[0]: order for order in all_orders(kitchen)}
    poison = by_argument.pop("poison")
    assert (poison.status, poison.reason, poison.losses) == (Status.ERROR, Reason.LOST, 2)
    assert {order.status for order in by_argument.values()} == {Status.DONE}


def lose_twice(kitchen: Kitchen, argument: str) -> str:
    """Let the order with this argument take two waiters down; returns its id."""
    for _ in range(2):
        shift = check_in(kitchen, "before")
        claimed = [*kitchen.claim(shift, limit=9), *kitchen.claim(shift, limit=9)]
        lost = next(order for order in claimed if order.arguments == (argument,))
        kitchen.finish(shift, [outcome(lost, Status.READY, reason=Reason.LOST)])
        kitchen.check_out(shift)
    return lost.id


@pytest.mark.parametrize("place", [0, 2], ids=["first", "after others"])
def test_an_order_that_was_lost_twice_runs_alone(kitchen, floor, place):
    rows = [[str(n)] for n in range(6)]
    rows.insert(place, ["lost"])
    fill(kitchen, rows)
    poison = lose_twice(kitchen, "lost")

    waiter = floor.start(work="sleep 0.3", jobs="3")

    assert waiter.wait(30) == 0, floor.talk(waiter)
    lines = [line.split() for line in (floor.folder / "oracle").read_text().splitlines()]
    at = next(n for n, (word, order, *_) in enumerate(lines) if (word, order) == ("begin", poison))
    assert lines[at + 1][:2] == ["end", poison], "another one began or ended beside it"
    before = [order for word, order, *_ in lines[:at] if word == "begin"]
    assert sorted(before) == sorted(order for word, order, *_ in lines[:at] if word == "end")
    assert kitchen.counts()[Status.DONE] == 7


def test_a_cancelled_order_that_waits_to_run_alone_never_begins(kitchen, floor):
    """It was lost twice, so it waits until its waiter runs nothing else."""
    fill(kitchen, [["long"], ["lost"]])
    lost_id = lose_twice(kitchen, "lost")
    waiter = floor.start(work="while [ ! -e go ]; do sleep 0.02; done", jobs="2")
    eventually(lambda: kitchen.counts()[Status.RUNNING] == 2)

    kitchen.cancel(Selector(ids=(lost_id,)))
    asked_at = kitchen.now()
    eventually(lambda: kitchen.shifts()[0].heartbeat_at > asked_at)  # by which it hears
    (floor.folder / "go").touch()

    assert waiter.wait(20) == 0, floor.talk(waiter)
    assert [order.status for order in all_orders(kitchen)] == [Status.DONE, Status.CANCELLED]
    assert lost_id not in {order for order, _, _ in floor.oracle("begin")}


def test_a_script_that_vanishes_costs_no_order_anything(kitchen, floor, tmp_path):
    fill(kitchen, [[str(n)] for n in range(20)])
    script = tmp_path / "crunch.sh"
    script.write_text("#!/bin/sh\necho $1 >> delivered\n[ $1 != 5 ] || rm crunch.sh\n")
    script.chmod(0o755)
    program = [sys.executable, "-m", "tests.faults.quick_waiter", floor.url, "3", "{}", "./crunch.sh"]
    waiter = subprocess.run(program, cwd=tmp_path, env=floor.env, capture_output=True, text=True, timeout=30)

    assert waiter.returncode == 4, waiter.stderr
    assert "crunch.sh" in waiter.stderr
    counts = kitchen.counts()
    delivered = len((tmp_path / "delivered").read_text().split())
    assert (counts[Status.DONE], counts[Status.READY], counts[Status.ERROR]) == (delivered, 20 - delivered, 0)


def test_four_waiters_share_eight_long_orders(kitchen, floor):
    fill(kitchen, [[str(n)] for n in range(8)])
    waiters = [floor.start(work="sleep 1.5") for _ in range(4)]

    assert [waiter.wait(40) for waiter in waiters] == [0] * 4

    assert Counter(order.waiter for order in all_orders(kitchen)).keys() == {"w0", "w1", "w2", "w3"}


def test_two_waiters_with_one_name_do_not_disturb_each_other(kitchen, floor):
    fill(kitchen, [[str(n)] for n in range(40)])
    waiters = [floor.start(work="true", name="twin") for _ in range(2)]

    assert [waiter.wait(30) for waiter in waiters] == [0, 0]

    assert Counter(Counter(order for order, _, _ in floor.oracle("begin")).values()) == {1: 40}


def test_an_argument_too_long_for_the_kernel_is_its_orders_fault(kitchen, floor):
    fill(kitchen, [["x" * 131_072], ["fits"]])

    assert floor.start(work="true").wait(20) == 1

    long, fits = all_orders(kitchen)
    assert (long.status, long.reason, fits.status) == (Status.ERROR, Reason.UNSTARTABLE, Status.DONE)


def test_two_hundred_open_files_of_the_parent_stay_its_own(kitchen, floor):
    fill(kitchen, [["x"]])
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    for descriptor in held:
        os.set_inheritable(descriptor, True)
    settings = json.dumps({"keep_output": "all"})
    program = [
        sys.executable,
        "-m",
        "tests.faults.quick_waiter",
        floor.url,
        "3",
        settings,
        "sh",
        "-c",
        "ls /proc/self/fd | wc -l",
    ]
    try:
        subprocess.run(program, env=floor.env, close_fds=False, timeout=30, check=True, cwd=floor.folder)
    finally:
        for descriptor in held:
            os.close(descriptor)

    (order,) = all_orders(kitchen)
    assert int(order.tail) == 4  # 0, 1, 2, and the folder that ls reads


@pytest.mark.parametrize("hours", [5, -5])
def test_a_host_whose_clock_is_hours_off_changes_no_outcome(kitchen, floor, hours):
    faketime = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    if not Path(faketime).exists():
        unavailable("libfaketime is not installed")
    fill(kitchen, [[str(n)] for n in range(6)])
    floor.env |= {"LD_PRELOAD": faketime, "FAKETIME": f"{hours:+}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    wrong = floor.start(work="sleep 0.5")
    for variable in ("LD_PRELOAD", "FAKETIME"):
        del floor.env[variable]
    right = floor.start(work="sleep 0.5")

    assert [wrong.wait(40), right.wait(40)] == [0, 0]

    assert Counter(Counter(order for order, _, _ in floor.oracle("begin")).values()) == {1: 6}
    assert {(order.status, order.losses, order.late) for order in all_orders(kitchen)} == {(Status.DONE, 0, ())}


@pytest.mark.parametrize("locked_s", [1, 4], ids=["is waited for", "for longer is away"])
def test_sqlite_locked_by_somebody_else(tmp_path, home, locked_s):
    import sqlite3

    from waiter.kitchen.sqlite.kitchen import SqliteKitchen

    url = str(tmp_path / "kitchen.sqlite")
    home["XDG_STATE_HOME"] = str(tmp_path / "state")
    with SqliteKitchen(Path(url)) as kitchen:
        fill(kitchen, [[str(n)] for n in range(10)])
        floor = Floor(url, tmp_path, home)
        waiter = floor.start(work="sleep 0.2", lease_s=30)
        eventually(lambda: floor.oracle("end"))
        with sqlite3.connect(url, isolation_level=None, timeout=20) as somebody:
            somebody.execute("BEGIN IMMEDIATE")
            time.sleep(locked_s)  # the lock is held for a while, which is what happens here
            somebody.execute("COMMIT")
        try:
            assert waiter.wait(40) == 0, floor.talk(waiter)
        finally:
            floor.close()
        check_promises(kitchen, floor)
        assert {(order.status, order.attempt, order.losses) for order in all_orders(kitchen)} == {(Status.DONE, 1, 0)}
        assert len(floor.oracle("begin")) == 10
        assert ("locked by somebody else" in floor.talk(waiter)) == (locked_s > quick_waiter.KITCHEN_WAIT_S)
    assert list(tmp_path.glob("state/waiter/spool/*/*.json")) == []
