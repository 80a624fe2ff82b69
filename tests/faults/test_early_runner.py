"""The runner starts before the waiter's command line is imported; one that nobody needs goes without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import eventually
from waiter.delivery.runner import child
from waiter.delivery.runner.client import ProcessRunner, RunnerOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Runs `waiter` with a look at its children at the moment in which it imports the command line.
LOOK = """
import os, runpy, sys

class Look:
    def find_spec(self, name, path=None, target=None):
        if name == "waiter.cli":
            print("children:", len(open(f"/proc/self/task/{os.getpid()}/children").read().split()), flush=True)
            if "IS_KILLED" in os.environ:
                os.kill(os.getpid(), 9)

def look_and_exit(code, exit=os._exit):
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        print("at the end:", len(children.read().split()), flush=True)
    exit(code)

sys.meta_path.insert(0, Look())
os._exit = look_and_exit
runpy.run_module("waiter", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def private(tmp_path):
    """The folder in which runners make theirs."""
    folder = tmp_path / "private"
    folder.mkdir()
    return folder


@pytest.fixture
def waiter(tmp_path, home, private):
    def waiter(*words: str, rows: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        here = {name: value for name, value in home.items() if name != "XDG_RUNTIME_DIR"}
        out, err = tmp_path / "out", tmp_path / "err"
        with out.open("w") as stdout, err.open("w") as stderr:  # no pipes: a reader would wait for the runner, too
            ended = subprocess.run(
                [sys.executable, "-c", LOOK, *words],
                cwd=tmp_path,
                env={**here, "TMPDIR": str(private), **env},
                input=rows,
                stdout=stdout,
                stderr=stderr,
                text=True,
                timeout=120,
            )
        return subprocess.CompletedProcess(ended.args, ended.returncode, out.read_text(), err.read_text())

    return waiter


def of_runner(folder: Path) -> list[str]:
    """What lives of runners that have their private folder there: they, their guards, their last guards."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, environ = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if f"TMPDIR={folder}".encode() in environ.split(b"\0"):
            found.append(f"{process.name} {words[:100]!r}")
    return found


@pytest.mark.parametrize("words", [["deliver", "-j2", "true"], ["--db", "x", "-k", "k.sqlite", "run", "true"]])
def test_the_runner_starts_before_the_command_line_is_imported(waiter, private, words):
    waiter("-k", "k.sqlite", "load", "-", rows="1\n")

    ended = waiter("-k", "k.sqlite", *words, rows="2\n")

    assert "children: 1\n" in ended.stdout
    assert (ended.returncode, " delivered in " in ended.stderr) == (0, True), ended.stderr
    assert (list(private.iterdir()), of_runner(private)) == ([], [])


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["deliver", "--help"],
        ["--help", "deliver"],
        ["-k", "deliver", "status"],
        ["deliver", "--dry-run", "true"],
        ["run", "--dry-run=all", "true"],
        ["deliver", "python:json:dumps"],
        [],
    ],
)
def test_what_needs_no_runner_starts_none(waiter, words):
    assert "children: 0\n" in waiter(*words).stdout


@pytest.mark.parametrize(
    "words",
    [
        ["deliver", "--no-such-option", "true"],
        ["deliver", "/no/such/program"],
        ["deliver", "-k", "nosuch://kitchen", "true"],
        ["run"],
        ["run", "true"],  # of no rows
    ],
)
def test_a_runner_that_nobody_needs_is_gone_before_the_waiter_and_says_nothing(waiter, private, words):
    ended = waiter(*words)

    assert "children: 1\n" in ended.stdout
    assert "at the end: 0\n" in ended.stdout
    assert (list(private.iterdir()), of_runner(private)) == ([], [])
    assert "Traceback" not in ended.stderr


def test_a_waiter_killed_before_it_needs_its_runner_leaves_nothing(waiter, private):
    assert waiter("deliver", "true", IS_KILLED="1").returncode == -9

    eventually(lambda: not of_runner(private) and not list(private.iterdir()))


def test_a_runner_is_started_anew_where_none_could_start_early(monkeypatch):
    def refuse() -> child.Child:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as early:
        early.setattr(child, "start", refuse)
        child.start_early()

    runner = ProcessRunner(RunnerOptions(1, "/bin/true", dict(os.environ)))
    while runner.pid is None:
        runner.events(1)
    runner.close()


def test_the_first_runner_is_the_early_one_and_the_second_is_new():
    child.start_early()
    runners = [ProcessRunner(RunnerOptions(slots, "/bin/true", dict(os.environ))) for slots in (3, 1)]
    for runner in runners:
        while runner.pid is None:
            runner.events(1)

    assert len({runner.pid for runner in runners}) == 2
    assert [runner.close() for runner in runners] == [(), ()]
    child.discard()  # there is none any more


def test_a_runner_that_was_told_to_leave_is_gone_when_it_is_closed(private, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(private))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    runner = ProcessRunner(RunnerOptions(1, "/bin/true", dict(os.environ)))
    assert Path(runner.folder or "").parent == private

    runner.leave()

    eventually(lambda: not list(private.iterdir()))
    assert runner.close() == ()
    eventually(lambda: not Path(f"/proc/{runner.pid}/exe").exists())  # it told its guard, our child, a moment before
