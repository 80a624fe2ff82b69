"""What a waiter says on stderr where nobody looks: with times, as JSON, and whose line it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.cli.test_progress_bars import on_a_terminal
from tests.conftest import eventually

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LINE = ("sh", "-c", 'echo "out $1"; echo "err $1" >&2; printf part >&2; [ $1 != 2 ]', "sh")


@pytest.fixture
def loaded(ask):
    ask("load", "-", input="1\n2\n3\n")


def test_in_a_file_or_pipe_each_line_of_a_waiter_has_its_time(loaded, ask):
    done = ask("deliver", *LINE, code=1)

    own = [line for line in done.stderr.splitlines() if line not in ("err 1", "err 2", "err 3", "part")]
    assert [line for line in own if not re.match(rf"{TIME} ", line)] == []
    assert re.search(rf"^{TIME} Delivering \S+: 1$", done.stderr, re.MULTILINE)
    assert re.search(rf"^{TIME} 2 orders delivered, 1 failed in", done.stderr, re.MULTILINE)
    assert done.stdout == "out 1\nout 2\nout 3\n"


def test_on_a_terminal_and_where_it_is_said_there_is_no_time(loaded, ask, kitchen_url, tmp_path, home):
    seen = on_a_terminal(("deliver", "-k", kitchen_url, "--max-orders", "1", *LINE), cwd=tmp_path, env=home)

    assert "Delivering" in seen
    assert not re.search(TIME, seen)
    assert not re.search(TIME, ask("deliver", "--log-format", "plain", *LINE, code=1).stderr)


def test_the_journal_has_times_of_its_own(loaded, kitchen_url, tmp_path, home):
    reads, writes = os.pipe()
    there = os.fstat(writes)
    home["JOURNAL_STREAM"] = f"{there.st_dev}:{there.st_ino}"
    command = [sys.executable, "-m", "waiter", "deliver", "-k", kitchen_url, "true"]

    subprocess.run(command, cwd=tmp_path, env=home, stderr=writes, check=True, timeout=60)

    os.close(writes)
    with open(reads) as journal:
        said = journal.read()
    assert "3 orders delivered" in said
    assert not re.search(TIME, said)


def test_run_is_for_somebody_who_waits(ask):
    assert not re.search(TIME, ask("run", "true", input="1\n").stderr)
    assert re.search(TIME, ask("run", "--log-format", "text", "true", input="2\n").stderr)


@pytest.mark.parametrize("slots", ["1", "2"])
def test_json_is_one_object_a_line_for_all_that_is_said(loaded, ask, slots):
    done = ask("deliver", "-j", slots, "--log-format", "json", *LINE, code=1)

    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"time", "level", "kind", "message"} <= set.intersection(*map(set, said))
    assert all(datetime.now(UTC) >= datetime.fromisoformat(one["time"]) for one in said)
    ended = {one["order"].rpartition("-")[2]: one for one in said if one["kind"] == "ended"}
    assert [ended[row]["status"] for row in "123"] == ["DONE", "ERROR", "DONE"]
    failed = ended["2"]
    assert (failed["level"], failed["attempt"], failed["exit_code"]) == ("error", 1, 1)
    assert failed["duration_s"] >= 0
    assert "exit code 1" in failed["error"]
    lines = [(one["order"].rpartition("-")[2], one["message"]) for one in said if one["kind"] == "stderr"]
    assert sorted(lines) == sorted((row, text) for row in "123" for text in (f"err {row}", "part"))
    (summary,) = [one for one in said if one["kind"] == "summary"]
    assert (summary["delivered"], summary["failed"]) == (2, 1)
    assert sorted(done.stdout.splitlines()) == ["out 1", "out 2", "out 3"]


def test_an_error_that_ends_a_waiter_is_json_too(loaded, ask):
    done = ask("deliver", "--log-format", "json", "no-such-command", code=4)

    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["level"], last["kind"], last["exit_code"]) == ("error", "error", 4)
    assert "no-such-command" in last["message"]


def test_notes_are_json_too(kitchen_url, ask, begin):
    ask("load", "-", input="1\n")
    waiter = begin("deliver", "--log-format", "json", "--until", "stopped", "true")
    eventually(lambda: ask.json("status")["counts"]["DONE"])
    waiter.send_signal(signal.SIGTERM)

    said, _ = waiter.communicate(timeout=60)

    assert any("Draining" in json.loads(line)["message"] for line in said.splitlines())


def test_the_format_may_stand_in_waiter_toml(loaded, ask, tmp_path):
    (tmp_path / "waiter.toml").write_text('[deliver]\nlog-format = "json"\n')

    assert [json.loads(line) for line in ask("deliver", "true").stderr.splitlines()]


def test_mixed_lines_on_stderr_begin_with_their_order(loaded, ask):
    done = ask("deliver", "-j2", "--line-buffer", *LINE, code=1)

    errors = [line for line in done.stderr.splitlines() if not re.match(f"{TIME} ", line)]
    assert sorted(re.sub(r"^\w+-(\d): ", r"\1 ", line) for line in errors) == sorted(
        f"{row} {text}" for row in "123" for text in (f"err {row}", "part")
    )
    assert sorted(done.stdout.splitlines()) == ["out 1", "out 2", "out 3"]


def test_lines_with_a_tag_or_of_one_order_at_a_time_stay_as_they_are(loaded, ask):
    line = ("sh", "-c", "echo err >&2", "sh")
    tagged = ask("deliver", "-j2", "--line-buffer", "--tag", "--max-orders", "1", *line, code=124)
    single = ask("deliver", "--line-buffer", "--max-orders", "1", *line, code=124)

    assert "1\terr\n" in tagged.stderr
    assert "\nerr\n" in f"\n{single.stderr}"
