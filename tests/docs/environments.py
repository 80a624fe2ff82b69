"""Where the docs play: one machine with a MongoDB that wants a password and TLS, and a laptop with a fleet at EC2."""

from __future__ import annotations

import datetime
import ipaddress
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.docs.page import ROOT, blocks
from tests.docs.sandbox import Sandbox
from tests.fleet.environment import Ec2, moto_server
from tests.fleet.network import Network
from tests.mongod import Mongod, ReplicaSet

PASSWORD = "pa55word"
"""The one that the docs name."""

HOSTS = ("crunch-1", "crunch-2")


@contextmanager
def machine(pace: float, *, binary: str | None = None) -> Iterator[Sandbox]:
    """A folder on one machine, and a hook to post to. With mongod's `binary` also a MongoDB."""
    with ExitStack() as stack:
        # A short name: the live view has 80 columns.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="w", ignore_cleanup_errors=True)))
        names = {"hooks.example": stack.enter_context(hook())}
        if binary:
            names |= stack.enter_context(database(root, binary))
        sandbox = Sandbox(root, names, pace=pace)
        yield stack.enter_context(closing(sandbox))


@contextmanager
def closing(sandbox: Sandbox) -> Iterator[Sandbox]:
    try:
        yield sandbox
    finally:
        sandbox.close()


class _Ear(BaseHTTPRequestHandler):
    """Takes what is posted."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def hook() -> Iterator[str]:
    """The address of somebody who wants to be told."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ear) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def database(root: Path, binary: str) -> Iterator[dict[str, str]]:
    """A server as docs/mongodb.md sets it up, without users as yet; its names."""
    authority, server_file = certificates(root)
    (settings,) = [block.text for block in blocks(ROOT / "docs/mongodb.md") if block.language == "yaml"]
    file = root / "mongod.conf"
    file.write_text("\n".join(settings).replace("/etc/ssl/db.pem", str(server_file)))
    server = Mongod(binary, "--config", str(file))
    server.start()
    try:
        address = f"127.0.0.1:{server.port}"
        yield {"/etc/ssl/db-ca.pem": str(authority), "db.example": address, "localhost": address}
    finally:
        server.remove()


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate of an authority, and one of 127.0.0.1 with its key, as mongod wants it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("authority", "server")}
    names = {
        name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Waiter's tests: {name}")]) for name in keys
    }
    made: dict[str, bytes] = {}
    for name, extension in (
        ("authority", x509.BasicConstraints(ca=True, path_length=None)),
        ("server", x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])),
    ):
        builder = x509.CertificateBuilder(
            issuer_name=names["authority"],
            subject_name=names[name],
            public_key=keys[name].public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - day,
            not_valid_after=now + day,
        ).add_extension(extension, critical=name == "authority")
        made[name] = builder.sign(keys["authority"], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    key = keys["server"].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    authority, server = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(made["authority"])
    server.touch(0o600)
    server.write_bytes(made["server"] + key)
    return authority, server


@contextmanager
def fleet(root: Path, binary: str) -> Iterator[Fleet]:
    """A laptop, two hosts that EC2 knows with the tag role=crunch, and a replica set that all of them reach."""
    import pymongo

    with ExitStack() as stack:
        network = Network.build()
        stack.callback(network.close)
        for name in HOSTS:
            network.add(name)
        replicas = ReplicaSet(binary, address=network.address)
        stack.callback(replicas.remove)
        replicas.start()
        with pymongo.MongoClient[Any](replicas.url) as client:
            client.admin.command("createUser", "waiter", pwd=PASSWORD, roles=["root"])
        ec2 = Ec2.at(stack.enter_context(moto_server()))
        ids = [ec2.launch(address=network.hosts[name].address, Name=name, role="crunch")[0] for name in HOSTS]
        yield Fleet(root, network, replicas, ec2, ids)


class Fleet:
    """The fleet's environment; each page has a laptop of its own there."""

    def __init__(self, root: Path, network: Network, replicas: ReplicaSet, ec2: Ec2, instances: list[str]) -> None:
        self.root, self.network, self.replicas, self.ec2 = root, network, replicas, ec2
        self.names = {f"10.0.3.{n}": network.hosts[name].address for n, name in enumerate(HOSTS, 11)}
        self.names |= {f"i-0c1a5e7b9d3f2468{n}": instance for n, instance in enumerate(instances, 1)}
        self.names |= {f"db{number}.example": host for number, host in enumerate(replicas.hosts, 1)}

    @contextmanager
    def laptop(self, name: str) -> Iterator[Sandbox]:
        """A laptop that can log in at all hosts, with a script and orders; hosts and database as new."""
        import pymongo

        for host in self.network.hosts.values():
            host.refresh()
        with pymongo.MongoClient[Any](self.replicas.url) as client:
            client.drop_database("simplewaiter")
        root = self.root / name
        root.mkdir()
        variables = {**self.ec2.env, "XDG_CACHE_HOME": str(self.network.folder / "cache")}
        sandbox = Sandbox(root, self.names, variables)
        ssh = root / "home/.ssh"
        ssh.mkdir(mode=0o700)
        (ssh / "config").write_text(f"Host *\n  User root\n  IdentityFile {self.network.key}\n")
        (ssh / "known_hosts").write_text(self.network.known_hosts())
        script = sandbox.work / "crunch.sh"
        script.write_text('#!/bin/sh\necho "Crunching on: $*"\nsleep 0.02\n')
        script.chmod(0o755)
        (sandbox.work / "orders.csv").write_text("".join(f"{row}\n" for row in range(1, 101)))
        with closing(sandbox):
            yield sandbox
