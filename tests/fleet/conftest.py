"""The fleet's world: a town of hosts, a kitchen on its bridge, EC2 that knows them, and a laptop that drives them."""

from __future__ import annotations

import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually, unavailable
from tests.fleet.town import Town, why_not
from tests.fleet.world import Ec2, Laptop, Pantry, Shop, answers, free_port
from tests.mongod import Mongod, mongod_binary
from waiter.kitchen import open_kitchen


@pytest.fixture(scope="session")
def built_town() -> Iterator[Town]:
    if reason := why_not():
        unavailable(reason)
    town = Town.build()
    try:
        for name in ("anna", "ben", "cleo", "dora"):
            town.add(name)
        yield town
    finally:
        town.close()


@pytest.fixture
def town(built_town: Town) -> Iterator[Town]:
    """Four hosts as new: nothing of an earlier test runs or lies there."""
    for host in built_town.hosts.values():
        host.refresh()
    yield built_town
    for host in built_town.hosts.values():
        host.mend()


@pytest.fixture(scope="session")
def pantry(built_town: Town) -> Iterator[Pantry]:
    import pymongo

    binary = mongod_binary()
    if binary is None:
        unavailable("no mongod: install the test dependencies")
        return
    server = Mongod(binary, bind=f"127.0.0.1,{built_town.address}")
    server.start()
    password = f"s3cr3t{secrets.token_hex(8)}"
    try:
        with pymongo.MongoClient(server.url) as client:
            client.admin.command("createUser", "waiter", pwd=password, roles=["root"])
        yield Pantry(built_town.address, server.port, password)
    finally:
        server.remove()


@pytest.fixture
def laptop(town: Town, tmp_path: Path) -> Laptop:
    laptop = Laptop(tmp_path / "home", tmp_path / "work", town)
    laptop.settle()
    return laptop


@pytest.fixture
def shop(pantry: Pantry) -> Iterator[Shop]:
    db = f"fleet{secrets.token_hex(4)}"
    with open_kitchen(pantry.url, db) as kitchen:
        yield Shop(pantry.url, pantry.password, db, kitchen)


@pytest.fixture(scope="session")
def cloud() -> Iterator[str]:
    """EC2 as moto_server speaks it: the address of its API."""
    port = free_port("127.0.0.1")
    program = str(Path(sys.executable).with_name("moto_server"))
    server = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers("127.0.0.1", port), 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(10)


@pytest.fixture
def ec2(cloud: str) -> Iterator[Ec2]:
    import boto3

    region = "eu-west-1"
    client = boto3.client(
        "ec2", endpoint_url=cloud, region_name=region, aws_access_key_id="test", aws_secret_access_key="test"
    )
    yield Ec2(cloud, region, client)
    urllib.request.urlopen(urllib.request.Request(f"{cloud}/moto-api/reset", method="POST"), timeout=30).close()
