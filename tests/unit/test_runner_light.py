"""The runner is light, comes out of a zip as well as a folder, and leaves nothing in the file system."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipapp
from contextlib import suppress
from pathlib import Path

import pytest

import waiter
from tests.conftest import eventually
from waiter.delivery.runner.client import ProcessRunner, RunnerOptions
from waiter.delivery.runner.containment import ProcessTag

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def runner(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    runner = ProcessRunner(RunnerOptions(2, "/bin/true", {}))
    while runner.pid is None:
        runner.events(1)
    yield runner
    runner.close()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def guard_of(runner: ProcessRunner) -> int:
    return int(Path(f"/proc/{runner.pid}/stat").read_text().rpartition(")")[2].split()[1])


def last_guards(folder: Path) -> list[int]:
    """Processes that were told of this runner's folder, as its last guard is."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"GUARD_FOLDER={folder}".encode() in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return found


def test_a_runner_weighs_13_mb_at_most_and_its_guard_2(runner):
    guard = guard_of(runner)
    ends = time.monotonic() + 5
    while Path(f"/proc/{guard}/exe").samefile("/proc/self/exe") and time.monotonic() < ends:
        time.sleep(0.01)

    assert resident_bytes(runner.pid) <= 13 << 20
    assert resident_bytes(guard) <= 2 << 20


def test_a_closed_runner_leaves_no_process_no_folder_and_no_descriptor(tmp_path, runner):
    (last_guard,) = eventually(lambda: last_guards(next(tmp_path.iterdir())))
    pids = [runner.pid, guard_of(runner), last_guard]
    assert list(tmp_path.iterdir())
    before = len(os.listdir("/proc/self/fd"))

    runner.close()

    ends = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= before - 2  # the socket and the table


def test_a_runner_comes_out_of_a_zip(tmp_path):
    package = Path(waiter.__file__).parent
    archive = tmp_path / "waiter.pyz"
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "waiter").symlink_to(package)
    text = (
        "from waiter.delivery.runner.client import *\nfrom waiter.processes import boottime\n"
        "runner = ProcessRunner(RunnerOptions(1, '/bin/sh', {}))\nrunner.set_deadline(boottime() + 60)\n"
        "runner.submit([Job('a', ('sh', '-c', 'exit 7'))])\nevents = []\n"
        "while not events: events = runner.events(1)\nprint(__file__, events[0].exit_code)\nrunner.close()\n"
    )
    (tmp_path / "source" / "__main__.py").write_text(text)
    zipapp.create_archive(tmp_path / "source", archive)

    done = subprocess.run([sys.executable, "-I", archive], capture_output=True, text=True, timeout=30)

    assert (done.stdout, done.stderr) == (f"{archive}/__main__.py 7\n", "")


def test_a_tattoo_is_read_by_the_runner_that_gave_it_alone():
    text = (
        "from waiter.delivery.runner.containment import ProcessTag\nimport os, subprocess\n"
        "mine, another = ProcessTag(), ProcessTag()\nmine.apply(7)\n"
        "child = subprocess.Popen(['setsid', 'env', '-i', 'sleep', '60'])\n"
        "print(mine.read(child.pid), another.read(child.pid))\nchild.kill()\nchild.wait()\n"
    )

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30)

    assert (done.stdout, done.stderr) == ("7 None\n", "")


def test_a_process_that_is_gone_has_no_tattoo():
    child = subprocess.Popen(["true"])
    child.wait()

    assert ProcessTag().read(child.pid) is None


def test_where_python_cannot_look_before_it_reaps_a_child_is_reaped_all_the_same():
    text = (
        "import os, subprocess, time\nfrom waiter.delivery.runner import containment\ndel os.waitid\n"
        "child = subprocess.Popen(['sh', '-c', 'exit 3'])\nheard = []\nreaped = None\nends = time.monotonic() + 10\n"
        "while reaped is None and time.monotonic() < ends:\n    reaped = containment.reap(heard.append)\n"
        "print(heard == [child.pid] and reaped[:2] == (child.pid, 3 << 8), containment.reap(heard.append))\n"
    )

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30)

    assert (done.stdout, done.stderr) == ("True None\n", "")
