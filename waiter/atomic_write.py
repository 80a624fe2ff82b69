"""A file that appears under its name when it is complete, or not at all."""

from __future__ import annotations

import errno
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiter.errors import FileUnusable

_HINTS = {
    errno.ENOENT: "create its folder first: mkdir -p {folder}",
    errno.EACCES: "name a file in a folder that you may write to",
    errno.EPERM: "name a file in a folder that you may write to",
    errno.EROFS: "name a file on a disk that is mounted for writing",
    errno.ENOSPC: "make room on its disk, or name a file on another one",
    errno.EDQUOT: "make room in your quota, or name a file on another disk",
}
"""What to do about an error of the system; for the others there is nothing that helps everybody."""


@contextmanager
def atomic_write(output: str) -> Iterator[Path]:
    """Give the path to write to; when the block ends without an error, that file becomes `output`. Raises FileUnusable.

    A link's target is replaced, not the link, and keeps its permissions. A pipe or a device is written as it is.
    """
    path = Path(output)
    with _naming(output):
        if path.is_dir():
            example = path / "orders.csv"
            raise FileUnusable(f"{output}: is a directory, not a file\nhint: name a file in it, such as {example}")
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
def _naming(output: str) -> Iterator[None]:
    """Name the file in what the system says of it, and what can be done."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0)
        remedy = f"\nhint: {hint.format(folder=shlex.quote(str(Path(output).parent)))}" if hint else ""
        raise FileUnusable(f"{output}: cannot be written: {error.strerror or error}{remedy}") from None


def _beside(target: Path) -> Path:
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:200]}")
    os.close(number)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
