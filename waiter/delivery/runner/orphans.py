"""Orphans: what jobs have daemonised, and what they leave behind. On Linux they become the runner's children."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from waiter import processes
from waiter.delivery.runner import containment
from waiter.delivery.runner.slot import Running


class Orphans:
    """The children of this process that are no job's first process."""

    def __init__(self, tag: containment.ProcessTag, jobs: Collection[int]) -> None:
        """`jobs` are the first processes of all jobs; whoever made it goes on changing it."""
        self._tag = tag
        self._jobs = jobs
        self._children = _own_children()
        self._unkillable: set[int] = set()

    def are_none(self) -> bool:
        """Whether there is none, as far as the kernel tells: the usual case, and this is asked after every job."""
        return self._children is not None and len(self._listed()) <= len(self._jobs)

    def all(self) -> list[int]:
        listed = self._listed()
        if len(listed) <= len(self._jobs):
            return []
        return [pid for pid in map(int, listed) if pid not in self._jobs and pid not in self._unkillable]

    def _listed(self) -> list[bytes]:
        return [] if self._children is None else containment.read_whole(self._children).split()

    def of(self, running: Running) -> list[int]:
        """Those that this job made."""
        return [pid for pid in self.all() if self._is_of(pid, running)]

    def reaped(self, pid: int) -> None:
        """It is gone, and its number may be another's soon."""
        self._unkillable.discard(pid)

    def kill_strays(self, alive: Sequence[Running]) -> None:
        """Kill what is no living job's."""
        self._unkillable.update(containment.kill_children(lambda: self._strays(alive)))

    def _is_of(self, pid: int, running: Running) -> bool:
        facts = processes.facts_of(pid)
        if facts is None or facts.state == "Z":
            return False
        serial = self._tag.read(pid)
        return facts.session == running.pid if serial is None else serial == running.serial

    def _strays(self, alive: Sequence[Running]) -> list[int]:
        """Orphans of jobs that have ended. One without a tag goes when its last possible parent has ended."""
        return [pid for pid in self.all() if not self._is_claimed(pid, alive)]

    def _is_claimed(self, pid: int, alive: Sequence[Running]) -> bool:
        facts = processes.facts_of(pid)
        if facts is None or facts.state == "Z":
            return False
        serial = self._tag.read(pid)
        if serial is not None:
            return any(serial == running.serial for running in alive)
        return any(running.started <= facts.started + 0.02 for running in alive)


def _own_children() -> int | None:
    """The kernel's list of this process's children, to be read again and again; None where there is none."""
    path = f"/proc/self/task/{os.getpid()}/children"
    return os.open(path, os.O_RDONLY) if os.path.exists(path) else None
