"""Limits of memory: how often the runner looks, and groups of the kernel's in a prepared tree of folders.

The tree has the files that a delegated group of cgroup v2 has. That the kernel kills is written into them by hand: no
test can count on a kernel that lends it such a group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import eventually
from waiter.delivery.runner import memory, memory_groups
from waiter.delivery.runner.memory import FASTEST, LEAST_S, MOST_S, MemoryWatch

MB = 1 << 20


def test_a_job_is_looked_at_the_sooner_the_less_it_has_left():
    watch = MemoryWatch()
    watch.begins(None, 0.0)
    assert watch.at > 1e9, "nobody has a limit: nobody looks"
    watch.begins(100 << 30, 5.0)
    assert watch.at == 5.0 + MOST_S
    watch.begins(400 * MB, 5.0)
    assert watch.at == 5.0 + 400 * MB / FASTEST

    own = [os.getpid()]
    assert watch.look([(own, 100 << 30), (own, MB)], 6.0) == [1]
    assert watch.at == 6.0 + MOST_S, "who is killed is not looked at again"
    assert watch.look([], 7.0) == []
    assert watch.at > 1e9
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert watch.look([(own, resident + 8 * MB)], 8.0) == []
    assert watch.at < 8.0 + 2 * LEAST_S


SHARES = """\
import os, time
kept = b"x" * (64 << 20)
child = os.fork()
if child:  # one of them says it: two would write into each other's line
    print(child, flush=True)
time.sleep(60)
"""


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_two_share_counts_once_also_when_one_of_them_ends_while_they_are_looked_at(monkeypatch):
    """The first shares with the second when it is asked, and is gone when the second is, which has it all then."""
    with subprocess.Popen([sys.executable, "-c", SHARES], stdout=subprocess.PIPE) as second:
        try:
            assert second.stdout is not None
            first = int(second.stdout.readline())
            asked = []

            def ask_and_kill(pid: int) -> int:
                found = proportional(pid)
                if not asked:
                    os.kill(first, signal.SIGKILL)
                    eventually(lambda: is_zombie(first))  # its memory is given up before that
                asked.append(found)
                return found

            proportional = memory._proportional
            monkeypatch.setattr(memory, "_proportional", ask_and_kill)
            limit = 84 * MB  # more than one has, less than what seems to be there

            assert MemoryWatch().look([([first, second.pid], limit)], 1.0) == []

            assert sum(asked[:2]) > limit, "it would have been killed for nothing"
        finally:
            second.kill()


@pytest.fixture
def base(tmp_path) -> Path:
    """A delegated group, two folders below the root, with this process and another one in it."""
    base = tmp_path / "cgroup" / "app.slice" / "run.scope"
    base.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/app.slice/run.scope\n")
    (base / "cgroup.controllers").write_text("cpu memory pids\n")
    (base / "cgroup.subtree_control").write_text("")
    (base / "cgroup.procs").write_text("11\n12\n")
    (base / "waiter").mkdir()
    (base / "waiter" / "cgroup.procs").write_text("")
    return base


def found(base: Path, monkeypatch, *, delegated: bytes = b"1") -> memory_groups.MemoryGroups:
    def getxattr(path: str, name: str) -> bytes:
        if Path(path) == base and name == "user.delegate":
            return delegated
        raise OSError(61, "No data available")

    monkeypatch.setattr(os, "getxattr", getxattr)
    return memory_groups.delegated(str(base.parents[1]), str(base.parents[2] / "own"))


def prepare(monkeypatch, **files: str) -> None:
    """Let a new group have its files, as the kernel does it."""
    make = os.mkdir

    def mkdir(path: str, *mode: int) -> None:
        make(path, *mode)
        for name in ("memory.max", "memory.oom.group", "cgroup.procs", "cgroup.kill", "memory.events", *files):
            (Path(path) / name).write_text(files.get(name, ""))

    monkeypatch.setattr(os, "mkdir", mkdir)


def test_where_its_group_is_delegated_each_job_is_born_in_one_of_its_own_with_the_limit(base, monkeypatch):
    groups = found(base, monkeypatch)
    assert (base / "cgroup.subtree_control").read_text() == "+memory"
    assert (base / "waiter" / "cgroup.procs").read_text() == "12", "the last that was moved out of the way"

    prepare(monkeypatch, **{"memory.swap.max": ""})
    assert groups.enter(7, None) is None
    group = groups.enter(7, 300 * MB)
    assert group == str(base / f"order-{os.getpid()}-7")
    written = {file.name: file.read_text() for file in Path(group).iterdir()}
    assert written["memory.max"] == str(300 * MB)
    assert (written["memory.oom.group"], written["memory.swap.max"], written["cgroup.procs"]) == ("1", "0", "0")
    groups.leave(group)
    assert (base / "waiter" / "cgroup.procs").read_text()[0] == "0"

    (Path(group) / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert not groups.has_killed(group)
    (Path(group) / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 3\noom_group_kill 1\n")
    assert groups.has_killed(group)
    assert not groups.has_killed(None)
    groups.remove(group)
    assert (Path(group) / "cgroup.kill").read_text() == "1"
    for file in Path(group).iterdir():  # the kernel's files go with their folder
        file.unlink()
    groups.remove(None)
    assert not Path(group).exists(), "what could not go at once goes the next time"


def test_nothing_is_touched_in_a_group_that_is_nobodys_to_divide(base, monkeypatch):
    for groups in (
        found(base, monkeypatch, delegated=b"0"),
        memory_groups.delegated(str(base.parents[1]), str(base / "no such file")),
    ):
        assert groups.enter(1, MB) is None
    (base / "cgroup.controllers").write_text("cpu pids\n")
    assert found(base, monkeypatch).enter(1, MB) is None
    assert (base / "cgroup.subtree_control").read_text() == ""
    assert (base / "waiter" / "cgroup.procs").read_text() == ""


def test_where_a_group_cannot_be_made_the_runner_looks(base, monkeypatch):
    groups = found(base, monkeypatch)
    assert groups.enter(1, MB) is None, "a folder without the kernel's files takes no limit"
    assert not (base / f"order-{os.getpid()}-1").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_workers_peak_is_that_of_one_call():
    script = """if True:
        from waiter.delivery.peak_memory import PeakMemory
        peak = PeakMemory(); sizes = []
        for size in (10, 200, 10):
            peak.forget(); bytes(size << 20); bytearray(b"x") * (size << 20); sizes.append(peak.peak() >> 20)
        print(sizes)
    """
    first, large, after = eval(subprocess.check_output([sys.executable, "-c", script], text=True))
    assert first < 120 < 200 <= large < 400
    assert after < 120
