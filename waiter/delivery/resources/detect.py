"""What the host has that orders may need: found out, or said by the user (`--has`)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from waiter.delivery import cgroup
from waiter.delivery.host_metrics import PLENTY
from waiter.needs import Needs

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""What tells a program which GPUs it may use: ids, separated by commas."""

_ASKING_S = 20.0
"""A driver that wakes its GPUs first takes seconds to name them."""


class Host:
    """What there is for all orders together; `has` is what the user says of it."""

    def __init__(self, has: Needs) -> None:
        self.has = has

    @cached_property
    def cpus(self) -> float:
        if self.has.cpus is not None:
            return self.has.cpus
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(float(count), cgroup.cpus())

    @cached_property
    def memory(self) -> int:
        return int(min(_total_memory(), cgroup.memory(), PLENTY)) if self.has.memory is None else self.has.memory

    @cached_property
    def gpus(self) -> tuple[str, ...]:
        """Their ids: the numbers that the driver gives them, or what CUDA_VISIBLE_DEVICES lists."""
        if self.has.gpus is None:
            return gpu_ids(os.environ)
        found = gpu_ids(os.environ)
        return found[: self.has.gpus] if len(found) >= self.has.gpus else tuple(map(str, range(self.has.gpus)))

    def total(self, wanted: Needs) -> Needs:
        """All that there is of what is wanted; who wants no GPU need not wait for the driver to count them."""
        return Needs(self.cpus, self.memory, len(self.gpus) if wanted.gpus else 0)


def gpu_ids(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs of this host, or those of them that this process may use."""
    listed = next((environ[name] for name in VISIBLE if name in environ), None)
    by_uuid = _asked()
    if listed is None:
        return tuple(by_uuid.values())
    ids = [one.strip() for one in listed.split(",") if one.strip() and one.strip() != "-1"]
    return tuple(dict.fromkeys(_numbered(one, by_uuid) for one in ids))


def _numbered(one: str, by_uuid: Mapping[str, str]) -> str:
    """The GPU's number where it is named by its UUID, or by the beginning of that: one GPU has one name here."""
    return next((number for uuid, number in by_uuid.items() if not one.isdigit() and uuid.startswith(one)), one)


def _asked() -> dict[str, str]:
    """What nvidia-smi says: UUID → number. Nothing where there is none."""
    words = ["nvidia-smi", "--query-gpu=uuid,index", "--format=csv,noheader"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=_ASKING_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition(",") for line in said.splitlines() if "," in line)
    return {uuid.strip(): number.strip() for uuid, _, number in pairs}


def _total_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return PLENTY
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemTotal:")), None)
    return PLENTY if kilobytes is None else int(kilobytes) * 1024
