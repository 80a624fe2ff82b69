"""A kitchen that answers and cannot take what it is given: commands end, their outcomes wait, and it is asked again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import eventually, fill, needed_binary, unavailable
from tests.faults.floor import Floor, all_orders, check_promises
from tests.mongod import Mongod
from waiter.kitchen import open_kitchen
from waiter.orders import Status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk, reads /proc")

WAITS = "while [ ! -e go ]; do sleep 0.02; done"


@pytest.fixture
def place(tmp_path, home) -> Iterator[Callable[[str], Floor]]:
    """Makes the floor of a kitchen's waiters; what they keep on disk lies in the test's own folder."""
    home["XDG_STATE_HOME"] = str(tmp_path / "state")
    floors: list[Floor] = []

    def make(url: str) -> Floor:
        floors.append(Floor(url, tmp_path, home))
        return floors[-1]

    yield make
    for floor in floors:
        floor.close()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        unavailable("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill_up(disk: Path) -> None:
    with (disk / "full").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))


def go_through(floor: Floor, hinder: Callable[[], Any], mend: Callable[[], Any]) -> None:
    """The kitchen is hindered while two commands run, and mended once their outcomes have been kept on disk."""
    waiter = floor.start(work=WAITS, jobs="2", lease_s=60)
    eventually(lambda: len(floor.oracle("begin")) == 2)
    hinder()
    (floor.folder / "go").touch()
    eventually(lambda: list(floor.folder.glob("state/waiter/spool/*/*.json")))
    eventually(lambda: len(floor.oracle("end")) == 2)
    assert waiter.poll() is None, floor.talk(waiter)
    mend()

    assert waiter.wait(40) == 0, floor.talk(waiter)

    assert floor.talk(waiter).count("Commands go on") == 1
    assert list(floor.folder.glob("state/waiter/spool/*/*")) == []


def check_each_was_done_once(floor: Floor, url: str, number: int) -> None:
    with open_kitchen(url) as kitchen:
        check_promises(kitchen, floor)
        assert [(order.status, order.attempt) for order in all_orders(kitchen)] == [(Status.DONE, 1)] * number
    assert len(floor.oracle("begin")) == number


def test_a_full_disk_under_the_kitchen_stops_no_command_and_runs_none_twice(place, small_disk):
    url = str(small_disk / "orders.sqlite")
    with open_kitchen(url) as kitchen:
        fill(kitchen, [["x"], ["y"], ["z"]])
    floor = place(url)

    go_through(floor, lambda: fill_up(small_disk), (small_disk / "full").unlink)

    check_each_was_done_once(floor, url, 3)


def test_with_the_kitchen_and_its_waiters_files_on_one_full_disk_outcomes_wait_in_memory(place, small_disk, home):
    url = str(small_disk / "orders.sqlite")
    with open_kitchen(url) as kitchen:
        fill(kitchen, [["x"], ["y"], ["z"]])
    floor = place(url)
    home["XDG_STATE_HOME"] = str(small_disk / "state")
    waiter = floor.start(work=WAITS, lease_s=60)
    eventually(lambda: floor.oracle("begin"))
    fill_up(small_disk)
    (floor.folder / "go").touch()
    eventually(lambda: "Outcomes cannot be kept" in floor.talk(waiter))
    (small_disk / "full").unlink()

    assert waiter.wait(40) == 0, floor.talk(waiter)

    check_each_was_done_once(floor, url, 3)


def test_a_right_that_is_revoked_for_a_while_stops_no_command_and_runs_none_twice(place):
    import pymongo

    server = Mongod(needed_binary(), "--auth")
    server.start()
    try:
        with pymongo.MongoClient(server.url, timeoutMS=15_000) as client:
            client.admin.command("createUser", "root", pwd="pw", roles=["root"])
        with pymongo.MongoClient(server.url, username="root", password="pw", timeoutMS=15_000) as client:
            rights = [{"role": "readWrite", "db": "orders"}]
            client.admin.command("createUser", "chef", pwd="pw", roles=rights)
            url = f"mongodb://chef:pw@127.0.0.1:{server.port}/orders?authSource=admin"
            with open_kitchen(url) as kitchen:
                fill(kitchen, [["x"], ["y"], ["z"]])
            floor = place(url)

            go_through(
                floor,
                lambda: client.admin.command("updateUser", "chef", roles=[{"role": "read", "db": "orders"}]),
                lambda: client.admin.command("updateUser", "chef", roles=rights),
            )

            check_each_was_done_once(floor, url, 3)
    finally:
        server.remove()


def test_a_joblog_on_a_full_disk_is_said_once_and_the_work_goes_on(place, small_disk, tmp_path):
    url = str(tmp_path / "orders.sqlite")
    with open_kitchen(url) as kitchen:
        fill(kitchen, [["x"], ["y"], ["z"]])
    floor = place(url)
    joblog = small_disk / "joblog"
    waiter = floor.start(work=f"{WAITS}; sleep 0.1", joblog=str(joblog))
    eventually(lambda: floor.oracle("begin"))
    joblog.write_bytes(joblog.read_bytes().ljust(4095) + b"\n")  # the page that it has is full
    fill_up(small_disk)
    (tmp_path / "go").touch()

    assert waiter.wait(20) == 1, floor.talk(waiter)

    assert floor.talk(waiter).count(f"--joblog {joblog}: cannot be written: No space left on device") == 1
    check_each_was_done_once(floor, url, 3)


def test_a_joblog_that_takes_nothing_is_wrong_from_the_start(waiter_cli):
    assert waiter_cli("load", "-k", "./k.db", "-", input="1\n").returncode == 0

    done = waiter_cli("deliver", "-k", "./k.db", "--joblog", "/dev/full", "true")

    assert (done.returncode, done.stderr) == (2, "waiter: --joblog /dev/full: No space left on device\n")
