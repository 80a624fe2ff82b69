"""A MongoDB user with the role `read` looks at everything, waits and is told; nothing else is asked of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from tests.conftest import check_in, fill, needed_binary
from tests.mongod import Mongod
from waiter.kitchen.mongo.kitchen import MongoKitchen


@pytest.fixture(scope="module")
def guarded() -> Iterator[Mongod]:
    """A server that knows its users: `cook` reads and writes the database `kitchen`, `guest` reads it."""
    server = Mongod(needed_binary(), "--auth")
    server.start()
    with MongoClient[dict[str, Any]](server.url) as client:
        client.admin.command("createUser", "root", pwd="root", roles=["root"])
    with MongoClient[dict[str, Any]](server.url, username="root", password="root") as client:
        for user, role in (("cook", "readWrite"), ("guest", "read")):
            client.kitchen.command("createUser", user, pwd=user, roles=[{"role": role, "db": "kitchen"}])
    yield server
    server.remove()


def url(server: Mongod, user: str) -> str:
    return f"mongodb://{user}:{user}@127.0.0.1:{server.port}/kitchen?authSource=kitchen"


@pytest.fixture
def guest(guarded) -> str:
    """The guest's address of a kitchen with one order in the hands of a waiter that died."""
    with MongoKitchen(url(guarded, "cook")) as kitchen:
        kitchen.clean()
        fill(kitchen, [["1"], ["2"]])
        kitchen.claim(check_in(kitchen), limit=1)
    with MongoClient[dict[str, Any]](url(guarded, "cook")) as client:
        client.kitchen.shifts.update_many({}, {"$set": {"lease_until": 1.0, "heartbeat_at": 1.0}})
    return url(guarded, "guest")


@pytest.mark.parametrize("verb", ["status", "orders", "errors", "waiters", "extract"])
def test_every_verb_that_looks_works(waiter_cli, guest, verb):
    seen = waiter_cli(verb, WAITER_KITCHEN=guest)

    assert (seen.returncode, "may not" in seen.stderr) == (0, False), seen.stderr


def test_a_wait_goes_on_though_it_may_take_nothing_back(waiter_cli, guest):
    waited = waiter_cli("wait", "--timeout", "1.5", WAITER_KITCHEN=guest)

    assert waited.returncode == 124, waited.stderr
    assert "No waiter is at work" in waited.stderr


def test_somebody_is_told(waiter_cli, guest):
    told = waiter_cli("notify", "--timeout", "0.5", "sh", "-c", 'echo "code $WAITER_EXIT_CODE"', WAITER_KITCHEN=guest)

    assert (told.returncode, told.stdout) == (0, "code 124\n"), told.stderr


@pytest.mark.parametrize("verb", [("reset", "--yes"), ("load", "rows.txt"), ("deliver", "true"), ("clean", "--yes")])
def test_what_writes_is_refused_and_says_what_to_grant(waiter_cli, guest, tmp_path, verb):
    (tmp_path / "rows.txt").write_text("1\n")

    refused = waiter_cli(*verb, WAITER_KITCHEN=guest)

    assert refused.returncode == 3
    assert "grant it the role readWrite" in refused.stderr
