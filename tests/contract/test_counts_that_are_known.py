"""What a MongoDB kitchen knows of its orders without counting is what a count finds, whoever dies at which moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pymongo
import pytest

from tests.conftest import check_in, fill, outcome
from waiter.errors import KitchenUnreachable
from waiter.kitchen.mongo import batches, in_flight, pieces, tally
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Counts, Selector, Status

PIECE = 4
ROWS = 10

pytestmark = pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the program goes on after it."""


def die(*_: object) -> float:
    raise Killed


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", PIECE)
    monkeypatch.setattr(batches, "PIECE", PIECE)
    monkeypatch.setattr(tally, "PIECE", PIECE)
    monkeypatch.setattr(tally, "_IN_A_BATCH", 2)  # some spans are counted piece by piece, others at once


@pytest.fixture
def database(kitchen_url: str) -> Iterator[pymongo.database.Database[dict[str, Any]]]:
    with pymongo.MongoClient[dict[str, Any]](kitchen_url) as client:
        yield client.get_default_database()


def finish(kitchen: MongoKitchen, status: Status = Status.DONE) -> None:
    """Deliver all that is READY."""
    shift = check_in(kitchen)
    while orders := kitchen.claim(shift, limit=64):
        kitchen.finish(shift, [outcome(order, status) for order in orders])
    kitchen.check_out(shift)


def by_hand(kitchen: MongoKitchen, batch: str | None = None) -> Counts:
    return Counts(Counter(order.status for order in kitchen.find(Selector(batch=batch))))


def assert_true(kitchen: MongoKitchen) -> None:
    """Twice: what the first count learned the second one takes for true."""
    for _ in range(2):
        assert kitchen.counts() == by_hand(kitchen)
        progress = kitchen.batch_progress(60.0)
        for batch in kitchen.batches():
            assert kitchen.counts(Selector(batch=batch.id)) == progress[batch.id].counts == by_hand(kitchen, batch.id)


def known(database) -> dict[int, dict[str, int]]:
    """What is known of pieces whose orders have all ended."""
    return {stored["_id"]: stored["ended"] for stored in database.counts.find({"ended": {"$exists": True}})}


def keys_examined(database, kitchen: MongoKitchen) -> int:
    """By a count of everything."""
    database.command("profile", 2)
    kitchen.counts()
    database.command("profile", 0)
    seen = database["system.profile"].find({"ns": f"{database.name}.orders"})
    return sum(entry.get("keysExamined", 0) for entry in seen)


def test_what_has_ended_is_counted_once(kitchen, database, clock):
    fill(kitchen, [[str(n)] for n in range(ROWS)], batch="a")
    fill(kitchen, [[str(n)] for n in range(ROWS)], batch="b")
    clock.advance(3600)
    finish(kitchen)
    assert_true(kitchen)

    assert keys_examined(database, kitchen) < PIECE
    assert kitchen.counts() == Counts({Status.DONE: 2 * ROWS})


def test_waiters_learn_what_ended_for_those_who_look_later(kitchen, database, clock):
    fill(kitchen, [[str(n)] for n in range(ROWS)])
    clock.advance(3600)
    finish(kitchen, Status.ERROR)

    kitchen.sweep()

    assert sum(ended["ERROR"] for ended in known(database).values()) == ROWS


def test_a_wrong_count_is_found_and_put_right(kitchen, database, clock):
    fill(kitchen, [[str(n)] for n in range(ROWS)])
    clock.advance(3600)
    finish(kitchen)
    assert_true(kitchen)
    database.counts.update_one({"ended": {"$exists": True}}, {"$set": {"ended": {"DONE": 9}, "orders": 9}})

    clock.advance(tally.CHECKED_S + 1)
    for _ in known(database):
        kitchen.counts()

    assert_true(kitchen)


def test_pieces_without_orders_are_forgotten(kitchen, database, clock):
    fill(kitchen, [[str(n)] for n in range(ROWS)])
    kitchen.clean()
    clock.advance(3600)

    assert_true(kitchen)

    assert database.counts.count_documents({}) == 0


def reset_some(kitchen: MongoKitchen) -> None:
    kitchen.reset(Selector(ids=("b-2", "b-7")))


def remove_some(kitchen: MongoKitchen) -> None:
    kitchen.clean(Selector(ids=("b-3", "b-8")))


def remove_all(kitchen: MongoKitchen) -> None:
    kitchen.clean()


def add_some(kitchen: MongoKitchen) -> None:
    kitchen.add("b", [(row, ("more",), None) for row in range(ROWS, ROWS + 4)])


def add_another_batch(kitchen: MongoKitchen) -> None:
    fill(kitchen, [[str(n)] for n in range(ROWS)], batch="other")
    add_some(kitchen)


