"""A wrong address, or a server that is no kitchen's, is named as what it is, by a KitchenError and nothing else."""

from __future__ import annotations

import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import bson
import pytest
from pymongo import MongoClient

from tests.conftest import eventually, fill, needed_binary, with_database
from tests.mongod import Mongod
from waiter.errors import KitchenError, KitchenMissing, KitchenUnreachable, UsageError
from waiter.kitchen import open_kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("tls=true&tlsCAFile={missing}", "a file that the address names for TLS cannot be used"),
        ("tls=true&tlsCAFile={garbage}", "a file that the address names for TLS cannot be used"),
        ("tls=true&tlsCertificateKeyFile={missing}", "a file that the address names for TLS cannot be used"),
        ("tls=true&tlsCRLFile={garbage}", "a file that the address names for TLS cannot be used"),
        ("tlss=true", "option tlss of the address: Unknown option"),
        ("readPreference=nonsense", "option readPreference of the address"),
        ("authMechanism=SCRAM-SHA-265", "option authMechanism of the address"),
        ("tls=maybe", "option tls of the address"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_an_option_that_is_wrong_is_refused_and_never_left_out(mongod_url, tmp_path, options, said):
    (tmp_path / "garbage.pem").write_text("garbage")
    options = options.format(missing=tmp_path / "missing.pem", garbage=tmp_path / "garbage.pem")

    with pytest.raises(KitchenError, match=said):
        MongoKitchen(with_database(mongod_url, "waiter_test_options") + f"?{options}", timeout_s=2)


BARE = ["p@ss/w", "p@ss", "12/34", "p?ss", "p%ss", "pa/ss", "a:b", "1?w=2", "/", "?"]


@pytest.mark.parametrize("password", BARE)
def test_a_password_that_is_not_encoded_is_the_first_thing_said_and_never_shown(mongod_url, password):
    host = mongod_url.removeprefix("mongodb://")

    with pytest.raises(KitchenError, match=r"must be percent-encoded\nhint: to encode it:\n  .*getpass") as refused:
        MongoKitchen(f"mongodb://me:{password}@{host}/db", timeout_s=1)

    assert password not in str(refused.value).partition("\n")[0].replace("://", "")
    MongoKitchen(f"mongodb://{host}/db?appname=a@b", timeout_s=20).close()  # that is no password


def test_a_password_is_taken_as_the_hint_encodes_it(tmp_path):
    server = Mongod(needed_binary(), "--auth")
    server.start()
    try:
        with MongoClient[dict[str, Any]](server.url) as client:
            client.admin.command("createUser", "me", pwd="p@ss/w :?%", roles=["root"])
        typed = quote("p@ss/w :?%", safe="")
        MongoKitchen(f"mongodb://me:{typed}@127.0.0.1:{server.port}/db?authSource=admin").close()
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("serverSelectionTimeoutMS=300", r"within 0\.3 s"),
        ("timeoutMS=400", r"within 0\.4 s"),
        ("timeoutMS=60000&serverSelectionTimeoutMS=300", r"within 0\.3 s"),
    ],
)
def test_limits_of_the_address_win_over_ours(options, words):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"mongodb://127.0.0.1:{closed.getsockname()[1]}/db?{options}"
        began = time.monotonic()

        with pytest.raises(KitchenUnreachable, match=words):
            MongoKitchen(address, timeout_s=90)

    assert time.monotonic() - began < 60  # ours would have been 90 s


def test_a_limit_of_the_address_may_be_longer_than_ours(mongod_url):
    server = Mongod(needed_binary())
    server.start()
    try:
        MongoKitchen(f"{server.url}/db").close()
        server.freeze()
        began = time.monotonic()
        with pytest.raises(KitchenUnreachable):
            MongoKitchen(f"{server.url}/db?timeoutMS=2500", timeout_s=0.5)
        assert time.monotonic() - began > 2
    finally:
        server.thaw()
        server.remove()


def test_to_wait_for_ever_is_refused(mongod_url):
    with pytest.raises(KitchenError, match="would wait for ever"):
        MongoKitchen(f"{with_database(mongod_url, 'db')}?timeoutMS=0")


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_writes_wait_for_a_majority_whatever_the_address_asks_for(kitchen_url, waiter_cli):
    loaded = waiter_cli("load", "-k", f"{kitchen_url}?w=1&journal=false", "-", input="a\n")

    assert loaded.returncode == 0
    said = "w=1 and journal=false of the kitchen's address changes nothing: writes wait for a majority and its journal."
    assert loaded.stderr.count(said) == 1
    with MongoKitchen(f"{kitchen_url}?w=1") as kitchen:
        assert kitchen._to.db.write_concern.document == {"w": "majority", "j": True}
    assert "majority" not in waiter_cli("load", "-k", f"{kitchen_url}?w=majority", "-", input="a\n").stderr


def test_a_database_name_with_a_dot_is_not_cut_at_it(mongod_url):
    with pytest.raises(KitchenError, match=r"has no dot: a\.b"):
        MongoKitchen(with_database(mongod_url, "a.b"))


def test_a_home_of_nobody_is_wrong_usage():
    with pytest.raises(UsageError, match=r"~nosuchuser/x\.sqlite"):
        open_kitchen("~nosuchuser/x.sqlite")


def refusal(url: str) -> str:
    with pytest.raises(KitchenUnreachable) as refused:
        MongoKitchen(url, timeout_s=1.0)
    return str(refused.value)


