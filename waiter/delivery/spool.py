"""Outcomes kept on disk until the kitchen has them.

One file per call of `save`: written under a temporary name, fsynced, renamed, so that a file is whole or not there.
It lies in a folder named after the kitchen's own id, carries that id, and names the shift whose orders they were; any
waiter of this machine that works for the same kitchen, under whatever address, may hand it in, since `Kitchen.finish`
can be repeated. Earlier versions named the folder after a hash of the address and wrote no id: such files belong to
whichever kitchen knows their shift.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from waiter.errors import UsageError
from waiter.light_dataclass import dataclass
from waiter.orders import Outcome, Reason, Shift, Status, Vitals
from waiter.user_dirs import Kind, own_folder

REFUSED = ".refused"
"""How the name of a file ends that is not handed in again, unless somebody renames it to .json."""

_HASH_DIGITS = 16
"""The length of a folder's name of earlier versions; an id has twice as many."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file of outcomes that one shift could not hand in."""

    file: Path
    kitchen: str | None  # its id; None: written by an earlier version
    shift: Shift
    outcomes: tuple[Outcome, ...]


class Spool:
    """The outcomes that one kitchen has not confirmed, of all waiters of this machine."""

    def __init__(self, kitchen_id: str, url: str, state: Path | None = None) -> None:
        """`url` is for people who find a file. `state` is the user's own state folder if None.

        Raises UsageError for a folder that nobody but somebody else may look into.
        """
        self._id, self._url = kitchen_id, url
        self._all = (state or own_folder(Kind.STATE)) / "spool"
        self.folder = self._all / kitchen_id
        self.unreadable: set[Path] = set()
        """Files of this kitchen that this version cannot read, seen so far; they are left where they are."""
        try:
            self.folder.is_dir()
        except OSError as error:
            raise UsageError(
                f"{self._all}: outcomes cannot be kept there while the kitchen is away: {error.strerror}\n"
                f"hint: make it yours: sudo chown -R {os.getuid()} {shlex.quote(str(self._all.parent))}"
            ) from None

    def save(self, shift: Shift, outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes, durable when it returns. Raises OSError when the disk refuses."""
        self._write(shift, outcomes, ".json")

    def set_aside(self, shift: Shift, outcome: Outcome, why: str) -> Path:
        """Keep an outcome that the kitchen refuses where nobody hands it in again. Raises OSError."""
        return self._write(shift, [outcome], REFUSED, refused=why)

    def _write(self, shift: Shift, outcomes: Sequence[Outcome], suffix: str, **facts: str) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {
            "kitchen": self._id,
            "address": self._url,
            "shift": dataclasses.asdict(shift),
            "outcomes": [dataclasses.asdict(o) for o in outcomes],
            **facts,
        }
        file = self.folder / f"{shift.token}-{os.urandom(8).hex()}{suffix}"
        temporary = self.folder / f".{os.urandom(8).hex()}"
        try:
            _write_durably(temporary, json.dumps(content).encode("ascii"))
            temporary.rename(file)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync(self.folder)
        return file

    def __iter__(self) -> Iterator[Spooled]:
        """The waiting files with what they hold. One that cannot be read goes to `unreadable`."""
        return self._read(self.folder)

    def of_earlier_versions(self) -> Iterator[Spooled]:
        """Files that do not say whose they are: only a kitchen that knows their shift may have them."""
        for folder in sorted(self._all.glob("?" * _HASH_DIGITS)):
            yield from self._read(folder)

    def _read(self, folder: Path) -> Iterator[Spooled]:
        for file in sorted(folder.glob("*.json")):
            try:
                saved = json.loads(file.read_bytes())
                shift = Shift(**{**saved["shift"], "vitals": Vitals()})
                outcomes = tuple(_outcome(facts) for facts in saved["outcomes"])
                yield Spooled(file, saved.get("kitchen"), shift, outcomes)
            except FileNotFoundError:
                continue  # another waiter handed it in meanwhile
            except (OSError, ValueError, KeyError, TypeError):
                if folder == self.folder:
                    self.unreadable.add(file)


def _outcome(facts: dict[str, Any]) -> Outcome:
    reason = facts.pop("reason")
    return Outcome(**{**facts, "status": Status(facts["status"]), "reason": Reason(reason) if reason else None})


def _write_durably(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
