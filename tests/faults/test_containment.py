"""Nothing of a command lives on: when its order ends, when the waiter dies, when the runner dies, when both do.

The runner is driven here as a waiter drives it, by real processes that are killed by real signals.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from socket import socketpair

import pytest

from tests.conftest import unavailable
from waiter.delivery.runner.client import (
    Capture,
    Delayed,
    End,
    Ended,
    Event,
    Job,
    Output,
    ProcessRunner,
    Refused,
    Returned,
    RunnerDied,
    RunnerOptions,
)
from waiter.processes import boottime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and /proc are Linux's")

# A daemon as hard to find as it gets: forked twice, a session of its own, its environment washed.
DAEMON = "setsid env -i /bin/sh -c 'echo $$ >> \"$0\"; exec sleep 300' {pids} < /dev/null > /dev/null 2>&1 &"


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    file = tmp_path / "pids"
    file.touch()
    return file


@pytest.fixture
def start() -> Iterator[Callable[..., ProcessRunner]]:
    runners: list[ProcessRunner] = []

    def starter(slots: int = 1, **options: object) -> ProcessRunner:
        runner = ProcessRunner(RunnerOptions(slots, "/bin/sh", dict(os.environ), **options))  # type: ignore[arg-type]
        runner.set_deadline(boottime() + 600)
        runners.append(runner)
        while runner.pid is None:
            runner.events(1)
        return runner

    yield starter
    for runner in runners:
        runner.close()


def script(id: str, text: str, **facts: object) -> Job:
    return Job(id, ("sh", "-c", text), {"WAITER_ORDER": id}, **facts)  # type: ignore[arg-type]


def until_ended(runner: ProcessRunner, count: int = 1, within_s: float = 20) -> list[Event]:
    events: list[Event] = []
    ends = time.monotonic() + within_s
    while sum(isinstance(event, Ended) for event in events) < count:
        assert time.monotonic() < ends, f"only {[type(event).__name__ for event in events]} within {within_s} s"
        events.extend(runner.events(0.2))
    return events


def end_of(runner: ProcessRunner) -> Ended:
    return next(event for event in until_ended(runner) if isinstance(event, Ended))


def living(pids: Path) -> list[int]:
    return [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], within_s: float = 10) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, f"not within {within_s} s"
        time.sleep(0.01)


def test_a_daemon_that_hides_is_dead_when_its_order_ends(start, pids):
    runner = start()
    runner.submit([script("a", DAEMON.format(pids=pids) + f" while [ ! -s {pids} ]; do sleep 0.01; done")])

    ended = end_of(runner)

    assert ended.exit_code == 0
    assert len(pids.read_text().split()) == 1
    assert living(pids) == []


def test_a_daemon_of_a_running_order_survives_the_end_of_another(start, pids, tmp_path):
    runner = start(slots=2)
    gate = tmp_path / "gate"
    runner.submit([script("long", DAEMON.format(pids=pids) + f" while [ ! -e {gate} ]; do sleep 0.01; done")])
    wait_for(lambda: living(pids))

    runner.submit([script("short", "true")])
    until_ended(runner)

    assert len(living(pids)) == 1
    gate.touch()
    until_ended(runner)
    assert living(pids) == []


def test_a_hidden_daemon_dies_with_its_order_though_an_older_order_runs_on(start, pids):
    runner = start(slots=2)
    runner.submit([script("long", f"echo $$ >> {pids}; exec sleep 300")])
    wait_for(lambda: living(pids))
    runner.submit(
        [script("short", DAEMON.format(pids=pids) + f" while [ $(wc -l < {pids}) -lt 2 ]; do sleep 0.01; done")]
    )

    until_ended(runner)

    assert [pid for pid in living(pids) if pid != first_of(pids)] == []
    assert is_alive(first_of(pids))


CROWD = """
import os, signal
if os.fork() == 0:
    for _ in range(800):
        if os.fork() == 0:
            signal.pause()
    os._exit(0)  # all of them are orphans now, children of the runner
