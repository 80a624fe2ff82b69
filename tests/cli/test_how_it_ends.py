"""How `deliver` and `run` end: one exit code for each way, how many orders are left, and how to go on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import eventually
from waiter.delivery.listener import KITCHEN_LOST, Summary
from waiter.errors import ExitCode

README = Path(__file__).parents[2] / "README.md"

WAITS = ("sh", "-c", 'touch "begun $1"; [ "$1" != fails ] || exit 1; until [ -e gate ]; do sleep 0.05; done', "sh")


def test_the_readme_names_every_exit_code():
    section = README.read_text().split("## Exit codes\n\n")[1].split("\n\n")[0]

    named = " ".join(section.split()).split(" · ")

    assert named == [f"{code.value} {code.words}" for code in ExitCode]


@pytest.fixture
def start(tmp_path, home):
    """Starts `waiter` in the background; two signals to it are a moment apart."""
    begun: list[subprocess.Popen[str]] = []

    def start(*words, input=""):
        process = subprocess.Popen(
            [sys.executable, "-m", "waiter", *words],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=home,
        )
        begun.append(process)
        process.stdin.write(input)
        process.stdin.close()
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("verb", "number", "code"),
    [
        ("deliver", signal.SIGINT, 130),
        ("deliver", signal.SIGTERM, 0),
        ("deliver", signal.SIGHUP, 0),
        ("run", signal.SIGINT, 130),
        ("run", signal.SIGTERM, 130),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_a_signal_ends_with_one_code_although_some_failed_and_says_what_is_left(
    waiter_cli, kitchen_url, start, tmp_path, verb, number, code
):
    rows = "fails\n1\n2\n3\n"
    if verb == "deliver":
        waiter_cli("load", "-k", kitchen_url, "-", input=rows)
    waiter = start(verb, "-k", kitchen_url, *WAITS, input=rows if verb == "run" else "")
    eventually((tmp_path / "begun 1").exists)

    waiter.send_signal(number)
    said = waiter.stderr.readline()
    while "Draining" not in said:
        said = waiter.stderr.readline()
    (tmp_path / "gate").touch()

    said = waiter.stderr.read()
    assert waiter.wait(30) == code, said
    assert "1 order delivered, 1 failed" in said
    assert "2 orders left; the same command goes on." in said


def test_an_end_with_nothing_left_is_no_interruption(waiter_cli, kitchen_url, start, tmp_path):
    waiter_cli("load", "-k", kitchen_url, "-", input="1\n")
    waiter = start("deliver", "-k", kitchen_url, *WAITS)
    eventually((tmp_path / "begun 1").exists)

    waiter.send_signal(signal.SIGINT)
    said = waiter.stderr.readline()
    while "Draining" not in said:
        said = waiter.stderr.readline()
    (tmp_path / "gate").touch()

    said = waiter.stderr.read()
    assert (waiter.wait(30), "left" in said) == (0, False), said


def test_a_limit_ends_with_124_while_orders_of_this_command_are_left(waiter_cli, kitchen_url):
    at = ("-k", kitchen_url)
    waiter_cli("load", *at, "--for", "other", "-", input="".join(f"{n}\n" for n in range(5)))
    waiter_cli("load", *at, "-", input="1\n0\n0\n")
    line = ("sh", "-c", "exit $1", "sh")

    some = waiter_cli("deliver", *at, "--max-orders", "1", *line)
    more = waiter_cli("deliver", *at, "--max-orders", "1", *line)
    rest = waiter_cli("deliver", *at, "--max-orders", "1", *line)
    late = waiter_cli("run", *at, "--max-orders", "1", *line, input="0\n1\n1\n")

    assert [some.returncode, more.returncode, rest.returncode, late.returncode] == [124, 124, 0, 124]
    said = [
        re.findall(r"(\d orders?) left; the same command goes on", done.stderr) for done in (some, more, rest, late)
    ]
    assert said == [["2 orders"], ["1 order"], [], ["2 orders"]]


def test_nothing_to_deliver_but_failures_says_so_and_how_to_go_on(waiter_cli, kitchen_url):
    at, line = ("-k", kitchen_url), ("test", "-e")
    waiter_cli("load", *at, "-", input="1\n2\n")
    waiter_cli("deliver", *at, *line)

    nothing = waiter_cli("deliver", *at, *line)

    assert "0 orders delivered" in nothing.stderr
    assert "Nothing to deliver: 2 orders in ERROR, which nobody tries again by itself" in nothing.stderr
    (reset,) = re.findall(r"waiter (reset .*) makes them READY again", nothing.stderr)
    assert waiter_cli(*reset.split(), "--yes").returncode == 0
    assert "2 failed" in waiter_cli("deliver", *at, *line).stderr


@pytest.mark.parametrize(
    ("summary", "code", "of_run"),
    [
        (Summary(failed=1, left_because="max time", left=3), 124, 124),
        (Summary(failed=1, left_because="max orders", left=0), 1, 1),
        (Summary(failed=1, left_because="interrupted", signal=signal.SIGTERM, left=3), 130, 130),
        (Summary(failed=1, left_because="drained", left=3), 0, 130),  # by `waiter drain`
        (Summary(refused=1, left_because="drained", signal=signal.SIGTERM, left=3), 1, 130),
        (Summary(left_because="drained", signal=signal.SIGINT, left=None), 130, 130),
        (Summary(left_because="halted", failed=1, left=3), 1, 1),
        (Summary(left_because="halted", delivered=1, left=3), 124, 124),
        (Summary(left_because="succeeded", failed=1, left=3), 0, 0),
        (Summary(left_because=KITCHEN_LOST, signal=signal.SIGINT, left=None), 3, 3),
        (Summary(spooled=1, left_because="drained", signal=signal.SIGINT, left=3), 3, 3),
    ],
)
def test_one_table_decides_how_every_stay_ends(summary, code, of_run):
    assert (summary.exit_code, summary.ending(summary.left, is_service=False)) == (code, of_run)
