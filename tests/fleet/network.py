"""A network of hosts on this machine: network namespaces on a bridge, each with sshd, home, /tmp, processes and name.

Killing a host's first process is a reboot, taking its link down is a cable cut. Everything has a name of its own, so
networks can stand beside each other, and `close` takes away exactly what was made.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import eventually

SSHD = "/usr/sbin/sshd"

_FIRST_PROCESS = """\
hostname {name}
mount --bind {folder}/root /root
mount --bind {folder}/tmp /tmp
mount -t tmpfs none /run
mkdir -m 755 /run/sshd
{at_boot}
exec {sshd}
"""


def must(*words: str, **options: object) -> str:
    """Run a command that has to succeed, and return its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr or done.stdout}"
    return str(done.stdout)


@dataclass
class NetworkHost:
    """One host."""

    network: Network
    name: str
    address: str
    number: int
    process: subprocess.Popen[bytes] | None = None
    at_boot: str = ""  # shell that runs before sshd listens

    @property
    def namespace(self) -> str:
        return f"{self.network.tag}h{self.number}"

    @property
    def folder(self) -> Path:
        return self.network.folder / self.name

    @property
    def root(self) -> Path:
        """What the host sees as /root."""
        return self.folder / "root"

    @property
    def waiter_home(self) -> Path:
        return self.root / ".waiter"

    @property
    def state_folder(self) -> Path:
        """What this host alone keeps there; homes may be shared."""
        return self.waiter_home / "hosts" / self.name

    def plug_in(self) -> None:
        """Make the namespace and its cable."""
        outer, inner = f"{self.namespace}o", f"{self.namespace}i"
        must("ip", "netns", "add", self.namespace)
        # The same for who had this address before: else this machine sends to that one until it has noticed.
        mac = f"02:00:00:00:00:{self.number:02x}"
        peer = ("peer", "name", inner, "address", mac, "netns", self.namespace)
        must("ip", "link", "add", outer, "type", "veth", *peer)
        must("ip", "link", "set", outer, "master", self.network.bridge, "up")
        self.inside("ip", "addr", "add", f"{self.address}/24", "dev", inner)
        self.inside("ip", "link", "set", inner, "up")
        self.inside("ip", "link", "set", "lo", "up")

    def boot(self, *extra: str) -> None:
        """Start sshd, with more of its options, as the first process, and wait until it listens."""
        for name in ("root", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "root").chmod(0o700)
        (self.folder / "tmp").chmod(0o1777)
        if not self.key.exists():
            must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        sshd = shlex.join([*self._sshd(), *extra])
        script = _FIRST_PROCESS.format(name=self.name, folder=self.folder, sshd=sshd, at_boot=self.at_boot)
        with (self.folder / "console").open("ab") as console:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *_UNSHARE, "sh", "-ec", script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        eventually(lambda: self.greets() or self.has_failed(), 60)
        assert not self.has_failed(), self.console()

    @property
    def key(self) -> Path:
        return self.folder / "host_key"

    def known_hosts_line(self) -> str:
        kind, key, *_ = Path(f"{self.key}.pub").read_text().split()
        return f"{self.address} {kind} {key}\n"

    def refresh(self) -> None:
        """Reboot with nothing in /root and /tmp, unless it is new."""
        if any(any((self.folder / name).iterdir()) for name in ("root", "tmp")):
            self.power_off()
            for name in ("root", "tmp"):
                shutil.rmtree(self.folder / name)
            self.boot()

    def _sshd(self) -> list[str]:
        options = {
            "HostKey": self.key,
            "AuthorizedKeysFile": f"{self.network.folder}/authorized_keys",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "UseDNS": "no",
            "LogLevel": "ERROR",
            "Subsystem": "sftp internal-sftp",
            "PasswordAuthentication": "no",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return [SSHD, "-D", "-e", "-f", "/dev/null", *words]

    def greets(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def has_failed(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def console(self) -> str:
        return (self.folder / "console").read_text()

    def power_off(self) -> None:
        """End the first process, and with it every other, at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None
            eventually(lambda: not self.pids())  # who still listens there keeps the next sshd from it

    def reboot(self) -> None:
        self.power_off()
        self.boot()

    def cut(self) -> None:
        """Pull the cable."""
        must("ip", "link", "set", f"{self.namespace}o", "down")

    def mend(self) -> None:
        must("ip", "link", "set", f"{self.namespace}o", "up")

    def inside(self, *words: str) -> str:
        """Run a command in the host's network."""
        return must("ip", "netns", "exec", self.namespace, *words)

    def pids(self) -> list[int]:
        """The processes that live on the host, by their numbers here."""
        listed = must("ip", "netns", "pids", self.namespace)
        return [int(pid) for pid in listed.split()]

    def commands(self) -> list[str]:
        """The command lines of the host's processes."""
        lines = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        return lines

    def unplug(self) -> None:
        self.power_off()
        # The kernel takes a namespace's cables away a moment later; who has this address next needs them now.
        subprocess.run(["ip", "link", "del", f"{self.namespace}o"], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", self.namespace], check=False, capture_output=True)


_UNSHARE = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]


@dataclass
class Network:
    """Hosts on one bridge. Make it with `build`."""

    folder: Path
    tag: str
    net: str
    hosts: dict[str, NetworkHost] = field(default_factory=dict)

    @property
    def bridge(self) -> str:
        return f"{self.tag}b"

    @property
    def address(self) -> str:
        """Where the hosts find this machine."""
        return f"{self.net}.1"

    @property
    def key(self) -> Path:
        """The private key that every host lets in."""
        return self.folder / "key"

    @classmethod
    def build(cls) -> Network:
        # Not below /tmp: the hosts have a /tmp of their own.
        folder = Path(tempfile.mkdtemp(prefix="waiter-network-", dir="/var/tmp"))
        for _ in range(50):
            network = cls(folder, f"w{secrets.token_hex(2)}", f"10.{random.randint(200, 250)}.{random.randint(0, 254)}")
            if f"{network.net}." not in must("ip", "-4", "addr"):
                break
        # With an address of its own: else it takes the lowest of its cables, and another one when that is taken away,
        # and hosts send to the old one for up to a minute.
        must("ip", "link", "add", network.bridge, "address", "02:00:00:00:01:00", "type", "bridge")
        must("ip", "addr", "add", f"{network.address}/24", "dev", network.bridge)
        must("ip", "link", "set", network.bridge, "up")
        must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(network.key))
        shutil.copy(f"{network.key}.pub", folder / "authorized_keys")
        return network

    def add(self, name: str) -> NetworkHost:
        """Another host, up and listening."""
        number = len(self.hosts) + 2
        host = NetworkHost(self, name, f"{self.net}.{number}", number)
        self.hosts[name] = host
        host.plug_in()
        host.boot()
        return host

    def known_hosts(self) -> str:
        """The right lines for all hosts."""
        return "".join(host.known_hosts_line() for host in self.hosts.values())

    def close(self) -> None:
        for host in self.hosts.values():
            host.unplug()
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def why_not() -> str | None:
    """Why this machine can hold no network; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    needed = ["ip", "unshare", "ssh-keygen", SSHD]
    missing = [program for program in needed if not shutil.which(program)]
    return f"{', '.join(missing)} not installed" if missing else None
