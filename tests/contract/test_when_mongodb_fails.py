"""What a MongoDB kitchen promises when a reply is lost, the server freezes or dies, or another node takes over."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any

import pymongo
import pytest

from tests.conftest import check_in, eventually, fill, let_leases_run_out, needed_binary, only, outcome, with_database
from tests.mongod import Mongod, ReplicaSet
from tests.proxy import Loss, Proxy
from waiter.cli.console import LOOKING, SILENT_S
from waiter.errors import KitchenError, KitchenUnreachable
from waiter.kitchen.contract import LEASE_S, Kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import FinishResult, Selector, Shift, Status, Vitals

ANSWER_S = 2.0

WORK_S = 0.02
"""How long a crew works at a handful of orders: the fault must find it at work."""

CREW_WITHIN_S = 150.0
"""While a node hangs, the others tell each other only every 2 s what they have: for 30 s, longer on a busy machine."""


@pytest.fixture(scope="module")
def unhurt() -> Iterator[Mongod]:
    server = Mongod(needed_binary())
    server.start()
    yield server
    server.remove()


@pytest.fixture
def proxy(unhurt) -> Iterator[Proxy]:
    proxy = Proxy(unhurt.port)
    yield proxy
    proxy.close()


@pytest.fixture
def kitchen(proxy, clock, unhurt) -> Iterator[Kitchen]:
    """A kitchen behind the proxy; every test has a database of its own."""
    name = f"waiter_test_{next(_numbers)}"
    with MongoKitchen(with_database(proxy.url, name), ahead=clock, timeout_s=ANSWER_S) as kitchen:
        yield kitchen


_numbers = count(1)


@pytest.fixture(params=Loss)
def how(request) -> Loss:
    return request.param


def test_orders_of_a_claim_without_a_reply_are_held(kitchen, proxy, how):
    fill(kitchen, [["1"], ["2"], ["3"]])
    shift = check_in(kitchen)
    proxy.lose_reply_to("update", how)

    with pytest.raises(KitchenUnreachable):
        kitchen.claim(shift, limit=2)

    held = kitchen.held(shift)
    assert proxy.has_lost_all
    assert [(order.arguments[0], order.attempt) for order in held] == [("1", 1), ("2", 1)]
    assert kitchen.finish(shift, [outcome(order) for order in held]) == [FinishResult.ACCEPTED] * 2


@pytest.mark.parametrize("times", [1, 2])
def test_an_outcome_whose_reply_was_lost_is_known_when_it_is_sent_again(kitchen, proxy, how, times):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    proxy.lose_reply_to("update", how, times)

    for _ in range(times):
        with pytest.raises(KitchenUnreachable):
            kitchen.finish(shift, [outcome(order, exit_code=0)])

    assert kitchen.finish(shift, [outcome(order, exit_code=0)]) == [FinishResult.KNOWN]
    assert proxy.has_lost_all
    assert [event.what for event in only(kitchen).history] == ["finish"]
    assert only(kitchen).late == ()


def test_a_heartbeat_without_a_reply_still_renewed_the_lease(kitchen, proxy, how, clock):
    shift = check_in(kitchen)
    clock.advance(LEASE_S - 5)
    proxy.lose_reply_to("findAndModify", how)

    with pytest.raises(KitchenUnreachable):
        kitchen.heartbeat(shift, Vitals())

    clock.advance(LEASE_S - 5)
    assert proxy.has_lost_all
    assert not kitchen.reclaim()
    assert not kitchen.heartbeat(shift, Vitals()).is_lost


def test_a_release_without_a_reply_can_be_repeated(kitchen, proxy, how):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    proxy.lose_reply_to("update", how)

    with pytest.raises(KitchenUnreachable):
        kitchen.release(shift, [order])

    assert kitchen.release(shift, [order]) == 0
    assert (only(kitchen).status, only(kitchen).attempt) == (Status.READY, 0)


def test_a_check_in_without_a_reply_leaves_a_shift_that_its_lease_ends(kitchen, proxy, how, clock):
    proxy.lose_reply_to("update", how)

    with pytest.raises(KitchenUnreachable):
        check_in(kitchen, "a")

    let_leases_run_out(kitchen, clock)
    assert kitchen.reclaim().shifts == ("a",)


def test_adding_rows_again_after_a_lost_reply_adds_none_twice(kitchen, proxy, how):
    fill(kitchen, [])
    rows = [(number, [str(number)], None) for number in range(1, 5001)]
    proxy.lose_reply_to("insert", how)

    with pytest.raises(KitchenUnreachable):
        kitchen.add("b", rows)

    assert proxy.has_lost_all
    assert 0 < kitchen.counts().total <= len(rows)  # several are on their way at once, and may all have arrived
    kitchen.add("b", rows)
    assert sorted(order.row for order in kitchen.find(Selector())) == [row for row, _, _ in rows]


def test_a_claim_that_hangs_holds_up_a_heartbeat_beside_it_until_it_is_given_up(kitchen, proxy):
    """Not for longer, and on no third connection: a slow server is not to be asked for one by each of its waiters."""
    fill(kitchen, [["1"]])
    shift, beside = check_in(kitchen), kitchen.beside()
    proxy.lose_reply_to("aggregate", Loss.SILENCE)
    claim = threading.Thread(target=lambda: suppressed(kitchen.claim, shift, 1))
    claim.start()
    eventually(lambda: proxy.has_lost_all)

    began = time.monotonic()
    assert not beside.heartbeat(shift, Vitals()).is_lost

    claim.join()
    assert time.monotonic() - began < LEASE_S / 4
    beside.close()
    assert not kitchen.heartbeat(shift, Vitals()).is_lost, "who is beside it does not close it"


def test_a_long_step_over_many_orders_holds_up_no_heartbeat_beside_it(kitchen, proxy):
    shift, beside = check_in(kitchen), kitchen.beside()
    proxy.lose_reply_to("aggregate", Loss.SILENCE)
    step = threading.Thread(target=lambda: suppressed(kitchen.durations, 0.0, [1.0]), daemon=True)
    step.start()
    eventually(lambda: proxy.has_lost_all)

    assert not beside.heartbeat(shift, Vitals()).is_lost

    assert step.is_alive()
    proxy.cut()  # else it waits on, for as long as a long step may take
    step.join(60)
    assert not step.is_alive()


def suppressed(ask: Callable[..., Any], *arguments: Any) -> None:
    with suppress(KitchenError):
        ask(*arguments)


def test_a_waiter_holds_two_connections_to_a_server(server, tmp_path, home):
    with pymongo.MongoClient(server.url) as watching, MongoKitchen(server.url, "crew") as kitchen:
        fill(kitchen, [[str(n)] for n in range(20)])

        def connections() -> int:
            return int(watching.admin.command("serverStatus")["connections"]["current"])

        before = connections()
        words = [sys.executable, "-m", "waiter", "deliver", "-j2", "--until", "stopped", "true"]
        where = {"cwd": tmp_path, "env": {**home, "WAITER_KITCHEN": f"{server.url}/crew"}}
        waiter = subprocess.Popen(words, **where, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: kitchen.counts()[Status.DONE] == 20)
            (shift,) = kitchen.shifts()
            eventually(lambda: kitchen.shifts()[0].heartbeat_at > shift.heartbeat_at)
            eventually(lambda: 0 < connections() - before <= 2)
        finally:
            waiter.terminate()
            waiter.wait()


def test_a_frozen_server_is_unreachable_within_the_timeout(server):
    with MongoKitchen(server.url, timeout_s=1.0) as kitchen:
        fill(kitchen, [["x"]])
        shift = check_in(kitchen)
        server.freeze()
        began = time.monotonic()

        for ask in (lambda: kitchen.claim(shift, limit=1), lambda: kitchen.heartbeat(shift, Vitals()), kitchen.counts):
            with pytest.raises(KitchenUnreachable, match="did not answer within 1 s"):
                ask()

        assert time.monotonic() - began < 3 * 1.0 + 20  # without a limit each takes 30 s at least
        server.thaw()
        # What was asked of the frozen server may be done late; then the order is held.
        (order,) = eventually(lambda: _patiently(lambda: kitchen.claim(shift, limit=1) or kitchen.held(shift)))
        assert kitchen.finish(shift, [outcome(order)]) == [FinishResult.ACCEPTED]


def _patiently(ask: Callable[[], Any]) -> Any:
    with suppress(KitchenUnreachable):
        return ask()
    return None


class Crew:
    """Waiters that claim and finish until nothing is left, whatever the server does, and note what was accepted."""

    def __init__(self, url: str, size: int = 3) -> None:
        self.accepted: list[tuple[str, int]] = []
        self._url = url
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(size)]

    def __enter__(self) -> Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for thread in self._threads:
            thread.join(CREW_WITHIN_S + 10)
            assert not thread.is_alive()

    def _work(self, number: int) -> None:
        with MongoKitchen(self._url, timeout_s=3.0) as kitchen:
            shift = eventually(lambda: _patiently(lambda: check_in(kitchen, f"w{number}")))
            eventually(lambda: _patiently(lambda: kitchen.heartbeat(shift, Vitals(), lease_s=CREW_WITHIN_S)))
            ends = time.monotonic() + CREW_WITHIN_S
            while time.monotonic() < ends:
                with suppress(KitchenUnreachable):
                    self._deliver(kitchen, shift)
                    if kitchen.backlog().is_done:
                        return

    def _deliver(self, kitchen: Kitchen, shift: Shift) -> None:
        # Held first: they are what a claim without a reply left.
        orders = kitchen.held(shift) or kitchen.claim(shift, limit=4)
        time.sleep(WORK_S)
        outcomes = [outcome(order, exit_code=0) for order in orders]
        for ended, result in zip(outcomes, kitchen.finish(shift, outcomes), strict=True):
            assert result is not FinishResult.LATE
            self.accepted.append((ended.order_id, ended.attempt))


def check_the_books(kitchen: Kitchen, accepted: list[tuple[str, int]], rows: int) -> None:
    """Every order is DONE once, by its first attempt, and every acknowledged outcome is there."""
    done = {order.id: order for order in kitchen.find(Selector(statuses=(Status.DONE,)), with_details=True)}
    assert len(done) == rows
    for order in done.values():
        assert [event.what for event in order.history] == ["finish"]
        assert (order.attempt, order.late) == (1, ())
    assert {(order_id, done[order_id].attempt) for order_id, _ in accepted} >= set(accepted)


def test_no_acknowledged_outcome_is_lost_when_the_server_is_killed(server):
    rows = 1500
    with MongoKitchen(server.url) as kitchen:
        fill(kitchen, [[str(n)] for n in range(rows)])
    with Crew(server.url) as crew:
        for accepted in (rows // 5, rows // 2):
            eventually(lambda accepted=accepted: len(crew.accepted) > accepted, 30)
            server.kill()
            assert len(crew.accepted) < rows
            server.start()

    with MongoKitchen(server.url) as kitchen:
        check_the_books(kitchen, crew.accepted, rows)


@pytest.fixture
def replica_set() -> Iterator[ReplicaSet]:
    """One for each fate: a node that takes back what it alone had written may be none of a majority for minutes."""
    replicas = ReplicaSet(needed_binary())
    replicas.start()
    yield replicas
    replicas.remove()


@pytest.mark.parametrize("fate", ["steps down", "is killed", "freezes"])
def test_no_acknowledged_outcome_is_lost_when_the_primary(replica_set, fate):
    rows = 900
    url = with_database(replica_set.url, "after_it_" + fate.replace(" ", "_"))
    with MongoKitchen(url) as kitchen:
        fill(kitchen, [[str(n)] for n in range(rows)])
    with Crew(url) as crew:
        eventually(lambda: len(crew.accepted) > rows // 6, 30)
        primary = replica_set.primary()
        if fate == "steps down":
            replica_set.step_down()
        elif fate == "is killed":
            primary.kill()
        else:
            primary.freeze()
        others = [node for node in replica_set.nodes if node is not primary]
        before = len(crew.accepted)
        assert before < rows
        replica_set.primary(others)
        eventually(lambda: len(crew.accepted) > before + 12, 60)  # more than it had asked for
        if fate == "freezes":
            primary.thaw()
        if fate == "is killed":
            primary.start()

    with MongoKitchen(url) as kitchen:
        check_the_books(kitchen, crew.accepted, rows)


def test_a_new_primary_is_found_at_once_though_the_old_one_hangs(replica_set):
    with MongoKitchen(with_database(replica_set.url, "found_at_once"), timeout_s=5.0) as kitchen:
        fill(kitchen, [["1"]])
        time.sleep(1.5)  # the driver looks a second time soon after the first, and then not for 30 s
        primary = replica_set.primary()
        primary.freeze()
        try:
            with pytest.raises(KitchenUnreachable):
                kitchen.counts()
            replica_set.primary([node for node in replica_set.nodes if node is not primary])

            assert kitchen.counts()[Status.READY] == 1
        finally:
            primary.thaw()


def test_what_takes_long_is_said(kitchen, proxy, all_said_by_cli):
    fill(kitchen, [["1"]])
    for command in ("aggregate", "distinct"):
        proxy.delay(command, SILENT_S + 1)

    url = with_database(proxy.url, kitchen.url.rpartition("/")[2])
    with ThreadPoolExecutor() as terminals:
        asked = [
            terminals.submit(all_said_by_cli, *verb, WAITER_KITCHEN=url)
            for verb in (["orders"], ["extract"], ["errors", "--json"], ["show", "--match", "1"])
        ]
    orders, *others = [one.result() for one in asked]

    assert (orders.returncode, "b-1" in orders.stdout) == (0, True), orders.stderr
    for seen in (orders, *others):
        assert (seen.returncode, LOOKING in seen.stderr) == (0, True), seen
