"""The processes of this machine: whether one is still the one that it was, by pid, start time, boot and namespaces.

And the clock that goes with them, and what this process was started with. Only light modules of the standard library:
the runner process imports this.
"""

from __future__ import annotations

import os
import time

from waiter.light_dataclass import dataclass

TYPE_CHECKING = False  # `typing` is not needed here
if TYPE_CHECKING:
    from collections.abc import Mapping

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_LOCALES_OF_PYTHON = ("C.UTF-8", "C.utf8", "UTF-8")


def boottime() -> float:
    """Seconds that nobody sets and that go on while the machine sleeps; they start anew with each boot."""
    return time.clock_gettime(_CLOCK)


def with_given_locale(environ: Mapping[str, str]) -> dict[str, str]:
    """This environment, LC_CTYPE as this process was given it: where nobody chose a locale, Python sets one (PEP 538).

    As it is where the system does not tell with what a process was started.
    """
    env = dict(environ)
    if env.get("LC_CTYPE") in _LOCALES_OF_PYTHON:
        try:
            with open("/proc/self/environ", "rb") as file:
                given = [os.fsdecode(line[9:]) for line in file.read().split(b"\0") if line.startswith(b"LC_CTYPE=")]
        except OSError:
            return env
        if given:
            env["LC_CTYPE"] = given[0]
        else:
            del env["LC_CTYPE"]
    return env


@dataclass(frozen=True, slots=True)
class Facts:
    """What /proc/PID/stat says (proc(5))."""

    state: str
    group: int
    session: int
    start_ticks: int  # since boot

    @property
    def started(self) -> float:
        """Seconds since boot."""
        return self.start_ticks / _TICKS_PER_S

    @property
    def is_dead(self) -> bool:
        """It only waits for its parent to hear of its end."""
        return self.state in ("Z", "X")


def facts_of(pid: int) -> Facts | None:
    """None when the process is gone, or nobody tells."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as line:
            fields = line.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return Facts(fields[0].decode(), int(fields[2]), int(fields[3]), int(fields[19]))


def start_time(pid: int) -> str:
    """When the process started, in ticks since boot; empty if it is gone or nobody tells."""
    facts = facts_of(pid)
    return "" if facts is None or facts.is_dead else str(facts.start_ticks)


def machine_boot_id() -> str:
    """What tells this boot of the machine from every other one; empty where the system has no such thing."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def boot_id() -> str:
    """What tells this boot, and its `boottime`, from every other one; empty where the system has no such thing."""
    boot = machine_boot_id()
    clock = _inode("/proc/self/ns/time")  # another time namespace has another clock
    return f"{boot}/{clock}" if boot and clock else boot


def namespace() -> str:
    """The pid namespace of this process: a pid means nothing in another one."""
    return _inode("/proc/self/ns/pid")


def _inode(file: str) -> str:
    try:
        return str(os.stat(file).st_ino)  # noqa: PTH116 - it is no file
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pid names one process: a machine, from one boot to the next, and a pid namespace on it."""

    host: str
    boot: str
    namespace: str


def here() -> Place:
    return Place(os.uname().nodename, boot_id(), namespace())


def lives(pid: int, started: str, at: Place, here: Place) -> bool | None:
    """Whether the process that had this pid and start time at that place lives. None: it cannot be known from here."""
    if at != here:
        return None
    if started and (now := start_time(pid)):
        return now == started
    # Nothing told: it is gone, or a zombie, or another user's where /proc hides those.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return None
    return False if started else None
