"""How many files the runner may have open: its slots' pipes can be more than the system gives a process by default.

Only light modules of the standard library: the runner process imports this.
"""

from __future__ import annotations

import fcntl
import os
import resource

OWN = 32
"""What the runner needs beside its slots: its own, and those that are open for a moment while a command starts."""


class OpenFiles:
    """The limit, raised for this process alone: commands get the one that their waiter was started with.

    There are programs that close every number up to the limit when they start.
    """

    def __init__(self, slots: int, files_per_slot: int) -> None:
        """Raises OSError when the system does not allow as many."""
        needed = OWN + slots * files_per_slot + _handed_on()
        self._given, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._needed = needed
        self.is_raised = 0 <= self._given < needed  # RLIM_INFINITY is -1
        if not self.is_raised:
            return
        if 0 <= self._hard < needed:
            fit = (self._hard - OWN) // files_per_slot
            raise OSError(
                f"{slots:,} slots need {needed:,} open files, and this machine allows a process {self._hard:,}"
                f"\nhint: give -j {max(1, fit)}, or raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit)"
            )
        self.raise_()

    def out_of_the_way(self, descriptor: int) -> int:
        """The same file by a number that leaves the low ones free, where the limit is raised: posix_spawn hands on none
        above the limit of the commands."""
        if not self.is_raised:
            return descriptor
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, OWN)
        os.close(descriptor)
        return moved

    def raise_(self) -> None:
        if self.is_raised:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._needed, self._hard))

    def give_back(self) -> None:
        """Until `raise_`, nothing new fits: but for what a command inherits, that is."""
        if self.is_raised:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._given, self._hard))


def _handed_on() -> int:
    """How many descriptors are among the numbers of the slots: who starts this process gives them as it has them."""
    try:
        with os.scandir("/dev/fd") as numbers:
            return sum(int(one.name) >= OWN for one in numbers)
    except OSError:
        return 0
