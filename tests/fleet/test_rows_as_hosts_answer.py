"""Hosts are shown as they answer: one that is dead holds up nobody else's row."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fleet.environment import Laptop, SharedKitchen
from waiter.cli.fleet.live_rows import LiveTable


@pytest.mark.parametrize("verb", ["start", "status", "run"])
def test_a_dead_host_holds_up_nobody_elses_row(laptop: Laptop, shared: SharedKitchen, verb: str) -> None:
    laptop.script("true")
    laptop.network.hosts["anna"].cut()
    words = {
        "start": [*shared.flags, "--cmd", "./crunch.sh"],
        "status": shared.flags,
        "run": ["--", "echo here"],
    }[verb]
    head = [sys.executable, "-m", "waiter", "fleet", verb, "--hosts", laptop.addresses, "--connect-timeout", "8"]
    typed = subprocess.Popen(
        [*head, *words], cwd=laptop.folder, env=laptop.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert typed.stdout is not None
    try:
        early = [typed.stdout.readline() for _ in range(3 if verb == "run" else 4)]

        assert typed.poll() is None
        shown = {line.split()[0] for line in early}
        alive = {host.address for name, host in laptop.network.hosts.items() if name != "anna"}
        assert alive <= shown
        assert laptop.network.hosts["anna"].address not in shown
    finally:
        rest, errors = typed.communicate(timeout=60)
    assert laptop.network.hosts["anna"].address in rest + errors
    assert ("4 hosts: 3" in errors, typed.returncode) == (True, 1)


def test_rows_that_come_later_stand_in_the_same_columns_or_bring_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    table = LiveTable()
    table.add(["HOST", "OUTCOME", "DETAIL"], [["anna", "started", ""], ["ben", "started", ""]])
    table.add(["HOST", "OUTCOME", "DETAIL"], [["cleo", "ready", ""]])
    table.add(["HOST", "OUTCOME", "DETAIL"], [["dora", "timeout", "it says nothing"]])

    assert capsys.readouterr().out.splitlines() == [
        "HOST  OUTCOME",
        "anna  started",
        "ben   started",
        "cleo  ready",
        "HOST  OUTCOME  DETAIL",
        "dora  timeout  it says nothing",
    ]
