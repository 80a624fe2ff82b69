"""`run` on an input that has changed: rows that were done are not done again, others are, and it says so."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from tests.conftest import eventually


def test_a_file_that_grew_or_changed_has_its_new_rows_done_and_no_others(waiter_cli, tmp_path):
    tiles = tmp_path / "tiles.csv"
    tiles.write_text("1\n2\n3\n")
    run = ("run", "--input", "tiles.csv", "echo")
    assert waiter_cli(*run).stdout.split() == ["1", "2", "3"]

    tiles.write_text("1\n2\n3\n4\n")
    grown = waiter_cli(*run)
    assert (grown.returncode, grown.stdout.split()) == (0, ["4"])
    (kitchen,) = re.findall(
        r"Going on where it was \((\S+)\): 3 of 4 orders were delivered before, 1 row new", grown.stderr
    )
    assert "hint: to deliver all of them once more: --again before the command" in grown.stderr

    tiles.write_text("0\n1\n2b\n3\n4\n")
    (tmp_path / "link.csv").symlink_to("tiles.csv")
    changed = waiter_cli("run", "--input", "link.csv", "echo")
    assert sorted(changed.stdout.split()) == ["0", "2b"]
    assert "4 of 6 orders were delivered before, 2 rows new, 1 result kept of rows that are gone" in changed.stderr

    same = waiter_cli(*run)
    assert (same.returncode, same.stdout) == (0, "")
    assert f"Nothing to do ({kitchen}): all 6 orders were delivered before" in same.stderr
    assert waiter_cli("run", "--again", *run[1:]).stdout.split() == ["0", "1", "2b", "3", "4"]


def test_a_row_that_went_before_it_was_delivered_is_not_and_is_when_it_is_back(waiter_cli, tmp_path):
    tiles = tmp_path / "tiles.csv"
    run = ("run", "--input", "tiles.csv", "sh", "-c", "echo $1; [ $1 != bad ]", "sh")
    tiles.write_text("1\nbad\n2\n3\n3\n")
    assert waiter_cli(*run[:1], "--max-orders", "2", *run[1:]).returncode == 124

    tiles.write_text("3\n1\n3\n3\n4\n")
    less = waiter_cli(*run)
    assert (less.returncode, sorted(less.stdout.split())) == (0, ["3", "3", "3", "4"])
    assert "1 of 5 orders were delivered before, 2 rows new, 2 rows gone before delivery, and taken out" in less.stderr

    tiles.write_text("3\n1\n3\n3\n4\n2\n")
    assert waiter_cli(*run).stdout.split() == ["2"]
    (run,) = json.loads(waiter_cli("runs", "--json").stdout)["runs"]
    assert run["counts"]["DONE"] == run["total"] == 6


def test_rows_from_stdin_that_begin_with_those_of_a_run_go_on_with_it(waiter_cli):
    def piped(rows):
        done = waiter_cli("run", "echo", input=rows)
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), "Going on" in done.stderr

    assert piped("1\n2") == (["1", "2"], False)
    assert piped("1\n2\n3\n") == (["3"], True)
    assert piped("1\n2\n3\n4\n5\n") == (["4", "5"], True)
    assert piped("1\n23\n") == (["1", "23"], False)  # another row, though it begins alike
    assert piped("1\n2\n") == (["1", "2"], False)  # shorter: a run of its own
    assert piped("1\n2\n3\n4\n5\n") == (["1", "2", "3", "4", "5"], False)  # all was done, and is wanted once more


def test_a_second_run_helps_the_first_also_with_rows_that_came_since(tmp_path, home):
    line = [sys.executable, "-m", "waiter", "run", "--input", "in.csv", "sh", "-c"]
    line += ['touch "begun $1"; until [ -e gate ]; do sleep 0.05; done; echo $1', "sh"]
    begun = []

    def begin(rows):
        (tmp_path / "in.csv").write_text(rows)
        begun.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=home))

    try:
        begin("1\n2\n")
        eventually((tmp_path / "begun 1").exists)
        begin("1\n3\n2\n")
        eventually(lambda: (tmp_path / "begun 2").exists() or (tmp_path / "begun 3").exists())
        (tmp_path / "gate").touch()
        outputs = [run.communicate(timeout=60)[0].split() for run in begun]
    finally:
        for run in begun:
            run.kill()
    assert sorted(outputs[0] + outputs[1]) == ["1", "2", "3"]
    assert [run.returncode for run in begun] == [0, 0]
