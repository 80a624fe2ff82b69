"""GNU parallel's `--joblog`, column for column, so that what reads it goes on working (parallel's manual, --joblog)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from waiter.errors import UsageError
from waiter.orders import Outcome

COLUMNS = ("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command")


class Joblog:
    """A file that gains one line for each attempt that ended; an existing one is continued."""

    def __init__(self, path: str, host: str) -> None:
        """Raises UsageError when the file cannot be written."""
        self._host = host
        try:
            self._file = Path(path).open("a", encoding="utf-8", errors="surrogateescape", buffering=1)  # noqa: SIM115 - until `close`
            lines = _lines(path)
        except OSError as error:
            raise UsageError(f"--joblog {path}: {error.strerror}") from error
        self._seq = max(0, lines - 1)
        if not lines:
            self._file.write("\t".join(COLUMNS) + "\n")

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
        self._file.write("\t".join(cells) + "\n")

    def close(self) -> None:
        self._file.close()


def _lines(path: str) -> int:
    if not Path(path).is_file():
        return 0  # a pipe, to which nothing was written that could be read again
    with open(path, "rb") as file:
        return sum(1 for _ in file)
