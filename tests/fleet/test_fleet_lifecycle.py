"""The way that somebody goes every day: start, look, read logs, stop."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from waiter.orders import Selector, Status

ANNA = ("--limit", "*.2")
QUICK = 'echo "crunched $*"; hostname > "$WAITER_RESULT"'


def test_every_host_works_and_goes_home_when_all_is_done(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(200)
    laptop.script("sleep 0.1; " + QUICK)
    shared.kitchen.pause()  # or the first hosts deliver everything before the last ones are there

    done = laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh --size 3", "--until", "done")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" started ") == 4
    eventually(lambda: len(shared.kitchen.shifts()) == 4)
    shared.kitchen.resume()
    eventually(lambda: shared.count(Status.DONE) == 200)
    orders = list(shared.kitchen.find(Selector(), with_details=True))
    assert {(order.result or "").strip() for order in orders} == set(laptop.network.hosts)
    eventually(lambda: set(laptop.outcomes("status", *shared.flags).values()) == {"not running"})


def test_status_shows_what_each_waiter_does_and_logs_what_they_said(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(12)
    laptop.script(QUICK)
    laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh", "--until", "stopped", "--jobs", "3")
    eventually(lambda: shared.count(Status.DONE) == 12)

    status = laptop.json("status", *shared.flags)
    logs = laptop.fleet("logs", "-n", "100")

    assert status["code"] == 0, status
    assert [each["state"] for each in status["waiters"]] == ["running"] * 4
    assert {(each["slots"], each["command"]) for each in status["waiters"]} == {(3, "./crunch.sh")}
    crunched = {line.partition(" | ")[2] for line in logs.stdout.splitlines() if "crunched" in line}
    assert crunched == {f"crunched {row}" for row in range(1, 13)}
    assert all(line.split(" | ")[0].strip() in laptop.addresses for line in logs.stdout.splitlines() if line)


def test_commands_have_the_locale_of_their_host_and_none_that_python_chose(
    laptop: Laptop, shared: SharedKitchen
) -> None:
    shared.load(1)
    tell = "env | grep -e ^LC_ -e ^LANG | sort"
    laptop.script(f'{tell} > "$WAITER_RESULT"; exit 0')

    done = laptop.fleet("start", *shared.flags, *ANNA, "--cmd", "./crunch.sh", "--until", "done")

    assert done.returncode == 0, done.stderr

    eventually(lambda: shared.count(Status.DONE) == 1)
    (order,) = shared.kitchen.find(Selector(), with_details=True)
    (by_shell,) = laptop.json("run", *ANNA, "--", f"{tell}; exit 0")["hosts"]
    assert (order.result or "") == by_shell["stdout"]


def test_a_second_start_starts_none(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script(QUICK)
    start = ("start", *shared.flags, "--cmd", "./crunch.sh", "--until", "stopped")
    first = laptop.json(*start)["by_name"]

    second = laptop.json(*start)

    assert second["code"] == 0
    assert {each["outcome"] for each in second["by_name"].values()} == {"already running"}
    assert {n: e["pid"] for n, e in second["by_name"].items()} == {n: e["pid"] for n, e in first.items()}


def test_stop_lets_running_orders_end_and_a_second_stop_is_fine(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(40)
    laptop.script("sleep 1")
    laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh", "--jobs", "2")
    eventually(lambda: shared.count(Status.RUNNING) >= 8)

    assert set(laptop.outcomes("stop").values()) == {"stopped"}

    assert shared.count(Status.RUNNING) == 0
    assert shared.count(Status.DONE) >= 8
    assert shared.count(Status.DONE) + shared.count(Status.READY) == 40
    assert set(laptop.outcomes("stop").values()) == {"not running"}


def test_stop_now_kills_and_the_orders_go_back_at_once(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(8)
    laptop.script("sleep 600")
    laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh", "--jobs", "2")
    eventually(lambda: shared.count(Status.RUNNING) == 8)
    assert set(laptop.outcomes("stop", "--grace", "0.5").values()) == {"still draining"}

    assert set(laptop.outcomes("stop", "--now").values()) == {"stopped"}

    assert shared.count(Status.READY) == 8
    assert not [line for host in laptop.network.hosts.values() for line in host.commands() if "sleep" in line]
    assert {(order.attempt, order.failures) for order in shared.kitchen.find(Selector())} == {(1, 0)}


@pytest.mark.long
def test_stop_now_overtakes_a_stop_or_a_restart_that_waits(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(8)
    laptop.script("sleep 600")
    laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh", "--jobs", "1")
    eventually(lambda: shared.count(Status.RUNNING) == 4)
    wanted = {name: (host.state_folder / "wanted").read_text() for name, host in laptop.network.hosts.items()}
    words = [sys.executable, "-m", "waiter", "fleet"]
    waiting = [
        subprocess.Popen([*words, verb, "--hosts", host], cwd=laptop.folder, env=laptop.env, stdout=subprocess.PIPE)
        for verb, host in (("stop", laptop.addresses.split(",")[0]), ("restart", laptop.addresses.split(",")[1]))
    ]
    for name in ("anna", "ben"):
        file = laptop.network.hosts[name].state_folder / "wanted"
        eventually(lambda file=file, before=wanted[name]: file.read_text() != before)

    assert set(laptop.outcomes("stop", "--now").values()) == {"stopped"}

    said = [typed.communicate(timeout=30)[0].decode() for typed in waiting]
    assert [" stopped " in said[0], "failed" in said[1]] == [True, True], said
    assert shared.count(Status.READY) == 8
    assert set(laptop.outcomes("status").values()) == {"not running"}
