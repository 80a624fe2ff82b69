"""What happens to a fleet at work: a new script, a cut cable, a reboot, a closed laptop. None of it loses an order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pymongo

from tests.conftest import Clock, eventually, let_leases_run_out
from tests.fleet.environment import Laptop, SharedKitchen
from tests.fleet.network import NetworkHost
from tests.fleet.test_hosts_gone_wrong import booted_otherwise
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Selector, Status

STAY = ("--cmd", "./crunch.sh", "--until", "stopped")


def results(shared: SharedKitchen) -> list[str]:
    return [(order.result or "").strip() for order in shared.kitchen.find(Selector(), with_details=True)]


def test_a_rolling_restart_brings_the_new_script_and_loses_no_order(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(150)
    laptop.script('sleep 1; echo old > "$WAITER_RESULT"; echo kept > by-the-old-one')
    laptop.fleet("start", *shared.flags, *STAY, "--jobs", "2")
    eventually(lambda: shared.count(Status.DONE) >= 8)

    laptop.script('echo new > "$WAITER_RESULT"')
    done = laptop.fleet("restart", *shared.flags, *STAY, "--jobs", "2", "--batch", "2")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" restarted ") == 4
    eventually(lambda: shared.count(Status.DONE) == 150)
    assert {"old", "new"} == set(results(shared))
    orders = list(shared.kitchen.find(Selector(), with_details=True))
    assert {(order.attempt, order.failures, order.losses) for order in orders} == {(1, 0, 0)}
    # Once everybody has the new script, nobody runs the old one any more.
    shared.kitchen.reset(Selector())
    eventually(lambda: shared.count(Status.DONE) == 150)
    assert set(results(shared)) == {"new"}
    # What the old script had written is still there, and of the two scripts only the new one.
    for host in laptop.network.hosts.values():
        left = sorted(file.name for file in host.waiter_home.glob("bundles/*/*"))
        assert left == ["by-the-old-one", "crunch.sh"]


def test_a_restart_without_a_command_goes_on_as_before(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script("true")
    first = laptop.json("start", *shared.flags, *STAY, "--limit", "*.2,*.3")["hosts"]

    second = laptop.json("restart", "--limit", "*.2,*.3")["hosts"]

    assert [each["outcome"] for each in second] == ["restarted"] * 2
    assert [each["words"] for each in second] == [each["words"] for each in first] == [["./crunch.sh"]] * 2
    assert {each["pid"] for each in first}.isdisjoint({each["pid"] for each in second})


def test_a_broken_script_stops_a_rolling_restart_at_its_first_batch(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script("true")
    laptop.fleet("start", *shared.flags, *STAY)
    shared.load(4)
    eventually(lambda: shared.count(Status.DONE) == 4)

    done = laptop.json("restart", *shared.flags, "--cmd", "no-such-program", "--batch", "1")

    assert [each["outcome"] for each in done["hosts"]] == ["not started", "left alone", "left alone", "left alone"]
    assert sorted(laptop.outcomes("status").values()) == ["not running", "running", "running", "running"]


def test_a_host_where_nothing_ever_ran_stops_no_rolling_restart(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script("true")
    laptop.fleet("start", *shared.flags, *STAY, "--limit", "*.3,*.4,*.5")

    done = laptop.json("restart", "--batch", "1")

    assert [each["outcome"] for each in done["hosts"]] == ["failed", "restarted", "restarted", "restarted"]
    detail = done["hosts"][0]["troubles"][0]["detail"]
    assert f"Run: waiter fleet start --hosts {laptop.addresses} --cmd" in detail


def test_start_with_another_script_says_that_the_old_one_runs(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script("true")
    laptop.fleet("start", *shared.flags, *STAY, "--limit", "*.2")
    laptop.script("false")

    done = laptop.fleet("start", *shared.flags, *STAY, "--limit", "*.2")
    doctor = laptop.json("doctor", *shared.flags, *STAY, "--limit", "*.2")["hosts"][0]

    assert done.returncode == 1
    selection = f"--hosts {laptop.addresses} --limit '*.2'"
    assert f"    waiter fleet restart {selection} --db {shared.db} --cmd ./crunch.sh --until stopped\n" in done.stderr
    assert shared.password not in done.stderr
    assert [each["trouble"] for each in doctor["troubles"]] == ["older script"]


def test_the_line_that_fixes_a_host_repeats_the_selection(laptop: Laptop, shared: SharedKitchen) -> None:
    broken = laptop.fleet("start", *shared.flags, "--cmd", "no-such-program", "--limit", "*.2")

    assert f"    waiter fleet logs --hosts {laptop.addresses} --limit '*.2'\n" in broken.stderr


def test_others_deliver_a_cut_off_hosts_orders_and_its_return_changes_nothing(
    laptop: Laptop, shared: SharedKitchen
) -> None:
    shared.load(6)
    ben, cleo = laptop.network.hosts["ben"], laptop.network.hosts["cleo"]
    laptop.script('[ "$(hostname)" = ben ] && sleep 4; hostname > "$WAITER_RESULT"')
    laptop.fleet("start", *shared.flags, *STAY, "--jobs", "1", "--limit", ben.address)
    eventually(lambda: shared.count(Status.RUNNING) == 1)
    ben.cut()
    clock = Clock()
    with MongoKitchen(shared.url, shared.db, ahead=clock) as a_minute_later:
        let_leases_run_out(a_minute_later, clock)
        assert a_minute_later.reclaim().ready == 1
    with pymongo.MongoClient(shared.url) as client:  # the order is due a minute from now by that clock
        client[shared.db]["orders"].update_many({"status": "READY"}, {"$set": {"due": 0.0}})

    laptop.fleet("start", *shared.flags, *STAY, "--jobs", "1", "--limit", cleo.address)
    eventually(lambda: shared.count(Status.DONE) == 6, 40)
    assert set(results(shared)) == {"cleo"}
    status = laptop.json("status", *shared.flags, "--connect-timeout", "2")
    assert status["by_name"]["ben"]["outcome"] in ("timeout", "no route")

    ben.mend()
    eventually(lambda: any(order.late for order in shared.kitchen.find(Selector(), with_details=True)), 60)
    assert set(results(shared)) == {"cleo"}
    assert shared.count(Status.DONE) == 6


def test_a_rebooted_host_is_told_from_one_that_works(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(4)
    laptop.script("sleep 600")
    laptop.fleet("start", *shared.flags, *STAY, "--jobs", "1")
    eventually(lambda: shared.count(Status.RUNNING) == 4)
    laptop.network.hosts["dora"].reboot()

    status = laptop.json("status", *shared.flags)

    assert status["code"] == 1
    (gone,) = [each for each in status["waiters"] if each["state"] == "gone"]
    assert "SSH sees no such process" in gone["notes"][0]
    (dora,) = [each for each in status["waiters"] if each["state"] == "not running"]
    assert "its container was restarted" in dora["notes"][0]
    assert laptop.json("start", *shared.flags, *STAY, "--limit", "*.5")["hosts"][0]["outcome"] == "started"
    assert set(laptop.outcomes("stop", "--now").values()) == {"stopped"}


def test_the_daemon_outlives_the_session_and_a_laptop_that_is_closed(laptop: Laptop, shared: SharedKitchen) -> None:
    laptop.script("true")
    words = ["fleet", "start", "--hosts", laptop.addresses, *shared.flags, *STAY]
    typed = subprocess.Popen([sys.executable, "-m", "waiter", *words], cwd=laptop.folder, env=laptop.env)
    eventually(lambda: len(shared.kitchen.shifts()) == 4)
    typed.send_signal(signal.SIGKILL)
    typed.wait(60)

    shared.load(20)

    eventually(lambda: shared.count(Status.DONE) == 20)
    assert set(laptop.outcomes("status", *shared.flags).values()) == {"running"}


def test_the_password_is_nowhere_but_in_its_own_file(laptop: Laptop, shared: SharedKitchen) -> None:
    shared.load(20)
    laptop.script("env; sleep 0.2")
    done = laptop.fleet("start", *shared.flags, *STAY, "--jobs", "2", "--keep-output", "all")
    assert done.returncode == 0, done.stderr
    seen: list[str] = []
    for _ in range(10):
        seen += [text for host in laptop.network.hosts.values() for text in told_by_processes(host)]
        time.sleep(0.05)
    eventually(lambda: shared.count(Status.DONE) == 20)
    laptop.fleet("stop")

    assert [text for text in seen if "run" in text and "waiter-" in text]
    assert not [text for text in seen if shared.password in text]
    for host in laptop.network.hosts.values():
        holders = [file for folder in (host.root, host.folder / "tmp") for file in holding(folder, shared.password)]
        assert holders == [host.state_folder / "kitchen"]
        assert oct((host.state_folder / "kitchen").stat().st_mode) == oct(0o100600)
        assert oct(host.waiter_home.stat().st_mode) == oct(0o40700)
    assert not [order for order in shared.kitchen.find(Selector(), with_details=True) if shared.password in str(order)]


def told_by_processes(host: NetworkHost) -> list[str]:
    """Every argv and environment on the host."""
    texts = []
    for pid in host.pids():
        for name in ("cmdline", "environ"):
            try:
                texts.append(Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace"))
            except OSError:
                continue
    return texts


def holding(folder: Path, text: str) -> list[Path]:
    return [
        Path(path) / name
        for path, _, names in os.walk(folder)
        for name in names
        if (Path(path) / name).is_file() and text.encode() in (Path(path) / name).read_bytes()
    ]


AS_CRONTAB = 'case "$1" in -l) cat /root/cron.tab;; -) cat > /root/cron.tab;; esac'
AS_SYSTEMCTL = 'echo "$*" >> /root/systemctl.log'
PATH = "SetEnv=PATH=/root/bin:/usr/bin:/bin"


def program(host: NetworkHost, name: str, script: str) -> None:
    """A program of the host's own, before all others on its PATH."""
    file = host.root / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def comes_back_with(laptop: Laptop, shared: SharedKitchen, host: NetworkHost, line: str) -> None:
    """Reboot, do what the host's own daemon would do then, and see the waiter again."""
    host.power_off()
    host.boot("-o", PATH)
    only = ("--limit", host.address)
    laptop.fleet("run", *only, "--", f"setsid env -i HOME=/root {line} >/dev/null 2>&1 &")
    eventually(lambda: laptop.outcomes("status", *shared.flags, *only) == {host.name: "running"}, 30)


