"""MongoDB is killed, frozen, deposed or cut off while waiters deliver: no order and no outcome is lost by it.

Each test has servers of its own, because it hurts them. The oracle is what the commands write down themselves.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.conftest import eventually, fill, needed_binary, unavailable, with_database
from tests.faults.floor import Floor, all_orders, check_promises
from tests.mongod import Mongod, ReplicaSet
from tests.proxy import Loss, Proxy
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Order, Selector, Status

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(180),
]

WAITS = "while [ ! -e go ]; do sleep 0.02; done"

LONG_LEASE_S = 30
"""A lease that outlasts the trouble: nobody may give the waiter up for it."""


def database(server: str) -> str:
    return with_database(server, f"waiter_test_{secrets.token_hex(4)}")


@pytest.fixture
def place(tmp_path, home) -> Iterator[Callable[[str], Floor]]:
    """Makes the floor of a kitchen's waiters; what they keep on disk lies in the test's own folder."""
    home["XDG_STATE_HOME"] = str(tmp_path / "state")
    floors: list[Floor] = []

    def make(url: str) -> Floor:
        floors.append(Floor(url, tmp_path, home))
        return floors[-1]

    yield make
    for floor in floors:
        floor.close()


def spooled(folder: Path) -> list[Path]:
    return list(folder.glob("state/waiter/spool/*/*.json"))


def are_done(kitchen: MongoKitchen, number: int) -> bool:
    return kitchen.counts()[Status.DONE] == number


def began(floor: Floor) -> Counter[str]:
    """How often each order was begun."""
    return Counter(order for order, _, _ in floor.oracle("begin"))


def check_all_done(kitchen: MongoKitchen, floor: Floor, number: int) -> list[Order]:
    """Every order is DONE in its first attempt, for which nobody gave a waiter up."""
    check_promises(kitchen, floor)
    orders = all_orders(kitchen)
    assert len(orders) == number
    assert {(order.status, order.attempt, order.losses, order.late) for order in orders} == {(Status.DONE, 1, 0, ())}
    return orders


def test_a_server_that_is_killed_and_comes_back_costs_no_order_anything(server, place):
    url, number = database(server.url), 60
    with MongoKitchen(url, timeout_s=10) as kitchen:
        fill(kitchen, [[str(n)] for n in range(number)])
        floor = place(url)
        waiters = [floor.start(work="sleep 0.2", jobs="2", lease_s=LONG_LEASE_S) for _ in range(2)]
        eventually(lambda: len(kitchen.shifts()) == 2)  # who finds no server when it starts goes home
        for begun in (8, 24):
            eventually(lambda begun=begun: len(floor.oracle("begin")) >= begun)
            server.kill()
            time.sleep(1.5)  # the time that it is away is what happens here
            server.start()

        assert [waiter.wait(60) for waiter in waiters] == [0, 0], floor.talk(waiters[0])

        check_all_done(kitchen, floor, number)
        assert set(began(floor).values()) == {1}, "an order was begun twice"
    assert spooled(floor.folder) == []


def test_a_frozen_server_is_waited_for_and_commands_go_on(server, place):
    url, number = database(server.url), 20
    with MongoKitchen(url, timeout_s=10) as kitchen:
        fill(kitchen, [[str(n)] for n in range(number)])
        floor = place(url)
        waiter = floor.start(work="sleep 0.5", jobs="2", lease_s=LONG_LEASE_S)
        eventually(lambda: len(floor.oracle("begin")) >= 4)
        server.freeze()
        running = len(floor.oracle("begin"))
        try:
            eventually(lambda: len(floor.oracle("end")) >= running)
            eventually(lambda: spooled(floor.folder))
            assert waiter.poll() is None
        finally:
            server.thaw()

        assert waiter.wait(60) == 0, floor.talk(waiter)

        assert "The kitchen is back" in floor.talk(waiter)
        check_all_done(kitchen, floor, number)
    assert spooled(floor.folder) == []


def test_an_outcome_kept_on_disk_is_handed_in_by_the_next_waiter_of_the_machine(server, place):
    url = database(server.url)
    with MongoKitchen(url, timeout_s=10) as kitchen:
        fill(kitchen, [["x"]])
        floor = place(url)
        first = floor.start(work="sleep 1", lease_s=LONG_LEASE_S)
        eventually(lambda: floor.oracle("begin"))
        server.kill()
        eventually(lambda: spooled(floor.folder))
        first.kill()
        first.wait()
        server.start()
        assert kitchen.counts()[Status.RUNNING] == 1

        second = floor.start(work="true", lease_s=LONG_LEASE_S)

        assert second.wait(40) == 0, floor.talk(second)
        assert "Delivered outcomes that were kept on disk: 1." in floor.talk(second)
        assert began(floor) == {"b-1": 1}
        (order,) = check_all_done(kitchen, floor, 1)
        assert order.waiter == "w0"
    assert spooled(floor.folder) == []


def test_an_outcome_kept_on_disk_until_its_lease_ran_out_is_listed_as_late(server, place):
    url = database(server.url)
    with MongoKitchen(url, timeout_s=10) as kitchen:
        fill(kitchen, [["x"]])
        floor = place(url)
        first = floor.start(work="sleep 1", lease_s=2)
        eventually(lambda: floor.oracle("begin"))
        server.kill()
        eventually(lambda: spooled(floor.folder))
        first.kill()
        first.wait()
        server.start()
        eventually(kitchen.reclaim)

        second = floor.start(work="true")

        assert second.wait(60) == 0, floor.talk(second)
        check_promises(kitchen, floor)
        (order,) = all_orders(kitchen)
        assert (order.status, order.attempt, order.losses) == (Status.DONE, 2, 1)
        assert [(event.attempt, event.status) for event in order.late] == [(1, Status.DONE)]
    assert spooled(floor.folder) == []


@pytest.mark.parametrize("how", Loss)
@pytest.mark.parametrize("command", ["update", "aggregate"])
def test_lost_replies_start_no_order_twice(server, place, command, how):
    """Claims look (aggregate) and take (update), finishes update: any of their replies may vanish under load."""
    number = 45
    with closing(Proxy(server.port)) as proxy:
        url = database(proxy.url)
        with MongoKitchen(database_beside(server, url), timeout_s=10) as kitchen:
            fill(kitchen, [[str(n)] for n in range(number)])
            floor = place(url)
            waiter = floor.start(work="sleep 0.1", jobs="2", lease_s=LONG_LEASE_S)
            for begun in (3, 15, 27):
                eventually(lambda begun=begun: len(floor.oracle("begin")) >= begun)
                # The driver sends a command again when its connection breaks: to lose it, lose it twice.
                proxy.lose_reply_to(command, how, times=2 if how is Loss.CUT else 1)
                eventually(lambda: proxy.has_lost_all)

            assert waiter.wait(90) == 0, floor.talk(waiter)

            check_all_done(kitchen, floor, number)
            assert set(began(floor).values()) == {1}, "an order was begun twice"
    assert spooled(floor.folder) == []


@pytest.mark.parametrize(("how", "times"), [(Loss.CUT, 2), (Loss.SILENCE, 1)])
def test_heartbeats_without_a_reply_cost_no_order_anything(server, place, how, times):
    with closing(Proxy(server.port)) as proxy:
        url = database(proxy.url)
        with MongoKitchen(database_beside(server, url), timeout_s=10) as kitchen:
            fill(kitchen, [["x"]])
            floor = place(url)
            waiter = floor.start(work=WAITS, lease_s=LONG_LEASE_S)
            eventually(lambda: floor.oracle("begin"))
            proxy.lose_reply_to("findAndModify", how, times)
            eventually(lambda: proxy.has_lost_all)
            heard = kitchen.shifts()[0].heartbeat_at
            eventually(lambda: kitchen.shifts()[0].heartbeat_at > heard)
            (floor.folder / "go").touch()

            assert waiter.wait(60) == 0, floor.talk(waiter)

            check_all_done(kitchen, floor, 1)


def test_orders_of_a_claim_without_a_reply_go_back_when_it_is_time_to_go(server, place):
    with closing(Proxy(server.port)) as proxy:
        url = database(proxy.url)
        with MongoKitchen(database_beside(server, url), timeout_s=10) as kitchen:
            fill(kitchen, [["first"]])
            floor = place(url)
            waiter = floor.start(work=WAITS, jobs="2", lease_s=LONG_LEASE_S)
            eventually(lambda: floor.oracle("begin"))
            proxy.lose_reply_to("update", Loss.SILENCE)
            fill(kitchen, [["second"]], batch="c")
            eventually(lambda: proxy.has_lost_all)
            waiter.terminate()  # while it still waits for the reply
            eventually(lambda: kitchen.counts()[Status.READY] == 1)
            (floor.folder / "go").touch()

            assert waiter.wait(60) == 0, floor.talk(waiter)

            assert began(floor) == {"b-1": 1}
            first, second = all_orders(kitchen)
            assert (first.status, second.status, second.attempt) == (Status.DONE, Status.READY, 0)


def test_a_kitchen_that_was_away_for_longer_than_a_lease_takes_no_order_from_the_living(server, place):
    """The waiters are busy and have nothing to hand in, and so nothing by which they would notice that it is back."""
    url, lease_s = database(server.url), 8
    with MongoKitchen(url, timeout_s=10) as kitchen:
        fill(kitchen, [["x"], ["y"]])
        floor = place(url)
        waiters = [floor.start(work=WAITS, lease_s=lease_s) for _ in range(2)]
        eventually(lambda: len(floor.oracle("begin")) == 2)
        server.kill()
        eventually(lambda: all("did not answer within" in floor.talk(waiter) for waiter in waiters))
        time.sleep(lease_s)  # the time that it is away is what happens here
        told = [floor.talk(waiter) for waiter in waiters]
        server.start()
        fresh = floor.start(work="true", lease_s=lease_s)  # it knows nothing of the outage
        check_that_nobody_is_given_up(url, lease_s)
        back_at = kitchen.now()
        eventually(lambda: all(shift.heartbeat_at > back_at for shift in kitchen.shifts()))
        eventually(lambda: all("The kitchen is back" in floor.talk(waiter) for waiter in waiters))
        (floor.folder / "go").touch()

        assert [waiter.wait(60) for waiter in (*waiters, fresh)] == [0, 0, 0], floor.talk(waiters[0])

        assert "Reclaimed" not in "".join(map(floor.talk, floor.waiters))
        assert "The kitchen is back" not in "".join(told)
        assert [floor.talk(waiter).count("did not answer within") for waiter in waiters] == [1, 1]
        check_all_done(kitchen, floor, 2)


def check_that_nobody_is_given_up(url: str, lease_s: float) -> None:
    """Neither a sweep nor a reset of somebody who has just come takes an order."""
    with MongoKitchen(url, lease_s=lease_s, timeout_s=10) as stranger:
        for _ in range(3):
            assert not stranger.reclaim()
            assert stranger.reset(Selector(statuses=(Status.RUNNING,))) == 0


@pytest.mark.long
def test_a_majority_that_is_away_for_longer_than_a_lease_costs_no_order_and_no_outcome(place):
    """It is away for a minute. One command ends meanwhile, and the other when all are back."""
    replica_set, lease_s = ReplicaSet(needed_binary()), 40
    try:
        replica_set.start()
        url = database(replica_set.url)
        with MongoKitchen(url, timeout_s=20) as kitchen:
            fill(kitchen, [["x"], ["y"]])
            floor = place(url)
            waiters = [floor.start(work=WAITS.replace("go", "go.$1"), lease_s=lease_s) for _ in range(2)]
            eventually(lambda: len(floor.oracle("begin")) == 2)
            primary = replica_set.primary()
            gone = [primary, next(node for node in replica_set.nodes if node is not primary)]
            for node in gone:
                node.kill()
            gone_at = time.monotonic()
            (floor.folder / "go.x").touch()
            eventually(lambda: spooled(floor.folder))
            time.sleep(max(0.0, gone_at + 60 - time.monotonic()))  # the time is what happens here
            for node in gone:
                node.start()
            replica_set.primary()
            check_that_nobody_is_given_up(url, lease_s)
            back_at = kitchen.now()
            eventually(lambda: all(shift.heartbeat_at > back_at for shift in kitchen.shifts()))
            (floor.folder / "go.y").touch()

            assert [waiter.wait(60) for waiter in waiters] == [0, 0], floor.talk(waiters[0])

            check_all_done(kitchen, floor, 2)
            assert set(began(floor).values()) == {1}
        assert spooled(floor.folder) == []
    finally:
        replica_set.remove()


def database_beside(server: Mongod, url: str) -> str:
    """The same database without the proxy."""
    return f"{server.url}/{url.rpartition('/')[2].partition('?')[0]}"


def test_a_secondary_that_lags_and_a_new_primary_cost_no_order_anything(place):
    replica_set = ReplicaSet(needed_binary())
    number = 60
    try:
        replica_set.start()
        url = database(replica_set.url)
        with MongoKitchen(url, timeout_s=20) as kitchen:
            fill(kitchen, [[str(n)] for n in range(number)])
            floor = place(url)
            waiters = [floor.start(work="sleep 0.2", jobs="2", lease_s=LONG_LEASE_S) for _ in range(2)]
            eventually(lambda: floor.oracle("begin"))
            primary = replica_set.primary()
            lagging = next(node for node in replica_set.nodes if node is not primary)
            lagging.freeze()  # the others are a majority
            eventually(lambda: len(floor.oracle("begin")) >= 8, within_s=120)
            lagging.thaw()
            replica_set.step_down()
            eventually(lambda: len(floor.oracle("begin")) >= 24, within_s=30)
            replica_set.primary().kill()

            assert [waiter.wait(90) for waiter in waiters] == [0, 0], floor.talk(waiters[0])

            check_all_done(kitchen, floor, number)
            assert set(began(floor).values()) == {1}, "an order was begun twice"
    finally:
        replica_set.remove()


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Callable[[], None]]:
    """A small disk under the place where outcomes are kept; call it to fill it."""
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(state)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        unavailable("only root may mount a small disk")

    def fill_it() -> None:
        with (state / "full").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    yield fill_it
    subprocess.run(["umount", "--lazy", str(state)], check=True)


def test_with_the_disk_full_and_the_kitchen_away_outcomes_wait_in_memory(server, place, full_disk):
    url = database(server.url)
    with MongoKitchen(url, timeout_s=10) as kitchen:
        fill(kitchen, [["x"], ["y"]])
        floor = place(url)
        waiter = floor.start(work="sleep 1", lease_s=LONG_LEASE_S)
        eventually(lambda: floor.oracle("begin"))
        full_disk()
        server.kill()
        eventually(lambda: "cannot be kept" in floor.talk(waiter))
        assert waiter.poll() is None
        assert len(floor.oracle("begin")) == 1, "it began an order whose outcome it could not keep"
        server.start()

        assert waiter.wait(60) == 0, floor.talk(waiter)

        check_all_done(kitchen, floor, 2)
    assert spooled(floor.folder) == []


def test_an_order_whose_outcome_waits_in_memory_is_not_taken_for_one_that_was_never_begun(server, place, full_disk):
    """A claim's reply is lost, so the waiter asks what it holds; that names the order that has just ended, too."""
    with closing(Proxy(server.port)) as proxy:
        url = database(proxy.url)
        with MongoKitchen(database_beside(server, url), timeout_s=10) as kitchen:
            fill(kitchen, [["first"]])
            floor = place(url)
            work = f"[ $1 = second ] || {WAITS}"
            waiter = floor.start(work=work, jobs="2", lease_s=LONG_LEASE_S)
            eventually(lambda: floor.oracle("begin"))
            full_disk()
            proxy.lose_reply_to("update", Loss.CUT)
            fill(kitchen, [["second"]], batch="c")
            eventually(lambda: "did not answer within" in floor.talk(waiter))
            (floor.folder / "go").touch()

            assert waiter.wait(60) == 0, floor.talk(waiter)

            assert proxy.has_lost_all
            assert "cannot be kept" in floor.talk(waiter)
            check_all_done(kitchen, floor, 2)
            assert began(floor) == {"b-1": 1, "c-1": 1}


