"""One kitchen holds orders of several commands: batches know theirs, and a claim takes those of some batches only."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

import pymongo
import pytest

from tests.conftest import outcome, with_database
from waiter.errors import KitchenError, NoSuchBatch
from waiter.kitchen.contract import SPANS_AT_ONCE
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.kitchen.spans import spans
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Batch, Counts, Scope, Selector, Status


def fill(kitchen, *names: str, rows: int = 2, priority: int = 0) -> None:
    for name in names:
        kitchen.open_batch(Batch(name, None, f"{name}.csv", name, rows, rows, priority, 0.0, True))
        kitchen.add(name, [(row, (name, str(row)), None) for row in range(1, rows + 1)], priority)


def ids(orders) -> list[str]:
    return [order.id for order in orders]


def test_a_claim_takes_orders_of_its_batches_alone(kitchen):
    fill(kitchen, "one", "two", "three")
    shift = kitchen.check_in("a", "h", 1)

    assert ids(kitchen.claim(shift, 9, scope=Scope(batches=("two",)))) == ["two-1", "two-2"]
    assert kitchen.claim(shift, 9, scope=Scope(batches=("two",))) == []
    assert kitchen.claim(shift, 9, scope=Scope(batches=())) == []
    assert ids(kitchen.claim(shift, 9, scope=Scope(batches=("three", "one")))) == [
        "one-1",
        "one-2",
        "three-1",
        "three-2",
    ]


def test_within_its_batches_priority_comes_before_age(kitchen):
    fill(kitchen, "low", "other", "high")
    kitchen.set_priority(Selector(ids=("high-2", "other-1")), 7)
    shift = kitchen.check_in("a", "h", 1)

    taken = kitchen.claim(shift, 2, scope=Scope(batches=("low", "high")))

    assert ids(taken) == ["high-2", "low-1"]


def test_a_claim_with_a_least_priority_or_a_text_leaves_the_others(kitchen):
    fill(kitchen, "some")
    fill(kitchen, "urgent", priority=5)
    shift = kitchen.check_in("a", "h", 1)

    assert ids(kitchen.claim(shift, 9, scope=Scope(match="2", priority_min=5))) == ["urgent-2"]
    assert ids(kitchen.claim(shift, 9, scope=Scope(batches=("some",), match="2"))) == ["some-2"]
    assert ids(kitchen.claim(shift, 9, scope=Scope(priority_min=1))) == ["urgent-1"]
    assert ids(kitchen.claim(shift, 9, exclude=["some-1"], scope=Scope(batches=("some", "urgent")))) == []


def test_more_places_than_one_question_holds_are_gone_through(kitchen):
    names = [f"b{number:03}" for number in range(3 * SPANS_AT_ONCE)]
    fill(kitchen, *names, rows=1)
    shift = kitchen.check_in("a", "h", 1)
    scope, taken = Scope(batches=tuple(names[::2])), []

    while orders := kitchen.claim(shift, 64, scope=scope):
        taken += ids(orders)

    assert sorted(taken) == [f"{name}-1" for name in names[::2]]
    assert kitchen.backlog(scope).is_empty
    assert kitchen.backlog(scope).running == len(taken) == 75
    assert (kitchen.is_only_running(scope), kitchen.is_only_running()) == (True, False)
    assert kitchen.backlog().ready == 75


def test_a_backlog_is_of_the_scope(kitchen, clock):
    fill(kitchen, "one", "two")
    shift = kitchen.check_in("a", "h", 1)
    (first,) = kitchen.claim(shift, 1, scope=Scope(batches=("one",)))
    one, two = Scope(batches=("one",)), Scope(batches=("two",), match="2")

    assert (kitchen.backlog(one).ready, kitchen.backlog(one).running) == (1, 1)
    assert (kitchen.backlog(two).ready, kitchen.backlog(two).running) == (1, 0)

    kitchen.finish(shift, [outcome(first, Status.READY, delay_s=30.0)])

    assert kitchen.backlog(one).next_due_s == pytest.approx(30, abs=5)
    assert kitchen.backlog(two).next_due_s is None
    kitchen.claim(shift, 1, scope=two)
    assert (kitchen.is_only_running(one), kitchen.is_only_running(two)) == (False, True)
    clock.advance(31)
    assert kitchen.backlog(one).ready == 2
    assert ids(kitchen.claim(shift, 9, scope=one)) == ["one-1", "one-2"]


def test_a_batch_that_was_made_anew_is_found_by_who_asked_for_it_before(kitchen):
    fill(kitchen, "one", "two")
    shift, scope = kitchen.check_in("a", "h", 1), Scope(batches=("one",))
    assert ids(kitchen.claim(shift, 1, scope=scope)) == ["one-1"]
    kitchen.remove_batch("one")
    assert kitchen.backlog(scope).is_done
    fill(kitchen, "one")

    assert kitchen.backlog(scope).ready == 2
    assert ids(kitchen.claim(shift, 9, scope=scope)) == ["one-1", "one-2"]


def test_the_first_command_that_binds_a_batch_has_it(kitchen, open_again):
    fill(kitchen, "one")
    seen = kitchen.change_token()

    assert kitchen.bind_batch("one", ["./a", "{x}\udcff"]) == ("./a", "{x}\udcff")
    assert open_again().bind_batch("one", ["./b"]) == ("./a", "{x}\udcff")
    assert kitchen.batch("one").command == ("./a", "{x}\udcff")
    assert kitchen.change_token() != seen


def test_a_command_takes_the_place_of_the_one_that_it_names(kitchen):
    fill(kitchen, "one")
    kitchen.bind_batch("one", ["./a"])

    assert kitchen.bind_batch("one", ["./c"], instead_of=["./b"]) == ("./a",)
    assert kitchen.bind_batch("one", ["./c"], instead_of=["./a"]) == ("./c",)
    assert not kitchen.batch("one").is_reserved

    kitchen.amend_batch("one", command=["./d"])

    assert kitchen.batch("one").is_reserved
    kitchen.amend_batch("one", command=None)
    assert not kitchen.batch("one").is_reserved


def test_what_binds_a_batch_stays_when_more_of_it_is_loaded(kitchen):
    fill(kitchen, "one")
    kitchen.amend_batch("one", command=["./a"], weight=3, pause_reason="its first 20 orders failed", name="night")

    fill(kitchen, "one", rows=3)
    kitchen.renew_batch(kitchen.batch("one"))

    batch = kitchen.batch("one")
    assert (batch.command, batch.weight, batch.pause_reason) == (("./a",), 3, "its first 20 orders failed")
    assert kitchen.counts(Selector(batch="one")).total == 3

    kitchen.amend_batch("one", command=None, pause_reason=None)

    assert kitchen.batch("one").command is None
    assert kitchen.batch("one").weight == 3
    assert kitchen.bind_batch("one", ["./b"]) == ("./b",)


def test_a_batch_that_is_not_there_cannot_be_bound(kitchen):
    with pytest.raises(NoSuchBatch):
        kitchen.bind_batch("none", ["./a"])
    with pytest.raises(NoSuchBatch):
        kitchen.amend_batch("none", weight=2)


def test_progress_is_told_by_batch(kitchen):
    fill(kitchen, "one", "two")
    shift = kitchen.check_in("a", "h", 1)
    first, second = kitchen.claim(shift, 2)
    kitchen.finish(shift, [outcome(first, Status.DONE), outcome(second, Status.ERROR, error="no")])

    progress = kitchen.batch_progress(60)

    assert {batch: p.counts.total for batch, p in progress.items()} == {"one": 2, "two": 2}
    assert progress["two"].counts[Status.READY] == 2
    assert (progress["one"].recent.done, progress["one"].recent.failed) == (1, 1)
    assert (progress["two"].recent.done, progress["two"].recent.mean_s) == (0, None)


def test_a_batch_that_has_just_begun_is_as_fast_as_it_is(kitchen, clock):
    fill(kitchen, "one", "two", rows=30)
    shift = kitchen.check_in("a", "h", 1)
    first = kitchen.claim(shift, 10, scope=Scope(batches=("one",)))
    clock.advance(20)
    kitchen.finish(shift, [outcome(order) for order in first])
    long_ago = kitchen.batch_progress(10)["one"].recent
    second = kitchen.claim(shift, 1, scope=Scope(batches=("two",)))

    progress = kitchen.batch_progress(300)
    kitchen.finish(shift, [outcome(order, stop=order.start) for order in second])
    at_once = kitchen.batch_progress(300)["two"].recent

    assert (long_ago.done, long_ago.window_s) == (0, 10)
    assert progress["one"].recent.done == 10
    assert progress["one"].recent.window_s == pytest.approx(20, abs=5)
    assert progress["two"].recent.window_s == 300  # nothing tells
    assert (at_once.done, at_once.window_s) == (1, pytest.approx(1, abs=5))


def test_neighbours_make_one_span():
    every = [("a", 1), ("b", 2), ("c", 5), ("d", 6), ("e", 7)]

    assert spans(every, {"a", "b", "c", "e"}, 10) == [(10, 60), (70, 80)]
    assert spans(every, set(), 10) == []


def test_an_index_finds_the_orders_of_a_batch_behind_those_of_others(mongod_url):
    """Of 3,000 orders that come first, none is looked at. SQLite is held to it by its words INDEXED BY."""
    url = with_database(mongod_url, f"waiter_test_{secrets.token_hex(6)}")
    with MongoKitchen(url) as kitchen, pymongo.MongoClient(url) as client:
        db = client.get_default_database()
        fill(kitchen, "first", rows=3000)
        fill(kitchen, "second", "third", rows=10)
        shift = kitchen.check_in("a", "h", 1)
        db.command("profile", 2)
        assert len(kitchen.claim(shift, 4, scope=Scope(batches=("second",)))) == 4
        db.command("profile", 0)
        looked = [entry["keysExamined"] for entry in db["system.profile"].find() if "keysExamined" in entry]
        client.drop_database(db.name)

    assert max(looked) < 50


def test_a_kitchen_of_before_learns_what_batches_are_for(tmp_path: Path):
    file = tmp_path / "old.sqlite"
    with SqliteKitchen(file) as kitchen:
        fill(kitchen, "one")
    with sqlite3.connect(file) as db:
        db.execute("DROP INDEX batches_by_after_row")
        for trigger in ("order_made", "order_moved", "order_gone"):
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("DROP TABLE tally")
        for column in (
            "bound_to",
            "is_reserved",
            "weight",
            "pause_reason",
            "after",
            "after_any",
            "after_row",
            "needs_from",
        ):
            db.execute(f"ALTER TABLE batches DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 1")
    db.close()

    with SqliteKitchen(file, create=False) as kitchen:
        assert kitchen.batch("one").command is None
        assert kitchen.counts() == kitchen.counts(Selector(batch="one")) == Counts({Status.READY: 2})
        assert kitchen.bind_batch("one", ["./a"]) == ("./a",)
    with SqliteKitchen(file) as kitchen:
        assert kitchen.batches()[0].command == ("./a",)
        assert kitchen.counts() == kitchen.counts(Selector(batch="one")) == Counts({Status.READY: 2})


def test_hosts_with_an_older_waiter_are_refused_clearly(kitchen_url, open_again):
    """What this version writes says a schema that the one before refuses by its own words."""
    open_again()
    if kitchen_url.startswith("mongodb"):
        with pymongo.MongoClient(kitchen_url) as client:
            assert client.get_default_database().state.find_one({"_id": "schema"})["version"] == 5
            client.get_default_database().state.update_one({"_id": "schema"}, {"$set": {"version": 6}})
    else:
        with sqlite3.connect(kitchen_url) as db:
            assert db.execute("PRAGMA user_version").fetchone()[0] == 4
            db.execute("PRAGMA user_version = 5")
        db.close()

    with pytest.raises(KitchenError, match=r"newer Waiter|another version of waiter"):
        open_again()
