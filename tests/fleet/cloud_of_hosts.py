"""A cloud whose instances are hosts: whatever EC2 launches is booted in the test's network, and its end is told to EC2.

Each instance gets a network namespace at the address that moto gave it, writes its SSH keys to its console and runs its
user-data, as cloud-init does. Its `shutdown` is one of its own: the machine that runs the tests is never asked to. So
is its clock, by which the guard goes: it stands still until a test lets hours pass.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests import metadata_service
from tests.conftest import eventually
from tests.fleet.environment import MOTO, ROOT, Ec2, answers
from tests.fleet.network import Network, NetworkHost
from tests.mongod import free_port

LOOK_S = 0.3


@contextmanager
def faulty_ec2_server() -> Iterator[str]:
    """moto behind `faulty_ec2`: the address of its API."""
    port = free_port()
    words = [sys.executable, "-m", "tests.fleet.faulty_ec2", str(port)]
    env = {**os.environ, **MOTO}
    server = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers("127.0.0.1", port), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(10)


@dataclass
class CloudOfHosts:
    """The account, and the hosts that its instances are."""

    endpoint: str
    network: Network
    hosts: dict[str, NetworkHost] = field(default_factory=dict)
    never_boot: int = 0
    """So many of the next instances stay dark."""
    dark: set[str] = field(default_factory=set)
    have_metadata: bool = False
    """Whether machines have EC2's metadata service, as spot machines need it."""
    subnet: str = ""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None

    @cached_property
    def ec2(self) -> Ec2:
        return Ec2.at(self.endpoint)

    def empty(self) -> None:
        """An account as new, without faults."""
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")).close()
        self.make(reset=True)

    def open(self) -> None:
        self.empty()
        client = self.ec2.client
        vpc = client.create_vpc(CidrBlock=f"{self.network.net}.0/24")["Vpc"]["VpcId"]
        made = client.create_subnet(VpcId=vpc, CidrBlock=f"{self.network.net}.128/25")
        self.subnet = made["Subnet"]["SubnetId"]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def close(self) -> None:
        self._stopping.set()
        if self._watcher:
            self._watcher.join(30)
        for host in self.hosts.values():
            host.unplug()

    # What goes wrong, and what was asked.

    def make(self, **wanted: Any) -> None:
        """Queue faults, set what pools have, hide fresh instances."""
        body = json.dumps(wanted).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/faults", body, method="POST")).close()

    def asked(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.endpoint}/calls") as reply:
            said: dict[str, Any] = json.load(reply)
        return said

    def calls(self, action: str) -> list[dict[str, Any]]:
        return [call for call in self.asked()["calls"] if call["action"] == action]

    # Instances.

    def instances(self, *states: str) -> dict[str, dict[str, Any]]:
        pages = self.ec2.client.get_paginator("describe_instances").paginate()
        found = [each for page in pages for one in page["Reservations"] for each in one["Instances"]]
        return {each["InstanceId"]: each for each in found if not states or each["State"]["Name"] in states}

    def living(self) -> set[str]:
        return set(self.instances("pending", "running"))

    def let_pass(self, seconds: float, *ids: str) -> None:
        """Let so much time pass on these machines, or on all of them, and wait until their guards have looked."""
        hosts = [host for id_, host in list(self.hosts.items()) if host.process is not None and (not ids or id_ in ids)]
        for host in hosts:
            Clock(host).advance(seconds)
        for host in hosts:
            Clock(host).wait_for_looks(2)

    def take_back(self, id_: str) -> None:
        """Announce to a spot machine that it has two minutes more."""
        notice_of(self.hosts[id_]).touch()

    def see_them_work(self) -> None:
        """Wait until each machine's waiter has given a sign of life, and its guard has seen it."""
        hosts = [host for host in list(self.hosts.values()) if host.process is not None]
        before = {host.name: sign_of_life(host) for host in hosts}
        eventually(lambda: all(Clock(host).stands or sign_of_life(host) != before[host.name] for host in hosts), 60)
        for host in hosts:
            Clock(host).wait_for_looks(2)

    def _watch(self) -> None:
        with ThreadPoolExecutor(max_workers=4) as boots:
            while not self._stopping.wait(LOOK_S):
                with suppress(OSError):
                    self._look(boots)

    def _look(self, boots: ThreadPoolExecutor) -> None:
        alive = self.instances("pending", "running")
        for id_, host in self.hosts.items():
            if host.process is None:
                continue
            if id_ not in alive:
                host.unplug()
            elif (host.folder / "off").exists() or host.process.poll() is not None:
                host.unplug()
                self.ec2.client.terminate_instances(InstanceIds=[id_])
        new = []  # maybe with the address of one that has just gone
        for id_, instance in alive.items():
            if id_ not in self.hosts and id_ not in self.dark and instance.get("SubnetId") == self.subnet:
                if self.never_boot:
                    self.never_boot -= 1
                    self.dark.add(id_)
                else:
                    new.append((id_, instance["PrivateIpAddress"]))
        for _ in boots.map(lambda each: self._boot(*each), new):
            pass

    def _boot(self, id_: str, address: str) -> None:
        number = int(address.rpartition(".")[2])
        host = NetworkHost(self.network, id_, address, number)
        said = self.ec2.client.describe_instance_attribute(InstanceId=id_, Attribute="userData")
        script = base64.b64decode(said["UserData"].get("Value", ""))
        bin_ = host.folder / "bin"
        bin_.mkdir(parents=True)
        (host.folder / "user-data").write_bytes(script)
        clock = Clock(host)
        clock.advance(10)
        for name, line in {"shutdown": f'echo "$*" >{host.folder}/off', **clock.programs}.items():
            (bin_ / name).write_text(f"#!/bin/sh\n{line}\n")
            (bin_ / name).chmod(0o755)
        program = host.folder / "metadata_service.py"  # there hosts see it, wherever the tests lie
        program.write_bytes(Path(metadata_service.__file__).read_bytes())
        service = f"python3 {program} {notice_of(host)} &\n"
        host.at_boot = (service if self.have_metadata else "") + (
            f"mount --bind {clock.file} /proc/uptime\n"
            f"PATH={bin_}:$PATH sh {host.folder}/user-data >{host.folder}/user-data.log 2>&1 &"
        )
        host.plug_in()
        if self.have_metadata:
            host.inside("ip", "addr", "add", f"{metadata_service.ADDRESS}/32", "dev", "lo")
        host.boot()
        self.hosts[id_] = host
        key = (host.folder / "host_key.pub").read_text()
        marks = ("-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----")
        self.make(consoles={id_: f"[  3.1] cloud-init\n{marks[0]}\n{key}{marks[1]}\n"})


