"""`extract`: what a spreadsheet or a script gets."""

from __future__ import annotations

import csv
import io
import json

import pytest


@pytest.fixture
def extracted(waiter_cli, kitchen_url, tmp_path):
    """Runs extract over two delivered orders and one that waits."""
    (tmp_path / "in.jsonl").write_text('["=cmd()", "-5"]\n["+x"]\n["waits"]\n')
    waiter_cli("load", "-k", kitchen_url, "--batch", "night", "in.jsonl")
    line = 'echo "{\\"n\\": 1, \\"who\\": \\"@me\\"}" > $WAITER_RESULT'
    waiter_cli("deliver", "-k", kitchen_url, "--max-orders", "2", "sh", "-c", line)

    def run(*arguments):
        done = waiter_cli("extract", "-k", kitchen_url, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_formulas_are_made_harmless_unless_they_are_wanted(extracted):
    columns = ("--columns", "result.who,exit_code", "--status", "done")
    assert [row["result.who"] for row in table(extracted(*columns))] == ["'@me", "'@me"]
    assert [row["result.who"] for row in table(extracted(*columns, "--raw"))] == ["@me", "@me"]


def test_json_lines_hold_lists_and_results_as_themselves(extracted):
    lines = [
        json.loads(line) for line in extracted("--format", "jsonl", "--columns", "arguments,result,status").splitlines()
    ]

    assert [line["arguments"] for line in lines] == [["=cmd()", "-5"], ["+x"], ["waits"]]
    assert lines[0]["result"] == {"n": 1, "who": "@me"}
    assert lines[2]["result"] is None


def test_filters_and_a_file_that_is_whole(extracted, tmp_path):
    extracted("--status", "READY", "--batch", "night", "--columns", "arguments", "-o", "ready.csv")

    assert (tmp_path / "ready.csv").read_text() == 'arguments\n"[""waits""]"\n'
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".ready")] == []


def test_the_latest_first_and_only_some(extracted):
    rows = table(extracted("--sort", "-age", "--limit", "1"))
    assert [json.loads(row["arguments"]) for row in rows] == [["waits"]]


def test_results_are_unpacked_into_a_column_for_each_key(extracted):
    rows = table(extracted("--columns", "status,result.*"))

    assert [list(row) for row in rows] == [["status", "result.n", "result.who"]] * 3
    assert [row["result.n"] for row in rows] == ["1", "1", ""]


def test_keys_of_results_are_json_in_a_table_and_themselves_in_json_lines(waiter_cli):
    line = """printf '{"flag": true, "list": [1], "odd\\\\ud800": "\\\\ud800"}' > $WAITER_RESULT"""
    assert waiter_cli("run", "-k", "k.sqlite", "--shell", line, input="x\n").returncode == 0

    (row,) = table(waiter_cli("extract", "-k", "k.sqlite", "--columns", "result.*").stdout)
    assert row == {"result.flag": "true", "result.list": "[1]", "result.odd\\ud800": "\\ud800"}
    lines = waiter_cli("extract", "-k", "k.sqlite", "--columns", "result.flag,result.list", "--format", "jsonl").stdout
    assert json.loads(lines) == {"result.flag": True, "result.list": [1]}


@pytest.mark.parametrize("result", ["NaN", '{"a": NaN}', "[" * 20000, "not json"])
def test_what_is_no_json_stays_text(waiter_cli, tmp_path, result):
    (tmp_path / "result").write_text(result)
    assert waiter_cli("run", "-k", "k.sqlite", "--shell", "cp result $WAITER_RESULT; :", input="x\n").returncode == 0
    lines = waiter_cli("extract", "-k", "k.sqlite", "--columns", "result,result.*", "--format", "jsonl").stdout
    assert json.loads(lines) == {"result": result}
