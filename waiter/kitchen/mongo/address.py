"""Addresses of MongoDB kitchens: `mongodb://…`, and a bare host or host:port, as the original took them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waiter.kitchen.kinds import KitchenKind

if TYPE_CHECKING:  # it is much, and `waiter --help` needs none of it
    from waiter.kitchen.contract import Kitchen


def _takes_the_rest(url: str) -> bool:  # noqa: ARG001 - whatever is no path is a host
    return True


def _why_not_from_hosts(url: str, is_for_hosts: bool) -> str | None:
    if url.startswith("mongodb+srv://"):  # hosts have no dnspython
        return "hosts cannot look up mongodb+srv:// names. Give --kitchen-from-hosts mongodb://HOST,HOST/"
    server = url.partition("://")[2].rpartition("@")[2] or url
    if not is_for_hosts and server.startswith(("localhost", "127.", "[::1]")):
        return "hosts cannot reach this machine's localhost. Give --kitchen-from-hosts mongodb://NAME/"
    return None


def _open(url: str, db: str, *, create: bool) -> Kitchen:
    from waiter.kitchen.mongo.kitchen import MongoKitchen

    return MongoKitchen(url, db, create=create)


MONGODB = KitchenKind(
    schemes=("mongodb", "mongodb+srv"),
    open=_open,
    looks=("mongodb://…", "a MongoDB host"),
    takes=_takes_the_rest,
    why_not_from_hosts=_why_not_from_hosts,
    host_packages=("pymongo", "bson"),
    leaves_threads=True,
)