def notice_of(host: NetworkHost) -> Path:
    """The file that stands for EC2's notice."""
    return host.folder / "notice"


def sign_of_life(host: NetworkHost) -> str:
    """What the waiter there has written for the guard."""
    for pid in host.pids():
        with suppress(OSError):
            return Path(f"/proc/{pid}/root/run/waiter/alive-0").read_text()
    return ""


@dataclass(frozen=True)
class Clock:
    """A machine's time as its guard sees it: /proc/uptime, `date`, and a `sleep` that is over soon."""

    host: NetworkHost

    @property
    def file(self) -> Path:
        return self.host.folder / "uptime"

    @property
    def looks(self) -> Path:
        """Grows by a byte each time the guard has slept."""
        return self.host.folder / "looks"

    @property
    def programs(self) -> dict[str, str]:
        return {
            "date": "read -r now _ </proc/uptime; echo $((1800000000 + ${now%%.*}))",
            "sleep": f"printf . >>{self.looks}; exec /bin/sleep 0.2",
        }

    @property
    def stands(self) -> bool:
        """Whether nobody looks any more: the machine has ended itself, or EC2 has ended it."""
        return self.host.process is None or (self.host.folder / "off").exists()

    def advance(self, seconds: float) -> None:
        now = float(self.file.read_text().split()[0]) if self.file.exists() else 0.0
        # Written over in one go, never longer or shorter: it is mounted there, and may be read at any moment.
        with self.file.open("r+b" if self.file.exists() else "wb", buffering=0) as file:
            file.write(f"{now + seconds:.2f} ".ljust(40, "0").encode() + b"\n")

    def wait_for_looks(self, count: int) -> None:
        def seen() -> int:
            return self.looks.stat().st_size if self.looks.exists() else 0

        wanted = seen() + count
        eventually(lambda: self.stands or seen() >= wanted, 60)
