"""Waiters as processes, a runner without a waiter, and the file in which commands write their pids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.floor import Floor
from waiter.delivery.runner.client import (
    ProcessRunner,
    RunnerDied,
    RunnerOptions,
)
from waiter.processes import boottime


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    file = tmp_path / "pids"
    file.touch()
    return file


@pytest.fixture
def start() -> Iterator[Callable[..., ProcessRunner]]:
    runners: list[ProcessRunner] = []

    def starter(slots: int = 1, **options: object) -> ProcessRunner:
        runner = ProcessRunner(RunnerOptions(slots, "/bin/sh", dict(os.environ), **options))  # type: ignore[arg-type]
        runner.set_deadline(boottime() + 600)
        runners.append(runner)
        while runner.pid is None:
            died = [event for event in runner.events(1) if isinstance(event, RunnerDied)]
            assert not died, died
        return runner

    yield starter
    for runner in runners:
        runner.close()


@pytest.fixture
def floor(kitchen_url, tmp_path, home) -> Iterator[Floor]:
    floor = Floor(kitchen_url, tmp_path, home)
    yield floor
    floor.close()
