"""Completion in a real bash."""

from __future__ import annotations

import pytest


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
