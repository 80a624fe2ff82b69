"""Hundreds of waiters check in at the same moment: an auto scaling group, or the end of a power cut."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pymongo
import pytest

from tests.conftest import check_in, eventually, fill, outcome
from waiter.kitchen.mongo.claims import Claims
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


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_who_loses_orders_to_others_gets_other_ones_and_what_is_urgent_within_a_second(kitchen_url, monkeypatch):
    with MongoKitchen(kitchen_url) as ours, MongoKitchen(kitchen_url) as theirs:
        fill(ours, [[str(n)] for n in range(1000)])
        us, them = check_in(ours, "us"), check_in(theirs, "them")
        taken = []
        look = Claims._look

        def look_and_be_late(claims, *asked):
            seen = look(claims, *asked)
            if claims is ours._claims and not taken:
                taken.extend(theirs.claim(them, 4))
            return seen

        monkeypatch.setattr(Claims, "_look", look_and_be_late)
        taken += ours.claim(us, 4)
        assert [order.row for order in taken[:4]] == [1, 2, 3, 4]
        assert len(taken) == 8

        fill(ours, [["now"]], batch="urgent", priority=5)
        eventually(lambda: taken.extend(ours.claim(us, 1)) or taken[-1].priority == 5, 3)
        while orders := ours.claim(us, 64):
            taken += orders

    assert len({order.id for order in taken}) == len(taken) == 1001