os.wait()
open("gathered", "w").close()
signal.pause()
"""


def test_a_daemon_dies_with_its_order_though_a_crowd_of_others_lives(start, pids, tmp_path):
    # 800 pids are more than the kernel lists in one call.
    runner = start(slots=2, cwd=str(tmp_path))
    runner.submit([script("crowd", f"exec {sys.executable} -S -c '{CROWD}'")])
    wait_for((tmp_path / "gathered").exists)

    runner.submit([script("short", DAEMON.format(pids=pids) + f" while [ ! -s {pids} ]; do sleep 0.01; done")])
    until_ended(runner)

    assert len(pids.read_text().split()) == 1
    assert living(pids) == []


def first_of(pids: Path) -> int:
    return int(pids.read_text().split()[0])


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
def test_a_daemon_without_any_mark_dies_when_no_order_is_left_that_may_have_started_it(start, pids, tmp_path):
    runner = start(slots=2)
    gate = tmp_path / "gate"
    runner.submit([script("older", f"while [ ! -e {gate} ]; do sleep 0.01; done")])
    unmarked = DAEMON.format(pids=pids).replace("setsid", "prlimit --locks=unlimited setsid")
    runner.submit([script("short", unmarked + f" while [ ! -s {pids} ]; do sleep 0.01; done")])
    until_ended(runner)
    assert living(pids)  # it may be the older one's

    gate.touch()
    until_ended(runner)

    assert living(pids) == []


def test_a_waiter_within_an_order_minds_its_own_processes_only(start, pids):
    # Both runners count their jobs from 1.
    runner = start(slots=2)
    runner.submit([script("other", DAEMON.format(pids=pids) + " exec sleep 300")])
    wait_for(lambda: living(pids))
    inner = """
from waiter.processes import boottime
from waiter.delivery.runner.client import Ended, Job, ProcessRunner, RunnerOptions
runner = ProcessRunner(RunnerOptions(1, "/bin/sh", {}))
runner.set_deadline(boottime() + 60)
runner.submit([Job("1", ("sh", "-c", "setsid sleep 300 & sleep 0.1"))])
while not any(isinstance(event, Ended) for event in runner.events(1)):
    pass
runner.close()
"""
    runner.submit([Job("inner", ("sh", "-c", '"$0" -c "$1"', sys.executable, inner))])

    assert end_of(runner).exit_code == 0
    assert len(living(pids)) == 1


def test_a_fork_bomb_of_modest_size_ends_with_its_order(start, pids):
    runner = start()
    bomb = f"""
    burst() {{ for i in 1 2 3 4 5 6; do setsid sh -c 'echo $$ >> {pids}; sleep 300 & exec sleep 300' & done; }}
    burst & burst & burst &
    while [ "$(wc -l < {pids})" -lt 18 ]; do sleep 0.01; done
    """
    runner.submit([script("bomb", bomb)])

    end_of(runner)

    assert len(pids.read_text().split()) == 18
    assert living(pids) == []


WAITER = """
import json, os, sys
from waiter.processes import boottime
from waiter.delivery.runner.client import Job, ProcessRunner, RunnerOptions
runner = ProcessRunner(RunnerOptions(2, "/bin/sh", dict(os.environ)))
runner.set_deadline(boottime() + 600)
while runner.pid is None:
    runner.events(1)
runner.submit([Job(str(n), ("sh", "-c", sys.argv[1]), {"WAITER_ORDER": str(n)}) for n in range(2)])
print(json.dumps([os.getpid(), runner.pid]), flush=True)
while True:
    runner.events(1)
