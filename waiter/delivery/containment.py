"""Finding and killing the processes of an order, whatever they did to get away.

Linux: the runner is a subreaper, so what daemonises becomes its child; /proc tells the rest. Elsewhere process
groups have to do. Only light modules of the standard library: the runner process imports this.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time

MARK = "WAITER_RUN"
"""A variable that tells which run of which runner a process belongs to: `nonce.serial`."""

SWEEP_S = 5.0
_IS_LINUX = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def become_subreaper() -> bool:
    """Let orphaned descendants become children of this process. False where there is no such thing."""
    if not _IS_LINUX:
        return False
    import ctypes  # only here: it weighs 1 MB

    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def children(pid: int) -> list[int]:
    """The direct children of a process; empty when it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as listed:
                found.extend(map(int, listed.read().split()))
    except OSError:
        pass
    return found


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        found.extend(child for child in children(parent) if child not in found)
    return found


def mark(pid: int) -> str | None:
    """The value of MARK in the process's environment; None without one, or when it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            variables = environ.read().split(b"\0")
    except OSError:
        return None
    prefix = MARK.encode() + b"="
    return next((v[len(prefix) :].decode("ascii", "replace") for v in variables if v.startswith(prefix)), None)


def stat(pid: int) -> tuple[str, int, int, float] | None:
    """State letter, parent, session and start time (seconds since boot) of a process (proc(5), /proc/pid/stat)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as line:
            fields = line.read().rpartition(b")")[2].split()
    except OSError:
        return None
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]) / ticks_per_s


def send(pids: list[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def send_group(leader: int, number: int) -> None:
    """Send a signal to a process group that may be gone."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


def sweep(nonce: str, leaders: set[int]) -> None:
    """Kill what a runner left behind that died itself: by session, by mark, and their descendants.

    `leaders` are the first processes of its jobs. A process with another runner's mark is never touched, so a
    process id that was given out anew is safe.
    """
    if not _IS_LINUX:
        for leader in leaders:
            send_group(leader, signal.SIGKILL)
        return
    ends = time.monotonic() + SWEEP_S
    while time.monotonic() < ends:
        victims = _left_behind(nonce, leaders)
        if not victims:
            return
        send(victims, signal.SIGSTOP)  # a fork bomb stops multiplying before it is killed
        send(victims, signal.SIGKILL)
        time.sleep(0.005)


def _left_behind(nonce: str, leaders: set[int]) -> list[int]:
    parents: dict[int, int] = {}
    victims: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit() or (facts := stat(int(name))) is None or facts[0] in "ZX":
            continue
        pid, (_, parent, session, _) = int(name), facts
        parents[pid] = parent
        marked = mark(pid)
        if session in leaders if marked is None else marked.partition(".")[0] == nonce:
            victims.add(pid)
    is_growing = True
    while is_growing:
        more = {pid for pid, parent in parents.items() if parent in victims and pid not in victims}
        victims |= more
        is_growing = bool(more)
    return sorted(victims - {os.getpid()})


def sweep_main() -> None:
    """What the guard of a runner runs when the runner died:

    `nonce folder`; the folder's file `slots` names the leaders.
    """
    nonce, folder = sys.argv[2], sys.argv[3]
    try:
        with open(os.path.join(folder, "slots"), "rb") as file:
            content = file.read()
        leaders = {pid for (pid,) in struct.iter_unpack("<i", content) if pid}
    except OSError:
        leaders = set()
    sweep(nonce, leaders)
    remove(folder)


def remove(folder: str) -> None:
    """Delete a folder of plain files; what is gone already is fine."""
    try:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError:
        return
