"""How much memory the processes of a job have, and whether that is more than it may have.

Where the kernel does not keep the limit itself (`memory_groups`) the runner looks, the more often the less is left, and
kills the job. A limit of each process's addresses or data (RLIMIT_AS, RLIMIT_DATA) is no substitute: it is one for
every process of a job and not for all of them, counts what Java and CUDA reserve and never use, and ends in an error of
the program's own that nobody can tell from another. Only light modules: the runner's process imports this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import inf

MOST_S = 0.1
LEAST_S = 0.01
"""How long a job with a limit goes without a look: less, the nearer it was to its limit."""

FASTEST = 8 << 30
"""Bytes that a job can take in a second, as is supposed: so that it is looked at before it can have had too much."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """When the jobs with a limit are to be looked at, and which of them has too much."""

    def __init__(self) -> None:
        self.at = inf
        """When to look next."""

    def begins(self, limit: int | None, now: float) -> None:
        """A job begins, which may have so many bytes."""
        if limit is not None:
            self.at = min(self.at, now + _pause_s(limit))

    def look(self, limits: Sequence[tuple[list[int], int]], now: float) -> list[int]:
        """Which of the jobs, by their place in the list, have too much; each is given by its processes and its limit.

        What several processes share counts once; it is looked for only where it decides.
        """
        left = [limit - sum(map(_resident, pids)) for pids, limit in limits]
        over = [at for at, (pids, limit) in enumerate(limits) if left[at] < 0 and _have_more_than(limit, pids)]
        self.at = now + min((_pause_s(left[at]) for at in range(len(left)) if at not in over), default=inf)
        return over


def _pause_s(left: float) -> float:
    return min(MOST_S, max(LEAST_S, left / FASTEST))


def _have_more_than(limit: int, pids: list[int]) -> bool:
    """Whether these have more together, each asked twice, once the other way round.

    They are asked one after the other: what one shares and gives up before the next one is asked would count twice.
    """
    return all(sum(map(_proportional, some)) > limit for some in (pids, pids[::-1]))


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as line:
            return int(line.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """Its own memory, and its part of what it shares with others."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as lines:
            for line in lines:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # gone, or another user's: as much as it shows
    return _resident(pid)
