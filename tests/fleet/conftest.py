"""What the fleet's tests get: a network of hosts, a kitchen on its bridge, EC2 that knows them, and a laptop."""

from __future__ import annotations

import secrets
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.fleet.cloud_of_hosts import CloudOfHosts, faulty_ec2_server
from tests.fleet.environment import Ec2, Laptop, MongoServer, SharedKitchen, moto_server
from tests.fleet.network import Network, why_not
from tests.mongod import Mongod, mongod_binary
from waiter.kitchen import open_kitchen


@pytest.fixture(scope="session")
def built_network() -> Iterator[Network]:
    if reason := why_not():
        unavailable(reason)
    network = Network.build()
    try:
        for name in ("anna", "ben", "cleo", "dora"):
            network.add(name)
        yield network
    finally:
        network.close()


@pytest.fixture
def network(built_network: Network) -> Iterator[Network]:
    """Four hosts as new: nothing of an earlier test runs or lies there."""
    for host in built_network.hosts.values():
        host.refresh()
    yield built_network
    for host in built_network.hosts.values():
        host.mend()


@pytest.fixture(scope="session")
def mongo_server(built_network: Network) -> Iterator[MongoServer]:
    import pymongo

    binary = mongod_binary()
    if binary is None:
        unavailable("no mongod: install the test dependencies")
        return
    server = Mongod(binary, bind=f"127.0.0.1,{built_network.address}")
    server.start()
    password = f"s3cr3t{secrets.token_hex(8)}"
    try:
        with pymongo.MongoClient(server.url) as client:
            client.admin.command("createUser", "waiter", pwd=password, roles=["root"])
        yield MongoServer(built_network.address, server.port, password)
    finally:
        server.remove()


@pytest.fixture
def laptop(network: Network, tmp_path: Path) -> Laptop:
    laptop = Laptop(tmp_path / "home", tmp_path / "work", network)
    laptop.settle()
    return laptop


@pytest.fixture
def shared(mongo_server: MongoServer) -> Iterator[SharedKitchen]:
    db = f"fleet{secrets.token_hex(4)}"
    with open_kitchen(mongo_server.url, db) as kitchen:
        yield SharedKitchen(mongo_server.url, mongo_server.password, db, kitchen)


@pytest.fixture(scope="session")
def cloud() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def ec2(cloud: str) -> Iterator[Ec2]:
    yield Ec2.at(cloud)
    urllib.request.urlopen(urllib.request.Request(f"{cloud}/moto-api/reset", method="POST"), timeout=30).close()


@pytest.fixture(scope="session")
def faulty_endpoint() -> Iterator[str]:
    with faulty_ec2_server() as endpoint:
        yield endpoint


@pytest.fixture
def cloud_of_hosts(faulty_endpoint: str, built_network: Network) -> Iterator[CloudOfHosts]:
    """EC2 with its faults, whose instances are hosts of the network as long as they live."""
    cloud = CloudOfHosts(faulty_endpoint, built_network)
    cloud.open()
    try:
        yield cloud
    finally:
        cloud.close()
