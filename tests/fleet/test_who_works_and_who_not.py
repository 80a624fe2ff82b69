"""A fleet's waiters stay, and of one that does not work any more `status` says why."""

from __future__ import annotations

import json
import os
import signal

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from tests.fleet.network import NetworkHost
from waiter.orders import Status

ANNA, BEN = ("--limit", "*.2"), ("--limit", "*.3")
BOTH = ("--limit", "*.2,*.3")


def daemon_of(host: NetworkHost) -> int:
    """The pid, as seen from here, of the host's waiter."""
    (pid,) = [pid for pid in host.pids() if is_daemon(pid)]
    return pid


def is_daemon(pid: int) -> bool:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    return b"run" in words and b"--tell" in words


def why(laptop: Laptop, shared: SharedKitchen, *words: str) -> str:
    return laptop.fleet("status", *shared.flags, *words).stderr


def test_waiters_that_start_before_the_load_are_there_and_one_that_is_not_is_explained(
    laptop: Laptop, shared: SharedKitchen
) -> None:
    laptop.script("true")
    anna = laptop.network.hosts["anna"]
    laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh", "--until", "done", *BEN)
    assert laptop.outcomes("start", *shared.flags, "--cmd", "./crunch.sh", *ANNA) == {"anna": "started"}
    eventually(lambda: laptop.outcomes("status", *BOTH) == {"anna": "running", "ben": "not running"}, 30)

    assert f"{laptop.network.hosts['ben'].address}: the last one left: nothing was left to do" in why(
        laptop, shared, *BOTH
    )

    shared.load(3)
    eventually(lambda: shared.count(Status.DONE) == 3, 30)
    assert laptop.outcomes("status", *ANNA) == {"anna": "running"}

    os.kill(daemon_of(anna), signal.SIGKILL)
    eventually(lambda: laptop.outcomes("status", *ANNA) == {"anna": "not running"}, 30)
    assert "the last one was killed, or its container was restarted; its log ends with: " in why(laptop, shared, *ANNA)

    state = anna.state_folder / "state.json"
    facts = json.loads(state.read_text())
    state.write_text(json.dumps({**facts, "birth": f"another-boot:{facts['birth'].partition(':')[2]}"}))
    assert "the host was rebooted while the last one worked" in why(laptop, shared, *ANNA)

    laptop.fleet("start", *ANNA, *shared.flags, "--cmd", "./crunch.sh")
    laptop.fleet("stop", *ANNA)
    assert "the last one left: it was told to: waiter fleet stop" in why(laptop, shared, *ANNA)
