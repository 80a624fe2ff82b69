"""The three standard streams when they are not what one hopes for: closed, full, or without a reader."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer


class StdoutLost(OSError):
    """Stdout takes no more: its disk is full, say. Nothing else that is written raises this."""


class StdoutClosed(BrokenPipeError):
    """Who read stdout has had enough."""


class Stdout(io.FileIO):
    """Stdout's descriptor, or a copy of it; trouble with it is told from trouble with any other file."""

    def write(self, content: Buffer, /) -> int:
        try:
            return super().write(content)
        except BrokenPipeError as error:
            raise StdoutClosed(error.errno, error.strerror) from None
        except OSError as error:
            raise StdoutLost(error.errno, error.strerror) from None


def own_stdout() -> None:
    """Let what is printed go through `Stdout`, unless it goes elsewhere than to descriptor 1."""
    there = sys.stdout
    is_owned = isinstance(getattr(getattr(there, "buffer", None), "raw", None), Stdout)
    if not isinstance(there, io.TextIOWrapper) or is_owned or there.fileno() != 1:
        return
    there.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(Stdout(1, "wb", closefd=False)),
        encoding=there.encoding,
        errors=there.errors,
        line_buffering=there.line_buffering or there.write_through,
    )


def fill_in() -> None:
    """Put /dev/null where a stream is closed: else the next file that is opened, a kitchen say, becomes stdout.

    A closed stdin stays None for Python: who needs it says so.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def show_all() -> None:
    """Let characters that a stream's encoding has not be escapes: a table is worth more than its dots."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def give_up(stream: IO[Any]) -> None:
    """Let what is written to the stream from now on, and what is still on its way, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def flush_or_give_up() -> None:
    """Leave nothing for Python's own end, which would make an exit code of its own of what cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            give_up(stream)
