"""`waiter runs`, and what verbs say to who forgot which kitchen a run has. Who only looks makes no file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from waiter.cli import VERBS

MAKERS = {"run", "load", "deliver", "fleet", "init"}
"""Verbs that are there to make something."""

LOOKS = {
    "pilot": ("true",),
    "try": ("b-1", "true"),
    "show": ("b-1",),
    "batch": ("unbind", "b"),
    "priority": ("1", "b-1"),
    "drain": ("ada",),
    "cancel": ("--yes", "b-1"),
    "reset": ("--yes",),
    "clean": ("--yes",),
    "notify": ("true",),
    "completion": ("bash",),
    "extract": ("-o", "there.csv"),
}
"""What is typed after the other verbs."""


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_runs_are_listed_newest_first_with_input_command_and_counts(waiter_cli, tmp_path, home):
    (tmp_path / "tiles.csv").write_text("1\n2\n3\n")
    assert "No runs" in waiter_cli("runs").stderr
    waiter_cli("run", "--max-orders", "1", "--input", "tiles.csv", "echo", "got")
    waiter_cli("run", "--shell", "test 5 -lt {}", input="1\n2\n")
    (older,) = (f for f in files(tmp_path) if f.suffix == ".run" and b"tiles" in f.read_bytes())

    newer, first = json.loads(waiter_cli("runs", "--json").stdout)["runs"]

    assert (first["command"], Path(first["input"]).name) == (["echo", "got"], "tiles.csv")
    assert (first["counts"]["DONE"], first["counts"]["READY"], first["folder"]) == (1, 2, str(tmp_path))
    assert (newer["command"], newer["input"]) == (["--shell", "test 5 -lt {}"], "stdin")
    assert (newer["counts"]["ERROR"], newer["total"], newer["is_at_work"]) == (2, 2, False)
    assert newer["begun"] > first["begun"]
    assert 0 <= newer["age_s"] <= first["age_s"] < 600
    rows = [line.split() for line in waiter_cli("runs").stdout.splitlines()]
    assert [row[2:] for row in rows[1:]] == [
        ["stdin", "--shell", "'test", "5", "-lt…", "0", "0", "2"],
        ["tiles.csv", "echo", "got", "2", "1", "0"],
    ]

    older.write_text("{}")  # as before Waiter noted more
    assert json.loads(waiter_cli("runs", "--json").stdout)["runs"][-1]["command"] is None
    older.with_suffix(".sqlite").write_text("broken " * 100)
    assert ["?"] * 5 in [line.split()[2:] for line in waiter_cli("runs").stdout.splitlines()]


def test_who_names_no_kitchen_is_told_where_the_latest_run_is(waiter_cli):
    waiter_cli("run", "true", input="1\n")
    waiter_cli("run", "false", input="1\n2\n")

    for verb, shown in (("status", "ERROR"), ("errors", "2 failures")):
        lost = waiter_cli(verb)
        assert lost.returncode == 3
        (typed,) = re.findall(r"hint: the latest run \(false\) has a file of its own: waiter (.*)", lost.stderr)
        found = waiter_cli(*typed.split())
        assert shown in found.stdout + found.stderr

    assert "latest run" not in waiter_cli("status", "-k", "./typo.sqlite").stderr
    waiter_cli("load", "-", input="1\n")
    assert "latest run" not in waiter_cli("status").stderr


def test_a_verb_that_only_looks_makes_no_file(waiter_cli, tmp_path):
    waiter_cli("run", "false", input="1\n")
    before = files(tmp_path)

    for verb in VERBS:
        if verb not in MAKERS:
            waiter_cli(verb, *LOOKS.get(verb, ()))
            assert files(tmp_path) == before, verb
