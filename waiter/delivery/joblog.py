"""GNU parallel's `--joblog`, column for column, so that what reads it goes on working (parallel's manual, --joblog).

`parallel --resume-failed` takes Seq for the number of an input and refuses a file with half a line in it: Seq is the
order's row, and what a crash has torn goes before something is added. Several waiters may write into one file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from waiter.errors import UsageError
from waiter.kitchen.open_files import is_kitchen
from waiter.orders import Order, Outcome, Reason, Status

COLUMNS = ("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command")

STDOUT = "-"

LOCK_WAIT_S = 2.0
"""How long another waiter may keep the file locked: it may be frozen, and a line at the end is one write anyway."""

_HEADER = ("\t".join(COLUMNS) + "\n").encode()
_PIECE = 1 << 16
_NO_BYTES = "[\ud800-\udc7f\udd00-\udfff]"
"""Surrogates that stand for no byte: only a Python function's orders hold such."""


class Joblog:
    """A file that gains one line for each attempt that ended; an existing one is continued.

    The work is worth more than its log: one that takes no more lines is said, once, and the work goes on without it.
    """

    def __init__(self, path: str, host: str, note: Callable[[str], None]) -> None:
        """Raises UsageError when the file cannot be written, or holds something else."""
        self._host = host if host and not any(map(str.isspace, host)) else ":"
        self._path = path
        self._note = note
        self.is_lost = False  # other than by a reader that had enough
        if is_kitchen(path):
            raise UsageError(f"--joblog {path}: that is the kitchen itself\nhint: name another file")
        try:
            self._file: int | None = _opened(path)
            self._is_regular = path != STDOUT and stat.S_ISREG(os.fstat(self._file).st_mode)
            with self._locked(self._file):
                self._begin(self._file)
        except OSError as error:
            raise UsageError(f"--joblog {path}: {error.strerror}") from error

    def _begin(self, file: int) -> None:
        start = os.pread(file, len(_HEADER), 0) if self._is_regular else b""
        if _HEADER.startswith(start) and len(start) < len(_HEADER):  # nothing, or a torn header
            if self._is_regular:
                os.ftruncate(file, 0)
            self._add(file, _HEADER)
        elif start != _HEADER:
            raise UsageError(f"--joblog {self._path}: is not a joblog\nhint: name another file")

    def write(self, order: Order, outcome: Outcome, argv: Sequence[str]) -> None:
        cells = (
            str(order.row),
            self._host,
            f"{outcome.start:.3f}",
            f"{outcome.duration_s:10.3f}",
            "0",
            "0",
            str(_exit_value(outcome)),
            str(outcome.signal or 0),
            shlex.join(argv).replace("\n", "\0"),  # as parallel writes it, and reads it
        )
        self._append(re.sub(_NO_BYTES, "\ufffd", "\t".join(cells)).encode("utf-8", "surrogateescape") + b"\n")

    def _append(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            with self._locked(self._file):
                self._add(self._file, line)
        except OSError as error:
            self.is_lost = not isinstance(error, BrokenPipeError)
            why = error.strerror if self.is_lost else "nobody reads it any more"
            self._note(f"--joblog {self._path}: cannot be written: {why}. Continuing without it.")
            self.close()

    def _add(self, file: int, line: bytes) -> None:
        if not self._is_regular:
            while line:
                line = line[os.write(file, line) :]
            return
        _cut_torn_line(file)
        size = os.fstat(file).st_size
        if os.write(file, line) < len(line):
            os.ftruncate(file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _locked(self, file: int) -> AbstractContextManager[None]:
        # Not what was handed to us open: its lock may be somebody else's.
        return _locked(file) if self._is_regular else nullcontext()

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
        self._file = None


def _exit_value(outcome: Outcome) -> int:
    """-1, as parallel writes it, for a timeout; and for what failed although nothing in it says so."""
    has_no_sign = not outcome.exit_code and outcome.signal is None
    if outcome.reason is Reason.TIMEOUT or (has_no_sign and outcome.status is not Status.DONE):
        return -1
    return outcome.exit_code or 0


def _opened(path: str) -> int:
    if path == STDOUT:
        return os.dup(1)
    is_other = Path(path).exists() and not Path(path).is_file()
    return os.open(path, (os.O_WRONLY if is_other else os.O_RDWR) | os.O_APPEND | os.O_CREAT, 0o666)


@contextmanager
def _locked(file: int) -> Iterator[None]:
    """Inside, no other waiter writes into this file, if it is one that can be locked."""
    ends = time.monotonic() + LOCK_WAIT_S
    while not _lock(file) and time.monotonic() < ends:
        time.sleep(0.005)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no such thing there
        return True
    return True


def _cut_torn_line(file: int) -> None:
    """Take away what follows the last line end: a waiter was killed, or its machine was, while it wrote."""
    at = os.fstat(file).st_size
    if not at or os.pread(file, 1, at - 1) == b"\n":
        return
    newline = -1
    while at and newline < 0:
        begin = max(0, at - _PIECE)
        newline = os.pread(file, at - begin, begin).rfind(b"\n")
        at = begin
    os.ftruncate(file, at + newline + 1)
