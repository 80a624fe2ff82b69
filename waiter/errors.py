"""Everything that Waiter raises on purpose: one tree, sorted by who can act on it.

A message says what is wrong and where (file and row, host, option), in one line; what to do stands in another, which
begins with `hint:`. Only the command line turns these into exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What every command of Waiter ends with; `words` are the README's, too."""

    words: str

    def __new__(cls, code: int, words: str) -> ExitCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.words = words
        return member

    OK = 0, "all well"
    FAILED = 1, "some orders failed, or what was asked for could not be done"
    USAGE = 2, "wrong usage"
    KITCHEN = 3, "the kitchen refused or was lost"
    COMMAND = 4, "the command cannot be started"
    NOT_TOLD = 5, "a notification failed"
    LIMIT = 124, "a limit is reached and orders are left (`--max-time`, `--max-orders`, `wait --timeout`)"
    UNATTENDED = 125, "nobody is at work (`wait --unattended`)"
    INTERRUPTED = 130, "interrupted"


class WaiterError(Exception):
    """Something the user can act on; `str(error)` is the whole message, `exit_code` what a command ends with."""

    exit_code: int = ExitCode.FAILED.value

    @property
    def sentence(self) -> str:
        """The message without what to do about it, for who goes on by himself."""
        first = str(self).partition("\n")[0]
        return first if first.endswith((".", ")")) else f"{first}."


class UsageError(WaiterError):
    """The call itself is wrong: an option, a status, an order or batch that does not exist."""

    exit_code: int = ExitCode.USAGE.value


class NoSuchBatch(UsageError):
    """A batch of that id or name does not exist, or does not exist any more."""


class BadRow(WaiterError):
    """A row of the input cannot become an order.

    `source` is the file's name, `row` its number as a spreadsheet counts (from 1, header and blank rows included),
    `why` without the hint that the message ends with.
    """

    def __init__(self, source: str, row: int, why: str) -> None:
        super().__init__(f"{source}, row {row}: {why}")
        self.source = source
        self.row = row
        self.why = why.partition("\nhint: ")[0]


class InputUnreadable(WaiterError):
    """The input cannot be read at all: it is missing, a directory, or not what its ending says."""


class FileUnusable(WaiterError):
    """A file or folder, of the user's or of Waiter's own, cannot be read or written; the message names it."""


@contextmanager
def naming(file: str | Path) -> Iterator[None]:
    """Name the file in what the system says of it. Raises FileUnusable."""
    try:
        yield
    except OSError as error:
        raise FileUnusable(f"{file}: cannot be used: {error.strerror or error}.") from None


class KitchenError(WaiterError):
    """The kitchen refused, and asking the same again will not help: not what a kitchen is, larger than it takes."""

    exit_code: int = ExitCode.KITCHEN.value


class KitchenUnreachable(KitchenError):
    """The kitchen does not answer now. It may later: what was asked may or may not have happened.

    `servers` are the addresses, host and port, of whom no word came at all.
    """

    def __init__(self, message: str, servers: Iterable[tuple[str, int | None]] = ()) -> None:
        super().__init__(message)
        self.servers = tuple(servers)


class KitchenMissing(KitchenError):
    """There is no kitchen at this address, and who only looks makes none."""


class KitchenHindered(KitchenError):
    """The kitchen answers and cannot do its work now: no room on its disk, no right to write. Somebody can fix that
    while waiters wait.
    """


class KitchenDamaged(KitchenError):
    """The kitchen's store is broken: nothing that it refuses is the fault of what was asked."""


PASSING = (KitchenUnreachable, KitchenHindered)
"""What a waiter that is at work waits for."""


LEASE_EXPIRED = "its lease expired and its orders were reassigned"
"""What happened to a waiter that was declared lost, wherever that is told."""


class ShiftLost(KitchenError):
    """The kitchen declared this shift lost: its orders belong to others now, and it changes none of them any more."""

    def __init__(self, waiter: str) -> None:
        super().__init__(f"Waiter {waiter}: {LEASE_EXPIRED}.")


class CommandUnstartable(WaiterError):
    """The command cannot be started on this machine: the waiter's fault, so no order is charged for it."""

    exit_code: int = ExitCode.COMMAND.value


class NotificationFailed(WaiterError):
    """The orders have ended, but who was to be told of it could not be: the command failed, or the address
    refused or did not answer.
    """

    exit_code: int = ExitCode.NOT_TOLD.value


class FleetError(WaiterError):
    """Nothing could be done on any host: no host is selected, or the cloud does not answer."""
