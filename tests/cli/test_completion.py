"""Completion: what the shells are told, and a real bash and fish."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import unavailable


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_the_program(waiter_cli, shell):
    done = waiter_cli("completion", shell)

    assert done.returncode == 0
    assert "_WAITER_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [("waiter ext", "extract"), ("waiter extract --status er", "ERROR"), ("waiter extract --batch ni", "night")],
)
def test_verbs_statuses_and_batches_are_completed(waiter_cli, tmp_path, words, expected):
    (tmp_path / "waiter.toml").write_text("kitchen = './kitchen.sqlite'\n")
    waiter_cli("load", "--batch", "night", "-", input="x\n")

    variables = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_WAITER_COMPLETE": "bash_complete"}

    assert f"plain,{expected}" in waiter_cli(**variables).stdout


def test_batches_are_those_of_the_kitchen_before_the_verb(waiter_cli):
    waiter_cli("load", "-k", "./other.sqlite", "--batch", "night", "-", input="x\n")
    words = "waiter -k ./other.sqlite extract --batch ni"

    variables = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_WAITER_COMPLETE": "bash_complete"}

    assert "plain,night" in waiter_cli(**variables).stdout


IN_BASH = """
. <(waiter completion bash)
compopt() {{ :; }}  # works only where a key was pressed
COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_waiter_completion waiter
echo "${{COMPREPLY[@]}}"
"""
"""What bash does when Tab is pressed."""

IN_FISH = "waiter completion fish | source; complete -C '{}'"


@pytest.mark.parametrize(("shell", "script"), [("bash", IN_BASH), ("fish", IN_FISH)])
@pytest.mark.parametrize(
    ("words", "expected"),
    [("waiter prio", "priority"), ("waiter orders --status E", "ERROR"), ("waiter orders --batch ni", "night")],
)
def test_tab_completes_in_a_real_shell(waiter_cli, home, tmp_path, shell, script, words, expected):
    if shutil.which(shell) is None:
        unavailable(f"no {shell} on this machine")
    waiter_cli("load", "-k", "./kitchen.sqlite", "--batch", "night", "-", input="x\n")
    env = {**home, "PATH": f"{Path(sys.executable).parent}:{home['PATH']}", "WAITER_KITCHEN": "./kitchen.sqlite"}
    done = subprocess.run(
        [shell, "-c", script.format(words)], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert expected in done.stdout.split(), done.stderr


@pytest.mark.parametrize("words", ["waiter load in", "waiter deliver ./cr", "waiter extract -o a"])
def test_files_are_completed_where_files_are_meant(waiter_cli, words):
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_WAITER_COMPLETE": "bash_complete"}
    assert waiter_cli(**variables).stdout == f"file,{words.split()[-1]}\n"


def test_tab_makes_nothing_and_waits_for_nobody(waiter_cli, tmp_path):
    silent = socket.create_server(("127.0.0.1", 0))  # accepts, and never answers
    took = []
    for kitchen in ("./typo.sqlite", f"127.0.0.1:{silent.getsockname()[1]}"):
        words = f"waiter extract -k {kitchen} --batch ni"
        variables = {"COMP_WORDS": words, "COMP_CWORD": "5", "_WAITER_COMPLETE": "bash_complete"}
        began = time.monotonic()

        done = waiter_cli(**variables)

        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
        took.append(time.monotonic() - began)
    assert took[1] < took[0] + 8  # the server is given up after 10 s; the first says how long Python takes to start
    assert {file.name for file in tmp_path.iterdir()} == {"home"}
    silent.close()
