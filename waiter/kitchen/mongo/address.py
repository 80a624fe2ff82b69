"""Addresses of MongoDB kitchens: `mongodb://…`, and a bare host or host:port, as the original took them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waiter.errors import UsageError
from waiter.kitchen.kinds import KitchenKind

if TYPE_CHECKING:  # it is much, and `waiter --help` needs none of it
    from waiter.kitchen.contract import Kitchen


def _takes_the_rest(url: str) -> bool:  # noqa: ARG001 - whatever is no path is a host
    return True


def _why_not_from_hosts(url: str, is_for_hosts: bool) -> str | None:
    if url.startswith("mongodb+srv://"):  # hosts have no dnspython
        return "hosts cannot look up mongodb+srv:// names\nhint: give --kitchen-from-hosts mongodb://HOST,HOST/"
    server = url.partition("://")[2].rpartition("@")[2] or url
    if not is_for_hosts and server.startswith(("localhost", "127.", "[::1]")):
        return (
            "hosts cannot reach this machine's localhost\nhint: give --tunnel, or --kitchen-from-hosts mongodb://NAME/"
        )
    return None


_DEFAULT_PORT = 27017
_NOT_THROUGH = ("replicaset", "directconnection", "loadbalanced")
"""Options that speak of more servers than the one at the end of a tunnel."""


def _through_tunnel(url: str, port: int) -> tuple[str, tuple[str, int]]:
    """The same user, password, database and options; only the server is another, and alone."""
    if url.startswith("mongodb+srv://"):
        raise UsageError(
            "a tunnel leads to one server, and mongodb+srv:// names several\nhint: give --kitchen mongodb://HOST/"
        )
    rest = url.partition("://")[2] if "://" in url else url
    authority = re.split("[/?]", rest)[0]
    path, _, options = rest[len(authority) :].partition("?")
    user, at, server = authority.rpartition("@")
    if "," in server or "%" in server:
        raise UsageError(
            f"a tunnel leads to one host and port, and not to {server}\nhint: give --kitchen mongodb://HOST:PORT/"
        )
    kept = [each for each in re.split("[&;]", options) if each and each.partition("=")[0].lower() not in _NOT_THROUGH]
    names = {each.partition("=")[0].lower(): each.partition("=")[2] for each in kept}
    if "true" in (names.get("tls"), names.get("ssl")):
        kept.append("tlsAllowInvalidHostnames=true")  # its certificate is not for 127.0.0.1; SSH knows who is there
    address = f"mongodb://{user}{at}127.0.0.1:{port}{path or '/'}?{'&'.join([*kept, 'directConnection=true'])}"
    return address, _host_and_port(server)


def _host_and_port(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):  # [::1]
        host, port = server, str(_DEFAULT_PORT)
    if not port.isdecimal():
        raise UsageError(f"{server}: not a host and port")
    return host.strip("[]"), int(port)


def _open(url: str, db: str, *, create: bool) -> Kitchen:
    from waiter.kitchen.mongo.kitchen import MongoKitchen

    return MongoKitchen(url, db, create=create)


MONGODB = KitchenKind(
    schemes=("mongodb", "mongodb+srv"),
    open=_open,
    looks=("mongodb://…", "a MongoDB host"),
    takes=_takes_the_rest,
    why_not_from_hosts=_why_not_from_hosts,
    through_tunnel=_through_tunnel,
    host_packages=("pymongo", "bson"),
    leaves_threads=True,
)
