"""Addresses of kitchens in a file: `sqlite:///path` and plain paths. Nothing here needs SQLite."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from waiter.errors import UsageError
from waiter.kitchen.address import has_credentials, shown
from waiter.kitchen.kinds import KitchenKind
from waiter.user_dirs import Kind, full_path, own_folder

if TYPE_CHECKING:  # it is much, and `waiter --help` needs none of it
    from waiter.kitchen.contract import Kitchen

_ENDINGS = (".db", ".sqlite", ".sqlite3")
_HALF_AN_ADDRESS = re.compile(r"[^/]+[:@][^/]*/|mongo(db)?(\+srv)?(:|//)", re.IGNORECASE)
"""HOST:PORT/DB, USER:PASSWORD@HOST/DB, mongodb//HOST: they would make a folder of that name, password and all."""


def _is_path(url: str) -> bool:
    """What holds a slash or starts with . or ~, ends in .db, .sqlite or .sqlite3, or is there already."""
    if url.startswith(("sqlite:", "/", ".", "~")):
        return True
    # Path.exists raises for a name that no file can have.
    if _HALF_AN_ADDRESS.match(url) and not os.path.exists(url.partition("/")[0]):  # noqa: PTH110
        raise UsageError("--kitchen: write mongodb:// before an address with a database, or ./ before a path")
    return "/" in url or url.endswith(_ENDINGS) or os.path.exists(url)  # noqa: PTH110 - as above


def _refuse_credentials(url: str) -> None:
    """Of a path in a folder that is not there: it would become a folder's name, and be shown."""
    if has_credentials(url) and not file_path(url).parent.exists():
        raise UsageError(
            "--kitchen: this path looks like an address with a password\n"
            "hint: write mongodb:// before an address; for a file, make its folder first"
        )


def file_path(url: str) -> Path:
    """The full path of `sqlite:///path` (absolute: four slashes or a full path), or of a plain path.

    Raises UsageError.
    """
    if "\0" in url:
        raise UsageError(f"--kitchen {shown(url)!r}: a file name cannot contain a NUL byte")
    if url.startswith("sqlite:"):
        if not url.startswith("sqlite:///") or len(url) == len("sqlite:///"):
            raise UsageError(f"--kitchen {shown(url)}: write sqlite:///PATH, or just the path")
        rest = url.removeprefix("sqlite:///")
        url = rest if rest.startswith(("/", "~", ".")) else "/" + rest
    try:
        return full_path(Path(url).expanduser())
    except RuntimeError:  # a user that is not known here
        raise UsageError(
            f"--kitchen {url}: no such user\nhint: write ./ before a file whose name begins with ~"
        ) from None


def default_path(db: str) -> Path:
    """The file named after `db` in the user's data folder. Raises UsageError for a path."""
    if "/" in db or "\0" in db:
        raise UsageError(f"--db {db!r}: expected a name, not a path. A file is named with --kitchen")
    return own_folder(Kind.DATA) / f"{db}.sqlite"


def _why_not_from_hosts(url: str, is_for_hosts: bool) -> str | None:
    return None if is_for_hosts else f"hosts cannot reach the file {shown(url)}\nhint: give --kitchen mongodb://HOST/"


def _open(url: str, db: str, *, create: bool) -> Kitchen:  # noqa: ARG001 - the file alone names the kitchen
    from waiter.kitchen.sqlite.kitchen import SqliteKitchen

    return SqliteKitchen(file_path(url), create=create)


SQLITE = KitchenKind(
    schemes=("sqlite",),
    open=_open,
    looks=("a file",),
    takes=_is_path,
    check=_refuse_credentials,
    full=lambda url: str(file_path(url)),
    is_local=True,
    why_not_from_hosts=_why_not_from_hosts,
)
