"""Memory and CPUs as far as this process may use them, not as far as the machine has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

import pytest

from tests.conftest import eventually, unavailable
from waiter.delivery.cgroup import System, cpus, free_memory

MB = 1 << 20


@pytest.fixture
def make(tmp_path) -> Callable[..., System]:
    """Files as the kernel shows them: `own` is /proc/self/cgroup, the rest by their place below /sys/fs/cgroup."""

    def made(own: str, **files: str) -> System:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        return System(tmp_path / "cgroup", tmp_path / "own")

    return made


def test_of_nested_groups_the_tightest_counts(make):
    system = make(
        "0::/user.slice/job\n",
        **{
            "user.slice/memory.max": str(800 * MB),
            "user.slice/memory.current": str(700 * MB),
            "user.slice/memory.stat": f"anon 1\ninactive_file {50 * MB}",
            "user.slice/job/memory.max": str(300 * MB),
            "user.slice/job/memory.current": str(10 * MB),
            "user.slice/cpu.max": "150000 100000",
            "user.slice/job/cpu.max": "max 100000",
        },
    )

    assert (free_memory(system), cpus(system)) == (150 * MB, 1.5)


def test_a_group_of_the_first_version_counts(make):
    system = make(
        "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n",
        **{
            "memory/job/memory.limit_in_bytes": str(300 * MB),
            "memory/job/memory.usage_in_bytes": str(200 * MB),
            "memory/job/memory.stat": f"inactive_file 0\ntotal_inactive_file {20 * MB}",
            "cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
    )

    assert (free_memory(system), cpus(system)) == (120 * MB, 0.5)


def test_a_container_whose_path_is_the_hosts_is_limited_by_the_group_that_it_sees(make):
    own = {"memory.max": str(100 * MB), "memory.current": str(40 * MB), "cpu.max": "200000 100000"}

    system = make("0::/docker/of/the/host\n", **own)

    assert (free_memory(system), cpus(system)) == (60 * MB, 2)


@pytest.mark.parametrize("own", ["", "0::/\n", "nonsense::\n", "4:memory:/job\n"])
def test_where_nothing_is_limited_nothing_limits(make, own):
    assert (free_memory(make(own)), cpus(make(own))) == (inf, inf)


@pytest.fixture
def limited() -> Iterator[Callable[[], None]]:
    """A real group with 64 MB and half a CPU; what it returns moves the calling process there."""
    groups = [Path(f"/sys/fs/cgroup/{controller}waiter-test-{os.getpid()}") for controller in ("memory/", "cpu/", "")]
    limits = {"memory.limit_in_bytes": 64 * MB, "cpu.cfs_quota_us": 50_000, "memory.max": 64 * MB}
    limits |= {"cpu.max": "50000 100000"}
    made = [group for group in groups if (group.parent / "cgroup.procs").exists()]
    try:
        for group in made:
            group.mkdir()
            for name, limit in limits.items():
                if (group / name).exists():
                    (group / name).write_text(str(limit))
    except OSError as error:
        for group in made:
            if group.exists():
                group.rmdir()
        unavailable(f"no cgroup can be made here: {error}")

    def enter() -> None:
        for group in made:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    yield enter
    for group in made:
        eventually(lambda group=group: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_a_waiter_in_a_limited_group_has_its_memory_and_its_cpus(limited):
    text = (
        "from waiter.delivery.options import cpu_count\nfrom waiter.delivery.host_metrics import free_memory\n"
        "print(cpu_count(), free_memory())"
    )

    seen = subprocess.run([sys.executable, "-c", text], preexec_fn=limited, capture_output=True, text=True, check=True)

    count, free = map(int, seen.stdout.split())
    assert count == 1
    assert free <= 64 * MB
