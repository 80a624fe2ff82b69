"""Jobs as a waiter gives them to its runner, and what is seen of their processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from waiter.delivery.runner.client import (
    Ended,
    Event,
    Job,
    ProcessRunner,
)

# A daemon as hard to find as it gets: forked twice, a session of its own, its environment washed.
DAEMON = "setsid env -i /bin/sh -c 'echo $$ >> \"$0\"; exec sleep 300' {pids} < /dev/null > /dev/null 2>&1 &"


def script(id: str, text: str, **facts: object) -> Job:
    return Job(id, ("sh", "-c", text), {"WAITER_ORDER": id}, **facts)  # type: ignore[arg-type]


def until_ended(runner: ProcessRunner, count: int = 1, within_s: float = 20) -> list[Event]:
    events: list[Event] = []
    ends = time.monotonic() + within_s
    while sum(isinstance(event, Ended) for event in events) < count:
        assert time.monotonic() < ends, f"only {[type(event).__name__ for event in events]} within {within_s} s"
        events.extend(runner.events(0.2))
    return events


def end_of(runner: ProcessRunner) -> Ended:
    return next(event for event in until_ended(runner) if isinstance(event, Ended))


def living(pids: Path) -> list[int]:
    return [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], within_s: float = 10) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, f"not within {within_s} s"
        time.sleep(0.01)
