"""Hundreds of waiters check in at the same moment: an auto scaling group, or the end of a power cut."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pymongo
import pytest

from tests.conftest import check_in, fill, outcome
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Counts, Order, Status, Vitals

WAITERS = 120
ORDERS = 4


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_hundreds_of_waiters_begin_at_once_on_a_kitchen_that_is_new(kitchen_url):
    """Each opens it, checks in, claims, sweeps and finishes: nobody fails, and no order goes to two of them."""
    gate = threading.Barrier(WAITERS)

    def work(number: int) -> list[Order]:
        gate.wait(60)
        with MongoKitchen(kitchen_url, timeout_s=60) as kitchen:
            if number == 0:
                fill(kitchen, [[str(n)] for n in range(ORDERS * WAITERS)])
            shift = check_in(kitchen, f"w{number}")
            mine: list[Order] = []
            ends = time.monotonic() + 60
            while len(mine) < ORDERS and time.monotonic() < ends:
                mine += kitchen.claim(shift, 1)
            kitchen.sweep()
            assert not kitchen.heartbeat(shift, Vitals()).is_lost
            kitchen.finish(shift, [outcome(order) for order in mine])
            kitchen.check_out(shift)
        return mine

    with ThreadPoolExecutor(WAITERS) as crew:
        taken = [order.id for orders in crew.map(work, range(WAITERS)) for order in orders]

    assert len(taken) == len(set(taken)) == ORDERS * WAITERS
    with MongoKitchen(kitchen_url) as kitchen, pymongo.MongoClient(kitchen_url) as client:
        assert kitchen.counts() == Counts({Status.DONE: ORDERS * WAITERS})
        assert client.get_default_database().shifts.count_documents({"is_open": True}) == 0
