"""What a load asks of the batches that are there is answered by an index, and as if every batch had been read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, monitoring
from pymongo.monitoring import CommandListener

from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.kitchen.sqlite.file import HAS_LOOK_UPS
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.loading import LoadOptions, load
from waiter.orders import Batch, Selector

DIGESTS = ["d1", "d2", "d3", "d4", "other"]


def batch(id: str, orders: int, *digests: str, source: str = "a.csv") -> Batch:
    return Batch(id, None, source, digests[0], orders, orders, 0, 0.0, True, digests[1:])


@pytest.fixture
def filled(kitchen):
    """Batches that have grown, been changed and deleted."""
    kitchen.open_batch(batch("gone", 9, "d9", source="c.csv"))
    kitchen.open_batch(batch("one", 1, "d1"))
    kitchen.open_batch(batch("two", 2, "d2", source="b.csv"))
    kitchen.renew_batch(batch("one", 3, "d3", "d1"))
    kitchen.open_batch(batch("again", 2, "d2"))
    kitchen.open_batch(batch("two", 4, "d4", "d3", "d2", source="b.csv"))
    kitchen.remove_batch("gone")
    return kitchen


def agrees_with_all_batches(kitchen) -> bool:
    every = kitchen.batches()
    for id in ("one", "two", "gone", "o"):
        assert kitchen.batch(id) == next((b for b in every if b.id == id), None)
    for digests in ([], *([digest] for digest in (*DIGESTS, "d9")), DIGESTS):
        assert kitchen.batches_of(digests) == [b for b in every if {b.digest, *b.earlier} & {*digests}]
    for above, up_to in ((0, 9), (2, 9), (0, 2), (2, 2), (4, 9)):
        assert kitchen.batch_lengths(above, up_to) == sorted({b.orders for b in every if above < b.orders <= up_to})
    for source in ("a.csv", "b.csv", "c.csv"):
        assert kitchen.latest_batch(source) == next((b for b in reversed(every) if b.source == source), None)
    return bool(every)


def test_look_ups_find_what_reading_every_batch_finds(filled):
    assert agrees_with_all_batches(filled)

    filled.clean()

    assert not agrees_with_all_batches(filled)


def test_no_load_reads_every_batch(kitchen, tmp_path, monkeypatch):
    path = tmp_path / "rows.txt"
    monkeypatch.setattr(type(kitchen), "batches", lambda _: pytest.fail("read every batch"))
    for rows, options in (
        ("1\n", None),
        ("1\n", None),
        ("1\n2\n", None),
        ("1\n", None),
        ("1\n2\n", LoadOptions(again=True)),
    ):
        path.write_text(rows)
        load(kitchen, str(path), options)

    assert kitchen.counts().total == 2


def test_a_batch_that_grows_between_two_look_ups_is_known(kitchen, open_again, tmp_path, monkeypatch):
    ours, theirs = tmp_path / "rows.txt", tmp_path / "theirs" / "rows.txt"
    theirs.parent.mkdir()
    ours.write_text("1\n2\n")
    load(kitchen, str(ours))
    ours.write_text("1\n2\n3\n4\n")
    ask, other = kitchen.batch_lengths, open_again()

    def ask_and_let_it_grow(above: int, up_to: int) -> list[int]:
        lengths = ask(above, up_to)
        theirs.write_text("1\n2\n3\n")
        load(other, str(theirs))
        return lengths

    monkeypatch.setattr(kitchen, "batch_lengths", ask_and_let_it_grow)

    assert load(kitchen, str(ours)).new == 1
    assert kitchen.counts().total == 4


def without_look_ups(path: Path) -> None:
    """Make it the file that it was before there were any."""
    with sqlite3.connect(path) as db:
        made = "SELECT type, name FROM sqlite_master WHERE (name LIKE 'batch%' OR name LIKE 'digests%') AND sql <> ''"
        for kind, name in sorted(db.execute(made), reverse=True):
            if name not in ("batches", "digests_by_batch"):
                db.execute(f"DROP {kind} {name}")
    db.close()


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_a_file_of_before_has_them_when_it_is_opened_to_write(filled, open_again):
    without_look_ups(filled.path)

    with SqliteKitchen(filled.path, create=False) as reader:
        assert agrees_with_all_batches(reader)
        assert not reader._read(HAS_LOOK_UPS)
    with open_again() as writer:
        assert agrees_with_all_batches(writer)
        assert writer._read(HAS_LOOK_UPS)


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_sqlite_answers_by_an_index(filled):
    said: list[str] = []
    filled._db.set_trace_callback(said.append)
    agrees_with_all_batches(filled)
    list(filled.find(Selector(batch="two")))
    filled._db.set_trace_callback(None)

    asked = [sql for sql in said if "batches" in sql and sql.strip() != "SELECT * FROM batches ORDER BY number"]
    plans = [row["detail"] for sql in asked for row in filled._db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert len(asked) > 15
    assert [plan for plan in plans if plan.startswith("SCAN") and plan.split()[1] in ("batches", "digests")] == []


class Asked(CommandListener):
    """Keeps what was asked of `batches`."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: Any) -> None:
        if event.command.get(event.command_name) == "batches":
            fields = ("find", "distinct", "key", "query", "filter", "sort", "limit")
            self.commands.append({name: value for name, value in event.command.items() if name in fields})

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


def stages(plan: dict[str, Any]) -> Iterator[str]:
    if "stage" in plan:
        yield plan["stage"]
    for part in plan.values():
        for inner in part if isinstance(part, list) else [part]:
            if isinstance(inner, dict):
                yield from stages(inner)


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_mongodb_answers_by_an_index(filled, kitchen_url):
    asked = Asked()
    monitoring.register(asked)
    try:
        with MongoKitchen(kitchen_url) as kitchen:
            asked.commands.clear()
            kitchen.batch("one")
            kitchen.batches_of(DIGESTS)
            kitchen.batch_lengths(0, 9)
            kitchen.latest_batch("a.csv")
            list(kitchen.find(Selector(batch="one")))
    finally:
        monitoring._LISTENERS.command_listeners.remove(asked)

    assert len(asked.commands) == 5
    with MongoClient[dict[str, Any]](kitchen_url) as client:
        for command in asked.commands:
            plan = client.get_default_database().command("explain", command, verbosity="queryPlanner")
            used = set(stages(plan["queryPlanner"]["winningPlan"]))
            assert used & {"IXSCAN", "DISTINCT_SCAN", "IDHACK", "EXPRESS_IXSCAN"}, (command, plan)
            assert "COLLSCAN" not in used
