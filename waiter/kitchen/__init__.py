"""Opening kitchens: the only place that knows which ones exist. A driver is imported when its kitchen is opened."""

from __future__ import annotations

import os
import re
from pathlib import Path

from waiter.errors import UsageError
from waiter.kitchen.address import has_credentials, shown
from waiter.kitchen.contract import Kitchen
from waiter.user_dirs import Kind, full_path, own_folder

DEFAULT_DB = "simplewaiter"
_FILE_ENDINGS = (".db", ".sqlite", ".sqlite3")
_HALF_AN_ADDRESS = re.compile(r"[^/]+[:@][^/]*/|mongo(db)?(\+srv)?(:|//)", re.IGNORECASE)
"""HOST:PORT/DB, USER:PASSWORD@HOST/DB, mongodb//HOST: they would make a folder of that name, password and all."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_file(url: str) -> bool:
    """Whether `--kitchen` names an SQLite file rather than a MongoDB.

    A file is `sqlite:///path`, whatever holds a slash or starts with . or ~, ends in .db, .sqlite or .sqlite3, or is
    there already. Everything else is a host, as it was for the original. Raises UsageError for what may be neither.
    """
    if not url:
        raise UsageError("--kitchen: the name is empty. Name a kitchen, or leave --kitchen out for the default one")
    if url.startswith(("mongodb://", "mongodb+srv://")):
        return False
    if url.startswith(("sqlite:", "/", ".", "~")):
        _refuse_credentials(url)
        return True
    if scheme := _SCHEME.match(url):
        raise UsageError(
            f"--kitchen {scheme[0]}…: no such kind of kitchen. Name a file, or a MongoDB: mongodb://HOST/DB, HOST:PORT"
        )
    if _HALF_AN_ADDRESS.match(url) and not os.path.exists(url.partition("/")[0]):  # noqa: PTH110 - as below
        raise UsageError("--kitchen: write mongodb:// before an address with a database, or ./ before a path")
    if "/" in url:
        _refuse_credentials(url)
    # Path.exists raises for a name that no file can have.
    return "/" in url or url.endswith(_FILE_ENDINGS) or os.path.exists(url)  # noqa: PTH110


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
        raise UsageError(f"--kitchen {shown(url)!r}: no file's name holds a NUL byte")
    if url.startswith("sqlite:"):
        if not url.startswith("sqlite:///") or len(url) == len("sqlite:///"):
            raise UsageError(f"--kitchen {shown(url)}: write sqlite:///PATH, or just the path")
        rest = url.removeprefix("sqlite:///")
        url = rest if rest.startswith(("/", "~", ".")) else "/" + rest
    try:
        return full_path(Path(url).expanduser())
    except RuntimeError:  # a user that is not known here
        raise UsageError(f"--kitchen {url}: no such user. Write ./ before a file whose name begins with ~") from None


def absolute(url: str | None) -> str | None:
    """The same address for a program that goes to another folder and opens it again there. Raises UsageError."""
    return str(file_path(url)) if url and is_file(url) else url


def default_path(db: str) -> Path:
    """The SQLite file named after `db` in the user's data folder. Raises UsageError for a path."""
    if "/" in db or "\0" in db:
        raise UsageError(f"--db {db!r}: a name is wanted, not a path. A file is named with --kitchen")
    return own_folder(Kind.DATA) / f"{db}.sqlite"


def open_kitchen(url: str | None = None, db: str = DEFAULT_DB, *, create: bool = True) -> Kitchen:
    """Open what `--kitchen` names, see `is_file`; None is the default file.

    Who only looks says `create=False`: then no file, folder, collection or index is made, and what is not there is
    KitchenMissing. Raises UsageError and KitchenError.
    """
    if url is None or is_file(url):
        from waiter.kitchen.sqlite.kitchen import SqliteKitchen

        return SqliteKitchen(default_path(db) if url is None else file_path(url), create=create)
    from waiter.kitchen.mongo.kitchen import MongoKitchen

    return MongoKitchen(url, db, create=create)
