"""Who reads slowly (`extract | less`, a loop in Python) reads all, and is in nobody's way."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.conftest import check_in, fill, outcome
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.selecting import PORTION, SORTS
from waiter.orders import Order, Selector, Status

MANY = 3 * PORTION
SORTED = [f"{sign}{sort}" for sort in SORTS for sign in ("", "-")]


def deliver_some(kitchen: Kitchen, count: int) -> None:
    """Half of the orders that are claimed get an end."""
    shift, orders = check_in(kitchen), []
    while len(orders) < count and (more := kitchen.claim(shift, limit=min(64, count - len(orders)))):
        orders += more
    kitchen.finish(shift, [outcome(order, start=order.start, stop=order.start + order.row) for order in orders[::2]])


@pytest.mark.parametrize("sort", SORTED)
@pytest.mark.parametrize("selector", [Selector(), Selector(statuses=tuple(Status))])
def test_a_list_holds_each_order_once_though_they_change_while_it_is_read(open_again, sort, selector):
    kitchen, other = open_again(), open_again()
    ids = fill(kitchen, [[str(n)] for n in range(MANY)])
    deliver_some(kitchen, MANY // 2)
    reading = kitchen.find(selector, sort=sort)
    first = next(reading)

    other.reset(Selector(statuses=(Status.DONE,)))
    deliver_some(other, MANY // 2)
    other.clean(Selector(ids=(gone := ids[MANY // 2],)))

    found = Counter(order.id for order in [first, *reading])
    assert set(found.values()) == {1}
    assert set(ids) - set(found) <= {gone}


@pytest.mark.parametrize("sort", SORTED)
def test_portions_come_in_the_order_that_was_asked_for(kitchen, sort):
    fill(kitchen, [[str(n)] for n in range(MANY)])
    deliver_some(kitchen, MANY // 2)
    now = kitchen.now()

    def key(order: Order) -> tuple[float, int]:
        ran = None
        if order.start is not None:
            ran = (order.stop or now) - order.start
        by = {"age": 0.0, "start": order.start, "stop": order.stop, "duration": ran}[sort.removeprefix("-")]
        return -1.0 if by is None else by, order.row

    found = list(kitchen.find(Selector(), sort=sort))

    assert len(found) == MANY
    assert [order.id for order in found] == [order.id for order in sorted(found, key=key, reverse=sort.startswith("-"))]
    cut = list(kitchen.find(Selector(), sort=sort, limit=PORTION + 7))
    assert [order.id for order in cut] == [order.id for order in found[: PORTION + 7]]


@pytest.mark.parametrize("sort", ["age", "-stop"])
def test_a_reader_who_pauses_holds_nothing_open(open_again: Callable[[], Kitchen], kitchen_url, sort):
    kitchen, other = open_again(), open_again()
    fill(kitchen, [[str(n)] for n in range(MANY)])
    reading = kitchen.find(Selector(), sort=sort)
    next(reading)
    deliver_some(other, 64)

    if kitchen_url.startswith("mongodb://"):
        with MongoClient(kitchen_url) as client:
            idle = {"type": "idleCursor", "ns": f"{client.get_default_database().name}.orders"}
            stages = [{"$currentOp": {"allUsers": True, "idleCursors": True}}, {"$match": idle}]
            assert list(client.admin.aggregate(stages)) == [], "after some minutes it is gone, and the reading ends"
    else:
        db = sqlite3.connect(kitchen_url)
        is_busy, in_wal, moved = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (is_busy, in_wal, moved) == (0, 0, 0)
        assert Path(f"{kitchen_url}-wal").stat().st_size == 0, "it grows for as long as somebody reads"
        db.close()
    assert sum(1 for _ in reading) == MANY - 1