@pytest.mark.parametrize("options", ["", "?directConnection=true"])
def test_a_server_that_is_no_primary_is_said_to_be_none(options):
    server = Mongod(needed_binary(), "--replSet", "rs")  # nobody made it a replica set yet
    server.start()
    try:
        # The driver asks until the time is up: the last it heard may also be nothing at all.
        eventually(lambda: "has no primary at the moment" in refusal(f"{server.url}/{options}"))
    finally:
        server.remove()


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
@pytest.mark.parametrize("ask", ["now", "change_token", "backlog"])
def test_a_kitchen_that_was_dropped_is_gone_and_not_done(kitchen, kitchen_url, ask):
    fill(kitchen, [["x"]])
    with MongoClient[dict[str, Any]](kitchen_url) as client:
        client.drop_database(client.get_default_database().name)

    with pytest.raises(KitchenMissing, match="somebody dropped its database"):
        getattr(kitchen, ask)()


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
@pytest.mark.parametrize("verb", ["wait", "watch"])
def test_who_waits_for_a_kitchen_that_is_dropped_says_so(kitchen, kitchen_url, home, verb):
    fill(kitchen, [["x"]])
    command = [sys.executable, "-m", "waiter", verb, "-k", kitchen_url]
    waiting = subprocess.Popen(command, env=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert waiting.stdout is not None
    while waiting.stdout.readline().startswith("Waiting for mongodb"):
        pass  # a slow machine; else it has looked
    with MongoClient[dict[str, Any]](kitchen_url) as client:
        client.drop_database(client.get_default_database().name)
    said, _ = waiting.communicate(timeout=30)

    assert waiting.returncode == 3
    assert said.splitlines()[-1].endswith("the kitchen is gone: somebody dropped its database while it was used.")
    assert "Traceback" not in said


class Emulated(socketserver.ThreadingTCPServer):
    """A server that speaks MongoDB's protocol, and is an old one or lacks what a kitchen needs."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, wire_version: int, failure: dict[str, Any] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Speaker)
        self.wire_version = wire_version
        self.failure = failure
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.server_address[1]}/kitchen"

    def reply(self, command: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(command)).lower()
        if name in ("hello", "ismaster"):
            sizes = {"maxBsonObjectSize": 1 << 24, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}
            versions = {"minWireVersion": 0, "maxWireVersion": self.wire_version}
            return {"isWritablePrimary": True, "ismaster": True, "helloOk": True, **sizes, **versions}
        if name in ("find", "aggregate", "listindexes"):
            return {"cursor": {"id": 0, "ns": "kitchen.state", "firstBatch": []}}
        updates = command.get("updates") or []
        if self.failure and any(isinstance(update["u"], list) for update in updates):
            return {"n": 0, "nModified": 0, "writeErrors": [{"index": 0, **self.failure}]}
        return {"n": 1, "nModified": 1}


class _Speaker(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while head := self.rfile.read(16):
            size, request, _, opcode = struct.unpack("<iiii", head)
            body = self.rfile.read(size - 16)
            if opcode == 2013:  # OP_MSG
                command = _command(body)
                flags, rest = struct.pack("<i", 0), b"\0" + bson.encode({"ok": 1.0, **self.server.reply(command)})
            else:  # OP_QUERY, the first hello
                opcode, command = 1, bson.decode(body[body.index(b"\0", 4) + 9 :])
                flags, rest = struct.pack("<iqii", 8, 0, 0, 1), bson.encode({"ok": 1.0, **self.server.reply(command)})
            answer = flags + rest
            self.wfile.write(struct.pack("<iiii", 16 + len(answer), 1, request, opcode) + answer)


def _command(body: bytes) -> dict[str, Any]:
    """The command of an OP_MSG, the lists that travel behind it included."""
    at, command = 4, {}
    while at < len(body):
        kind = body[at]
        (size,) = struct.unpack_from("<i", body, at + 1)
        part = body[at + 1 : at + 1 + size]
        if kind == 0:
            command |= bson.decode(part)
        else:
            name, _, documents = part[4:].partition(b"\0")
            command[name.decode()] = bson.decode_all(documents)
        at += 1 + size
    return command


@pytest.fixture
def emulated(request) -> Iterator[str]:
    server = Emulated(*request.param)
    yield server.url
    server.shutdown()
    server.server_close()


NO_PIPELINES = {"code": 9, "errmsg": "Modifiers operate on fields but we found type array instead"}
NO_CLOCK = {"code": 17276, "errmsg": "Use of undefined variable: NOW"}
THROTTLED = {"code": 16500, "errmsg": "Request rate is large"}


@pytest.mark.parametrize("emulated", [(6,), (9,), (17, NO_PIPELINES), (17, NO_CLOCK)], indirect=True)
def test_a_server_that_is_too_old_or_no_mongodb_is_named_as_such(emulated):
    with pytest.raises(KitchenError, match=r"older than MongoDB 5\.0, which a kitchen needs, or no MongoDB"):
        MongoKitchen(emulated, timeout_s=5)


@pytest.mark.parametrize("emulated", [(17, THROTTLED)], indirect=True)
def test_a_server_that_turns_requests_away_may_answer_later(emulated):
    with pytest.raises(KitchenUnreachable, match="a limit is exceeded"):
        MongoKitchen(emulated, timeout_s=5)
