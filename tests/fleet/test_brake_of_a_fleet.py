"""A command that only fails is stopped on all hosts, and whoever looks is told how to go on."""

from __future__ import annotations

import sys

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from waiter.orders import Status

TWO = ("--limit", "*.2,*.3")


def test_a_command_of_which_the_first_orders_all_fail_pauses_its_batch_on_all_hosts(
    laptop: Laptop, shared: SharedKitchen
) -> None:
    shared.load(200)
    laptop.script('echo "no such reference" >&2; exit 3')

    assert set(laptop.outcomes("start", *shared.flags, *TWO, "--jobs", "2", "./crunch.sh").values()) == {"started"}

    eventually(lambda: any(batch.pause_reason for batch in shared.kitchen.batches()), 60)
    eventually(lambda: shared.count(Status.RUNNING) == 0, 30)
    failed = shared.count(Status.ERROR)
    assert 20 <= failed <= 2 * 20 + 2 * 2  # each host counts its own, and ends what it has begun
    assert shared.count(Status.READY) == 200 - failed
    assert laptop.outcomes("status", *TWO) == {"anna": "running", "ben": "running"}
    for told in (
        laptop.fleet("status", *shared.flags, *TWO),
        laptop.type(sys.executable, "-m", "waiter", "status", *shared.flags),
    ):
        assert "Batch b is paused: the first 20 orders all failed, b-" in told.stderr
        assert "with: exit code 3: no such reference\nhint: to go on: waiter resume --batch b\n" in told.stderr

    laptop.script("true")
    sent = ("--cmd", "./crunch.sh", "--jobs", "2")
    assert set(laptop.outcomes("restart", *shared.flags, *TWO, *sent).values()) == {"restarted"}
    assert shared.count(Status.ERROR) == failed
    laptop.type(sys.executable, "-m", "waiter", "reset", "--yes", *shared.flags)
    laptop.type(sys.executable, "-m", "waiter", "resume", "--batch", "b", *shared.flags)
    eventually(lambda: shared.count(Status.DONE) == 200, 60)
