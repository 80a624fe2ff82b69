"""Who takes part in the fleet's tests: a laptop, a MongoDB server, a kitchen on it, an account at EC2."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import eventually, fill
from tests.fleet.network import Network
from tests.mongod import free_port
from waiter.kitchen.contract import Kitchen
from waiter.orders import Status

ROOT = Path(__file__).parents[2]

MOTO = {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}
"""moto looks through all its images for each instance that it makes."""


@dataclass
class MongoServer:
    """The kitchens of these tests: one MongoDB on the bridge; each test has a database of its own."""

    address: str
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"mongodb://waiter:{self.password}@{self.address}:{self.port}/?authSource=admin"


@contextmanager
def moto_server() -> Iterator[str]:
    """EC2 as moto_server speaks it: the address of its API."""
    port = free_port()
    program = str(Path(sys.executable).with_name("moto_server"))
    env, quiet = {**os.environ, **MOTO}, subprocess.DEVNULL
    server = subprocess.Popen([program, "-p", str(port)], env=env, stdout=quiet, stderr=quiet)
    try:
        eventually(lambda: answers("127.0.0.1", port), 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(10)


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass
class Laptop:
    """Where somebody types: a home with keys, a folder with a script, and the command lines."""

    home: Path
    folder: Path
    network: Network
    env: dict[str, str] = field(default_factory=dict)

    def settle(self) -> None:
        (self.home / ".ssh").mkdir(mode=0o700, parents=True)
        self.folder.mkdir()
        self.configure(f"Host *\n  User root\n  IdentityFile {self.network.key}\n")
        self.known_hosts.write_text(self.network.known_hosts())
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "WAITER_", "SSH_"))}
        cache = {"XDG_CACHE_HOME": str(self.network.folder / "cache")}  # the zipapp is made once for all tests
        self.env = {**kept, **cache, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def configure(self, text: str) -> None:
        (self.home / ".ssh/config").write_text(text)

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh/known_hosts"

    @property
    def addresses(self) -> str:
        return ",".join(host.address for host in self.network.hosts.values())

    def script(self, text: str, name: str = "crunch.sh") -> Path:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return file

    def type(self, *words: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=timeout
        )

    def fleet(self, verb: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`waiter fleet VERB` on all hosts of the network, unless the words select others."""
        selects = any(word.startswith(("--hosts", "--tag")) for word in words)
        hosts = [] if selects else ["--hosts", self.addresses]
        return self.type(sys.executable, "-m", "waiter", "fleet", verb, *hosts, *words, **options)

    def fab(self, task: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.type(str(Path(sys.executable).with_name("fab")), task, *words)

    def json(self, verb: str, *words: str, **options: Any) -> dict[str, Any]:
        """What a verb says with --json, whatever its exit code; hosts by name."""
        done = self.fleet(verb, "--json", *words, **options)
        assert done.stdout.startswith("{"), done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return {
            **said,
            "code": done.returncode,
            "by_name": {self.name_of(each): each for each in said.get("hosts", ())},
        }

    def name_of(self, report: dict[str, Any]) -> str:
        names = {host.address: host.name for host in self.network.hosts.values()}
        return names.get(report["address"], report["host"])

    def outcomes(self, verb: str, *words: str, **options: Any) -> dict[str, str]:
        """Host → outcome."""
        return {name: each["outcome"] for name, each in self.json(verb, *words, **options)["by_name"].items()}


@dataclass
class SharedKitchen:
    """A kitchen with its database, as the laptop and as hosts reach it."""

    url: str
    password: str
    db: str
    kitchen: Kitchen

    @property
    def flags(self) -> list[str]:
        return ["--kitchen", self.url, "--db", self.db]

    def count(self, status: Status) -> int:
        return self.kitchen.counts()[status]

    def load(self, count: int) -> None:
        fill(self.kitchen, [[str(row)] for row in range(1, count + 1)])


@dataclass
class Ec2:
    """An account of its own in the cloud."""

    endpoint: str
    region: str
    client: Any

    @classmethod
    def at(cls, endpoint: str) -> Ec2:
        """The account at this address of the API."""
        import boto3

        region, keys = "eu-west-1", {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return cls(endpoint, region, boto3.client("ec2", endpoint_url=endpoint, region_name=region, **keys))

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def launch(self, count: int = 1, address: str | None = None, **tags: str) -> list[str]:
        """Instances with these tags; their ids."""
        facts = {"PrivateIpAddress": address} if address else {}
        made = self.client.run_instances(
            ImageId="ami-12345678",
            MinCount=count,
            MaxCount=count,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
            **facts,
        )
        return [instance["InstanceId"] for instance in made["Instances"]]