"""


KILLED = ["waiter", "runner", "guard", "runner waiter", "waiter guard", "frozen waiter"]
KILLED += ["runner guard", "guard runner", "waiter guard runner", "guard waiter runner", "runner guard waiter"]


@pytest.mark.parametrize("killed", KILLED)
def test_nothing_of_a_command_lives_two_seconds_after_a_sigkill_of(killed, pids):
    text = f"echo $$ >> {pids}; {DAEMON.format(pids=pids)} sleep 300 & wait"
    waiter = subprocess.Popen([sys.executable, "-c", WAITER, text], stdout=subprocess.PIPE, text=True)
    assert waiter.stdout is not None
    waiter_pid, runner_pid = json.loads(waiter.stdout.readline())
    guard_pid = int(Path(f"/proc/{runner_pid}/stat").read_text().rpartition(")")[2].split()[1])
    wait_for(lambda: len(living(pids)) == 4)

    if killed == "frozen waiter":  # its runner was frozen as well, and hears nothing
        killed = "waiter"
        os.kill(runner_pid, signal.SIGSTOP)
    for name in killed.split():
        os.kill({"waiter": waiter_pid, "runner": runner_pid, "guard": guard_pid}[name], signal.SIGKILL)

    try:
        wait_for(lambda: not living(pids), within_s=2)
    finally:
        waiter.kill()
        waiter.wait()
        waiter.stdout.close()


def test_after_a_runners_death_another_takes_up_the_work(start):
    first = start()
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: RunnerDied(()) in first.events(0.1))

    second = start()
    second.submit([script("a", "true")])

    assert end_of(second).exit_code == 0


def test_a_dead_runner_names_what_it_had_started_and_only_that(start, tmp_path):
    runner = start(slots=2)
    # Ended jobs may wait some milliseconds for company: their ends are lost with the runner.
    flag = tmp_path / "runs"
    poison = f"while [ ! -e {flag} ]; do sleep 0.01; done; kill -KILL {runner.pid}"
    runs = f"touch {flag}; sleep 300"
    jobs = [script("ended", "true"), script("poison", poison), script("runs", runs), script("waits", "true")]
    runner.submit(jobs)

    events: list[Event] = []
    wait_for(lambda: events.extend(runner.events(0.1)) or any(isinstance(event, RunnerDied) for event in events))

    told = {event.id for event in events if isinstance(event, Ended)}
    assert {"poison", "runs"} <= set(events[-1].ids) | told
    assert "waits" not in events[-1].ids


def test_the_waiter_hears_of_its_runners_death_only_when_everything_is_dead(start, pids):
    runner = start()
    runner.submit([script("a", f"echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; wait"), script("b", "true")])
    wait_for(lambda: len(living(pids)) == 2)

    os.kill(runner.pid, signal.SIGKILL)

    events: list[Event] = []
    wait_for(lambda: events.extend(runner.events(0.1)) or events)
    assert events == [RunnerDied(("a",))]
    assert living(pids) == []


def test_a_timeout_terminates_the_whole_tree_and_kills_what_does_not_listen(start, pids):
    runner = start(grace_s=0.3)
    deaf = (
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >> {0}; while :; do sleep 0.1; done' & echo $$ >> {0}; wait; wait"
    )
    runner.set_timeout(0.3)
    runner.submit([script("slow", deaf.format(pids))])

    ended = end_of(runner)

    assert (ended.end, ended.signal) == (End.TIMEOUT, signal.SIGKILL)
    assert ended.stopped - ended.started >= 0.6
    assert living(pids) == []


def test_a_timeout_that_is_set_later_ends_what_runs_already(start, pids):
    runner = start(slots=2)
    runner.submit([script("slow", f"echo $$ >> {pids}; exec sleep 300")])
    wait_for(lambda: living(pids))

    runner.set_timeout(0.2)

    assert end_of(runner).end is End.TIMEOUT
    assert living(pids) == []


def test_what_a_shell_had_started_keeps_its_time_of_grace(start, tmp_path):
    runner = start(grace_s=20)
    saved, ready = tmp_path / "saved", tmp_path / "ready"
    saver = f"trap 'sleep 0.3; touch {saved}; exit' TERM; touch {ready}; while :; do sleep 0.01; done"
    runner.submit([Job("a", ("sh", "-c", '(eval "$0"); true', saver))])  # the outer shell dies of TERM at once
    wait_for(ready.exists)

    runner.stop(["a"])
    ended = end_of(runner)

    assert (ended.end, ended.signal) == (End.STOPPED, signal.SIGTERM)
    assert saved.exists()
    assert ended.stopped - ended.started < 15


def test_every_process_of_an_order_hears_term_once(start, tmp_path):
    runner = start(grace_s=20)
    heard, ready = tmp_path / "heard", tmp_path / "ready"
    text = f"""
