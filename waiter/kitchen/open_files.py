"""Which files this process has open as kitchens, and whether a name may be opened as one: by device and inode.

SQLite's locks belong to the process: when it closes the file, its -wal or -shm, by whatever name and for whatever
reason it had been opened, it drops the locks of all its connections, and others take the kitchen for theirs
(sqlite.org/howtocorrupt.html, 2.2). So whoever opens files that a user names asks `is_kitchen` first.

And SQLite finds a -wal by the name of its file. One file under two names has two of them; a -wal whose file is gone
is thrown away by whoever makes a new one; a file that is put in another's place gets the other's. So `checked` is asked
before each connection, and `still_there` after each statement.

Apart from `sqlite.file`, because who asks may have nothing to do with SQLite, which is heavy.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from weakref import WeakKeyDictionary

from waiter.errors import KitchenDamaged, KitchenError
from waiter.light_dataclass import dataclass

Identity = tuple[int, int]
"""Device and inode."""

BESIDE = ("-wal", "-shm", "-journal")
"""How SQLite calls the files that belong to one."""


@dataclass(frozen=True, slots=True)
class _Open:
    path: Path
    identity: Identity


_lock = threading.Lock()
_open: WeakKeyDictionary[object, _Open] = WeakKeyDictionary()


def hold(holder: object, path: Path, identity: Identity) -> None:
    """Count the file as open in this process until the holder lets go, or is gone."""
    with _lock:
        _open[holder] = _Open(path, identity)


def let_go(holder: object) -> None:
    with _lock:
        _open.pop(holder, None)


def _all_open() -> set[_Open]:
    with _lock:
        return set(_open.values())


def is_kitchen(file: str | bytes | os.PathLike[str] | int) -> bool:
    """Whether this name or descriptor leads to a file that this process has open as a kitchen, or to one beside it."""
    kitchens = _all_open()
    if not kitchens or (found := _identity(file)) is None:
        return False
    for kitchen in kitchens:
        real = os.path.realpath(kitchen.path)
        if found == kitchen.identity or found in {_identity(real + ending) for ending in BESIDE}:
            return True
    return False


def _identity(file: str | bytes | os.PathLike[str] | int) -> Identity | None:
    try:
        facts = os.stat(file)  # noqa: PTH116 - Path takes no descriptor
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def checked(path: Path) -> Identity | None:
    """What the path leads to if it may be opened as a kitchen, None if it may be made. Raises KitchenError."""
    real = os.path.realpath(path)
    orphan = next((real + ending for ending in BESIDE[:2] if os.path.exists(real + ending)), None)  # noqa: PTH110
    try:
        facts = os.stat(real)  # noqa: PTH116 - as above
    except FileNotFoundError:
        facts = None
    held = next((kitchen.identity for kitchen in _all_open() if kitchen.path == path), None)
    if held is not None and (facts is None or held != (facts.st_dev, facts.st_ino)):
        raise _gone(path)
    if orphan is not None and (facts is None or (facts.st_size == 0 and orphan.endswith("-wal"))):
        raise KitchenDamaged(
            f"{path}: the kitchen is missing, its {orphan} is here and may hold changes\n"
            "hint: put the kitchen back beside it, or delete that file if nobody needs it"
        )
    if facts is None:
        return None
    if facts.st_nlink > 1:
        raise KitchenError(
            f"{path}: has {facts.st_nlink} names (hard links), and use under another one would destroy it\n"
            f"hint: remove the others: find {Path(real).parent} -samefile {real}"
        )
    return facts.st_dev, facts.st_ino


def still_there(path: Path, identity: Identity) -> None:
    """Raise KitchenDamaged if the path no longer leads to the file that was opened."""
    if _identity(path) != identity:
        raise _gone(path)


def _gone(path: Path) -> KitchenDamaged:
    return KitchenDamaged(
        f"{path}: the file was deleted, moved or replaced while it was in use. Nothing more is written to it."
    )