CHANGES = [reset_some, remove_some, remove_all, add_some, add_another_batch]


def die_at(monkeypatch, number: int, *, is_done: bool) -> None:
    """Let the program be killed before, or after, its write of that number to orders or counts."""
    written = 0

    def deadly(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(collection: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal written
            if collection.name not in ("orders", "counts"):
                return write(collection, *args, **kwargs)
            written += 1
            if written == number and not is_done:
                raise Killed
            result = write(collection, *args, **kwargs)
            if written == number:
                raise Killed
            return result

        return wrapped

    for name in ("update_many", "delete_many", "insert_many", "bulk_write"):
        monkeypatch.setattr(pymongo.collection.Collection, name, deadly(getattr(pymongo.collection.Collection, name)))


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_whoever_dies_in_a_change_leaves_no_wrong_count(kitchen, open_again, clock, monkeypatch, change, is_done):
    monkeypatch.setattr(in_flight, "AT_ONCE", 1)  # who was killed has no threads that go on
    for number in count(1):
        kitchen.clean()
        fill(kitchen, [[str(n)] for n in range(ROWS)])
        finish(kitchen)
        clock.advance(3600)
        assert_true(kitchen)
        dying = open_again()
        with monkeypatch.context() as patched, suppress(Killed):
            die_at(patched, number, is_done=is_done)
            change(dying)
            break  # it writes less often

        assert_true(kitchen)
        finish(kitchen)
        assert_true(kitchen)
        clock.advance(3600)
        assert_true(kitchen)
    assert number > 1
    assert_true(kitchen)


@pytest.mark.parametrize("pause_s", [0.0, 3600.0])
def test_who_counts_between_an_announcement_and_its_change_learns_nothing_wrong(
    kitchen, open_again, clock, monkeypatch, pause_s
):
    """The program was stopped in between, for so long, and is killed right after its change."""
    fill(kitchen, [[str(n)] for n in range(ROWS)])
    finish(kitchen)
    clock.advance(3600)
    assert_true(kitchen)
    announce = pieces.announce

    def slow(*args: Any, **kwargs: Any) -> str:
        mark = announce(*args, **kwargs)
        clock.advance(pause_s)
        assert_true(kitchen)
        return mark

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(pieces, "announce", slow)
        patched.setattr(pieces, "release", die)
        patched.setattr(Connection, "time", lambda to, ask=Connection.time: die() if clock.ahead_s > 7000 else ask(to))
        reset_some(open_again())
    finish(kitchen, Status.ERROR)

    assert_true(kitchen)
    clock.advance(3600)
    assert_true(kitchen)
    assert kitchen.counts()[Status.ERROR] == (0 if pause_s else 2)


def load(kitchen: MongoKitchen, first: int, last: int) -> None:
    kitchen.add("b", [(row, ("x",), None) for row in range(first, last + 1)])


def test_how_many_a_load_has_added_is_known_without_a_count(kitchen, database):
    fill(kitchen, [], batch="b")
    for first in range(0, 12 * PIECE, 3):
        load(kitchen, first, first + 2)

    assert database.counts.count_documents({"orders": PIECE}) == 10  # all but the last ones, to which more may come
    assert keys_examined(database, kitchen) < 6 * PIECE
    assert_true(kitchen)


def test_what_is_loaded_once_more_is_counted_once(kitchen, open_again):
    fill(kitchen, [], batch="b")
    other = open_again()
    load(kitchen, 0, 2 * PIECE)
    for first in (0, PIECE + 2):
        load(other, first, 4 * PIECE)
    for each in (kitchen, other):
        load(each, 20 * PIECE, 20 * PIECE + 1)

    assert_true(kitchen)


def test_a_clean_deletes_whole_pieces_and_leaves_what_is_loaded_meanwhile(kitchen, open_again, database):
    other = open_again()
    fill(kitchen, [], batch="b")
    load(kitchen, 2, 30)
    load(kitchen, 50, 51)
    steps: list[int] = []

    def deleted(number: int) -> None:
        if not steps:
            fill(other, [["kept"]], batch="new")
        steps.append(number)

    assert kitchen.clean(told=deleted) == sum(steps) == 31

    assert max(steps) <= PIECE
    assert [order.id for order in kitchen.find(Selector())] == ["new-1"]
    assert_true(kitchen)


class Late:
    """This machine's clock, some time later at each look."""

    def __init__(self) -> None:
        self._ticks = count(0.0, pieces.HOLD_S)

    def boottime(self) -> float:
        return next(self._ticks)


@pytest.mark.parametrize("is_slow", [False, True])
def test_who_deletes_beside_a_load_leaves_no_wrong_count(kitchen, open_again, monkeypatch, clock, is_slow):
    fill(kitchen, [], batch="b")
    if is_slow:
        monkeypatch.setattr(pieces, "processes", Late())
    other = open_again()
    load(kitchen, 1, 9)
    other.clean(Selector(ids=("b-1", "b-8", "b-9")))
    if is_slow:  # what was announced is over, and the piece without orders is forgotten
        clock.advance(3600)
        assert_true(other)
    load(kitchen, 10, 10)
    load(kitchen, 20, 24)
    load(kitchen, 40, 40)

    assert_true(kitchen)


@pytest.mark.parametrize("is_carried_out", [False, True])
def test_who_goes_on_after_an_insert_that_failed_leaves_no_wrong_count(kitchen, monkeypatch, clock, is_carried_out):
    insert = batches.insert

    def fail(*args: Any) -> int:
        if is_carried_out:
            insert(*args)
        raise pymongo.errors.AutoReconnect("connection closed")

    fill(kitchen, [], batch="b")
    load(kitchen, 0, 1)
    with monkeypatch.context() as patched:
        patched.setattr(batches, "insert", fail)
        with pytest.raises(KitchenUnreachable):
            load(kitchen, 2, 3)
    load(kitchen, 4, 5)
    load(kitchen, 40, 40)

    assert_true(kitchen)
    clock.advance(3600)
    assert_true(kitchen)


def test_a_change_that_arrived_too_late_is_made_again(kitchen, clock, monkeypatch):
    fill(kitchen, [[str(n)] for n in range(ROWS)])
    finish(kitchen)
    announce = pieces.announce

    def slow_once(*args: Any, **kwargs: Any) -> str:
        monkeypatch.setattr(pieces, "announce", announce)
        mark = announce(*args, **kwargs)
        clock.advance(3600)
        return mark

    monkeypatch.setattr(pieces, "announce", slow_once)

    assert kitchen.reset(Selector(ids=("b-2",))) == 1
    assert kitchen.counts() == Counts({Status.DONE: ROWS - 1, Status.READY: 1})


def test_a_kitchen_of_an_earlier_version_is_counted_until_all_of_it_is_known(kitchen, open_again, database, clock):
    fill(kitchen, [[str(n)] for n in range(ROWS)])
    finish(kitchen)
    database.counts.drop()
    database.state.update_one({"_id": "news"}, {"$unset": {"pieces": 1}})
    database.state.update_one({"_id": "schema"}, {"$set": {"version": 3}})

    assert_true(kitchen)
    assert database.counts.count_documents({}) == 0  # an earlier version may still be at work

    upgraded = open_again()
    for _ in range(3):
        assert_true(upgraded)
    assert sum(ended["DONE"] for ended in known(database).values()) == ROWS
    assert database.state.find_one({"_id": "news"})["pieces"] == pieces.KNOWN


def versions_by_hand(kitchen: MongoKitchen, batch: str | None = None) -> dict[str, int]:
    ended = kitchen.find(Selector(batch=batch, statuses=(Status.DONE, Status.ERROR)))
    return dict(Counter(order.command for order in ended if order.command))


def test_the_versions_of_what_ended_are_counted_once(kitchen, database, clock, monkeypatch):
    for batch in "abc":
        fill(kitchen, [[str(n)] for n in range(ROWS)], batch=batch)
    clock.advance(3600)
    shift = check_in(kitchen)
    orders = kitchen.claim(shift, limit=3 * ROWS - 6)
    ends = [Status.ERROR if n % 3 else Status.DONE for n in range(len(orders))]
    facts = [{} if n % 5 == 4 else {"command": f"v{n % 2}"} for n in range(len(orders))]
    kitchen.finish(shift, [outcome(*one, **fact) for *one, fact in zip(orders, ends, facts, strict=True)])

    def assert_versions() -> None:
        for batch in (None, "a", "b", "c"):
            assert kitchen.commands(Selector(batch=batch)) == versions_by_hand(kitchen, batch)

    assert_versions()
    assert_true(kitchen)  # what has ended is known from here on
    for _ in range(2):
        assert_versions()
    database.command("profile", 2)
    kitchen.commands(Selector(batch="a"))
    database.command("profile", 0)
    seen = database["system.profile"].find({"ns": f"{database.name}.orders", "command.aggregate": "orders"})
    assert not [*seen]

    kitchen.reset(Selector(ids=("a-2", "b-9")))
    assert_true(kitchen)
    assert_versions()
    clock.advance(3600)
    monkeypatch.setattr(tally, "_SPANS", 1)  # what lies between pieces that move is counted with them
    assert_versions()
    again = kitchen.claim(shift := check_in(kitchen), limit=2)
    kitchen.finish(shift, [outcome(order, command="v9") for order in again])
    assert_true(kitchen)
    assert_versions()
