"""Outcomes kept on disk until the kitchen has them.

One file per call of `save`: written under a temporary name, fsynced, renamed, so that a file is whole or not there.
It names the shift whose orders they were; any waiter of this machine may hand it in, since `Kitchen.finish` can be
repeated.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from waiter.blake import blake2b
from waiter.folders import Kind, own_folder
from waiter.orders import Outcome, Reason, Shift, Status, Vitals


def spool_folder(kitchen_url: str, state: Path | None = None) -> Path:
    """Where outcomes for this kitchen wait: a folder of the user's own, the same for every waiter of this machine."""
    folder = state or own_folder(Kind.STATE)
    return folder / "spool" / blake2b(os.fsencode(kitchen_url), digest_size=8).hexdigest()


class Spool:
    """A folder of outcomes that the kitchen has not confirmed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, shift: Shift, outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes, durable when it returns. Raises OSError when the disk refuses."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = json.dumps(
            {"shift": dataclasses.asdict(shift), "outcomes": [dataclasses.asdict(o) for o in outcomes]}
        )
        temporary = self.folder / f".{os.urandom(8).hex()}"
        try:
            _write_durably(temporary, content.encode("ascii"))
            temporary.rename(self.folder / f"{shift.token}-{os.urandom(8).hex()}.json")
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync(self.folder)

    def __iter__(self) -> Iterator[tuple[Path, Shift, list[Outcome]]]:
        """The waiting files with what they hold. One that cannot be read is left where it is."""
        for file in sorted(self.folder.glob("*.json")):
            try:
                saved = json.loads(file.read_bytes())
                shift = Shift(**{**saved["shift"], "vitals": Vitals()})
                outcomes = [_outcome(facts) for facts in saved["outcomes"]]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # another waiter handed it in meanwhile, it is not ours, or another version's
            yield file, shift, outcomes

    def __len__(self) -> int:
        """How many outcomes wait."""
        return sum(len(outcomes) for _, _, outcomes in self)


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
