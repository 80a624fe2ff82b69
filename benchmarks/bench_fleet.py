"""How long 50 hosts take, beside parallel-ssh, in one run.

    python benchmarks/bench_fleet.py [--hosts 50] [--rounds 3]

The hosts are loopback addresses, each with a home of its own; an sshd listens on 16 of them at most. Laptop and hosts
share this machine's cores, so a `start` pays for 50 Python processes that a real fleet spreads over 50 machines. The
kitchen is a file, for the same reason. Goals: `fleet run -- true` in 1.2 times `parallel-ssh true`, `fleet start` of
hosts that have the zipapp in 2.5 times, and a zipapp of 4 MB at most. Ends with exit code 1 if one is missed. Needs
sshd and parallel-ssh (Debian: openssh-server, pssh), and root, because sshd does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from waiter.fleet.zipapp import build_zipapp

ROOT = Path(__file__).parent.parent
GOAL_RUN, GOAL_START, GOAL_BYTES = 1.2, 2.5, 4_000_000
MOST_ADDRESSES = 16  # sshd listens on no more
PSSH = shutil.which("parallel-ssh") or shutil.which("pssh")


@dataclass(frozen=True)
class Hosts:
    """Addresses, all with one port."""

    folder: Path
    addresses: list[str]
    port: int

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder / "laptop"), "PYTHONPATH": str(ROOT)}

    def typed(self, *words: str) -> float:
        """Seconds that a command takes. Fails with what it said."""
        began = time.monotonic()
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)[:200]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return time.monotonic() - began

    def fleet(self, verb: str, *words: str) -> float:
        hosts = ",".join(f"{address}:{self.port}" for address in self.addresses)
        return self.typed(sys.executable, "-m", "waiter", "fleet", verb, "--hosts", hosts, "--parallel", "50", *words)

    def pssh(self) -> float:
        hosts = [word for address in self.addresses for word in ("-H", address)]
        options = f"-F {self.folder}/laptop/.ssh/config"
        return self.typed(str(PSSH), "-p", "50", "-x", options, *hosts, "true")


@contextmanager
def hosts(count: int) -> Iterator[Hosts]:
    """So many addresses where sshd lets in."""
    with tempfile.TemporaryDirectory(prefix="waiter-bench-") as name:
        folder = Path(name)
        addresses = [f"127.0.1.{number}" for number in range(1, count + 1)]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        prepare(folder, addresses, port)
        sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", f"{folder}/sshd"]
        servers = []
        try:
            for first in range(0, count, MOST_ADDRESSES):
                own = [
                    word
                    for each in addresses[first : first + MOST_ADDRESSES]
                    for word in ("-o", f"ListenAddress={each}")
                ]
                servers.append(subprocess.Popen([*sshd, *own], stderr=subprocess.DEVNULL))
                wait_for(addresses[first], port)
            yield Hosts(folder, addresses, port)
        finally:
            for server in servers:
                server.kill()
                server.wait()


def prepare(folder: Path, addresses: list[str], port: int) -> None:
    """Keys, sshd's configuration, and the laptop's."""
    for key in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    homes = ""
    for address in addresses:
        home = folder / "homes" / address
        home.mkdir(parents=True)
        homes += f"Match LocalAddress {address}\n  SetEnv HOME={home}\n"
    (folder / "sshd").write_text(
        f"Port {port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/key.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nUseDNS no\nMaxStartups 500\nPasswordAuthentication no\nLogLevel ERROR\n"
        f"Subsystem sftp internal-sftp\n{homes}"
    )
    ssh = folder / "laptop/.ssh"
    ssh.mkdir(parents=True)
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    (ssh / "known_hosts").write_text("".join(f"[{address}]:{port} {kind} {key}\n" for address in addresses))
    (ssh / "config").write_text(
        f"Host *\n  Port {port}\n  User root\n  IdentityFile {folder}/key\n  UserKnownHostsFile {ssh}/known_hosts\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def wait_for(address: str, port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("sshd does not listen")


def measured(rounds: int, network: Hosts) -> dict[str, float]:
    """The median of each, taken in turn, so that a busy moment hits all of them."""
    work = ["--kitchen-from-hosts", str(network.folder / "kitchen.sqlite"), "--cmd", "/bin/true", "--until", "stopped"]
    network.fleet("push")
    acts: dict[str, Callable[[], float]] = {
        "parallel-ssh true": network.pssh,
        "fleet run -- true": lambda: network.fleet("run", "--", "true"),
        "fleet start": lambda: network.fleet("start", "--jobs", "1", *work),
        "fleet start, all running": lambda: network.fleet("start", "--jobs", "1", *work),
        "fleet status": lambda: network.fleet("status"),
        "fleet stop": lambda: network.fleet("stop"),
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            times[name].append(act())
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="50 hosts beside parallel-ssh.")
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if PSSH is None or os.geteuid():
        print("skipped: needs root, sshd and parallel-ssh")
        return 0
    with hosts(asked.hosts) as network:
        times = measured(asked.rounds, network)
    floor = times["parallel-ssh true"]
    for name, seconds in times.items():
        print(f"{name:<28}{seconds:>7.2f} s {seconds / floor:>6.2f} x")
    size = build_zipapp().path.stat().st_size
    print(f"{'zipapp':<28}{size / 1e6:>7.2f} MB")
    missed = [
        times["fleet run -- true"] > GOAL_RUN * floor,
        times["fleet start"] > GOAL_START * floor,
        size > GOAL_BYTES,
    ]
    return int(any(missed))


if __name__ == "__main__":
    sys.exit(main())
