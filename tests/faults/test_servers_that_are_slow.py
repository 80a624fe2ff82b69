"""A MongoDB that has too much to do: it takes connections and answers late. Frozen and thawed, it is just that.

Each test has servers of its own, because it hurts them.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import eventually, fill, needed_binary
from tests.faults.jobs import is_alive
from tests.mongod import Mongod, ReplicaSet
from waiter.delivery.arrival import Arrival, keeps_silent
from waiter.errors import KitchenUnreachable
from waiter.kitchen.mongo.connection import PATIENCE_S
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Status

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(180),
]

BUSY = "It takes connections, so it has too much to do"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path, home) -> Iterator[Start]:
    """Starts `waiter deliver` with these words; what it says on stderr is in `talk`."""
    started: list[subprocess.Popen[str]] = []

    def run(url: str, *words: str) -> subprocess.Popen[str]:
        with (tmp_path / f"talk{len(started)}").open("w") as talk:
            argv = [sys.executable, "-m", "waiter", "deliver", "-k", url, *words]
            started.append(subprocess.Popen(argv, cwd=tmp_path, env=home, stderr=talk, stdout=talk, text=True))
        started[-1].args = tmp_path / f"talk{len(started) - 1}"  # type: ignore[assignment] # where it talks to
        return started[-1]

    yield run
    for waiter in started:
        waiter.kill()
        waiter.wait()


def talk(waiter: subprocess.Popen[str]) -> str:
    return Path(str(waiter.args)).read_text()


def connections(pid: int, ports: set[int]) -> Counter[int]:
    """How many connections to each of these ports the process holds."""
    own = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    # By its inode: the kernel writes a row twice where the table changes while it is read.
    theirs = {row[9]: int(row[2].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in own}
    return Counter(port for port in theirs.values() if port in ports)


class Most:
    """The most connections that a process ever held to one server, looked at again and again."""

    def __init__(self, pid: int, servers: list[Mongod]) -> None:
        self.seen = 0
        self._pid, self._ports = pid, {server.port for server in servers}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._is_over.wait(0.03):
            try:
                self.seen = max([self.seen, *connections(self._pid, self._ports).values()])
            except OSError:  # a descriptor, or the process, that went while we looked
                continue

    def __enter__(self) -> Most:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


@contextmanager
def alone() -> Iterator[tuple[str, list[Mongod]]]:
    server = Mongod(needed_binary())
    try:
        server.start()
        yield server.url, [server]
    finally:
        server.remove()


@contextmanager
def three() -> Iterator[tuple[str, list[Mongod]]]:
    replica_set = ReplicaSet(needed_binary())
    try:
        replica_set.start()
        replica_set.keep_primary()  # slow, and not away
        yield replica_set.url, replica_set.nodes
    finally:
        replica_set.remove()


@pytest.mark.long
@pytest.mark.parametrize("servers", [alone, three], ids=["alone", "replica set"])
def test_a_waiter_holds_no_more_connections_while_its_server_is_slow(servers, start):
    """One that asks, and one that watches.

    Where the test's own machine makes more of it than a waiter has patience for, the same is tried once more.
    """
    with servers() as (url, nodes), MongoKitchen(url, "kitchen", timeout_s=60) as kitchen:
        fill(kitchen, [[str(n)] for n in range(4000)])
        address = f"{url.partition('?')[0].rstrip('/')}/kitchen?{url.partition('?')[2]}"
        for _ in range(4):
            waiter = start(address, "-j2", "sh", "-c", "sleep 0.05")
            go_on(kitchen, 5)
            with Most(waiter.pid, nodes) as connections:
                silent_s = [slow(nodes, kitchen) for _ in range(2)]
            if max(silent_s) < PATIENCE_S:
                break
            waiter.kill()

    assert max(silent_s) < PATIENCE_S, "this machine is too busy"
    assert 0 < connections.seen <= 2


def slow(nodes: list[Mongod], kitchen: MongoKitchen) -> float:
    """Let them answer nothing for a while; how long it took until there was an answer, and work went on."""
    began = time.monotonic()
    for node in nodes:
        node.freeze()
    time.sleep(7)  # so long it is slow
    for node in nodes:
        node.thaw()
    go_on(kitchen, 20)
    return time.monotonic() - began


def go_on(kitchen: MongoKitchen, orders: int) -> None:
    """Wait until so many more are done."""
    (done,) = eventually(lambda: _done(kitchen), within_s=60)
    eventually(lambda: sum(_done(kitchen)) >= done + orders, within_s=60)


def _done(kitchen: MongoKitchen) -> list[int]:
    """How many orders; nothing while it does not answer."""
    try:
        return [kitchen.counts()[Status.DONE]]
    except KitchenUnreachable:
        return []


def test_waiters_that_start_while_the_server_is_slow_wait_for_it_and_say_so_once(server, start):
    with MongoKitchen(server.url, "kitchen") as kitchen:
        fill(kitchen, [["a"], ["b"]])
        server.freeze()
        crew = [start(f"{server.url}/kitchen?timeoutMS=1500", "true") for _ in range(3)]
        eventually(lambda: all(BUSY in talk(waiter) for waiter in crew))
        time.sleep(6)  # so long it is slow: several tries fail
        assert [waiter.poll() for waiter in crew] == [None] * 3
        server.thaw()

        assert [waiter.wait(90) for waiter in crew] == [0, 0, 0], [talk(waiter) for waiter in crew]

        assert kitchen.counts()[Status.DONE] == 2
        assert [talk(waiter).count("did not answer") for waiter in crew] == [1, 1, 1]
        assert all("The kitchen answers after" in talk(waiter) for waiter in crew)


def test_a_server_that_freezes_between_the_questions_of_a_start_is_waited_for(server):
    arrival, answers = Arrival(notes.append if (notes := []) is not None else print), []
    with MongoKitchen(server.url, "kitchen", timeout_s=1.0) as kitchen:
        server.freeze()
        asking = threading.Thread(target=lambda: answers.append(arrival.insist(kitchen.batches)))
        asking.start()
        eventually(lambda: notes)
        server.thaw()
        asking.join(60)

        assert answers == [[]]
    assert [BUSY in notes[0], "The kitchen answers after" in notes[1], len(notes)] == [True, True, 2]


SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])


@SIGNALS
def test_the_runner_starts_while_a_server_is_silent_and_a_signal_ends_both_at_once(start, number, code):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waiter = start(f"mongodb://127.0.0.1:{silent.getsockname()[1]}/k?timeoutMS=600000", "/bin/true")
        silent.accept()  # it asks, and has its runner
        (runner,) = children(waiter.pid)
        waiter.send_signal(number)
        assert waiter.wait(60) == code, talk(waiter)
        eventually(lambda: not is_alive(runner))


@SIGNALS
def test_between_two_questions_a_signal_ends_a_waiter_that_has_not_begun_just_so(start, number, code):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waiter = start(f"mongodb://127.0.0.1:{silent.getsockname()[1]}/k?timeoutMS=300", "/bin/true")
        assert eventually(lambda: BUSY in talk(waiter), within_s=60)
        (runner,) = children(waiter.pid)
        waiter.send_signal(number)
        assert waiter.wait(60) == code, talk(waiter)
        eventually(lambda: not is_alive(runner))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("where", ["127.0.0.1:1", "no-such-host.invalid", "hangs up"])
def test_a_wrong_address_is_not_waited_for(where, start):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        if where == "hangs up":
            where = f"127.0.0.1:{listener.getsockname()[1]}"
            threading.Thread(target=_hang_up, args=(listener,), daemon=True).start()
        waiter = start(f"mongodb://{where}/kitchen?timeoutMS=1500", "true")

        assert waiter.wait(60) == 3

        assert "did not answer within 1.5 s" in talk(waiter)
        assert "hint: is MongoDB running there" in talk(waiter)
        assert BUSY not in talk(waiter)


def _hang_up(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def test_who_is_told_to_stop_or_has_waited_long_enough_says_what_is_wrong(server):
    silent = KitchenUnreachable("silent.", [("127.0.0.1", server.port)])

    def ask() -> None:
        raise silent

    for arrival in (Arrival(print, lambda: True), Arrival(print, patience_s=0.0)):
        with pytest.raises(KitchenUnreachable, match="silent"):
            arrival.insist(ask)


def test_a_server_is_there_while_it_is_frozen_and_not_when_it_is_gone(server):
    server.freeze()
    assert keeps_silent("127.0.0.1", server.port)

    server.thaw()
    server.kill()

    assert not keeps_silent("127.0.0.1", server.port)
