"""What can be wrong with a host, and the line that fixes it.

Every verb speaks of a host's problem in these words, so `doctor` and a failed `start` say the same about the same host.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum

from waiter.fleet.inventory import Host


class Problem(StrEnum):
    """Why a host cannot do what was asked."""

    NOT_RUNNING = "not running"
    NO_NAME = "unknown name"
    NO_ADDRESS = "no address"
    NO_ROUTE = "no route"
    REFUSED = "connection refused"
    TIMEOUT = "timeout"
    NOT_SSH = "no SSH there"
    HOST_KEY_UNKNOWN = "host key unknown"
    HOST_KEY_CHANGED = "host key changed"
    KEY_REFUSED = "key refused"
    WRONG_USER = "wrong user"
    JUMP_HOST = "jump host"
    CONFIG = "ssh config"
    CONNECTION_LOST = "connection lost"
    NO_REPLY = "no reply"
    NO_PYTHON = "no Python 3.11"
    UNSAFE_FOLDER = "unsafe folder"
    NOT_WRITABLE = "not writable"
    DISK = "disk full"
    CLOCK = "clock off"
    KITCHEN = "kitchen unreachable"
    OLD_WAITER = "older Waiter"
    OLD_SCRIPT = "older script"
    OTHER_SETTINGS = "other settings"
    UPLOAD = "upload failed"
    TUNNEL = "no tunnel"
    NOT_STARTED = "not started"
    FAILED = "failed"
    STILL_DRAINING = "still draining"
    LEFT_ALONE = "left alone"
    INTERRUPTED = "interrupted"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that keeps a host from working: what, the facts, and what to do about it."""

    problem: Problem
    detail: str
    fix: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.detail}" if self.detail else str(self.problem)


class HostError(Exception):
    """A host could not do what was asked. It ends in that host's row of the table, never in the user's face."""

    def __init__(self, problem: Problem, detail: str = "", fix: str = "", *, is_lasting: bool = False) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.is_lasting = is_lasting  # trying again does not help, though it does with others of this name
        self.detail = " ".join(detail.replace("\nhint: ", "; ").split())  # a cell of a table, in one line
        self.fix = fix

    def finding(self, host: Host) -> Finding:
        """With the line that fixes it, where the raiser gave none."""
        return Finding(self.problem, self.detail, self.fix or fix(self.problem, host))


def ssh_line(host: Host, *words: str) -> str:
    """The `ssh` command that does the same by hand."""
    port = ["-p", str(host.port)] if host.port else []
    return shlex.join(["ssh", *port, f"{host.user}@{host.address}" if host.user else host.address, *words])


def known_hosts_name(host: Host) -> str:
    """How known_hosts calls this host."""
    return host.address if host.port in (None, 22) else f"[{host.address}]:{host.port}"


def fix(problem: Problem, host: Host) -> str:
    """The line that fixes this problem on this host."""
    port = host.port or 22
    region = f" --region {host.region}" if host.region else ""
    lines = {
        Problem.NOT_RUNNING: f"aws ec2 start-instances{region} --instance-ids {host.instance_id or 'ID'}",
        Problem.NO_NAME: f"check the spelling of {host.address}, or add it to ~/.ssh/config",
        Problem.NO_ADDRESS: "--address private, or give the instance a public address",
        Problem.NO_ROUTE: f"check VPN, subnet, security group (TCP {port} from here); or a ProxyJump in ~/.ssh/config",
        Problem.REFUSED: f"start sshd on {host.address}, or give its port in ~/.ssh/config: Port N",
        Problem.TIMEOUT: f"open TCP {port} from here in the security group, or --connect-timeout 30",
        Problem.NOT_SSH: f"what listens on {host.address} port {port} is no sshd; give its port in ~/.ssh/config",
        Problem.HOST_KEY_UNKNOWN: f"{ssh_line(host, 'true')}   (shows and remembers the key), or --accept-new",
        Problem.HOST_KEY_CHANGED: f"if the host was rebuilt: ssh-keygen -R {shlex.quote(known_hosts_name(host))}",
        Problem.KEY_REFUSED: "--user NAME, or an IdentityFile for it in ~/.ssh/config, or ssh-add the key",
        Problem.WRONG_USER: "--user NAME, or user = NAME under [fleet] in waiter.toml",
        Problem.JUMP_HOST: "check ProxyJump or ProxyCommand in ~/.ssh/config",
        Problem.CONFIG: f"ssh -G {shlex.quote(host.address)}   must print a configuration",
        Problem.CONNECTION_LOST: "run it again: what is there already is skipped",
        Problem.NO_REPLY: f"{ssh_line(host, 'exit 0')}   must print nothing: look at its login shell and .bashrc",
        Problem.NO_PYTHON: f"{ssh_line(host, 'sudo dnf install -y python3.11')}   (or apt-get install python3)",
        Problem.UNSAFE_FOLDER: ssh_line(host, "ls -la ~/.waiter") + "   then move away what is a symlink or not yours",
        Problem.NOT_WRITABLE: f"{ssh_line(host, 'touch ~/.waiter')}   must work: look at its home's owner and mount",
        Problem.DISK: ssh_line(host, "df -h ~"),
        Problem.CLOCK: ssh_line(host, "sudo timedatectl set-ntp true"),
        Problem.KITCHEN: "open the kitchen's port for the hosts, or --kitchen-from-hosts URL",
        Problem.OLD_WAITER: "waiter fleet restart",
        Problem.OLD_SCRIPT: "waiter fleet restart",
        Problem.OTHER_SETTINGS: "waiter fleet restart",
        Problem.UPLOAD: "run it again: what is there already is skipped",
        Problem.TUNNEL: "--tunnel-port N with a port that is free there, and AllowTcpForwarding yes in its sshd_config",
        Problem.NOT_STARTED: "waiter fleet logs",
        Problem.FAILED: "waiter fleet logs",
        Problem.STILL_DRAINING: "wait, then run it again for the hosts that are left, or with a longer --grace",
        Problem.LEFT_ALONE: "when the first batch is back, run it again",
        Problem.INTERRUPTED: "waiter fleet status, then run it again",
        Problem.UNEXPECTED: f"{ssh_line(host, 'true')}   if that works, this is a bug of Waiter: please report it",
    }
    return lines[problem]