import signal, time
def hear(*_):
    open({str(heard)!r}, "a").write("T")
signal.signal(signal.SIGTERM, hear)
open({str(ready)!r}, "w").close()
ends = time.monotonic() + 1
while time.monotonic() < ends:
    time.sleep(0.001)
"""
    runner.submit([Job("a", ("sh", "-c", '"$0" -c "$1"; true', sys.executable, text))])
    wait_for(ready.exists)

    runner.stop(["a"])
    end_of(runner)

    assert heard.read_text() == "T"


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


def test_a_command_sees_three_descriptors_and_no_signal_dispositions_of_ours(start):
    runner = start(capture=Capture.GROUP)
    runner.submit([script("a", "ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status; readlink /proc/self/fd/0")])

    output = b"".join(event.chunk for event in until_ended(runner) if isinstance(event, Output))

    # ls itself opens the folder: 0, 1, 2 and that.
    count, ignored, stdin = output.decode().split("\n")[:3]
    assert int(count) == 4
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0  # 32 and 33 are the C library's own
    assert stdin == "/dev/null"


def test_slots_keep_their_numbers(start):
    runner = start(slots=3, capture=Capture.GROUP)
    runner.submit([script(str(n), "echo $WAITER_SLOT; sleep 0.05") for n in range(9)])

    events = until_ended(runner, 9)

    slots = {event.id: event.slot for event in events if isinstance(event, Ended)}
    printed = {event.id: int(event.chunk) for event in events if isinstance(event, Output)}
    assert printed == slots
    assert set(slots.values()) == {1, 2, 3}


def test_a_result_and_words_of_its_own_belong_to_one_order_only(start):
    runner = start()
    runner.submit([script("a", "echo 42 > $WAITER_RESULT; echo no disk > $WAITER_ERROR; exit 3"), script("b", "true")])

    ends = {e.id: (e.exit_code, e.result, e.message) for e in until_ended(runner, 2) if isinstance(e, Ended)}

    assert ends == {"a": (3, "42\n", "no disk\n"), "b": (0, None, None)}


def test_a_result_that_is_too_long_is_cut_and_that_is_known(start):
    runner = start()
    texts = {"fits": "head -c 65536 /dev/zero", "long": "head -c 65537 /dev/zero", "none": "true"}
    runner.submit([script(name, f"{text} > $WAITER_RESULT") for name, text in texts.items()])

    ends = {e.id: (len(e.result or ""), e.cut_from) for e in until_ended(runner, 3) if isinstance(e, Ended)}

    assert ends == {"fits": (65_536, None), "long": (65_536, 65_537), "none": (0, None)}


def test_what_is_no_file_in_the_place_of_a_result_harms_nobody(start):
    runner = start()
    texts = [
        "mkdir $WAITER_RESULT; touch $WAITER_RESULT/x",
        "ln -s /etc/passwd $WAITER_RESULT",
        "mkfifo $WAITER_RESULT",
    ]
    runner.submit([script(str(n), text) for n, text in enumerate([*texts, "echo 42 > $WAITER_RESULT"])])

    results = {e.id: e.result for e in until_ended(runner, 4) if isinstance(e, Ended)}

    assert results == {"0": None, "1": None, "2": None, "3": "42\n"}


@pytest.mark.parametrize("capture", [Capture.STREAM, Capture.LINE, Capture.GROUP])
def test_a_waiter_that_hears_nothing_does_not_make_the_runner_grow(start, capture, pids):
    runner = start(slots=2, capture=capture)
    runner.submit([script(str(n), f"echo $$ >> {pids}; head -c 30000000 /dev/zero | tr '\\0' y") for n in range(2)])
    wait_for(lambda: len(living(pids)) == 2)

    memory = max(resident_mb(runner.pid) for _ in range(20) if not time.sleep(0.05))

    assert memory < 40
    assert living(pids)
    received = sum(len(e.chunk) for e in until_ended(runner, 2, within_s=60) if isinstance(e, Output))
    assert received == 60_000_000


def test_a_stop_is_heeded_while_the_waiter_hears_nothing(start, pids):
    runner = start(capture=Capture.STREAM)
    runner.submit([script("a", f"echo $$ >> {pids}; exec yes")])
    wait_for(lambda: living(pids))
    time.sleep(0.3)  # the socket is full by now

    runner.stop(["a"])

    wait_for(lambda: not living(pids), within_s=5)


def test_a_flood_of_output_costs_no_memory_and_leaves_its_end(start):
    runner = start(capture=Capture.DISCARD)
    runner.submit([script("flood", "head -c 1000000000 /dev/zero | tr '\\0' x; echo the end")])

    ended = end_of(runner)

    assert ended.tail.endswith(b"xxx" + b"the end\n")
    assert len(ended.tail) == 4096
    assert resident_mb(runner.pid) < 30


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_grouped_output_arrives_whole_and_in_one_piece_though_it_is_large(start):
    runner = start(slots=2, capture=Capture.GROUP)
    runner.submit([script(str(n), f"yes {n} | head -c 3000000") for n in range(2)])

    pieces: dict[str, bytes] = {}
    order: list[str] = []
    for event in until_ended(runner, 2):
        if isinstance(event, Output):
            pieces[event.id] = pieces.get(event.id, b"") + event.chunk
            order.append(event.id)

    assert {id: len(piece) for id, piece in pieces.items()} == {"0": 3_000_000, "1": 3_000_000}
    assert len([1 for a, b in pairwise(order) if a != b]) == 1  # one after the other, not mixed


def test_lines_stay_whole_when_they_are_mixed(start):
    runner = start(slots=2, capture=Capture.LINE)
    text = "for i in 1 2 3 4 5; do printf a; sleep 0.01; printf 'b\\n'; done; printf rest"
    runner.submit([script(str(n), text) for n in range(2)])

    chunks = [event.chunk for event in until_ended(runner, 2) if isinstance(event, Output)]

    assert {line for chunk in chunks for line in chunk.splitlines(keepends=True)} == {b"ab\n", b"rest"}


def test_files_get_everything(start, tmp_path):
    runner = start(capture=Capture.FILES)
    out, err = tmp_path / "a.out", tmp_path / "a.err"
    runner.submit([script("a", "echo out; echo err >&2", stdout_path=str(out), stderr_path=str(err))])

    ended = end_of(runner)

    assert (out.read_text(), err.read_text(), ended.tail) == ("out\n", "err\n", b"out\nerr\n")


def test_a_fifo_that_nobody_reads_takes_no_output_and_holds_up_nobody(start, tmp_path):
    runner = start(capture=Capture.FILES)
    fifo, out = tmp_path / "fifo", tmp_path / "out"
    os.mkfifo(fifo)
    runner.submit([script("a", "echo a", stdout_path=str(fifo)), script("b", "echo b", stdout_path=str(out))])

    ends = {e.id: e for e in until_ended(runner, 2, within_s=5) if isinstance(e, Ended)}

    assert ends["a"].end is End.UNSTARTABLE
    assert "FIFO" in str(ends["a"].message)
    assert (ends["b"].end, out.read_text()) == (End.EXITED, "b\n")


def test_a_fifo_that_is_read_gets_the_output(start, tmp_path):
    runner = start(capture=Capture.FILES)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    runner.submit([script("a", "head -c 300000 /dev/zero", stdout_path=str(fifo))])  # more than a pipe holds

    os.set_blocking(descriptor, True)
    wait_for(lambda: select.select([descriptor], [], [], 0)[0])
    with open(descriptor, "rb") as reader:
        assert len(reader.read()) == 300_000
    assert end_of(runner).exit_code == 0


@pytest.fixture
def few_files() -> Iterator[int]:
    """As under `ulimit -Sn 200`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    yield 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("capture", [Capture.GROUP, Capture.DISCARD])
