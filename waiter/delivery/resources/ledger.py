"""Who has what of this host: a small file that all waiters of one user on it read and write in turn, under a lock.

No daemon keeps it. A waiter writes what it has granted to its orders, and whoever reads drops what is written of the
dead: waiters are known by pid and start time, and one that was killed counts until its runner and the guards beside it
have gone, too, and with them all that its commands were. Boots, and pid namespaces, have files of their own.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from waiter import processes
from waiter.delivery.resources.packing import Grant, Reservation
from waiter.errors import UsageError
from waiter.light_dataclass import dataclass, field
from waiter.needs import Needs
from waiter.processes import boottime
from waiter.user_dirs import Kind, own_folder

LOCKED_S = 2.0
"""How long the lock is waited for: nobody has it for longer than a moment, but who is stopped in it."""

RENEWED_S = 15.0
"""How long a reservation holds that nobody renews."""


class LedgerBusy(Exception):
    """Somebody has the ledger, and does not give it back: try again later."""


@dataclass(slots=True)
class Account:
    """What one waiter has, and what it waits for."""

    grants: dict[str, Grant] = field(default_factory=dict)  # by the ids of its orders
    reservation: Reservation | None = None
    renewed_at: float = 0.0
    runner: str | None = None  # the private folder of its runner, which is locked while that lives


@dataclass(slots=True)
class Book:
    """The ledger while its lock is held."""

    mine: Account
    others: list[Account]

    def grants(self) -> list[Grant]:
        return [grant for account in (self.mine, *self.others) for grant in account.grants.values()]

    def reservations_before(self, at: float) -> list[Reservation]:
        """Those of others that came first."""
        theirs = (other.reservation for other in self.others)
        return [reservation for reservation in theirs if reservation is not None and reservation.at < at]


class Ledger:
    """The ledger of this host, as one waiter has it."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where it lies; default: the user's own."""
        here = processes.here()
        self._boot = here.boot
        self._name = f"{os.getpid()}-{processes.start_time(os.getpid())}"
        self._folder = folder or own_folder(Kind.STATE) / "resources"
        self._file = self._folder / f"{re.sub('[^A-Za-z0-9.-]', '_', here.host)}-{here.namespace or 0}.json"

    @contextmanager
    def opened(self) -> Iterator[Book]:
        """Read it, and write it as the block leaves it. Nobody else does either meanwhile.

        Raises LedgerBusy, and UsageError where it cannot be kept.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _take(lock)
                stored = self._living(self._read())
                before = json.dumps(stored)
                mine = _account_from(stored.pop(self._name, {}))
                book = Book(mine, [_account_from(facts) for facts in stored.values()])
                yield book
                if book.mine.grants or book.mine.reservation:
                    stored[self._name] = _facts(book.mine)
                if json.dumps(stored) != before:
                    self._write(stored)
            finally:
                os.close(lock)
        except OSError as error:
            raise UsageError(
                f"{error.filename or self._file}: waiters cannot share this host's GPUs and memory by it: "
                f"{error.strerror}\nhint: make it writable, or let the folder for state be another one"
            ) from None

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return dict(content["waiters"]) if content.get("boot") == self._boot else {}

    def _write(self, waiters: dict[str, Any]) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"boot": self._boot, "waiters": waiters}))
        new.replace(self._file)

    def _living(self, waiters: dict[str, Any]) -> dict[str, Any]:
        return {name: facts for name, facts in waiters.items() if name == self._name or _lives(name, facts)}


def _take(lock: int) -> None:
    ends = time.monotonic() + LOCKED_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends:
                raise LedgerBusy from None
        time.sleep(0.001)


def _lives(name: str, facts: dict[str, Any]) -> bool:
    pid, _, started = name.partition("-")
    now = processes.start_time(int(pid))
    if now and now == started:
        return True
    return facts["runner"] is not None and _is_locked(facts["runner"])


def _is_locked(folder: str) -> bool:
    """Whether a runner, or one of the guards that clean up after it, still holds its folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(descriptor)


def _facts(account: Account) -> dict[str, Any]:
    return {
        "grants": {order: asdict(grant) for order, grant in account.grants.items()},
        "reservation": None if account.reservation is None else asdict(account.reservation),
        "renewed_at": account.renewed_at,
        "runner": account.runner,
    }


def _account_from(facts: dict[str, Any]) -> Account:
    if not facts:
        return Account()
    grants = {
        order: Grant(one["cpus"], one["memory"], tuple(one["gpus"]), one["at"])
        for order, one in facts["grants"].items()
    }
    account = Account(grants, None, facts["renewed_at"], facts["runner"])
    with suppress(TypeError):  # there is none
        kept = facts["reservation"]
        if boottime() - account.renewed_at < RENEWED_S:
            account.reservation = Reservation(Needs(**kept["needs"]), kept["at"])
    return account
