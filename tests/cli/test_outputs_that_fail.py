"""Where output cannot go: a full disk, a reader that left, a closed stream, a pipe or device as the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

WAITER = f"{sys.executable} -m waiter"


@pytest.fixture
def shell(tmp_path, home):
    """Runs a line in bash, with pipefail."""

    def run(line):
        return subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", line],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=home,
            timeout=60,
        )

    return run


@pytest.fixture
def kitchen_of_three(waiter_cli):
    assert waiter_cli("load", "-k", "./k.db", "-", input="1\n2\n3\n").returncode == 0
    return "./k.db"


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")  # noqa: PTH110


@needs_full
@pytest.mark.parametrize("verb", ["status", "status --json", "extract", "orders", "--help"])
def test_a_full_disk_is_one_line(shell, kitchen_of_three, verb):
    where = "" if verb == "--help" else f"-k {kitchen_of_three}"

    done = shell(f"{WAITER} {verb} {where} > /dev/full")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("waiter: ")]
    assert "No space left" in line


@needs_full
def test_a_file_that_takes_nothing_is_named_and_a_dash_is_stdout(shell, kitchen_of_three):
    full, dash = (shell(f"{WAITER} extract -k k.db -o {where}") for where in ("/dev/full", "-"))

    assert (full.returncode, full.stderr.startswith("waiter: /dev/full: cannot be written")) == (1, True)
    assert dash.stdout.startswith("_id,status")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(shell, kitchen_of_three, closed):
    done = shell(f"{WAITER} status -k {kitchen_of_three} {closed}")

    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_waiter_without_streams_delivers(shell, kitchen_of_three, closed):
    assert shell(f"{WAITER} deliver -k {kitchen_of_three} echo {closed}").returncode == 0

    counts = json.loads(shell(f"{WAITER} status -k {kitchen_of_three} --json").stdout)["counts"]
    assert counts["DONE"] == 3


def test_a_reader_that_leaves_stops_no_delivery(shell):
    done = shell(f"seq 60 | {WAITER} run sh -c 'echo $1 | tee -a seen' sh | head -n 1")

    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "60 orders delivered" in done.stderr
    assert "The reader of the output is gone" in done.stderr


@needs_full
def test_output_that_a_full_disk_lost_is_no_success(shell, tmp_path):
    done = shell(f"seq 3 | {WAITER} run sh -c 'echo $1 | tee -a seen' sh > /dev/full")

    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert (tmp_path / "seen").read_text().split() == ["1", "2", "3"]


@needs_full
def test_talk_that_nobody_can_hear_stops_no_delivery(shell, kitchen_of_three):
    shell(f"{WAITER} deliver -k {kitchen_of_three} echo 2> /dev/full")

    assert json.loads(shell(f"{WAITER} status -k {kitchen_of_three} --json").stdout)["counts"]["DONE"] == 3


def test_extract_writes_into_a_pipe_and_leaves_it_one(shell, kitchen_of_three, tmp_path):
    os.mkfifo(tmp_path / "pipe")

    done = shell(f"cat pipe > got & {WAITER} extract -k {kitchen_of_three} -o pipe && wait && cat got")

    assert (tmp_path / "pipe").is_fifo()
    assert done.stdout.startswith("_id,status,")


def test_extract_writes_through_a_symbolic_link_and_keeps_permissions(shell, kitchen_of_three, tmp_path):
    (tmp_path / "real.csv").touch(0o600)
    (tmp_path / "link.csv").symlink_to("real.csv")

    assert shell(f"{WAITER} extract -k {kitchen_of_three} -o link.csv").returncode == 0

    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("_id,status,")
    assert (tmp_path / "real.csv").stat().st_mode & 0o777 == 0o600


def test_a_joblog_whose_reader_leaves_is_said_once_and_all_is_delivered(shell):
    done = shell(f"seq 50 | {WAITER} run --joblog >(head -3 >/dev/null) -j2 true")

    assert done.returncode == 0
    assert "50 orders delivered" in done.stderr
    assert done.stderr.count("nobody reads it any more") == 1


def test_trouble_with_a_file_is_not_blamed_on_stdout_nor_a_success(shell, kitchen_of_three, tmp_path):
    os.mkfifo(tmp_path / "pipe")

    done = shell(f"head -c 1 pipe > got & seq 200000 | {WAITER} load -k big.db - && {WAITER} extract -k big.db -o pipe")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "waiter: pipe: cannot be written: Broken pipe"
