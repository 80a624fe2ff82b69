"""What Waiter must know of a kind of kitchen before anybody opens one: which addresses are its, and who can use them.

Light: whatever starts reads it, `waiter --help` included. A driver is imported when a kitchen is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from waiter.errors import UsageError
from waiter.light_dataclass import dataclass

if TYPE_CHECKING:  # it is much, and `waiter --help` needs none of it
    from waiter.kitchen.contract import Kitchen


class Opener(Protocol):
    """Opens the kitchen at an address. Without `create` it makes nothing, and raises KitchenMissing."""

    def __call__(self, url: str, db: str, *, create: bool) -> Kitchen: ...


def _takes_none(url: str) -> bool:  # noqa: ARG001 - the callable's shape
    return False


def _accepts(url: str) -> None: ...


def _unchanged(url: str) -> str:
    return url


def _not_on_hosts(url: str, is_for_hosts: bool) -> str | None:  # noqa: ARG001 - as above
    return "hosts have no driver for this kind of kitchen\nhint: give --kitchen mongodb://HOST/"


def _no_tunnel(url: str, port: int) -> tuple[str, tuple[str, int]]:  # noqa: ARG001 - as above
    raise UsageError("--tunnel leads to a MongoDB, and this kitchen is none\nhint: give --kitchen mongodb://localhost/")


@dataclass(frozen=True, slots=True)
class KitchenKind:
    """One kind of kitchen. Only `schemes` and `open` are needed; the rest has the answers of a simple kitchen."""

    schemes: tuple[str, ...]
    """What stands before :// in its addresses."""

    open: Opener
    """Imports the driver, and opens."""

    looks: tuple[str, ...] = ()
    """How its addresses look, for help and messages."""

    takes: Callable[[str], bool] = _takes_none
    """Whether an address without a scheme is one of its; kinds are asked in their order. May raise UsageError."""

    check: Callable[[str], None] = _accepts
    """Raises UsageError for one of its addresses that nobody should open."""

    full: Callable[[str], str] = _unchanged
    """The same address for a process that works in another folder. May raise UsageError."""

    is_local: bool = False
    """Its addresses are paths on this machine: they hold no password, and name a kitchen without --db."""

    why_not_from_hosts: Callable[[str, bool], str | None] = _not_on_hosts
    """Why the hosts of a fleet cannot use an address, None if they can. True: it was said for hosts alone."""

    through_tunnel: Callable[[str, int], tuple[str, tuple[str, int]]] = _no_tunnel
    """For a host whose 127.0.0.1:port leads here: the address that it is to use, and where its port is to lead.

    Raises UsageError.
    """

    host_packages: tuple[str, ...] = ()
    """The driver's Python packages, pure Python, which are sent to a fleet's hosts along with Waiter."""

    leaves_threads: bool = False
    """The driver's threads would keep a process waiting that ends."""
