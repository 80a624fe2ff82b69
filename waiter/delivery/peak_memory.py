"""How much memory a worker process had at most during one call. Linux alone can begin anew to measure it."""

from __future__ import annotations

import os
import re

_HIGHEST = re.compile(rb"VmHWM:\s*(\d+) kB")
_FORGET = b"5"  # proc_pid_clear_refs(5): set the highest resident size to the present one


class PeakMemory:
    """Of this process. Where it cannot be told it is 0."""

    def __init__(self) -> None:
        self._forget = _opened("/proc/self/clear_refs", os.O_WRONLY)
        self._status = _opened("/proc/self/status", os.O_RDONLY)

    def forget(self) -> None:
        """A call begins."""
        if self._forget is not None:
            try:
                os.write(self._forget, _FORGET)
            except OSError:
                self._forget = None  # a kernel that does not let us: from now on it is the highest of all calls

    def peak(self) -> int:
        """Bytes at most since the last `forget`."""
        if self._status is None:
            return 0
        try:
            found = _HIGHEST.search(os.pread(self._status, 4096, 0))
        except OSError:
            return 0
        return int(found[1]) * 1024 if found else 0


def _opened(path: str, how: int) -> int | None:
    try:
        return os.open(path, how | os.O_CLOEXEC)
    except OSError:
        return None
