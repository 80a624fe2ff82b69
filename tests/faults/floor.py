"""Where waiters work as processes that tests kill, and an oracle outside the kitchen.

The command itself writes down which order it delivered, which attempt, and when.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.conftest import eventually
from waiter.kitchen.contract import Kitchen
from waiter.orders import Selector, Status

# What the command does: it writes "begin order attempt pid", works, and writes "end order attempt pid".
FACTS = "$WAITER_ORDER $WAITER_ATTEMPT $$"


ORACLE = f'echo "begin {FACTS}" >> oracle; {{work}}; echo "end {FACTS}" >> oracle'


class Floor:
    """Where waiters work: starts them as processes, knows their oracle, ends them by pid."""

    def __init__(self, url: str, folder: Path, env: dict[str, str]) -> None:
        self.url = url
        self.folder = folder
        self.env = env
        self.waiters: list[subprocess.Popen[bytes]] = []
        self.before: list[str] = []  # words that a waiter is started with

    def start(self, work: str = "sleep 0.05", *, lease_s: float = 3, name: str | None = None, **options: object):
        settings = json.dumps({"name": name or f"w{len(self.waiters)}", **options})
        command = ["sh", "-c", ORACLE.format(work=work), "sh"]
        program = [sys.executable, "-m", "tests.faults.quick_waiter", self.url, str(lease_s), settings, *command]
        program = [*self.before, *program]
        with (self.folder / f"talk-{len(self.waiters)}").open("wb") as talk:
            waiter = subprocess.Popen(program, cwd=self.folder, env=self.env, stdout=talk, stderr=talk)
        self.waiters.append(waiter)
        return waiter

    def talk(self, waiter) -> str:
        return (self.folder / f"talk-{self.waiters.index(waiter)}").read_text()

    def oracle(self, word: str) -> list[tuple[str, int, int]]:
        file = self.folder / "oracle"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(o, int(a), int(p)) for w, o, a, p in (line.split() for line in lines) if w == word]

    def close(self) -> None:
        for waiter in self.waiters:
            if waiter.poll() is None:
                waiter.send_signal(signal.SIGCONT)
                waiter.kill()
            waiter.wait()


def child(pid: int) -> int:
    """The only child of a process, once it has one."""

    def children() -> list[str]:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    return int(eventually(children)[0])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def all_orders(kitchen: Kitchen):
    return list(kitchen.find(Selector(), with_details=True))


def check_promises(kitchen: Kitchen, floor: Floor) -> None:
    """The invariants of docs/promises.md that can be read off at the end."""
    for order in all_orders(kitchen):
        assert (order.status is Status.RUNNING) == (order.shift is not None), order
        accepted = Counter(event.attempt for event in order.history if event.what == "finish")
        assert set(accepted.values()) <= {1}, order
        if order.status is Status.DONE:
            assert any(ended == order.id for ended, _, _ in floor.oracle("end")), f"{order.id} is DONE and never ended"