def test_boot_comes_back_by_cron_until_stop_takes_it_away(laptop: Laptop, shared: SharedKitchen) -> None:
    anna = laptop.network.hosts["anna"]
    program(anna, "crontab", AS_CRONTAB)  # it keeps the lines, as cron's does; the test runs them after the reboot
    (anna.root / "cron.tab").write_text("@daily somebody else's\n")
    laptop.script("true")
    with booted_otherwise(anna, PATH):
        start = ("start", *shared.flags, *STAY, "--limit", anna.address)
        assert laptop.json(*start)["hosts"][0]["boot"] is None

        started = laptop.json(*start, "--boot")["hosts"][0]

        assert (started["outcome"], started["boot"]) == ("already running", "cron")
        (line,) = [line for line in (anna.root / "cron.tab").read_text().splitlines() if line.startswith("@reboot ")]
        comes_back_with(laptop, shared, anna, line.removeprefix("@reboot ").removesuffix("# waiter"))
        (anna.root / "cron.tab").write_text("@reboot python3 waiter-older.pyz run # waiter\n@daily somebody else's\n")
        assert laptop.json("restart", "--limit", anna.address)["hosts"][0]["boot"] == "cron"
        (zipapp,) = anna.waiter_home.glob("waiter-*.pyz")
        assert f"/root/.waiter/{zipapp.name} run" in (anna.root / "cron.tab").read_text()
        laptop.fleet("stop", "--limit", anna.address)
        assert (anna.root / "cron.tab").read_text() == "@daily somebody else's\n"


def test_boot_comes_back_by_systemd_until_stop_takes_it_away(laptop: Laptop, shared: SharedKitchen) -> None:
    anna = laptop.network.hosts["anna"]
    for name in ("systemctl", "loginctl"):
        program(anna, name, AS_SYSTEMCTL)
    unit = anna.root / ".config/systemd/user/waiter.service"
    laptop.script("true")
    with booted_otherwise(anna, PATH):
        laptop.fleet("run", "--limit", anna.address, "--", "mkdir -p /run/systemd/system")
        started = laptop.json("start", *shared.flags, *STAY, "--limit", anna.address, "--boot")["hosts"][0]

        assert (started["outcome"], started["boot"]) == ("started", "systemd")
        asked = (anna.root / "systemctl.log").read_text().splitlines()
        assert asked == [
            "--user show-environment",
            "enable-linger",
            "--user daemon-reload",
            "--user enable waiter.service",
        ]
        (line,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        comes_back_with(laptop, shared, anna, line.removeprefix("ExecStart="))
        laptop.fleet("stop", "--limit", anna.address)
        assert not unit.exists()
        assert "--user disable waiter.service" in (anna.root / "systemctl.log").read_text()
