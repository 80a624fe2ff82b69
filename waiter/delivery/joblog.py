"""GNU parallel's `--joblog`, column for column, so that what reads it goes on working (parallel's manual, --joblog)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from waiter.errors import UsageError
from waiter.orders import Outcome

COLUMNS = ("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command")

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte: only a Python function's orders hold such."""


class Joblog:
    """A file that gains one line for each attempt that ended; an existing one is continued.

    The work is worth more than its log: one that takes no more lines is said, once, and the work goes on without it.
    """

    def __init__(self, path: str, host: str, note: Callable[[str], None]) -> None:
        """Raises UsageError when the file cannot be written."""
        self._host = host
        self._path = path
        self._note = note
        self.is_lost = False  # other than by a reader that had enough
        try:
            self._file: TextIO | None = Path(path).open("a", encoding="utf-8", errors="surrogateescape", buffering=1)  # noqa: SIM115 - until `close`
            lines = _lines(path)
            if not lines:
                self._file.write("\t".join(COLUMNS) + "\n")
        except OSError as error:
            raise UsageError(f"--joblog {path}: {error.strerror}") from error
        self._seq = max(0, lines - 1)

    def write(self, outcome: Outcome, argv: Sequence[str]) -> None:
        self._seq += 1
        exit_value = -1 if outcome.exit_code is None and outcome.signal is None else outcome.exit_code or 0
        command = shlex.join(argv).replace("\n", " ").replace("\t", " ")
        cells = (
            str(self._seq),
            self._host,
            f"{outcome.start:.3f}",
            f"{outcome.duration_s:10.3f}",
            "0",
            "0",
            str(exit_value),
            str(outcome.signal or 0),
            command,
        )
        self._append(_NO_BYTES.sub("\ufffd", "\t".join(cells)) + "\n")

    def _append(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
        except OSError as error:
            self.is_lost = not isinstance(error, BrokenPipeError)
            why = error.strerror if self.is_lost else "nobody reads it any more"
            self._note(f"--joblog {self._path}: cannot be written: {why}. The work goes on without it.")
            self.close()

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # it tries once more to write what it could not
                self._file.close()
        self._file = None


def _lines(path: str) -> int:
    if not Path(path).is_file():
        return 0  # a pipe, to which nothing was written that could be read again
    with open(path, "rb") as file:
        return sum(1 for _ in file)
