"""A password in a kitchen's address is never shown: not by the kitchen, and not by what it raises."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator
from urllib.parse import urlsplit

import pymongo
import pytest

from tests.conftest import needed_binary
from tests.mongod import Mongod, free_port
from waiter.errors import KitchenError, KitchenUnreachable
from waiter.kitchen.address import shown
from waiter.kitchen.mongo.kitchen import MongoKitchen

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
    assert "needs a user and a password" in refusal(f"{guarded.url}/orders")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"chef:{PASSWORD}@db.example:27017", "db.example:27017"),
        (f"mongodb://chef:{PASSWORD}@db.example/orders", "mongodb://db.example/orders"),
        (f"mongodb+srv://chef:{PASSWORD}@db.example/a?authSource=x", "mongodb+srv://db.example/a?authSource=x"),
        (f"mongodb://h/a?tlsCertificateKeyFilePassword={PASSWORD}&tls=true", "mongodb://h/a?tls=true"),
        (f"mongodb://h/a?authMechanismProperties=AWS_SESSION_TOKEN:{PASSWORD}", "mongodb://h/a"),
        (f"mongodb://h/a?tls={PASSWORD}%", "mongodb://h/a"),
        (f"mongodb://h/a?tlsCertificateKeyFilePassword=x@{PASSWORD}", "mongodb://…"),
        (f"mongodb://chef:{PASSWORD}/x@y@h/a", "mongodb://h/a"),
        (f"mongodb://chef:x?{PASSWORD}@h/a", "mongodb://…"),
        (f"mongodb//chef:{PASSWORD}@h/a", "mongodb//…@h/a"),
        (f"sqlite:///chef:{PASSWORD}@h/a", "sqlite:///…@h/a"),
        ("/home/ada@work/orders.sqlite", "/home/ada@work/orders.sqlite"),
        ("./a b.sqlite", "./a b.sqlite"),
        ("db.example:27017", "db.example:27017"),
    ],
)
def test_an_address_is_shown_with_nothing_secret(address, expected):
    assert shown(address) == expected


@pytest.mark.parametrize(
    "typo",
    [
        f"mongodb//chef:{PASSWORD}@h/orders",
        f"mongodb:/chef:{PASSWORD}@h/orders",
        f"//chef:{PASSWORD}@h/orders",
        f"./chef:{PASSWORD}@h/orders",
        f"sqlite:///chef:{PASSWORD}@h/orders",
        f"chef:{PASSWORD}@h/orders",
        f"x/chef:{PASSWORD}@h/orders",
    ],
)
def test_an_address_with_a_slip_makes_no_folder_of_its_password(waiter_cli, tmp_path, typo):
    done = waiter_cli("load", "-k", typo, "-", input="1\n")

    assert done.returncode == 2
    assert PASSWORD not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_file_in_a_folder_that_looks_like_an_address_can_be_a_kitchen(waiter_cli, tmp_path):
    (tmp_path / "a:b@c").mkdir()

    assert waiter_cli("load", "-k", "./a:b@c/orders", "-", input="1\n").returncode == 0


def test_the_hint_after_a_failure_shows_no_password(waiter_cli, guarded):
    address = f"chef:{PASSWORD}@127.0.0.1:{guarded.port}"
    said = [
        waiter_cli("load", "-", input="1\n", WAITER_KITCHEN=f"mongodb://{address}/orders?authSource=admin"),
        waiter_cli("deliver", "false", WAITER_KITCHEN=f"mongodb://{address}/orders?authSource=admin"),
        waiter_cli("run", "-k", f"mongodb://{address}/orders?authSource=admin", "false", input="2\n"),
        waiter_cli("deliver", "false", WAITER_KITCHEN=address, WAITER_DB="orders"),
    ]

    assert PASSWORD not in "".join(done.stdout + done.stderr for done in said)
    assert said[1].stderr.endswith("See what failed, and why: waiter errors\n")
    assert f"waiter errors -k 'mongodb://127.0.0.1:{guarded.port}/orders?authSource=admin'" in said[2].stderr


def test_waiting_for_a_server_shows_no_password(all_said_by_cli):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = all_said_by_cli("status", "-k", f"chef:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}").stderr

    assert "Waiting for 127.0.0.1" in said
    assert PASSWORD not in said
