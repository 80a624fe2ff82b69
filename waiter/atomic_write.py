"""A file that appears under its name when it is whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiter.errors import InputUnreadable


@contextmanager
def whole_file(output: str) -> Iterator[Path]:
    """Where to write what is to become `output`. Raises InputUnreadable.

    A link's target is replaced, not the link, and keeps its permissions. A pipe or a device is written as it is.
    """
    path = Path(output)
    with _speaking_of(output):
        if path.is_dir():
            raise InputUnreadable(f"{output}: a directory. Name a file: -o {path / 'orders.csv'}")
        if path.exists() and not path.is_file():
            yield path
            return
        target = path.resolve()
        temporary = _beside(target)
        try:
            yield temporary
            temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _speaking_of(output: str) -> Iterator[None]:
    """Name the file in what the system says of it."""
    try:
        yield
    except OSError as error:
        raise InputUnreadable(f"{output}: cannot be written: {error.strerror}") from None


def _beside(target: Path) -> Path:
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:200]}")
    os.close(number)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
