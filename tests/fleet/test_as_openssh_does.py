"""Where `ssh HOST` works, so does `waiter fleet`: configuration, keys, agents and jump hosts as OpenSSH has them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.fleet.environment import Laptop, SharedKitchen
from tests.fleet.network import must
from tests.fleet.test_hosts_gone_wrong import booted_otherwise
from tests.fleet.test_in_the_middle_of_work import PATH, program

ANNA = ("--limit", "*.2")


def run(laptop: Laptop, *words: str) -> tuple[str, str, str]:
    """Outcome, detail and remedy of `fleet run -- true` on anna, or on the hosts that the words name."""
    (report,) = laptop.json("run", "--connect-timeout", "2", *(words or ANNA), "--", "true")["hosts"]
    found = report["troubles"][0] if report["troubles"] else {"detail": "", "fix": ""}
    return report["outcome"], found["detail"], found["fix"]


@contextmanager
def agent(laptop: Laptop, tmp_path: Path) -> Iterator[str]:
    """A real ssh-agent of this test's."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: Path(path).exists())
        laptop.env["SSH_AUTH_SOCK"] = path
        yield path
    finally:
        process.kill()
        process.wait(10)


def add(laptop: Laptop, key: Path | str) -> None:
    must("ssh-add", "-q", str(key), env={**os.environ, "SSH_AUTH_SOCK": laptop.env["SSH_AUTH_SOCK"]})


