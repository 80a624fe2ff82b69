"""A MongoDB database is a kitchen when it says so; another program's is refused, and nothing in it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from tests.conftest import check_in, fill, with_database
from waiter.errors import KitchenError
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Selector, Status

NAME = "waiter_test_whose"

# What other programs keep under these names, some of it with a field that is called as one of ours.
FOREIGN = {
    "orders": [{"_id": 1, "customer": "Ada", "seq": 1}],
    "shifts": [{"_id": "monday", "nurse": "Ada", "is_open": False}],
    "batches": [{"_id": 7, "number": 7, "flour": "rye"}],
    "state": [{"_id": "news", "n": "none"}],
}


@pytest.fixture
def database(mongod_url) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongod_url) as client:
        client.drop_database(NAME)
        yield client[NAME]
        client.drop_database(NAME)


@pytest.fixture
def url(mongod_url, database) -> str:
    return with_database(mongod_url, NAME)


def everything(database: Database[dict[str, Any]]) -> dict[str, Any]:
    """All documents, and all indexes, of all collections."""
    names = sorted(database.list_collection_names())
    return {name: (list(database[name].find()), sorted(database[name].index_information())) for name in names}


@pytest.mark.parametrize("collection", FOREIGN)
def test_another_programs_database_is_refused_and_left_as_it_is(url, database, collection):
    database[collection].insert_many(FOREIGN[collection])
    before = everything(database)

    with pytest.raises(KitchenError, match=f"`{collection}` holds documents of another program"):
        MongoKitchen(url)

    assert everything(database) == before


@pytest.mark.parametrize("verb", [("status",), ("load", "rows.txt"), ("clean", "--yes"), ("deliver", "true")])
def test_every_verb_refuses_it(url, database, waiter_cli, tmp_path, verb):
    (tmp_path / "rows.txt").write_text("1\n")
    database.shifts.insert_many(FOREIGN["shifts"])
    before = everything(database)

    refused = waiter_cli(verb[0], "-k", url, *verb[1:])

    assert refused.returncode == 3
    assert "hint: name another database" in refused.stderr
    assert everything(database) == before


@pytest.mark.parametrize("name", ["admin", "config", "local"])
def test_mongodbs_own_databases_are_no_kitchens(mongod_url, name):
    with pytest.raises(KitchenError, match="MongoDB keeps its own things"):
        MongoKitchen(with_database(mongod_url, name))


def test_a_kitchen_made_before_there_was_a_mark_is_known_by_its_documents_and_marked(url, database):
    with MongoKitchen(url) as kitchen:
        fill(kitchen, [["1"], ["2"]])
        shift = check_in(kitchen)
        kitchen.claim(shift, limit=1)
        kitchen.pause()
        kitchen.check_out(shift)
    database.state.update_one({"_id": "schema"}, {"$unset": {"program": 1}})

    with MongoKitchen(url) as kitchen:
        assert kitchen.counts().by_status == {Status.READY: 2}
    database.state.insert_one({"_id": "somebody's"})  # who has a mark may have more than this version knows
    MongoKitchen(url).close()


@pytest.mark.parametrize("collection", ["orders", "shifts", "batches"])
def test_clean_leaves_alone_what_another_program_put_beside_us_later(url, database, collection):
    with MongoKitchen(url) as kitchen:
        fill(kitchen, [["1"]])
        foreign = [{key: value for key, value in document.items() if key != "seq"} for document in FOREIGN[collection]]
        database[collection].insert_many(foreign)
        before = everything(database)

        for selector in (None, Selector(statuses=(Status.READY,))):
            with pytest.raises(KitchenError, match=f"`{collection}` holds documents of another program"):
                kitchen.clean(selector)

        assert everything(database) == before


def test_an_index_that_somebody_dropped_is_made_again(url, database):
    MongoKitchen(url).close()
    before = everything(database)
    database.orders.drop_index("claims")
    database.shifts.drop_index("open")

    MongoKitchen(url).close()

    assert everything(database) == before


@pytest.mark.parametrize("verb", [("status",), ("wait",), ("notify", "true"), ("orders",), ("errors",)])
def test_who_only_looks_makes_no_collection_and_no_index(url, database, waiter_cli, verb):
    refused = waiter_cli(verb[0], "-k", url, *verb[1:])

    assert refused.returncode == 3
    assert "no such kitchen" in refused.stderr
    assert everything(database) == {}
