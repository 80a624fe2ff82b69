"""The files that take a command's output under `--output`: opened new, never over something that is there.

Here, and in no waiter, it is decided which name an output gets: whoever creates a file has its name, so that neither
two orders at once, nor two waiters on two machines, write into one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

_NEW = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK  # ENXIO for a FIFO that nobody reads, and no wait
_TRIES = 10_000

Paths = tuple[str | None, str | None]
"""Where stdout and stderr go."""


def open_files(paths: Paths, spare: str | None) -> tuple[dict[int, int], Paths]:
    """Descriptors by stream, and where they lead. Raises OSError.

    With `spare`, a name without its ending, nothing is written over: where one of `paths` exists already, it takes
    `spare`, then `spare~2` and so on.
    """
    if spare is None:
        return _opened(paths, os.O_TRUNC), paths
    for one in _names(paths, spare):
        try:
            return _opened(one, os.O_EXCL), one
        except FileExistsError as error:
            taken = error
    raise taken


def take_back(paths: Paths, spare: str | None) -> None:
    """The job did not start after all: files that were made for it go, or it would find its own names taken."""
    for path in paths if spare is not None else ():
        if path is not None:
            with suppress(OSError):
                os.unlink(path)


def _names(paths: Paths, spare: str) -> Iterator[Paths]:
    yield paths
    yield f"{spare}.out", f"{spare}.err"
    for number in range(2, _TRIES):
        yield f"{spare}~{number}.out", f"{spare}~{number}.err"


def _opened(paths: Paths, how: int) -> dict[int, int]:
    descriptors: dict[int, int] = {}
    try:
        for stream, path in enumerate(paths, 1):
            if path is not None:
                descriptors[stream] = _open(path, how)
    except OSError:
        for stream, descriptor in descriptors.items():
            os.close(descriptor)
            if how == os.O_EXCL:  # it is new and empty, and one alone is of no use
                with suppress(OSError):
                    os.unlink(paths[stream - 1] or "")
        raise
    return descriptors


def _open(path: str, how: int) -> int:
    try:
        descriptor = os.open(path, _NEW | how, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, _NEW | how, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor
