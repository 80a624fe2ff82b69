"""What this process's cgroup may use, where that is less than the machine has: a container, a systemd unit, a job.

Both versions of Linux's cgroups, and all groups above the own one: each of them limits what is below it. Where nothing
is limited, or nothing tells, it is infinite.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

from waiter.light_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class System:
    """Where the kernel shows its cgroups."""

    mounts: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")


def free_memory(system: System | None = None) -> float:
    """Bytes that may still be used. What the kernel can drop at once, files that nobody has read lately, is free."""
    return min(map(_free_memory_in, _groups("memory", system or System())), default=inf)


def memory(system: System | None = None) -> float:
    """Bytes that may be used in all."""
    return min(map(_memory_limit, _groups("memory", system or System())), default=inf)


def cpus(system: System | None = None) -> float:
    """So many CPUs' time may be used."""
    return min(map(_cpus_in, _groups("cpu", system or System())), default=inf)


def _memory_limit(group: Path) -> float:
    return min(_number(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes"))


def _free_memory_in(group: Path) -> float:
    limit = _memory_limit(group)
    if limit == inf:
        return inf
    used = min(_number(group / name) for name in ("memory.current", "memory.usage_in_bytes"))
    stat = dict(line.split()[:2] for line in _text(group / "memory.stat").splitlines())
    droppable = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    return inf if used == inf else max(0.0, limit - max(0.0, used - droppable))


def _cpus_in(group: Path) -> float:
    quota, _, period = _text(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else inf


def _groups(controller: str, system: System) -> Iterator[Path]:
    """The folders of the own group and of all above it, as far as they can be seen."""
    for line in _text(system.own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounts = [system.mounts / controllers, system.mounts / controller] if controllers else [system.mounts]
        for mount in filter(Path.is_dir, mounts):
            # In a container the path may be the host's, while the container's own group is all that is to be seen.
            group = mount / path.strip("/")
            yield from (above for above in (group, *group.parents) if above.is_relative_to(mount))


def _number(file: Path) -> float:
    text = _text(file)
    return int(text) if text.isdigit() else inf


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""
