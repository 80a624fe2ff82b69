"""Of a MongoDB kitchen an index has the orders that took longest, whatever became of each, and whoever ended it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from tests.conftest import check_in, fill, let_leases_run_out, outcome
from waiter.kitchen.contract import Kitchen, position_of
from waiter.kitchen.mongo import earliest, paging
from waiter.orders import Order, Selector, Status

pytestmark = pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)

Database = pymongo.database.Database[dict[str, Any]]


@pytest.fixture
def database(kitchen_url: str) -> Iterator[Database]:
    with pymongo.MongoClient[dict[str, Any]](kitchen_url) as client:
        yield client.get_default_database()


def deliver(kitchen: Kitchen, rows: int) -> list[Order]:
    """Load so many and finish all but three; the later one is, the longer it took, in pairs of equal length."""
    fill(kitchen, [[str(n)] for n in range(rows)])
    shift, now = check_in(kitchen), kitchen.now()
    orders: list[Order] = []
    while len(orders) < rows - 3:
        orders += kitchen.claim(shift, limit=min(100, rows - 3 - len(orders)))
    ends = [outcome(order, start=now - 900 - n // 2, stop=now - 900) for n, order in enumerate(orders)]
    kitchen.finish(shift, ends)
    kitchen.claim(shift, limit=1)
    return orders


def first(kitchen: Kitchen, limit: int) -> list[str]:
    """In both ways to ask for them, which agree."""
    page = kitchen.page(Selector(), sort="-duration", limit=limit)
    assert [*kitchen.find(Selector(), sort="-duration", limit=limit)] == page
    return [order.id for order in page]


def whole(kitchen: Kitchen) -> list[str]:
    return [order.id for order in kitchen.find(Selector(), sort="-duration")]


def test_only_as_many_orders_are_read_as_are_shown(kitchen, database):
    orders = deliver(kitchen, 2000)
    database.command("profile", 2)

    shown = first(kitchen, 10)

    database.command("profile", 0)
    looked = [*database["system.profile"].find({"command.aggregate": "orders"})]
    assert shown == [order.id for order in reversed(orders)][:10]
    assert 0 < sum(one["docsExamined"] for one in looked) < 200


@pytest.mark.parametrize("sort", ["start", "stop", "duration"])
@pytest.mark.parametrize("statuses", [(), (Status.DONE,)])
def test_of_those_that_were_first_no_more_are_read_either(kitchen, database, sort, statuses, monkeypatch):
    monkeypatch.setattr(earliest, "_LONG", 20)
    monkeypatch.setattr(paging, "FEW", 100)
    orders = deliver(kitchen, 2000)
    database.orders.update_one({"_id": orders[1500].id}, {"$inc": {"start": -9000, "took": 9000}})  # it took very long
    selector = Selector(statuses=statuses)
    by_hand = [order.id for order in kitchen.find(selector, sort=sort)]
    database.command("profile", 2)

    page = kitchen.page(selector, sort=sort, limit=10)
    next_one = kitchen.page(selector, sort=sort, limit=10, after=position_of(page[-1], sort, kitchen.now()))

    database.command("profile", 0)
    looked = [*database["system.profile"].find({"command.aggregate": "orders"})]
    assert [order.id for order in page + next_one] == by_hand[:20]
    assert 0 < sum(one["docsExamined"] for one in looked) < 400


@pytest.mark.parametrize("sort", ["start", "stop", "duration"])
@pytest.mark.parametrize("status", [Status.RUNNING, Status.ERROR, Status.READY])
def test_for_a_few_of_a_status_those_of_others_are_not_gone_through(kitchen, database, sort, status):
    """What runs longest is asked for with every look of everybody who watches."""
    orders = deliver(kitchen, 2000)
    database.orders.update_many({"_id": {"$in": [one.id for one in orders[7:9]]}}, {"$set": {"status": "ERROR"}})
    later = {field: {"$add": [f"${field}", "$row"]} for field in ("start", "stop")}
    database.orders.update_many({"stop": {"$gt": 0}}, [{"$set": later}])  # no two at the same time
    database.command("profile", 2)

    shown = kitchen.page(Selector(statuses=(status,)), sort=sort, limit=10)

    database.command("profile", 0)
    looked = [*database["system.profile"].find({"$or": [{"command.aggregate": "orders"}, {"command.count": "orders"}]})]
    assert {order.status for order in shown} == {status}
    assert 0 < sum(one["docsExamined"] + one["keysExamined"] for one in looked) < 50


def test_whatever_becomes_of_an_order_it_says_how_long_its_last_attempt_took(kitchen, database, clock):
    def assert_said() -> None:
        for order in database.orders.find():
            took = order["stop"] - order["start"] if "start" in order and "stop" in order else None
            assert order.get("took") == took, order
        assert first(kitchen, 99) == whole(kitchen)

    fill(kitchen, [[str(n)] for n in range(8)])
    shift = check_in(kitchen)
    done, failed, again, unstarted, released, cancelled, *lost = kitchen.claim(shift, limit=8)
    kitchen.cancel(Selector(ids=(cancelled.id,)))
    ends = [outcome(done), outcome(failed, Status.ERROR), outcome(again, Status.READY)]
    kitchen.finish(shift, [*ends, outcome(unstarted, Status.ERROR, start=None)])
    kitchen.release(shift, [released, cancelled])
    assert_said()
    let_leases_run_out(kitchen, clock)
    kitchen.reclaim()
    assert_said()
    assert sum("took" in order for order in database.orders.find()) == 3 + len(lost)
    kitchen.reset(Selector(ids=(done.id, failed.id)))
    kitchen.cancel(Selector(ids=(again.id,)))
    assert_said()
    clock.advance(3600)
    later = check_in(kitchen, "b")
    while kitchen.claim(later, limit=8):
        assert_said()


def test_what_an_earlier_version_ended_has_its_place(kitchen, open_again, database):
    deliver(kitchen, 40)
    database.orders.update_many({"row": {"$mod": [3, 1]}}, {"$unset": {"took": 1}})
    by_hand = whole(kitchen)

    for limit in (1, 10, 38, 40):
        assert first(kitchen, limit) == by_hand[:limit]

    database.orders.drop_index("lasted")  # who only looks makes none
    assert first(kitchen, 10) == by_hand[:10]
    for sort in ("start", "stop", "duration"):
        shown = kitchen.page(Selector(), sort=sort, limit=9)
        assert shown == [*kitchen.find(Selector(), sort=sort)][:9]
    database.state.update_one({"_id": "schema"}, {"$set": {"version": 4}})
    upgraded = open_again()
    assert "lasted" in database.orders.index_information()
    assert database.orders.count_documents({"took": {"$exists": True}}) == 37
    assert first(upgraded, 40) == by_hand
