"""The joblog, judged by GNU parallel itself: what it takes for done is what was done."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.conftest import unavailable
from waiter.delivery.joblog import COLUMNS

TIMES = "case $1 in a) sleep 0.6;; b) exit 3;; c) sleep 30;; d) kill -9 $$;; esac"


@pytest.fixture
def resumed(tmp_path, home):
    """The inputs that parallel runs again, by the joblog and a file with the inputs."""
    if shutil.which("parallel") is None:
        unavailable("no parallel on this machine: install the Debian package")

    def run(how: str, inputs: str) -> list[str]:
        (tmp_path / "inputs").write_text(inputs)
        command = ["parallel", "--will-cite", how, "--joblog", "log", "-j1", "echo", "{}", "::::", "inputs"]
        done = subprocess.run(command, cwd=tmp_path, env=home, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def lines(file) -> list[list[str]]:
    header, *lines = file.read_text().split("\n")[:-1]
    assert tuple(header.split("\t")) == COLUMNS
    return [line.split("\t") for line in lines]


def test_parallel_runs_again_what_failed_and_nothing_else(waiter_cli, tmp_path, resumed):
    inputs = "a\nb\nc\nd\ne\n"
    waiter_cli("run", "-j5", "--timeout", "1", "--joblog", "log", "sh", "-c", TIMES, "sh", input=inputs)

    facts = {line[0]: (line[6], line[7]) for line in lines(tmp_path / "log")}
    assert facts == {"1": ("0", "0"), "2": ("3", "0"), "3": ("-1", "15"), "4": ("0", "9"), "5": ("0", "0")}
    assert resumed("--resume-failed", inputs) == ["b", "c", "d"]


def test_parallel_goes_on_behind_a_line_that_a_crash_has_torn(waiter_cli, tmp_path, resumed):
    header = "\t".join(COLUMNS) + "\n"
    (tmp_path / "log").write_text(header + "1\there\t1.000\t     0.100\t0\t0\t0\t0\ttrue a\n2\there\t1.0")
    waiter_cli("run", "--joblog", "log", "sh", "-c", "[ $1 != b ] && [ $1 != a ]", "sh", input="a\nb\nc\n")

    assert [line[0] for line in lines(tmp_path / "log")] == ["1", "1", "2", "3"]
    assert resumed("--resume-failed", "a\nb\nc\n") == ["b"]


def test_a_try_that_went_well_counts_whatever_went_before(waiter_cli, tmp_path, resumed):
    line = 'echo "$WAITER_ATTEMPT\n"; [ $WAITER_ATTEMPT = 2 ]'
    waiter_cli(
        "run", "--retries", "1", "--backoff", "0.01", "--joblog", "log", "sh", "-c", line, "sh", input="a\ttab\nb\n"
    )

    assert [line[0] for line in lines(tmp_path / "log")] in (
        ["1", "1", "2", "2"],
        ["1", "2", "1", "2"],
        ["1", "2", "2", "1"],
    )
    assert resumed("--resume-failed", "a\nb\n") == []


def test_a_command_of_several_lines_stays_one_that_parallel_can_run(waiter_cli, tmp_path, resumed):
    waiter_cli("run", "--joblog", "log", "sh", "-c", "echo one\n[ -e go ] && echo $1", "sh", input="a b\n")
    (tmp_path / "go").touch()

    assert len(lines(tmp_path / "log")) == 1
    assert resumed("--retry-failed", "") == ["one", "a b"]


def test_what_is_no_joblog_is_not_written_into(waiter_cli, tmp_path):
    (tmp_path / "log").write_text("my diary\n")

    done = waiter_cli("run", "--joblog", "log", "true", input="a\n")

    assert (done.returncode, (tmp_path / "log").read_text()) == (2, "my diary\n")
    assert "hint: name another file" in done.stderr


def test_a_dash_is_stdout(waiter_cli, tmp_path):
    done = waiter_cli("run", "--joblog", "-", "true", input="a\nb\n")

    header, *rest = done.stdout.splitlines()
    assert tuple(header.split("\t")) == COLUMNS
    assert [line.split("\t")[0] for line in rest] == ["1", "2"]
    assert not (tmp_path / "-").exists()


WRITER = """
import sys
from waiter.delivery.joblog import Joblog
from waiter.orders import Order, Outcome, Status
log = Joblog("log", "here", print)
for row in range(300):
    log.write(Order("b", "b", row, ()), Outcome("b", 1, Status.DONE, 0, 1, 0), [sys.argv[1] * 20_000])
"""


def test_two_waiters_write_whole_lines_into_one_file(tmp_path, home):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name], cwd=tmp_path, env=home) for name in "ab"]

    assert [writer.wait(60) for writer in writers] == [0, 0]

    written = [(line[0], line[8]) for line in lines(tmp_path / "log")]
    assert sorted(written) == sorted((str(row), name * 20_000) for row in range(300) for name in "ab")
