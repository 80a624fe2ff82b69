"""Whoever deletes while somebody loads: afterwards every order has its batch, and every batch that stands is whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.conftest import fill
from waiter.errors import WaiterError
from waiter.kitchen.mongo import batches as mongo_batches
from waiter.loading import load
from waiter.orders import Selector, Status

ROWS = 40


def orphans(kitchen) -> list[str]:
    known = {batch.id for batch in kitchen.batches()}
    return [order.id for order in kitchen.find(Selector()) if order.batch not in known]


@pytest.fixture
def rows(tmp_path) -> str:
    path = tmp_path / "rows.txt"
    path.write_text("".join(f"row {n}\n" for n in range(ROWS)))
    return str(path)


@pytest.mark.parametrize("moment", ["before the first rows", "after them"])
def test_a_load_whose_batch_is_cleaned_away_says_so_and_leaves_nothing(kitchen, open_again, rows, moment):
    other = open_again()
    fill(other, [["x"]], batch="old")

    def clean(what: str, done: int, _total: int | None) -> None:
        if what == "loading" or moment == "before the first rows":
            other.clean()

    with pytest.raises(WaiterError, match="somebody deleted batch"):
        load(Cleaned(kitchen, other) if moment == "before the first rows" else kitchen, rows, on_progress=clean)

    assert list(kitchen.find(Selector())) == []
    assert kitchen.batches() == []
    assert load(kitchen, rows).new == ROWS


class Cleaned:
    """A kitchen that somebody cleans whenever rows are about to be added."""

    def __init__(self, kitchen, other) -> None:
        self._kitchen = kitchen
        self._other = other

    def __getattr__(self, name: str):
        return getattr(self._kitchen, name)

    def add_portions(self, *what) -> Iterator[int]:
        self._other.clean()
        return self._kitchen.add_portions(*what)


mongodb_only = pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)  # SQLite has transactions


@pytest.fixture
def at_insert(monkeypatch):
    """Lets something happen just before or just after the next insert."""

    def arrange(when: str, what) -> None:
        insert = mongo_batches.insert

        def disturbed(to, chunk):
            monkeypatch.setattr(mongo_batches, "insert", insert)
            if when == "before":
                what()
            added = insert(to, chunk)
            if when == "after":
                what()
            return added

        monkeypatch.setattr(mongo_batches, "insert", disturbed)

    return arrange


@mongodb_only
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", ["clean", "remove_batch"])
def test_no_order_is_left_without_a_batch(kitchen, open_again, at_insert, rows, when, verb):
    other = open_again()
    (batch,) = [load(kitchen, rows).batch]
    kitchen.clean(Selector(ids=(f"{batch}-1",)))  # so that there is something to load
    at_insert(when, lambda: other.clean() if verb == "clean" else other.remove_batch(batch))

    with pytest.raises(WaiterError, match="no such batch"):
        kitchen.add(batch, [(1, ["row 0"], None)])

    assert list(kitchen.find(Selector())) == []
    assert kitchen.batches() == []


@mongodb_only
def test_who_loads_a_batch_anew_is_not_taken_in_by_rows_of_the_old_one_that_came_late(kitchen, open_again, monkeypatch):
    other, rows = open_again(), [(row, ["x"], None) for row in range(1, 6)]
    fill(kitchen, [], batch="b")
    batch, insert = kitchen.batch("b"), mongo_batches.insert

    def late(to, chunk):
        monkeypatch.undo()
        other.clean()
        other.open_batch(batch)
        added = insert(to, chunk)
        assert other.add("b", rows) == len(rows)
        return added

    monkeypatch.setattr(mongo_batches, "insert", late)
    with pytest.raises(WaiterError, match="no such batch"):
        kitchen.add("b", rows[1:3])

    assert [order.row for order in kitchen.find(Selector(batch="b"))] == [1, 2, 3, 4, 5]


@mongodb_only
def test_a_batch_that_seemed_empty_is_put_back_with_its_orders(kitchen, open_again, monkeypatch):
    fill(kitchen, [["x"]])
    other = open_again()
    kitchen.cancel(Selector())
    delete_one = type(other._to.batches).delete_one

    def add_first(collection, *which):
        monkeypatch.undo()
        kitchen.add("b", [(2, ["y"], None)])
        return delete_one(collection, *which)

    monkeypatch.setattr(type(other._to.batches), "delete_one", add_first)

    other.clean(Selector(statuses=(Status.CANCELLED,)))

    assert [batch.id for batch in kitchen.batches()] == ["b"]
    assert [order.id for order in kitchen.find(Selector(batch="b"))] == ["b-2"]


@mongodb_only
def test_what_a_clean_that_died_had_begun_is_finished_by_who_loads_the_same(kitchen, rows, monkeypatch):
    batch = load(kitchen, rows).batch
    with monkeypatch.context() as dying:
        dying.setattr(mongo_batches, "remove_rows", lambda *_: 1 / 0)
        with suppress(ZeroDivisionError):
            kitchen.clean()
    assert kitchen.batches() == []

    loaded = load(kitchen, rows)

    assert (loaded.batch, loaded.new) == (batch, ROWS)
    assert len(list(kitchen.find(Selector(batch=batch)))) == ROWS


@mongodb_only
def test_clean_deletes_orders_that_an_earlier_version_left_without_a_batch(kitchen):
    fill(kitchen, [["x"], ["y"]])
    kitchen._to.batches.delete_one({"_id": "b"})

    assert kitchen.clean() == 2


def test_every_order_has_its_batch_when_several_load_and_clean(kitchen, open_again, rows):
    def work(kitchen, number: int) -> None:
        for _ in range(6):
            with suppress(WaiterError):
                load(kitchen, rows) if number else kitchen.clean()

    crew = [threading.Thread(target=work, args=(open_again(), number)) for number in range(3)]
    for one in crew:
        one.start()
    for one in crew:
        one.join()

    assert orphans(kitchen) == []
    load(kitchen, rows)
    (batch,) = kitchen.batches()
    assert sorted(order.row for order in kitchen.find(Selector(batch=batch.id))) == list(range(1, ROWS + 1))
