"""Everything that Waiter raises on purpose: one tree, sorted by who can act on it.

A message says what is wrong, where (file and row, host, option) and what to do next, in one line. Only the
command line turns these into exit codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WaiterError(Exception):
    """Something the user can act on; `str(error)` is the whole message, `exit_code` what a command ends with."""

    exit_code = 1


class UsageError(WaiterError):
    """The call itself is wrong: an option, a status, an order or batch that does not exist."""

    exit_code = 2


class NoSuchBatch(UsageError):
    """A batch of that id or name does not exist, or does not exist any more."""


class BadRow(WaiterError):
    """A row of the input cannot become an order.

    `source` is the file's name, `row` its number as a spreadsheet counts (from 1, header and blank rows included).
    """

    def __init__(self, source: str, row: int, why: str) -> None:
        super().__init__(f"{source}, row {row}: {why}")
        self.source = source
        self.row = row
        self.why = why


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

    exit_code = 3


class KitchenUnreachable(KitchenError):
    """The kitchen does not answer now. It may later: what was asked may or may not have happened."""


class KitchenMissing(KitchenError):
    """There is no kitchen at this address, and who only looks makes none."""


class KitchenHindered(KitchenError):
    """The kitchen answers and cannot do its work now: no room on its disk, no right to write. Somebody can mend that
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

    exit_code = 4


class NotificationFailed(WaiterError):
    """The orders have found their end, but who was to be told of it could not be: the command failed, or the address
    refused or did not answer.
    """

    exit_code = 5


class FleetError(WaiterError):
    """Nothing could be done on any host: no host is selected, or the cloud does not answer."""
