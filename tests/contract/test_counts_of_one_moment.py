"""However orders move while they are counted, each is counted once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import check_in, fill, needed_binary, outcome
from tests.mongod import ReplicaSet
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen
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


def test_a_replica_set_tells_of_one_moment():
    replicas = ReplicaSet(needed_binary())
    replicas.start()
    try:
        with MongoKitchen(replicas.url) as kitchen:
            fill(kitchen, [[str(n)] for n in range(ORDERS)])
            with at_work(lambda: MongoKitchen(replicas.url)):
                totals = {kitchen.counts().total for _ in range(LOOKS)}
            assert totals == {ORDERS}
            assert kitchen.reset(Selector()) + kitchen.counts().by_status[Status.READY] >= ORDERS
    finally:
        replicas.remove()
