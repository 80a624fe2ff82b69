"""A file that appears under its name when it is whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiter.cli.streams import FULL
from waiter.errors import InputUnreadable


@contextmanager
def whole_file(output: str) -> Iterator[Path]:
    """Where to write what is to become `output`. Raises InputUnreadable.

    A link's target is replaced, not the link, and keeps its permissions. A pipe or a device is written as it is.
    """
    path = Path(output)
    if path.is_dir():
        raise InputUnreadable(f"{output}: a directory. Name a file: -o {path / 'orders.csv'}")
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    temporary = _beside(target, output)
    try:
        yield temporary
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InputUnreadable(f"{output}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _beside(target: Path, output: str) -> Path:
    try:
        number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}")
    except OSError as error:
        raise InputUnreadable(f"{output}: cannot be written: {error.strerror}") from None
    os.close(number)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
