"""Hosts that come and go while `--follow` looks on: they are started without another verb, and nobody is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.fleet.environment import Ec2, Laptop, SharedKitchen


@contextmanager
def following(laptop: Laptop, *words: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A command that goes on in the background, and the file of all that it says."""
    said = laptop.folder / "said"
    typed = [sys.executable, "-m", "waiter", "fleet", *words]
    with said.open("w") as file:
        process = subprocess.Popen(typed, cwd=laptop.folder, env=laptop.env, stdout=file, stderr=file, text=True)
    try:
        yield process, said
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.long
def test_hosts_that_get_the_tag_later_are_started_until_all_is_done(
    laptop: Laptop, shared: SharedKitchen, ec2: Ec2
) -> None:
    laptop.env |= ec2.env
    laptop.script("sleep 0.1")
    network = laptop.network.hosts
    words = ("start", "--follow", "--tag", "role=crunch", "--address", "private", *shared.flags, "./crunch.sh")

    with following(laptop, *words) as (process, said):
        eventually(lambda: "Waiting for hosts to come." in said.read_text(), 60)
        (anna,) = ec2.launch(address=network["anna"].address, Name="anna", role="crunch")
        eventually(lambda: "Taken in: anna\n" in said.read_text(), 90)
        ec2.launch(address=network["ben"].address, Name="ben", role="crunch")
        ec2.client.terminate_instances(InstanceIds=[anna])
        eventually(lambda: "Taken in: ben. Gone: anna\n" in said.read_text(), 90)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert "Waiters go on without this command" in said.read_text()
    again = laptop.fleet(*[word for word in words if word != "--follow"])  # as cron does
    assert again.stdout.count(" already running ") == 1, again.stderr
    shared.load(20)
    with following(laptop, *words) as (process, said):
        assert process.wait(90) == 0
    assert said.read_text().endswith("All orders have ended: 20 DONE\n")
