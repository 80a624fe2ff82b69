"""A password in a kitchen's address is never shown: not by the kitchen, and not by what it raises."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from urllib.parse import urlsplit

import pymongo
import pytest

from tests.conftest import needed_binary
from tests.mongod import Mongod, free_port
from waiter.errors import KitchenError, KitchenUnreachable
from waiter.kitchen.mongo import MongoKitchen

PASSWORD = "geheim"


def refusal(url: str) -> str:
    """All that could reach a screen or a log: the message, and the traceback with what caused it."""
    with pytest.raises(KitchenError) as refused:
        MongoKitchen(url, timeout_s=1.0)
    return str(refused.value) + repr(refused.value) + "".join(traceback.format_exception(refused.value))


def test_a_wrong_password_is_not_repeated(mongod_url):
    address = urlsplit(mongod_url)._replace(scheme="mongodb").netloc.rpartition("@")[2]

    said = refusal(f"mongodb://chef:{PASSWORD}@{address}/orders?authSource=admin")

    assert "wrong user or password" in said
    assert "chef" in said
    assert PASSWORD not in said


def test_the_password_of_a_server_that_does_not_answer_is_not_repeated():
    assert PASSWORD not in refusal(f"mongodb://chef:{PASSWORD}@127.0.0.1:{free_port()}/orders")


@pytest.mark.parametrize(
    "address",
    [
        f"mongodb://chef:{PASSWORD}/x@127.0.0.1:1/orders",
        f"mongodb://chef:{PASSWORD}@x@127.0.0.1:1/orders",
        f"mongodb://chef:{PASSWORD}:x@127.0.0.1:1/orders",
        f"mongodb://chef:{PASSWORD}%@127.0.0.1:1/orders",
        f"mongodb://chef:{PASSWORD}?x@127.0.0.1:1/orders",
        f"mongodb://chef:{PASSWORD}@127.0.0.1:port/orders",
        f"mongodb://chef:{PASSWORD}@127.0.0.1:1/orders?timeoutMS=never",
        f"mongodb+srv://chef:{PASSWORD}@127.0.0.1/orders",
    ],
)
@pytest.mark.filterwarnings("ignore:timeoutms must be")  # the driver's own, before it refuses
def test_the_password_of_an_address_that_is_wrong_is_not_repeated(address):
    assert PASSWORD not in refusal(address)


@pytest.fixture
def guarded() -> Iterator[Mongod]:
    """A server that wants a password: chef may read and write, guest may do nothing."""
    server = Mongod(needed_binary(), "--auth")
    server.start()
    with pymongo.MongoClient(server.url, timeoutMS=15_000) as client:
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    with pymongo.MongoClient(server.url, username="root", password=PASSWORD, timeoutMS=15_000) as client:
        client.admin.command("createUser", "chef", pwd=PASSWORD, roles=[{"role": "readWrite", "db": "orders"}])
        client.admin.command("createUser", "guest", pwd=PASSWORD, roles=[])
    yield server
    server.remove()


def test_a_kitchen_that_was_opened_with_a_password_shows_none(guarded):
    address = f"127.0.0.1:{guarded.port}"
    with MongoKitchen(f"mongodb://chef:{PASSWORD}@{address}/orders?authSource=admin", timeout_s=1.0) as kitchen:
        assert kitchen.counts().total == 0
        assert kitchen.url == f"mongodb://{address}/orders"
        assert PASSWORD not in repr(kitchen)
        guarded.kill()
        with pytest.raises(KitchenUnreachable) as gone:
            kitchen.counts()
    assert PASSWORD not in "".join(traceback.format_exception(gone.value))


def test_who_may_not_use_the_kitchen_is_told_what_to_grant(guarded):
    said = refusal(f"mongodb://guest:{PASSWORD}@127.0.0.1:{guarded.port}/orders?authSource=admin")

    assert "guest may not do this" in said
    assert "readWrite" in said
    assert PASSWORD not in said
    assert "wants a user and a password" in refusal(f"{guarded.url}/orders")
