"""A host that cannot do what is asked says why, with the line that fixes it, and the others do not wait for it."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.fleet.environment import Laptop, MongoServer, SharedKitchen
from tests.fleet.network import Network, NetworkHost, must

QUICK = ("--connect-timeout", "2")


def problem(laptop: Laptop, name: str, *words: str, verb: str = "doctor") -> tuple[str, str]:
    """What is wrong with one host, and what fixes it; the others must be well."""
    said = laptop.json(verb, *QUICK, *words)
    assert said["code"] == 1
    by_name = said["by_name"]
    assert [each for each, report in by_name.items() if report["troubles"]] == [name]
    (found,) = by_name[name]["troubles"]
    return found["trouble"], found["fix"]


def test_an_unknown_host_key_is_refused_with_the_line_to_run(laptop: Laptop) -> None:
    ben = laptop.network.hosts["ben"]
    laptop.known_hosts.write_text(laptop.known_hosts.read_text().replace(ben.known_hosts_line(), ""))

    what, fix = problem(laptop, "ben")

    assert what == "host key unknown"
    assert f"ssh {ben.address} true" in fix
    assert "--accept-new" in fix


def test_accept_new_remembers_every_key_once_and_a_changed_one_is_refused_all_the_same(laptop: Laptop) -> None:
    laptop.known_hosts.unlink()

    assert laptop.fleet("run", "--accept-new", "--", "true").returncode == 0
    assert laptop.fleet("run", "--accept-new", "--", "true").returncode == 0

    assert sorted(laptop.known_hosts.read_text().splitlines()) == sorted(laptop.network.known_hosts().splitlines())
    cleo = laptop.network.hosts["cleo"]
    cleo.power_off()
    cleo.key.unlink()
    cleo.boot()
    what, fix = problem(laptop, "cleo", "--accept-new")
    assert what == "host key changed"
    assert fix.endswith(f"ssh-keygen -R {cleo.address}")


def test_fab_says_the_same_of_a_bad_host_and_ends_with_1(laptop: Laptop) -> None:
    laptop.type(sys.executable, "-m", "waiter", "init")
    ben = laptop.network.hosts["ben"]
    laptop.known_hosts.write_text(laptop.known_hosts.read_text().replace(ben.known_hosts_line(), ""))

    done = laptop.fab("fleet.push", f"--hosts={laptop.addresses}")

    assert done.returncode == 1
    assert done.stdout.count(" pushed ") + done.stdout.count(" already there") == 3
    assert done.stderr.count("host key unknown") >= 1
    assert "Traceback" not in done.stderr


def test_a_hashed_known_hosts_is_understood(laptop: Laptop) -> None:
    must("ssh-keygen", "-q", "-H", "-f", str(laptop.known_hosts))

    assert laptop.fleet("run", "--", "true").returncode == 0


def test_a_refused_key_says_so(laptop: Laptop) -> None:
    dora = laptop.network.hosts["dora"]
    other = laptop.home / "other"
    must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    laptop.configure(
        f"Host {dora.address}\n  IdentityFile {other}\n"
        f"Host * !{dora.address}\n  IdentityFile {laptop.network.key}\n"
        "Host *\n  User root\n"
    )

    what, fix = problem(laptop, "dora")

    assert what == "key refused"
    assert "IdentityFile" in fix


def test_a_host_that_is_off_and_one_whose_cable_is_cut_hold_nobody_up(laptop: Laptop) -> None:
    laptop.network.hosts["anna"].power_off()
    laptop.network.hosts["ben"].cut()
    began = time.monotonic()

    done = laptop.json("run", *QUICK, "--", "hostname")

    assert time.monotonic() - began < 25
    assert done["by_name"]["anna"]["outcome"] == "connection refused"
    assert done["by_name"]["ben"]["outcome"] in ("timeout", "no route")
    assert [done["by_name"][name]["stdout"] for name in ("cleo", "dora")] == ["cleo\n", "dora\n"]
    laptop.network.hosts["anna"].boot()


@contextmanager
def falling_silent(network: Network, limits: Sequence[int]) -> Iterator[list[str]]:
    """Ways to one host; on each, nothing more comes back after so many bytes."""
    host = network.hosts["anna"]
    servers = [socket.create_server((network.address, 0)) for _ in limits]

    def pass_on(source: socket.socket, target: socket.socket, left: int | None) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                target.sendall(content if left is None else content[: max(left, 0)])
                left = None if left is None else left - len(content)

    def accept(server: socket.socket, limit: int) -> None:
        with suppress(OSError):
            while True:
                client = server.accept()[0]
                behind = socket.create_connection((host.address, 22))
                threading.Thread(target=pass_on, args=(client, behind, None), daemon=True).start()
                threading.Thread(target=pass_on, args=(behind, client, limit), daemon=True).start()

    for server, limit in zip(servers, limits, strict=True):
        threading.Thread(target=accept, args=(server, limit), daemon=True).start()
    yield [f"{network.address}:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("words", [["push"], ["run", "--", "true"]])
def test_a_host_that_falls_silent_at_any_moment_holds_nobody_up(laptop: Laptop, words: list[str]) -> None:
    anna, ben = (laptop.network.hosts[name] for name in ("anna", "ben"))
    # The greeting, the keys, the login, the channel, the command, the file: one of each at least.
    with falling_silent(laptop.network, [20, 1200, 1700, 1900, 2100, 2300, 2500]) as hosts:
        lines = [anna.known_hosts_line().replace(anna.address, "[{}]:{}".format(*host.split(":"))) for host in hosts]
        laptop.known_hosts.write_text("".join([*lines, ben.known_hosts_line()]))
        began = time.monotonic()

        all_hosts = ",".join([*hosts, ben.address])
        bounds = ("--connect-timeout", "3", "--host-timeout", "6")
        done = laptop.json(words[0], *bounds, "--hosts", all_hosts, *words[1:])

    assert time.monotonic() - began < 55
    assert done["by_name"]["ben"]["ok"], done
    assert {each["outcome"] for each in done["hosts"] if not each["ok"]} == {"timeout"}


@contextmanager
def silent(network: Network) -> Iterator[str]:
    """A host that accepts connections and says nothing."""
    with socket.create_server((network.address, 0)) as server:
        kept = []

        def accept() -> None:
            try:
                while True:
                    kept.append(server.accept())
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"{network.address}:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_host_that_accepts_and_says_nothing_times_out(laptop: Laptop) -> None:
    began = time.monotonic()
    with silent(laptop.network) as host:
        done = laptop.json("run", *QUICK, "--hosts", f"{laptop.addresses},{host}", "--", "true")

    assert time.monotonic() - began < 25
    assert [each["outcome"] for each in done["hosts"]].count("exit code 0") == 4
    (report,) = [each for each in done["hosts"] if not each["ok"]]
    assert (report["outcome"], report["troubles"][0]["detail"]) == (
        "timeout",
        "it accepts connections, but does not respond",
    )


def test_a_host_without_python_says_so(laptop: Laptop) -> None:
    # What the host's PATH leads to: a shell, and a python3 that is too old.
    bare = laptop.network.hosts["anna"].root / "bare"
    bare.mkdir()
    for program in ("sh", "head"):
        (bare / program).symlink_to(f"/bin/{program}")
    with booted_otherwise(laptop.network.hosts["anna"], "SetEnv=PATH=/root/bare"):
        assert problem(laptop, "anna", verb="push")[0] == "no Python 3.11"

        (bare / "python3").write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.16\nexit 93\n')
        (bare / "python3").chmod(0o755)
        done = laptop.fleet("doctor")
    assert "found: Python 3.9.16" in done.stderr
    assert "python3.11" in done.stderr


@contextmanager
def booted_otherwise(host: NetworkHost, option: str) -> Iterator[None]:
    """The host with another option of sshd."""
    host.power_off()
    host.boot("-o", option)
    try:
        yield
    finally:
        host.reboot()


def test_ec2s_word_about_the_right_user_is_passed_on(laptop: Laptop) -> None:
    words = 'echo "Please login as the user \\"ec2-user\\" rather than the user \\"root\\"."; exit 142'
    with booted_otherwise(laptop.network.hosts["cleo"], f"ForceCommand={words}"):
        assert problem(laptop, "cleo") == ("wrong user", "--user ec2-user")


def test_a_kitchen_that_hosts_cannot_reach_is_found_from_there(laptop: Laptop, mongo_server: MongoServer) -> None:
    ok = laptop.json("doctor", "--kitchen", mongo_server.url)
    wrong = laptop.json("doctor", "--limit", "*.2", "--kitchen", f"mongodb://{mongo_server.address}:1/")

    assert {each["outcome"] for each in ok["hosts"]} == {"fit"}
    assert [each["troubles"][0]["trouble"] for each in wrong["hosts"]] == ["kitchen unreachable"]


def test_a_clock_that_is_off_is_found(laptop: Laptop, shared: SharedKitchen) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    with booted_otherwise(laptop.network.hosts["ben"], f"SetEnv=LD_PRELOAD={library} FAKETIME=+120s"):
        assert problem(laptop, "ben", *shared.flags)[0] == "clock off"


def test_a_waiter_home_that_is_a_symlink_or_anothers_is_refused(laptop: Laptop, shared: SharedKitchen) -> None:
    cleo, dora = (laptop.network.hosts[name] for name in ("cleo", "dora"))
    (dora.root / "elsewhere").mkdir()
    dora.waiter_home.symlink_to("/root/elsewhere")
    cleo.waiter_home.mkdir()
    os.chown(cleo.waiter_home, 65534, 65534)
    laptop.script("true")

    said = laptop.json("start", *shared.flags, "--cmd", "./crunch.sh", "--until", "stopped")["by_name"]

    assert {name for name, report in said.items() if report["outcome"] == "started"} == {"anna", "ben"}
    assert {report["outcome"] for name, report in said.items() if name in ("cleo", "dora")} == {"unsafe folder"}
    assert not list((dora.root / "elsewhere").iterdir())
    assert not list(cleo.waiter_home.iterdir())


def test_a_disk_that_is_full_and_a_home_that_cannot_be_written_to_are_told_apart(laptop: Laptop) -> None:
    anna, ben = (laptop.network.hosts[name] for name in ("anna", "ben"))
    small = "mkdir -m 700 .waiter; mount -t tmpfs -o size=600k,mode=700 none .waiter"
    laptop.fleet("run", "--limit", anna.address, "--", small)
    laptop.fleet("run", "--limit", ben.address, "--", "mount --bind -o ro /root /root")

    said = laptop.json("push")

    assert {name: each["outcome"] for name, each in said["by_name"].items()} == {
        "anna": "disk full",
        "ben": "not writable",
        "cleo": "pushed",
        "dora": "pushed",
    }
    assert said["by_name"]["anna"]["troubles"][0]["fix"] == f"ssh {anna.address} 'df -h ~'"
    assert laptop.fleet("run", "--limit", anna.address, "--", "ls -A .waiter").stdout == ""


def test_what_a_login_shell_prints_is_no_reply(laptop: Laptop) -> None:
    (laptop.network.hosts["anna"].root / ".bashrc").write_text("echo waiter-reply mine; printf 'no end of line'\n")
    (laptop.network.hosts["ben"].root / ".bashrc").write_text("echo closed for today; exit 3\n")

    said = laptop.json("push")["by_name"]

    assert [said[name]["outcome"] for name in ("anna", "ben", "cleo", "dora")] == [
        "pushed",
        "no reply",
        "pushed",
        "pushed",
    ]
    assert said["ben"]["troubles"][0]["detail"] == "exit code 3: closed for today"
    assert ".bashrc" in said["ben"]["troubles"][0]["fix"]


def test_a_host_that_talks_without_end_takes_no_memory_and_hides_no_other(laptop: Laptop) -> None:
    (laptop.network.hosts["anna"].root / ".bashrc").write_text("yes waiter-reply\n")
    (laptop.network.hosts["ben"].root / ".bashrc").write_text("echo 'waiter-reply {\"outcome\": [7]}'; exit\n")

    said = laptop.json("push")["by_name"]

    assert [said[name]["outcome"] for name in ("anna", "ben", "cleo")] == ["no reply", "unexpected", "pushed"]
    assert said["anna"]["troubles"][0]["detail"] == "it prints without end: more than 4 MiB"
    assert said["ben"]["troubles"][0]["detail"] == "outcome makes no sense: [7]"


def test_a_command_that_cannot_be_found_on_the_hosts_is_named(laptop: Laptop, shared: SharedKitchen) -> None:
    done = laptop.fleet("start", *shared.flags, "--cmd", "no-such-program")

    assert done.returncode == 1
    assert "no-such-program" in done.stderr
    assert set(laptop.outcomes("status").values()) == {"not running"}


def test_what_a_command_leaves_in_the_background_holds_nobody_up(laptop: Laptop) -> None:
    began = time.monotonic()

    done = laptop.json("run", "--", "sleep 30 & echo started")

    assert time.monotonic() - began < 25
    assert {each["stdout"] for each in done["hosts"]} == {"started\n"}
