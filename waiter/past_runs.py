"""The runs whose orders are kept: what `waiter runs` lists, and where to look when no kitchen is named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from waiter.errors import KitchenError
from waiter.kitchen import open_kitchen
from waiter.orders import Counts
from waiter.runs import KEPT_S, RunNotes, is_anybody_at_work, notes_of, runs_folder


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run and its kitchen, as it stands now."""

    path: Path
    notes: RunNotes
    kept_until: float  # seconds since 1970, unless it is used again


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    counts: Counts
    is_at_work: bool


def past_runs() -> list[PastRun]:
    """All runs that are kept, the one that was begun last first. Nothing is opened but their notes."""
    return sorted(_found(), key=lambda run: -run.notes.begun)


def latest_run() -> PastRun | None:
    return next(iter(past_runs()), None)


def progress_of(run: PastRun) -> Progress | None:
    """How far it is; None where its file cannot be read."""
    try:
        with open_kitchen(str(run.path), create=False) as kitchen:
            return Progress(kitchen.counts(), is_anybody_at_work(kitchen))
    except KitchenError:
        return None


def _found() -> Iterator[PastRun]:
    for path in runs_folder().glob("*.sqlite"):
        with suppress(OSError):  # tidied away since
            beside = path.with_suffix(".run")
            used = (beside if beside.exists() else path).stat().st_mtime
            kept_until = max(used + KEPT_S, time.time())
            yield PastRun(path, notes_of(beside, path.stat().st_mtime), kept_until)
