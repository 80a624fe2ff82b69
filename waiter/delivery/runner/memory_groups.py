"""Limits of memory that the kernel keeps: a group of cgroup v2 for each job that has one.

Only where such groups may be made: systemd has delegated the waiter's own group to it (`Delegate=yes`), and says so by
an attribute of the folder. A group with limits below it may hold no process itself, so whoever is in it moves into a
group beside those of the jobs. A job is born in its group, into which the runner goes for as long as that takes; with
more memory than its limit the kernel kills all of it. Only light modules: the runner's process imports this.
"""

from __future__ import annotations

import os
from contextlib import suppress

_OURS = "waiter"
"""The group of the processes that have none of their own: the waiter, the runner, their guards."""


class MemoryGroups:
    """Groups below one that is delegated; without such a base no job has one."""

    def __init__(self, base: str | None) -> None:
        self._base = base
        self._left: list[str] = []  # whose last process is not quite gone

    def enter(self, serial: int, limit: int | None) -> str | None:
        """Make a group with this limit and go into it; whoever is started now is born in it. None: there is none."""
        if self._base is None or limit is None:
            return None
        group = os.path.join(self._base, f"order-{os.getpid()}-{serial}")
        try:
            os.mkdir(group)
            _write(group, "memory.max", str(limit))
            _write(group, "memory.oom.group", "1")  # all of a job or nothing
            with suppress(FileNotFoundError):
                _write(group, "memory.swap.max", "0")  # else it would go on in swap, slowly
            _write(group, "cgroup.procs", "0")
        except OSError:
            with suppress(OSError):
                os.rmdir(group)
            return None
        return group

    def leave(self, group: str | None) -> None:
        """Go back to where the runner belongs."""
        if group is not None and self._base is not None:
            _write(os.path.join(self._base, _OURS), "cgroup.procs", "0")

    def has_killed(self, group: str | None) -> bool:
        """Whether the job had too much."""
        words = [line.split() for line in _lines(group, "memory.events")] if group is not None else []
        return any(name == "oom_kill" and count != "0" for name, count in words)

    def remove(self, group: str | None) -> None:
        """Take the group away, and whatever is left of the job."""
        self._left += [group] if group is not None else []
        for one in self._left[:]:
            with suppress(OSError):
                _write(one, "cgroup.kill", "1")
            try:
                os.rmdir(one)
            except FileNotFoundError:
                self._left.remove(one)
            except OSError:
                continue  # its processes are dying: with the next one, then
            else:
                self._left.remove(one)


def delegated(mounts: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> MemoryGroups:
    """Where groups for jobs may be made, with all that is there moved out of their way; else without a base."""
    path = next((line[3:] for line in _lines(*os.path.split(own)) if line.startswith("0::")), None)
    if path is None:
        return MemoryGroups(None)
    base = os.path.join(mounts, path.strip("/"))
    if os.path.basename(base) == _OURS and _is_delegated(os.path.dirname(base)):
        base = os.path.dirname(base)  # another waiter was here before
    if not _is_delegated(base) or "memory" not in " ".join(_lines(base, "cgroup.controllers")).split():
        return MemoryGroups(None)
    try:
        os.makedirs(os.path.join(base, _OURS), exist_ok=True)
        for pid in _lines(base, "cgroup.procs"):
            with suppress(ProcessLookupError):
                _write(os.path.join(base, _OURS), "cgroup.procs", pid)
        _write(base, "cgroup.subtree_control", "+memory")
    except OSError:
        return MemoryGroups(None)
    return MemoryGroups(base)


def _is_delegated(group: str) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with suppress(OSError, AttributeError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _lines(folder: str, name: str) -> list[str]:
    try:
        with open(os.path.join(folder, name)) as file:
            return file.read().splitlines()
    except OSError:
        return []


def _write(group: str, name: str, text: str) -> None:
    descriptor = os.open(os.path.join(group, name), os.O_WRONLY)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