def test_more_slots_than_open_files_by_default_work_and_commands_keep_the_default(few_files, start, capture):
    runner = start(slots=120, capture=capture)
    texts = [f"[ $(ulimit -Sn) = {few_files} ] && echo out && echo err >&2 && exec sleep 0.5"] * 120
    runner.submit([script(str(n), text, stdin=b"x") for n, text in enumerate(texts)])

    ends = [event for event in until_ended(runner, 120) if isinstance(event, Ended)]

    assert {(end.exit_code, end.tail) for end in ends} == {(0, b"out\nerr\n")}
    assert {end.slot for end in ends} == set(range(1, 121))


def test_stdin_is_what_the_job_says(start):
    runner = start(capture=Capture.GROUP)
    runner.submit([script("a", "cat", stdin=b'["x"]\n')])

    assert b"".join(e.chunk for e in until_ended(runner) if isinstance(e, Output)) == b'["x"]\n'


def test_thousands_of_jobs_leak_no_descriptor(start):
    runner = start(slots=2)
    runner.submit([script(str(n), "true") for n in range(50)])
    until_ended(runner, 50)
    before = len(os.listdir(f"/proc/{runner.pid}/fd"))

    runner.submit([script(str(n), "true") for n in range(50, 1050)])
    until_ended(runner, 1000)

    assert len(os.listdir(f"/proc/{runner.pid}/fd")) == before


