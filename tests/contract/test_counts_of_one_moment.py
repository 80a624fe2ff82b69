"""However orders move while they are counted, each is counted once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import check_in, eventually, fill, needed_binary, outcome, with_database
from tests.mongod import ReplicaSet
from waiter.kitchen.answers import Backlog
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.notify.completion import wait_for_end
from waiter.orders import Reason, Selector, Status

ORDERS = 300
LOOKS = 60


@contextmanager
def at_work(open_again: Callable[[], Kitchen]) -> Iterator[None]:
    """Orders go to and fro between READY and RUNNING, and come to their end and back."""
    is_over = threading.Event()

    def work(kitchen: Kitchen, number: int) -> None:
        shift = check_in(kitchen, f"w{number}")
        while not is_over.is_set():
            orders = kitchen.claim(shift, limit=40)
            kitchen.release(shift, orders[::3])
            kitchen.finish(shift, [outcome(order, Status.READY, reason=Reason.EXIT) for order in orders[1::3]])
            kitchen.finish(shift, [outcome(order) for order in orders[2::3]])
            kitchen.reset(Selector(statuses=(Status.DONE,)))

    crew = [threading.Thread(target=work, args=(open_again(), number), daemon=True) for number in range(2)]
    for one in crew:
        one.start()
    try:
        yield
    finally:
        is_over.set()
        for one in crew:
            one.join()


@pytest.mark.parametrize("selector", [None, Selector(batch="b")])
def test_the_total_is_right_while_orders_move(kitchen, open_again, selector):
    fill(kitchen, [[str(n)] for n in range(ORDERS)])

    with at_work(open_again):
        totals = {kitchen.counts(selector).total for _ in range(LOOKS)}

    assert totals == {ORDERS}


@pytest.fixture(scope="module")
def replicas() -> Iterator[ReplicaSet]:
    replicas = ReplicaSet(needed_binary())
    replicas.start()
    yield replicas
    replicas.remove()


def test_a_replica_set_tells_of_one_moment(replicas):
    url = with_database(replicas.url, "moments")
    with MongoKitchen(url) as kitchen:
        fill(kitchen, [[str(n)] for n in range(ORDERS)])
        with at_work(lambda: MongoKitchen(url)):
            totals = {kitchen.counts().total for _ in range(LOOKS)}
        assert totals == {ORDERS}
        assert kitchen.reset(Selector()) + kitchen.counts().by_status[Status.READY] >= ORDERS


def test_all_is_done_only_when_a_majority_knows_it(replicas):
    """Else whoever counts next sees some of it running still, and a new primary may know nothing of the end."""
    url = with_database(replicas.url, "majority")
    primary = replicas.primary()
    others = [node for node in replicas.nodes if node is not primary]
    with MongoKitchen(url, timeout_s=30) as kitchen, MongoKitchen(url, timeout_s=30) as mine:
        fill(kitchen, [["1"]])
        shift = check_in(mine)
        (order,) = mine.claim(shift, limit=1)
        told = threading.Thread(target=mine.finish, args=(shift, [outcome(order)]))
        for node in others:
            node.freeze()
        try:
            told.start()
            eventually(lambda: next(iter(kitchen.find(Selector()))).status is Status.DONE)
            seen = kitchen.backlog(), kitchen.counts().finished
        finally:
            for node in others:
                node.thaw()
        told.join(60)

        assert seen == (Backlog(ready=0, next_due_s=None, running=1), 0)
        assert wait_for_end(kitchen, print, timeout_s=60, unattended_s=None).sentence == "1 DONE."
