"""Whether a process of this machine is still the one that it was: by pid, start time, boot and namespaces."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

from waiter.orders import Shift


def steady_clock() -> float:
    """Seconds that nobody sets and that go on while the machine sleeps; they start anew with each boot."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """What tells this boot, and its steady clock, from every other one; empty where the system has no such thing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    clock = _inode("/proc/self/ns/time")  # another time namespace has another steady clock
    return f"{boot}/{clock}" if clock else boot


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
    return Place(socket.gethostname(), boot_id(), namespace())


def start_time(pid: int) -> str:
    """When the process started, in ticks since boot (proc(5), stat, field 22); empty if it is gone or nobody tells."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in (b"Z", b"X") else fields[18].decode()


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


def ended(shift: Shift) -> Shift:
    """The open shift of a process that is dead: its lease ended with its last heartbeat, whatever is stored."""
    return replace(shift, lease_until=min(shift.lease_until, shift.heartbeat_at))
