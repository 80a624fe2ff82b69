"""Which jobs a runner starts, which it gives back, and what it says of those that cannot be started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.faults.jobs import end_of, living, script, until_ended, wait_for
from waiter.delivery.runner.client import (
    Delayed,
    End,
    Ended,
    Event,
    Job,
    ProcessRunner,
    Refused,
    Returned,
    RunnerOptions,
)
from waiter.processes import boottime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and /proc are Linux's")


def test_a_stop_ends_what_runs_and_returns_what_waits(start, pids):
    runner = start()
    runner.submit([script("runs", f"echo $$ >> {pids}; exec sleep 300"), script("waits", "true")])
    wait_for(lambda: living(pids))

    runner.stop(["runs", "waits"])

    events = until_ended(runner)
    assert Returned(("waits",)) in events
    assert [(e.id, e.end, e.signal) for e in events if isinstance(e, Ended)] == [("runs", End.STOPPED, signal.SIGTERM)]


def test_no_command_starts_after_the_deadline(start):
    runner = start()
    runner.set_deadline(boottime() - 1)
    runner.submit([script("late", "true")])

    events: list[Event] = []
    wait_for(lambda: events.extend(runner.events(0.1)) or events)

    assert events == [Returned(("late",))]


def test_given_back_jobs_never_start(start, pids, tmp_path):
    runner = start()
    gate = tmp_path / "gate"
    first = f"echo $$ >> {pids}; while [ ! -e {gate} ]; do sleep 0.01; done"
    runner.submit([script("first", first), script("second", "true")])
    wait_for(lambda: living(pids))
    runner.give_back()
    gate.touch()

    events = until_ended(runner)

    assert Returned(("second",)) in events
    assert [event.id for event in events if isinstance(event, Ended)] == ["first"]


def test_a_program_that_cannot_be_started_is_refused_and_nothing_is_tried_again(tmp_path):
    script_file = tmp_path / "broken.sh"
    script_file.write_text("#!/no/such/interpreter\n")
    script_file.chmod(0o755)
    runner = ProcessRunner(RunnerOptions(1, str(script_file), dict(os.environ)))
    runner.set_deadline(boottime() + 600)
    runner.submit([Job("a", ("broken",)), Job("b", ("broken",))])

    events: list[Event] = []
    wait_for(lambda: events.extend(runner.events(0.1)) or len(events) == 2)
    runner.close()

    refused, returned = events
    assert isinstance(refused, Refused)
    assert "interpreter" in refused.why
    assert returned == Returned(("b",))


def test_a_script_with_the_line_ends_of_windows_is_refused_by_that_name(tmp_path):
    script_file = tmp_path / "windows.sh"
    script_file.write_bytes(b"#!/bin/sh\r\necho hello\r\n")
    script_file.chmod(0o755)
    runner = ProcessRunner(RunnerOptions(1, str(script_file), dict(os.environ)))
    runner.set_deadline(boottime() + 600)
    runner.submit([Job("a", ("windows",))])

    events: list[Event] = []
    wait_for(lambda: events.extend(runner.events(0.1)) or events)
    runner.close()

    (refused,) = events
    assert isinstance(refused, Refused)
    said, _, hint = refused.why.partition("\nhint: ")
    assert "Windows" in said
    subprocess.run(["sh", "-c", hint], check=True)
    assert subprocess.run([script_file], capture_output=True, check=True).stdout == b"hello\n"


@pytest.fixture
def crowd_of(tmp_path) -> Iterator[Callable[[int], Path]]:
    """A cgroup with that process in it, and room for no other."""
    for place in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        group = place / f"waiter-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            if (group / "pids.max").exists():
                break
            group.rmdir()
    else:
        unavailable("no cgroup that limits processes can be made here")

    def close(pid: int) -> Path:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text("1")
        return group / "pids.max"

    yield close
    (group / "pids.max").write_text("max")
    wait_for(lambda: not (group / "cgroup.procs").read_text(), within_s=20)
    group.rmdir()


def test_while_the_system_refuses_processes_it_is_said_and_work_goes_on_afterwards(crowd_of, start):
    runner = start()
    limit = crowd_of(runner.pid)
    runner.submit([script("a", "true")])

    events: list[Event] = []
    wait_for(lambda: events.extend(runner.events(0.1)) or events)
    limit.write_text("max")
    events += until_ended(runner)
    runner.close()

    said, goes_on, ended = events
    assert isinstance(said, Delayed)
    assert "pids.max" in str(said.why)
    assert goes_on == Delayed(None)
    assert isinstance(ended, Ended)


@pytest.mark.parametrize("room_for", [1, 2, 3])
def test_a_waiter_that_gets_no_processes_of_its_own_says_so(crowd_of, home, tmp_path, room_for):
    def enter() -> None:
        crowd_of(os.getpid()).write_text(str(room_for))

    words = ["run", "-k", "./kitchen.sqlite", "true"]
    done = subprocess.run(
        [sys.executable, "-m", "waiter", *words],
        input="x\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=home,
        preexec_fn=enter,
        timeout=60,
    )

    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "pids.max" in done.stderr


def test_a_folder_that_is_gone_is_refused_in_words(start, tmp_path):
    runner = start(cwd=str(tmp_path / "gone"))
    runner.submit([script("a", "true"), script("b", "true")])

    events: list[Event] = []
    wait_for(lambda: events.extend(runner.events(0.1)) or len(events) == 2)

    assert events == [Refused("a", f"{tmp_path}/gone: No such file or directory"), Returned(("b",))]


def test_a_program_that_is_just_being_written_is_waited_for(tmp_path):
    program = tmp_path / "program"
    shutil.copy("/bin/true", program)
    runner = ProcessRunner(RunnerOptions(1, str(program), {}))
    runner.set_deadline(boottime() + 600)
    with program.open("ab"):
        runner.submit([Job("a", ("program",))])
        assert runner.events(0.3) == []

    assert end_of(runner).exit_code == 0
    runner.close()


def test_an_argument_too_long_for_the_kernel_is_that_jobs_fault_alone(start):
    runner = start()
    runner.submit([Job("long", ("sh", "-c", ":", "x" * 131_072)), Job("fits", ("sh", "-c", ":", "x" * 131_071))])

    ends = {e.id: (e.end, e.exit_code) for e in until_ended(runner, 2) if isinstance(e, Ended)}

    assert ends == {"long": (End.UNSTARTABLE, None), "fits": (End.EXITED, 0)}
