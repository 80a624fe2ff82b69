"""Nothing of a command lives on: when its order ends, when the waiter dies, when the runner dies, when both do.

The runner is driven here as a waiter drives it, by real processes that are killed by real signals.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.jobs import DAEMON, end_of, is_alive, living, script, until_ended, wait_for
from tests.freezing import freeze
from waiter.delivery.runner.client import (
    End,
    Ended,
    Event,
    Job,
    RunnerDied,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and /proc are Linux's")


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
        freeze(runner_pid)
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
