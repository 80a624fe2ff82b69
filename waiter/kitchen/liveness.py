"""Whether a process of this machine is still the one that it was: by pid, start time, boot and pid namespace."""

from __future__ import annotations

import os
import time
from pathlib import Path


def steady_clock() -> float:
    """Seconds that nobody sets and that go on while the machine sleeps; they start anew with each boot."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """What tells this boot from every other one; empty where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def namespace() -> str:
    """The pid namespace of this process: a pid means nothing in another one."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116 - it is no file
    except OSError:
        return ""


def start_time(pid: int) -> str:
    """When the process started, in ticks since boot (proc(5), stat, field 22); empty if it is gone or nobody tells."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in (b"Z", b"X") else fields[18].decode()


def is_dead(pid: int, started: str, in_namespace: str) -> bool:
    """Surely dead. What cannot be known counts as alive: then the lease decides."""
    if in_namespace != namespace():
        return False
    if started and (now := start_time(pid)):
        return now != started
    # Nothing told: it is gone, or a zombie, or another user's where /proc hides those.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(started)
