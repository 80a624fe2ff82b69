"""What the machine says of itself: memory and load. Zero or plenty where a system does not tell."""

from __future__ import annotations

import os
from pathlib import Path

from waiter.delivery import cgroup

PLENTY = 1 << 62

GUARD_FOLDER = Path("/run/waiter")
"""Where a launched machine's guard looks for signs of life, and tells its process."""


def host_load() -> float:
    """The load average of the last minute."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0


def free_memory() -> int:
    """Bytes that new processes could use: by the kernel's own estimate (MemAvailable in /proc/meminfo), and within the
    limits of this process's cgroup."""
    return int(min(_available(), cgroup.free_memory(), PLENTY))


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return PLENTY
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return PLENTY if kilobytes is None else int(kilobytes) * 1024


def resident_bytes(*pids: int | None) -> int:
    """Resident memory of this process and of the given ones."""
    total = 0
    for pid in ("self", *pids):
        if pid is not None:
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (OSError, ValueError):
                continue
    return total * os.sysconf("SC_PAGE_SIZE")


def is_guarded(folder: Path = GUARD_FOLDER) -> bool | None:
    """Whether the guard of a launched machine lives; None where there is none to be, or nobody can tell."""
    try:
        os.kill(int((folder / "guard").read_text()), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is root's
    except (OSError, ValueError):
        return None
    return True
