"""What is told of an order stays small, and one that is too large all the same is the only one that ends of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from tests.conftest import check_in, fill, let_leases_run_out, only, outcome
from waiter.kitchen.contract import CLAIM_LIMIT
from waiter.kitchen.mongo import updates as mongo_updates
from waiter.kitchen.sqlite import rows as sqlite_rows
from waiter.limits import RESULT_BYTES
from waiter.orders import EVENTS_KEPT, FinishResult, Reason, Selector, Status

LARGEST = 16 * 1024 * 1024


@pytest.fixture
def few_are_kept(monkeypatch) -> int:
    """How many of the first and of the last events are kept."""
    for room in (mongo_updates, sqlite_rows):
        monkeypatch.setattr(room, "EVENTS_KEPT", 3)
    return 3


def claimed(kitchen, shift):
    (order,) = kitchen.claim(shift, limit=1)
    return order


def test_a_history_keeps_its_first_and_last_events_and_how_many_were_dropped(kitchen, few_are_kept):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    for code in range(1, 14):
        again = outcome(claimed(kitchen, shift), Status.READY, exit_code=code, reason=Reason.EXIT)
        assert kitchen.finish(shift, [again]) == [FinishResult.ACCEPTED]
        history = only(kitchen).history
        dropped = max(0, code - 2 * few_are_kept)
        first, last = range(1, code + 1)[:few_are_kept], range(1, code + 1)[-few_are_kept:]
        assert [event.attempt for event in history if event.what == "finish"] == sorted({*first, *last})
        assert [event.dropped for event in history] == (
            [None] * 3 + [dropped] + [None] * 3 if dropped else [None] * code
        )

    (gone,) = (event for event in only(kitchen).history if event.what == "dropped")
    assert (gone.attempt, gone.status) == (10, Status.READY)


def test_every_change_that_a_history_tells_of_keeps_to_it(kitchen, few_are_kept, clock):
    fill(kitchen, [["x"]])
    everything = Selector()
    for _ in range(3):
        kitchen.claim(check_in(kitchen), limit=1)
        let_leases_run_out(kitchen, clock)
        kitchen.reclaim()
        kitchen.cancel(everything)
        kitchen.reset(everything)

    history = only(kitchen).history
    kept = [event.what for event in history]
    assert kept == ["lost", "cancel", "reset", "dropped", "lost", "cancel", "reset"]
    assert history[3].dropped == 3


def test_late_outcomes_are_kept_in_the_same_way(kitchen, few_are_kept):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    order = claimed(kitchen, shift)
    kitchen.reset(Selector(), from_living=True)
    for attempt in range(1, 10):
        late = outcome(order, exit_code=0)
        late = type(late)(late.order_id, attempt, Status.DONE, start=1.0, stop=2.0)
        assert kitchen.finish(shift, [late]) == [FinishResult.LATE]

    late = only(kitchen).late
    assert [event.attempt for event in late if event.what == "finish"] == [1, 2, 3, 7, 8, 9]
    assert [event.dropped for event in late] == [None] * 3 + [3] + [None] * 3


def test_a_long_history_of_an_earlier_version_is_shortened_by_the_next_event(kitchen, monkeypatch):
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    for room in (mongo_updates, sqlite_rows):
        monkeypatch.setattr(room, "EVENTS_KEPT", 1000)
    for _ in range(8):
        kitchen.finish(shift, [outcome(claimed(kitchen, shift), Status.READY, reason=Reason.EXIT)])
    for room in (mongo_updates, sqlite_rows):
        monkeypatch.setattr(room, "EVENTS_KEPT", 2)

    kitchen.finish(shift, [outcome(claimed(kitchen, shift))])

    assert [event.dropped or event.attempt for event in only(kitchen).history] == [1, 2, 5, 8, 9]
    assert EVENTS_KEPT >= 100


@pytest.fixture
def documents(kitchen, kitchen_url) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](kitchen_url) as client:
        yield client.get_default_database()["orders"]


def grow(documents, order_id: str, room: int, field: str) -> None:
    """Let the order's document be just `room` bytes smaller than MongoDB allows."""
    stored = documents.find_one({"_id": order_id})
    event = {"what": "lost", "at": 1.0, "status": "READY", "attempt": 1, "waiter": "a", "shift": "t", "error": ""}
    filled = {**stored, field: [{**event, "error": ""}] if field == "history" else [""]}
    padding = "x" * (LARGEST - room - len(bson.encode(filled)))
    documents.update_one(
        {"_id": order_id}, {"$set": {field: [{**event, "error": padding}] if field == "history" else [padding]}}
    )


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)  # a row of SQLite has no such limit
@pytest.mark.parametrize("room", [0, 60, 250])
@pytest.mark.parametrize("field", ["history", "arguments"])
def test_an_order_too_large_to_be_claimed_ends_alone(kitchen, documents, field, room):
    fill(kitchen, [["a"], ["big"], ["b"]])
    grow(documents, "b-2", room, field)
    shift = check_in(kitchen)

    taken = [order for _ in range(4) for order in kitchen.claim(shift, limit=8)]

    assert [order.arguments[0] for order in taken if order.id != "b-2"] == ["a", "b"]
    (large,) = kitchen.find(Selector(ids=("b-2",)))
    if large.status is Status.ERROR:
        assert "b-2" not in [order.id for order in kitchen.held(shift)]
    assert large.status is Status.ERROR or room == 250
    others = [outcome(order) for order in taken if order.id != "b-2"]
    assert kitchen.finish(shift, others) == [FinishResult.ACCEPTED] * 2


def test_large_orders_are_claimed_though_one_look_does_not_hold_them_all(kitchen):
    size = 6 * 1024 * 1024
    fill(kitchen, [["x" * size], ["y" * size], ["z" * size]])
    shift = check_in(kitchen)

    taken = [order for _ in range(3) for order in kitchen.claim(shift, limit=8)]

    assert [order.arguments[0][0] for order in taken] == ["x", "y", "z"]


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_arguments_that_are_no_utf8_do_not_grow_beyond_what_mongodb_takes(kitchen):
    arguments = [("\udcff" * (5 * 1024 * 1024))]
    fill(kitchen, [arguments])

    assert kitchen.claim(check_in(kitchen), limit=1)[0].arguments == tuple(arguments)


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_results_of_full_size_of_all_that_one_claim_gives_are_taken_together(kitchen):
    fill(kitchen, [[str(n)] for n in range(CLAIM_LIMIT)])
    shift, result = check_in(kitchen), "\udcff" * RESULT_BYTES  # stored, each takes three bytes
    orders = kitchen.claim(shift, CLAIM_LIMIT)

    accepted = kitchen.finish(shift, [outcome(order, result=result) for order in orders])

    assert accepted == [FinishResult.ACCEPTED] * CLAIM_LIMIT
