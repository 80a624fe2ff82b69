"""Finding and killing the processes of a job, whatever they did to get away.

Linux: the runner is a subreaper, so what daemonises becomes its child; a tag tells whose it was. Elsewhere process
groups have to do. Only light modules of the standard library: the runner process imports this.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable

KILL_S = 1.0
"""How long killed processes are waited for: only those in the kernel's or another user's hands take long."""

IS_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_RLIMIT_LOCKS = 10  # linux/resource.h; no kernel since 2.4.24 heeds it
_HALF_A_PAGE = 2048


def become_subreaper() -> bool:
    """Let orphaned descendants become children of this process. False where there is no such thing."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hear_of_parents_death(number: int) -> bool:
    """Let the kernel send this signal when the thread that started this process is gone, also after an exec.

    False where there is no such thing.
    """
    return _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> bool:
    if not IS_LINUX:
        return False
    import ctypes  # only here: it weighs 1 MB

    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


class ProcessTag:
    """A number that a process has from its parent and keeps through fork, exec, setsid and `env -i`.

    It is the soft limit of "file locks", which Linux hands down and otherwise ignores; /proc/PID/limits shows it for
    processes of any user. Numbers of other runners (a waiter may run within an order of another) are told apart.
    """

    def __init__(self, mark: int | None = None) -> None:
        """`mark` is that of another tag which this one is to read."""
        self.mark = int.from_bytes(os.urandom(4)) if mark is None else mark
        self._base = self.mark << 30
        self._hard = resource.getrlimit(_RLIMIT_LOCKS)[1] if IS_LINUX else 0
        self._is_possible = self._hard == resource.RLIM_INFINITY

    def apply(self, serial: int) -> None:
        """Whatever this process spawns from now on bears the number, until the next one."""
        if self._is_possible:
            resource.setrlimit(_RLIMIT_LOCKS, (self._base + serial, self._hard))

    def number(self, serial: int) -> int | None:
        """What a process must call `bear` with to bear it; None where there is no such thing."""
        return self._base + serial if self._is_possible else None

    def read(self, pid: int) -> int | None:
        """The serial that a process bears; None when it bears none of ours."""
        try:
            with open(f"/proc/{pid}/limits", "rb") as limits:
                words = limits.read().partition(b"Max file locks")[2].split(maxsplit=1)
        except OSError:
            return None
        number = int(words[0]) - self._base if words and words[0].isdigit() else -1
        return number if 0 <= number < 1 << 30 else None


def bear(number: int | None) -> None:
    """Let this process and its descendants bear that number, which a tag of another process has given."""
    if number is not None:
        resource.setrlimit(_RLIMIT_LOCKS, (number, resource.RLIM_INFINITY))


def children(pid: int) -> list[int]:
    """The direct children of a process; empty when it is gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as listed:
                found.extend(map(int, listed.read().split()))
        except OSError:
            continue  # that thread is gone; the others have children of their own
    return found


def read_whole(descriptor: int) -> bytes:
    """All of an open file of short lines in /proc, from its beginning: one call gives no more than a page of it."""
    read = os.pread(descriptor, 1 << 16, 0)
    if len(read) < _HALF_A_PAGE:  # there was room for the next line
        return read
    while more := os.pread(descriptor, 1 << 16, len(read)):
        read += more
    return read


def trees(roots: list[int]) -> list[int]:
    """These processes and all their descendants."""
    found = dict.fromkeys(roots)
    todo = list(roots)
    while todo:
        new = [child for child in children(todo.pop()) if child not in found]
        found.update(dict.fromkeys(new))
        todo.extend(new)
    return list(found)


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


def kill_children(find: Callable[[], list[int]], within_s: float = KILL_S) -> list[int]:
    """Kill children of this process until `find` finds none; returns what could not be killed in that time.

    What they leave behind becomes a child of this process in turn, so `find` must look anew each time.
    """
    ends = time.monotonic() + within_s
    while victims := find():
        family = trees(victims)
        send(family, signal.SIGSTOP)  # a fork bomb stops multiplying before it is killed
        send(family, signal.SIGKILL)
        if not sum(map(_is_reaped, victims)):
            if time.monotonic() >= ends:
                return victims
            time.sleep(0.001)
    return []


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def reap(before: Callable[[int], None]) -> tuple[int, int, int] | None:
    """Pid, wait status and peak memory (bytes) of one child that has ended; None when there is none.

    `before` is called while the pid is still its own: until it is reaped nobody else can have the number. macOS lets
    Python look only from 3.13 on; there `before` comes a moment late.
    """
    try:
        if hasattr(os, "waitid"):
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return None
            before(ended.si_pid)
            pid, status, usage = os.wait4(ended.si_pid, 0)
        else:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                return None
            before(pid)
    except ChildProcessError:
        return None
    return pid, status, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
