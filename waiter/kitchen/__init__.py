"""Opening kitchens: the only place that knows which kinds there are. A driver is imported when its kitchen is opened.

A new kind of Waiter's own is a line in `KINDS`. One of another package needs none: it is an entry point of the group
`waiter.kitchens`, named after its scheme, that loads a `KitchenKind`.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from waiter.errors import UsageError
from waiter.kitchen.kinds import KitchenKind
from waiter.kitchen.mongo.address import MONGODB
from waiter.kitchen.sqlite.address import SQLITE, default_path

if TYPE_CHECKING:  # it is much, and `waiter --help` needs none of it
    from waiter.kitchen.contract import Kitchen

DEFAULT_DB = "simplewaiter"
KINDS = (SQLITE, MONGODB)
"""The kinds of kitchen, in the order in which they are asked for an address without a scheme."""

ENTRY_POINTS = "waiter.kitchens"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)

_looks = [look for kind in KINDS for look in kind.looks]
ADDRESSES = f"{', '.join(_looks[:-1])}, or {_looks[-1]}"
"""How addresses look, for help and messages."""


def kind_of(url: str) -> KitchenKind:
    """Which kind of kitchen `--kitchen` names. Raises UsageError for what names none."""
    if not url:
        raise UsageError(
            "--kitchen: the name is empty\nhint: name a kitchen, or leave --kitchen out for the default one"
        )
    scheme = _SCHEME.match(url)
    kind = _with_scheme(scheme[1]) if scheme else next((kind for kind in KINDS if kind.takes(url)), None)
    if kind is None:
        said = f"{scheme[0]}…" if scheme else url
        raise UsageError(f"--kitchen {said}: no such kind of kitchen\nhint: name {ADDRESSES}")
    kind.check(url)
    return kind


def _with_scheme(scheme: str) -> KitchenKind | None:
    """Ours first: no other package takes their addresses, and what is installed is looked for only at need."""
    for kind in KINDS:
        if scheme in kind.schemes:
            return kind
    from importlib.metadata import entry_points

    for found in entry_points(group=ENTRY_POINTS, name=scheme):
        loaded: object = found.load()
        if isinstance(loaded, KitchenKind):
            return loaded
        raise UsageError(f"--kitchen {scheme}://…: {found.value} is no KitchenKind\nhint: see docs/python.md")
    return None


def absolute(url: str | None) -> str | None:
    """The same address for a program that goes to another folder and opens it again there. Raises UsageError."""
    return kind_of(url).full(url) if url else url


def open_kitchen(url: str | None = None, db: str = DEFAULT_DB, *, create: bool = True) -> Kitchen:
    """Open what `--kitchen` names, see `kind_of`; None is the default file.

    Who only looks says `create=False`: then no file, folder, collection or index is made, and what is not there is
    KitchenMissing. Raises UsageError and KitchenError.
    """
    if url is None:
        return SQLITE.open(str(default_path(db)), db, create=create)
    return kind_of(url).open(url, db, create=create)


def host_packages() -> tuple[str, ...]:
    """The Python packages besides Waiter that a fleet's host needs to open any kitchen."""
    return tuple(package for kind in KINDS for package in kind.host_packages)


def has_lasting_threads() -> bool:
    """Whether this process has threads of a driver's that would keep it waiting at its end."""
    return any(kind.leaves_threads and not sys.modules.keys().isdisjoint(kind.host_packages) for kind in KINDS)
