"""A host is asked to restart, or to start while it leaves: the next waiter begins by itself, and the fleet goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from tests.fleet.network import NetworkHost
from tests.fleet.test_in_the_middle_of_work import AS_CRONTAB, PATH, STAY, booted_otherwise, program
from waiter.orders import Status

TWO = ("--limit", "*.2,*.3")


def held(laptop: Laptop, shared: SharedKitchen, *words: str) -> None:
    """Waiters with one order each, which end when the host has a file `go`."""
    shared.load(20)
    laptop.script("while [ ! -e /root/go ]; do sleep 0.1; done")
    laptop.fleet("start", *shared.flags, *STAY, "--jobs", "1", *words)


def typed(verb: str, *hosts: NetworkHost) -> list[str]:
    return [sys.executable, "-m", "waiter", "fleet", verb, "--hosts", ",".join(host.address for host in hosts)]


def let_go(laptop: Laptop, *names: str) -> None:
    for name in names:
        (laptop.network.hosts[name].root / "go").touch()


def test_a_restart_whose_orders_outlast_its_grace_leaves_no_host_idle(laptop: Laptop, shared: SharedKitchen) -> None:
    held(laptop, shared, *TWO)
    eventually(lambda: shared.count(Status.RUNNING) == 2)

    done = laptop.json("restart", *TWO, "--batch", "1", "--grace", "0.5")

    assert done["code"] == 1
    assert [each["outcome"] for each in done["hosts"]] == ["still draining", "left alone"]
    assert laptop.outcomes("status", *TWO) == {"anna": "draining", "ben": "running"}
    let_go(laptop, "anna", "ben")
    eventually(lambda: shared.count(Status.DONE) == 20, 30)
    assert laptop.outcomes("status", *TWO) == {"anna": "running", "ben": "running"}
    before, after = (each["pid"] for each in (done["hosts"][0], laptop.json("status", *TWO)["hosts"][0]))
    assert before != after


def test_a_host_starts_its_next_waiter_although_the_laptop_is_gone(laptop: Laptop, shared: SharedKitchen) -> None:
    only = ("--limit", "*.2")
    held(laptop, shared, *only)
    eventually(lambda: shared.count(Status.RUNNING) == 1)
    words = typed("restart", laptop.network.hosts["anna"])
    restarting = subprocess.Popen(words, cwd=laptop.folder, env=laptop.env, stdout=subprocess.DEVNULL)
    eventually(lambda: laptop.outcomes("status", *only) == {"anna": "draining"}, 30)

    restarting.send_signal(signal.SIGKILL)
    restarting.wait(60)
    let_go(laptop, "anna")

    eventually(lambda: laptop.outcomes("status", *only) == {"anna": "running"}, 30)
    eventually(lambda: shared.count(Status.DONE) == 20, 30)


def test_a_start_while_the_waiter_leaves_is_a_start(laptop: Laptop, shared: SharedKitchen) -> None:
    only = ("--limit", "*.2")
    held(laptop, shared, *only)
    eventually(lambda: shared.count(Status.RUNNING) == 1)
    assert laptop.outcomes("stop", "--grace", "0", *only) == {"anna": "still draining"}
    eventually(lambda: [shift.is_leaving for shift in shared.kitchen.shifts()] == [True], 30)

    starting = subprocess.Popen(
        [*typed("start", laptop.network.hosts["anna"]), *shared.flags, *STAY, "--jobs", "1"],
        cwd=laptop.folder,
        env=laptop.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: laptop.json("status", *only)["hosts"][0].get("is_next_ready"), 30)
    let_go(laptop, "anna")

    assert " started " in starting.communicate(timeout=60)[0]
    eventually(lambda: shared.count(Status.DONE) == 20, 30)


def test_a_stop_calls_off_the_waiter_that_was_to_come_next(laptop: Laptop, shared: SharedKitchen) -> None:
    only = ("--limit", "*.2")
    held(laptop, shared, *only)
    eventually(lambda: shared.count(Status.RUNNING) == 1)
    laptop.fleet("restart", "--grace", "0", *only)

    laptop.fleet("stop", "--grace", "0", *only)
    let_go(laptop, "anna")

    eventually(lambda: laptop.outcomes("status", *only) == {"anna": "not running"}, 30)
    assert not [pid for pid in laptop.network.hosts["anna"].pids() if b"--successor" in command_line(pid)]
    assert (shared.count(Status.DONE), shared.count(Status.READY)) == (1, 19)


def command_line(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


@contextmanager
def living_with(host: NetworkHost, other: NetworkHost) -> Iterator[None]:
    """The host's home is the other's, as on clusters with homes on NFS."""
    own = host.folder / "own-root"
    host.power_off()
    host.root.rename(own)
    host.root.symlink_to(other.root)
    host.boot()
    try:
        yield
    finally:
        host.power_off()
        host.root.unlink()
        own.rename(host.root)
        host.boot()


def test_hosts_that_share_a_home_each_have_a_waiter(laptop: Laptop, shared: SharedKitchen) -> None:
    anna, ben = laptop.network.hosts["anna"], laptop.network.hosts["ben"]
    with living_with(ben, anna):
        shared.load(8)
        laptop.script("sleep 0.1")

        assert laptop.outcomes("start", *shared.flags, *STAY, *TWO) == {"anna": "started", "ben": "started"}

        eventually(lambda: shared.count(Status.DONE) == 8, 30)
        assert sorted(shift.host for shift in shared.kitchen.shifts()) == ["anna", "ben"]
        laptop.script("sleep 0.2")
        assert set(laptop.outcomes("restart", *shared.flags, *STAY, *TWO, "--batch", "1").values()) == {"restarted"}
        assert laptop.outcomes("status", *TWO) == {"anna": "running", "ben": "running"}
        assert laptop.outcomes("stop", "--limit", "*.2") == {"anna": "stopped"}
        assert laptop.outcomes("status", *TWO) == {"anna": "not running", "ben": "running"}
        assert laptop.outcomes("stop", "--limit", "*.3") == {"ben": "stopped"}


LATIN = b"# \xe4lter\n@daily somebody else's\n"


def test_a_crontab_of_any_bytes_is_kept_and_nobody_else_looks_at_it(laptop: Laptop, shared: SharedKitchen) -> None:
    anna, only = laptop.network.hosts["anna"], ("--limit", "*.2")
    program(anna, "crontab", f"echo called >> /root/cron.calls\n{AS_CRONTAB}")
    (anna.root / "cron.tab").write_bytes(LATIN)
    laptop.script("true")
    with booted_otherwise(anna, PATH):
        assert laptop.outcomes("start", *shared.flags, *STAY, *only) == {"anna": "started"}
        assert laptop.outcomes("stop", "--now", *only) == {"anna": "stopped"}
        assert not (anna.root / "cron.calls").exists()

        assert laptop.outcomes("start", *shared.flags, *STAY, *only, "--boot") == {"anna": "started"}
        assert (anna.root / "cron.tab").read_bytes().startswith(LATIN + b"@reboot ")

        assert laptop.outcomes("stop", "--now", *only) == {"anna": "stopped"}
        assert (anna.root / "cron.tab").read_bytes() == LATIN


def test_a_crontab_that_cannot_be_read_is_never_written(laptop: Laptop, shared: SharedKitchen) -> None:
    anna, only = laptop.network.hosts["anna"], ("--limit", "*.2")
    (anna.root / "cron.tab").write_bytes(LATIN)
    laptop.script("true")
    program(anna, "crontab", 'case "$1" in -l) echo "you are not allowed" >&2; exit 1;; -) cat > /root/cron.tab;; esac')
    with booted_otherwise(anna, PATH):
        refused = laptop.json("start", *shared.flags, *STAY, *only, "--boot")

        assert "the crontab cannot be read" in refused["hosts"][0]["troubles"][0]["detail"]
        assert (anna.root / "cron.tab").read_bytes() == LATIN
        assert laptop.outcomes("status", *only) == {"anna": "not running"}


def test_a_command_of_run_ends_with_whoever_waited_for_it(laptop: Laptop) -> None:
    anna = laptop.network.hosts["anna"]
    words = [*typed("run", anna), "--", "sleep 600 | cat"]
    running = subprocess.Popen(words, cwd=laptop.folder, env=laptop.env, stderr=subprocess.PIPE, text=True)
    eventually(lambda: sleeping(anna), 30)

    running.send_signal(signal.SIGINT)

    assert "interrupted" in running.communicate(timeout=30)[1]
    assert running.returncode == 130
    eventually(lambda: not sleeping(anna), 10)

    late = laptop.json("run", "--host-timeout", "1", "--limit", "*.2", "--", "sleep 600")
    assert late["hosts"][0]["outcome"] == "timeout"
    eventually(lambda: not sleeping(anna), 10)


def sleeping(host: NetworkHost) -> bool:
    return any(command_line(pid).startswith(b"sleep\x00600") for pid in host.pids())


def test_a_command_of_run_reaches_the_hosts_shell_as_it_was_typed(laptop: Laptop) -> None:
    line = "echo 'a  b' \\\\ $((1 + 1))!\ncat; echo \"$0\" | wc -l; exit 7"
    done = laptop.json("run", "--limit", "*.2", "--", line)

    assert (done["hosts"][0]["exit_code"], done["hosts"][0]["stdout"]) == (7, "a  b \\ 2!\n1\n")


def test_ctrl_c_in_a_rolling_restart_shows_what_was_done(laptop: Laptop, shared: SharedKitchen) -> None:
    held(laptop, shared, *TWO)
    eventually(lambda: shared.count(Status.RUNNING) == 2)
    let_go(laptop, "anna")
    words = [*typed("restart", laptop.network.hosts["anna"], laptop.network.hosts["ben"]), "--batch", "1"]
    restarting = subprocess.Popen(
        words, cwd=laptop.folder, env=laptop.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: laptop.outcomes("status", *TWO)["ben"] == "draining", 60)

    restarting.send_signal(signal.SIGINT)

    said = restarting.communicate(timeout=30)[0]
    assert ([" restarted " in said, " interrupted" in said], restarting.returncode) == ([True, True], 130)


def test_fab_says_how_a_command_is_written_that_stands_after_two_dashes(laptop: Laptop) -> None:
    (laptop.folder / "fabfile.py").write_text(
        "from invoke.collection import Collection\nfrom waiter.fleet.tasks import fleet_tasks\n"
        "ns = Collection(fleet_tasks())\n"
    )

    done = laptop.fab("fleet.run", "--hosts=127.0.0.9", "--", "df", "-h", "a b")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == """hint: fab fleet.run 'df -h '"'"'a b'"'"''"""
