"""Processes that stand still, as on a machine that hangs."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

STANDS_WITHIN_S = 30.0


def freeze(pid: int) -> None:
    """Stop the process, and wait until it stands: on a busy machine its threads go on for a while after the signal."""
    os.kill(pid, signal.SIGSTOP)
    ends = time.monotonic() + STANDS_WITHIN_S
    while not _stands(pid):
        assert time.monotonic() < ends, f"process {pid} does not stop"
        time.sleep(0.001)


def _stands(pid: int) -> bool:
    states = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has ended since
            states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return set(states) <= {"T", "Z", "X"}
