"""Which run is which: what its commands see, and how long the file of a run is kept."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import check_in, eventually
from waiter import runs
from waiter.kitchen import open_kitchen
from waiter.orders import Status

SOME_FAIL = ("sh", "-c", 'echo "$S $1"; [ "$1" != 2 ]', "sh")
"""Leaves a run unfinished: 1 is delivered, 2 is not."""


def files(home: dict[str, str]) -> list[Path]:
    return sorted((Path(home["HOME"]) / ".local/share/waiter/runs").glob("*.sqlite"))


def begin(tmp_path: Path, home: dict[str, str], *words: str, input: str) -> subprocess.Popen[str]:
    """A run in the background, its input read."""
    (tmp_path / "input").write_text(input)
    with (tmp_path / "input").open() as stdin:
        return subprocess.Popen(
            [sys.executable, "-m", "waiter", "run", *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=home,
        )


def test_another_environment_is_another_run_and_told_of(waiter_cli, home):
    assert waiter_cli("run", *SOME_FAIL, input="1\n2\n", S="s1").returncode == 1

    other = waiter_cli("run", *SOME_FAIL, input="1\n2\n", S="s2")

    assert other.stdout.split("\n")[:-1] == ["s2 1", "s2 2"]
    assert "1 of 2 orders were delivered before with another S." in other.stderr
    assert f"hint: to go on there: waiter reset --yes -k {home['HOME']}" in other.stderr


def test_what_a_session_sets_makes_no_other_run(waiter_cli):
    waiter_cli("run", *SOME_FAIL, input="1\n2\n", SSH_TTY="/dev/pts/1", TERM="xterm")

    again = waiter_cli("run", *SOME_FAIL, input="1\n2\n", SSH_TTY="/dev/pts/2", TERM="screen", TMUX="x")

    assert again.stdout == " 2\n"
    assert "1 of 2 orders were delivered before, 1 that failed is tried again" in again.stderr


def test_a_run_whose_relative_delivered_all_says_nothing_of_it(waiter_cli):
    outputs = [waiter_cli("run", "sh", "-c", 'echo "$S $1"', "sh", input="1\n", S=s) for s in ("s1", "s2", "s1")]

    assert [done.stdout for done in outputs] == ["s1 1\n", "s2 1\n", "s1 1\n"]
    assert "of its own" not in "".join(done.stderr for done in outputs)


@pytest.mark.parametrize(
    "flags",
    [
        ("--cwd", "there"),
        ("--env", "S=s2"),
        ("--stdin", "json"),
        ("--output", "out"),
        ("--output", "out", "--output-format", "{row}"),
    ],
)
def test_what_the_command_sees_by_a_flag_makes_another_run(waiter_cli, tmp_path, home, flags):
    (tmp_path / "there").mkdir()
    line = ("sh", "-c", 'echo "$1" >> "$LOG"; [ "$1" != 2 ]', "sh")
    for words in (line, (*flags, *line)):
        waiter_cli("run", *words, input="1\n2\n", LOG=str(tmp_path / "log"))

    assert (tmp_path / "log").read_text().split() == ["1", "2", "1", "2"]
    assert len(files(home)) == 2


def test_a_line_for_the_shell_and_a_program_of_that_name_are_two_runs(waiter_cli, tmp_path, home):
    (tmp_path / "false").touch()
    waiter_cli("run", "false", input="1\n")
    waiter_cli("run", "--shell", "false", input="1\n")

    assert len(files(home)) == 2


def test_runs_in_the_commands_of_different_orders_are_different_runs(waiter_cli, home):
    inner = f"echo x | {sys.executable} -m waiter run sh -c 'echo inner >> log'"

    outer = waiter_cli("run", "sh", "-c", inner, input="1\n2\n")

    assert outer.returncode == 0, outer.stderr
    assert len(files(home)) == 3


def test_a_second_run_that_joins_a_living_one_is_told(waiter_cli, tmp_path, home):
    line = ("sh", "-c", 'touch begun; [ "$1" = 1 ] && exit 1; until [ -e gate ]; do sleep 0.05; done', "sh")
    first = begin(tmp_path, home, *line, input="1\n2\n")
    eventually((tmp_path / "begun").exists)
    eventually(lambda: orders_in(files(home)[0], Status.ERROR))

    second = begin(tmp_path, home, *line, input="1\n2\n")
    assert second.stderr is not None
    assert second.stderr.readline() == "Another run of the same is at work: this one helps it.\n"
    (tmp_path / "gate").touch()
    first.communicate(timeout=60)
    second.communicate(timeout=60)

    assert (first.returncode, second.returncode) == (1, 1)
    with open_kitchen(str(files(home)[0])) as kitchen:
        assert [shift.vitals.delivered + shift.vitals.failed for shift in kitchen.shifts(include_left=True)] == [2, 0]


def orders_in(file: Path, status: Status) -> int:
    with open_kitchen(str(file)) as kitchen:
        return kitchen.counts()[status]


def test_again_begins_anew_what_was_left_and_nothing_twice(waiter_cli):
    waiter_cli("run", "--max-orders", "1", "echo", input="1\n2\n")

    assert waiter_cli("run", "--again", "echo", input="1\n2\n").stdout == "1\n2\n"


def old(file: Path) -> None:
    used = time.time() - runs.KEPT_S - 10
    for beside in file.parent.iterdir():
        if beside.stem == file.stem:
            os.utime(beside, (used, used))


def test_the_file_of_an_old_run_is_tidied_away(waiter_cli, home):
    waiter_cli("run", "true", input="1\n")
    (file,) = files(home)
    old(file)

    waiter_cli("run", "true", input="2\n")

    assert file not in files(home)
    assert not file.with_suffix(".run").exists()


def test_the_file_of_a_run_at_work_stays_however_old_it_looks(waiter_cli, tmp_path, home):
    line = ("sh", "-c", "touch begun; until [ -e gate ]; do sleep 0.05; done; echo $1", "sh")
    run = begin(tmp_path, home, *line, input="1\n2\n")
    eventually((tmp_path / "begun").exists)
    (file,) = files(home)
    old(file)

    waiter_cli("run", "true", input="x\n")

    assert file.exists()
    (tmp_path / "gate").touch()
    assert run.communicate(timeout=60)[0].split() == ["1", "2"]


def test_the_file_of_a_run_that_a_waiter_helps_stays_however_old_it_looks(waiter_cli, home):
    waiter_cli("run", "false", input="1\n")
    (file,) = files(home)
    with open_kitchen(str(file)) as kitchen:
        check_in(kitchen)
        old(file)

        waiter_cli("run", "true", input="x\n")

    assert file.exists()


def test_a_run_that_was_killed_holds_nobody_up(waiter_cli, tmp_path, home):
    line = ("sh", "-c", "touch begun; [ -e gate ] || sleep 60; echo $1", "sh")
    run = begin(tmp_path, home, *line, input="1\n")
    eventually((tmp_path / "begun").exists)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    (tmp_path / "gate").touch()

    again = waiter_cli("run", *line, input="1\n")

    assert (again.returncode, again.stdout) == (0, "1\n")
    assert "at work" not in again.stderr


def test_a_run_that_waits_for_another_to_load_says_so(waiter_cli, tmp_path, home):
    waiter_cli("run", "false", input="1\n")
    (file,) = files(home)
    with file.with_suffix(".run").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = begin(tmp_path, home, "false", input="1\n")
        assert run.stderr is not None
        assert run.stderr.readline() == "Another run of the same is loading the input: waiting for it.\n"
    run.communicate(timeout=60)

    assert run.returncode == 1