def test_much_output_of_many_slots_is_handed_over_whole_and_in_little_memory(start):
    runner = start(slots=32, capture=Capture.GROUP)
    runner.submit([script(str(n), "head -c 900000 /dev/zero") for n in range(96)])
    time.sleep(1)  # the waiter is busy elsewhere, and hears nothing

    received = sum(len(e.chunk) for e in until_ended(runner, 96, within_s=60) if isinstance(e, Output))

    assert received == 96 * 900_000
    assert resident_mb(runner.pid) < 80


@pytest.mark.parametrize("capture", [Capture.STREAM, Capture.LINE, Capture.GROUP])
def test_output_goes_on_when_all_that_was_read_is_sent_at_once(start, capture, monkeypatch):
    if os.geteuid() != 0:
        unavailable("only root may make a socket's buffer larger than what the runner sends at a time")
    monkeypatch.setattr(socket, "socketpair", wide_socketpair)
    runner = start(slots=2, capture=capture)
    runner.submit([script(str(n), "head -c 30000000 /dev/zero") for n in range(2)])

    received = sum(len(e.chunk) for e in until_ended(runner, 2) if isinstance(e, Output))

    assert received == 60_000_000


def wide_socketpair() -> tuple[socket.socket, socket.socket]:
    """As if the waiter read as fast as the runner writes: nothing has to wait for it."""
    ours, theirs = socketpair()
    so_sndbufforce = 32  # asm-generic/socket.h
    theirs.setsockopt(socket.SOL_SOCKET, so_sndbufforce, 16 << 20)
    return ours, theirs


def test_a_blocked_sigchld_of_whoever_started_the_waiter_blocks_nothing(pids):
    text = "exit 5"
    blocking = WAITER.replace("import json, os, sys", "import json, os, signal, sys").replace(
        "runner = ", "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])\nrunner = ", 1
    )
    ending = blocking.replace(
        "while True:\n    runner.events(1)", "print(runner.events(10)[0].exit_code)\nrunner.close()"
    )
    done = subprocess.run([sys.executable, "-c", ending, text], capture_output=True, text=True, timeout=30)

    assert done.stdout.splitlines()[1] == "5"