@pytest.mark.long
@pytest.mark.parametrize("signals", [1, 2], ids=["drained", "stopped"])
def test_a_waiter_goes_home_promptly_although_the_kitchen_is_away(server, place, signals):
    """It holds orders that it has claimed ahead. Giving them back needs no reply: the lease covers them."""
    url, number = database(server.url), 40
    with MongoKitchen(url, timeout_s=10) as kitchen:
        fill(kitchen, [[str(n)] for n in range(number)])
        floor = place(url)
        waiter = floor.start(work=f"[ $1 -lt 20 ] || {WAITS}", jobs="2", lease_s=3, grace_s=1)
        eventually(lambda: kitchen.counts()[Status.RUNNING] > 2 and len(began(floor)) == 22)
        server.kill()
        eventually(lambda: "did not answer within" in floor.talk(waiter))
        for _ in range(signals):
            waiter.terminate()
            time.sleep(0.5)  # two at once are one wish
        asked_at = time.monotonic()
        if signals == 1:
            (floor.folder / "go").touch()

        assert waiter.wait(60) == 3, floor.talk(waiter)

        assert time.monotonic() - asked_at < 40, floor.talk(waiter)
        assert "are offered again when its lease runs out" in floor.talk(waiter)
        server.start()
        (floor.folder / "go").touch()
        assert floor.start(lease_s=3).wait(60) == 0, floor.talk(floor.waiters[1])
        assert are_done(kitchen, number)
        check_promises(kitchen, floor)
    assert spooled(floor.folder) == []


def test_a_kitchen_that_is_loaded_is_asked_for_several_orders_at_once(server, place):
    """Each claim takes half a second: of 16 slots with orders of a second and more some would stand empty."""
    with closing(Proxy(server.port)) as proxy:
        url = database(proxy.url)
        with MongoKitchen(database_beside(server, url), timeout_s=10) as kitchen:
            fill(kitchen, [[str(n)] for n in range(200)])
            floor = place(url)
            floor.start(work="sleep 1.2", jobs="16", lease_s=LONG_LEASE_S)
            eventually(lambda: kitchen.counts()[Status.DONE] > 16)
            proxy.delay("aggregate", 0.5)

            eventually(lambda: kitchen.counts()[Status.RUNNING] > 16)
