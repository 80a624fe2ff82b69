"""`fleet start --tunnel`: hosts deliver from a MongoDB that only the laptop reaches, also when connections break."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import eventually, fill
from tests.fleet.environment import Laptop, MongoServer, SharedKitchen
from tests.fleet.network import NetworkHost
from waiter.orders import Status

TWO = ("--limit", "*.2,*.3")


@contextmanager
def tunnelling(laptop: Laptop, server: MongoServer, shared: SharedKitchen) -> Iterator[subprocess.Popen[str]]:
    """`fleet start --tunnel` in the foreground, what it says in a file."""
    here = server.url.replace(server.address, "127.0.0.1")
    words = [sys.executable, "-m", "waiter", "fleet", "start", "--hosts", laptop.addresses, *TWO, "--tunnel"]
    with (laptop.folder / "said").open("w") as said:
        typed = subprocess.Popen(
            [*words, "--kitchen", here, "--db", shared.db, "./crunch.sh"],
            cwd=laptop.folder,
            env=laptop.env,
            stdout=said,
            stderr=said,
            text=True,
        )
    try:
        yield typed
    finally:
        if typed.poll() is None:
            typed.kill()
            typed.wait(60)


def said(laptop: Laptop) -> str:
    return (laptop.folder / "said").read_text()


def sshd_of_tunnel(host: NetworkHost) -> int:
    """The pid, as seen from here, of the sshd that the host has noted for its tunnel."""
    (note,) = host.state_folder.glob("tunnel-*")
    noted = note.read_text().strip()
    for pid in host.pids():
        status = Path(f"/proc/{pid}/status").read_text()
        if next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1] == noted:
            return pid
    raise AssertionError(f"no process {noted} on {host.name}")


def test_hosts_deliver_through_tunnels_which_are_opened_again_when_they_break(
    laptop: Laptop, shared: SharedKitchen, mongo_server: MongoServer
) -> None:
    shared.load(4)
    laptop.script("sleep 0.1")
    anna = laptop.network.hosts["anna"]
    with tunnelling(laptop, mongo_server, shared) as typed:
        eventually(lambda: "2 tunnels open" in said(laptop), 40)
        assert "through this machine, which must stay on.\nCtrl-C closes them" in said(laptop)
        eventually(lambda: shared.count(Status.DONE) == 4, 30)
        assert {shift.host for shift in shared.kitchen.shifts()} == {"anna", "ben"}
        assert shared.password not in said(laptop)

        os.kill(sshd_of_tunnel(anna), signal.SIGKILL)
        eventually(lambda: f"{anna.address}: the tunnel is open again" in said(laptop), 40)
        laptop.fleet("stop", "--limit", "*.3")
        fill(shared.kitchen, [["5"], ["6"]], batch="c")
        eventually(lambda: shared.count(Status.DONE) == 6, 40)

        typed.send_signal(signal.SIGINT)
        assert typed.wait(20) == 0
        assert "keep outcomes on disk,\nand leave after 10 minutes without the kitchen" in said(laptop)


def test_a_tunnel_that_works_is_left_to_its_holder_and_one_that_is_dead_there_is_replaced(
    laptop: Laptop, shared: SharedKitchen, mongo_server: MongoServer
) -> None:
    laptop.script("true")
    anna = laptop.network.hosts["anna"]
    with tunnelling(laptop, mongo_server, shared) as first:
        eventually(lambda: "2 tunnels open" in said(laptop), 40)
        with tunnelling(laptop, mongo_server, shared) as second:
            assert second.wait(60) == 1
        assert "no tunnel: another `fleet start --tunnel` holds port" in said(laptop)

        anna.cut()  # so that its sshd does not hear of the end
        first.kill()
        first.wait(60)
        anna.mend()
    shared.load(2)
    with tunnelling(laptop, mongo_server, shared):
        eventually(lambda: "2 tunnels open" in said(laptop), 60)
        eventually(lambda: shared.count(Status.DONE) == 2, 60)