def made_key(file: Path, kind: str = "ed25519") -> Path:
    must("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(file))
    return file


@pytest.mark.parametrize("identity", ["mine", "mine.pub"])
def test_identities_only_takes_the_key_from_the_agent(laptop: Laptop, tmp_path: Path, identity: str) -> None:
    mine = laptop.home / ".ssh/mine"
    mine.write_bytes(Path(laptop.network.key).read_bytes())
    mine.chmod(0o600)
    with agent(laptop, tmp_path):
        add(laptop, mine)
        (laptop.home / ".ssh/mine.pub").write_text(must("ssh-keygen", "-y", "-f", str(mine)))
        must("ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(mine))
        if identity == "mine.pub":
            mine.unlink()
        laptop.configure(f"Host *\n  User root\n  IdentitiesOnly yes\n  IdentityFile ~/.ssh/{identity}\n")

        assert run(laptop)[0] == "exit code 0"


def test_an_encrypted_key_that_no_agent_holds_is_named(laptop: Laptop) -> None:
    mine = made_key(laptop.home / ".ssh/mine")
    must("ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(mine))
    laptop.configure("Host *\n  User root\n  IdentityFile ~/.ssh/mine\n")

    assert run(laptop) == ("key refused", f"the private key is encrypted: {mine}", f"ssh-add {mine}")


def test_an_agent_that_does_not_answer_holds_nobody_up(laptop: Laptop, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        laptop.env["SSH_AUTH_SOCK"] = str(tmp_path / "deaf")

        assert run(laptop)[:2] == ("key refused", f"the ssh-agent at {tmp_path / 'deaf'} does not answer")


def test_an_agent_with_too_many_keys_is_what_it_is_called(laptop: Laptop, tmp_path: Path) -> None:
    with agent(laptop, tmp_path):
        for number in range(8):
            add(laptop, made_key(tmp_path / f"key{number}"))
        laptop.configure("Host *\n  User root\n")

        what, detail, fix = run(laptop)

    assert (what, "too many authentication failures" in detail) == ("key refused", True)
    assert "IdentitiesOnly yes" in fix


def test_the_agent_of_the_configuration_is_asked(laptop: Laptop, tmp_path: Path) -> None:
    with agent(laptop, tmp_path) as path:
        add(laptop, laptop.network.key)
        del laptop.env["SSH_AUTH_SOCK"]
        laptop.configure(f'Host *\n  User root\n  IdentityAgent "{path}"\n')

        assert run(laptop)[0] == "exit code 0"


def test_any_known_key_of_a_host_lets_it_in_whatever_others_it_has(laptop: Laptop, tmp_path: Path) -> None:
    anna = laptop.network.hosts["anna"]
    rsa = anna.folder / "rsa"  # /tmp is another one there
    if not rsa.exists():
        made_key(rsa, "rsa")
    kind, key, *_ = Path(f"{rsa}.pub").read_text().split()
    other = Path(f"{made_key(tmp_path / 'other')}.pub").read_text().split()
    with booted_otherwise(anna, f"HostKey={rsa}"):
        laptop.known_hosts.write_text(f"{anna.address} {kind} {key}\n")
        assert run(laptop)[0] == "exit code 0"

        laptop.known_hosts.write_text(f"{anna.address} {other[0]} {other[1]}\n")
        assert run(laptop)[0] == "host key changed"
        laptop.known_hosts.write_text(f"{anna.address} ssh-dss AAAAB3NzaC1kc3MAAAAA\n")
        assert run(laptop, *ANNA, "--accept-new")[0] == "host key unknown"


def test_a_host_key_alias_goes_without_the_port(laptop: Laptop) -> None:
    anna = laptop.network.hosts["anna"]
    laptop.known_hosts.write_text(f"palace {anna.known_hosts_line().partition(' ')[2]}")
    laptop.configure(
        f"Host palace\n  HostName {anna.address}\n  Port 2222\n  HostKeyAlias palace\n"
        f"Host *\n  User root\n  IdentityFile {laptop.network.key}\n"
    )
    anna.power_off()
    anna.boot("-p", "2222", "-p", "22")
    try:
        assert run(laptop, "--hosts", "palace")[0] == "exit code 0"
    finally:
        anna.reboot()


def test_files_with_blanks_and_tokens_are_found(laptop: Laptop) -> None:
    (laptop.home / ".ssh/my key").write_bytes(Path(laptop.network.key).read_bytes())
    (laptop.home / ".ssh/my key").chmod(0o600)
    address = laptop.network.hosts["anna"].address
    laptop.known_hosts.rename(laptop.home / f".ssh/known {address}")
    laptop.configure(
        f'Match host={address}\n  User root\nHost *\n  IdentityFile "{laptop.home}/.ssh/my key"\n'
        f'  UserKnownHostsFile "{laptop.home}/.ssh/known %h"\n'
    )

    assert run(laptop)[0] == "exit code 0"


def test_a_jump_host_may_be_written_as_an_address(laptop: Laptop) -> None:
    anna, ben = laptop.network.hosts["anna"], laptop.network.hosts["ben"]
    laptop.configure(
        f"Host inner\n  HostName {ben.address}\n  ProxyJump ssh://root@{anna.address}:22\n"
        f"Host *\n  User root\n  IdentityFile {laptop.network.key}\n"
    )
    done = laptop.json("run", "--hosts", "inner", "--", 'echo "${SSH_CONNECTION%% *}"')

    assert done["hosts"][0]["stdout"] == f"{anna.address}\n"


def test_a_dead_host_behind_a_jump_host_costs_its_own_time_only(laptop: Laptop) -> None:
    anna = laptop.network.hosts["anna"]
    dead = f"{anna.address.rpartition('.')[0]}.250"
    laptop.configure(
        f"Host dead\n  HostName {dead}\n  ProxyJump {anna.address}\n"
        f"Host *\n  User root\n  IdentityFile {laptop.network.key}\n"
    )
    laptop.known_hosts.write_text(laptop.network.known_hosts())

    done = laptop.fleet("run", "--hosts", "dead", "--connect-timeout", "2", "--", "true", timeout=60)

    assert done.returncode == 1
    assert " timeout " in done.stderr or " no route " in done.stderr


def test_a_proxy_command_is_a_line_of_shell_and_says_itself_why_it_fails(laptop: Laptop) -> None:
    keyed = f"Host *\n  User root\n  IdentityFile {laptop.network.key}\n"
    laptop.configure(f"{keyed}  ProxyCommand python3 {laptop.folder}/relay.py %h %p 2>/dev/null\n")
    (laptop.folder / "relay.py").write_text(RELAY)
    assert run(laptop)[0] == "exit code 0"

    laptop.configure(f"{keyed}  ProxyCommand sh -c 'echo x >>tries; echo no session for you >&2; exit 9'\n")
    what, detail, fix = run(laptop)

    assert (what, detail) == ("jump host", "ProxyCommand: no session for you (exit code 9)")
    assert fix == "run it by hand: sh -c 'echo x >>tries; echo no session for you >&2; exit 9'"
    assert (laptop.folder / "tries").read_text() == "x\n"  # at once
    laptop.configure(f"{keyed}  ProxyCommand sh -c 'echo x >>tries; echo Connection reset by peer >&2; exit 255'\n")
    assert run(laptop)[1] == "ProxyCommand: Connection reset by peer (exit code 255)"
    assert (laptop.folder / "tries").read_text() == 4 * "x\n"  # which may pass
    laptop.configure(f"{keyed}  ProxyCommand sh -c 'sleep 60 & echo no session for you >&2; exit 9'\n")
    began = time.monotonic()
    assert run(laptop, *ANNA, "--connect-timeout", "60")[:2] == (what, detail)
    assert time.monotonic() - began < 45  # though what it left behind holds the line for a minute
    laptop.configure(f"{keyed}  ProxyCommand sh -c 'echo whose turn is it? >&2; sleep 20'\n")
    assert run(laptop)[:2] == ("timeout", "ProxyCommand: whose turn is it?")


RELAY = """\
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while chunk := os.read(0, 65536):
        there.sendall(chunk)
threading.Thread(target=up, daemon=True).start()
while chunk := there.recv(65536):
    os.write(1, chunk)
"""


def test_a_configuration_that_openssh_refuses_is_said_in_its_words(laptop: Laptop) -> None:
    laptop.configure("Host *\n  Prot 22\n")

    what, detail, _ = run(laptop)

    assert what == "ssh config"
    assert "Bad configuration option: prot" in detail


def test_a_host_that_sends_its_stdin_back_shows_no_password(laptop: Laptop, shared: SharedKitchen) -> None:
    (laptop.network.hosts["anna"].root / ".bashrc").write_text("exec tee -a session.log\n")

    done = laptop.fleet("restart", *shared.flags, *ANNA)

    assert done.returncode == 1
    assert "***" in done.stdout + done.stderr
    assert shared.password not in done.stdout + done.stderr


def test_a_broken_python_before_a_good_one_hides_nothing(laptop: Laptop, shared: SharedKitchen) -> None:
    anna = laptop.network.hosts["anna"]
    program(anna, "python3", "echo 'pyenv: python3: command not found' >&2; exit 127")
    program(anna, "python3.11", 'exec /usr/bin/python3 "$@"')
    laptop.script("true")
    with booted_otherwise(anna, PATH):
        assert laptop.outcomes("start", *shared.flags, "--cmd", "./crunch.sh", *ANNA) == {"anna": "started"}


def test_two_names_of_one_host_are_one_waiter(laptop: Laptop, shared: SharedKitchen) -> None:
    anna = laptop.network.hosts["anna"]
    laptop.configure(
        f"Host palace\n  HostName {anna.address}\nHost *\n  User root\n  IdentityFile {laptop.network.key}\n"
    )
    laptop.script("true")
    laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh", "--until", "stopped", *ANNA)

    shown = laptop.json("status", "--hosts", f"{anna.address},palace", *shared.flags)

    assert [row["state"] for row in shown["waiters"]] == ["running", f"same as {anna.address}"]
    assert (shown["code"], sum(row["slots"] or 0 for row in shown["waiters"])) == (0, shown["waiters"][0]["slots"])


def test_a_second_factor_is_called_so(laptop: Laptop) -> None:
    with booted_otherwise(laptop.network.hosts["anna"], "AuthenticationMethods=publickey,publickey"):
        assert run(laptop)[:2] == ("key refused", "the key is right, and the host wants a second factor")


def test_two_hosts_of_one_name_are_two_waiters(laptop: Laptop, shared: SharedKitchen) -> None:
    anna, ben = laptop.network.hosts["anna"], laptop.network.hosts["ben"]
    laptop.script("true")
    both = ("--limit", "*.2,*.3")
    laptop.fleet("run", *both, "--", "hostname twin")
    try:
        laptop.fleet("start", *shared.flags, "--cmd", "./crunch.sh", "--until", "stopped", "--name", "w", *both)

        shown = laptop.json("status", *shared.flags, *both)

        assert [row["state"] for row in shown["waiters"]] == ["running", "running"]
        assert (shown["code"], len({row["since"] for row in shown["waiters"]})) == (0, 2)
    finally:
        for host in (anna, ben):
            host.reboot()
