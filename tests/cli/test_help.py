"""Every verb's --help: what it is for, an example, and no line wider than 80 columns."""

from __future__ import annotations

import click
import pytest

from waiter.cli import VERBS, cli
from waiter.cli.fleet.commands import fleet

COMMANDS = {"": cli, **{verb: cli.get_command(click.Context(cli), verb) for verb in VERBS}}
COMMANDS |= {f"fleet {verb}": command for verb, command in fleet.commands.items()}


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_help_says_what_for_shows_an_example_and_fits_80_columns(verb):
    command = COMMANDS[verb]
    context = click.Context(command, info_name=f"waiter {verb}".strip(), terminal_width=80)
    text = command.get_help(context)
    usage, _, purpose, *lines = text.splitlines()
    assert usage.startswith("Usage: waiter")
    assert purpose.strip()[0].isupper()
    assert [line for line in lines if f"waiter {verb}".strip() in line], "no example"
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "RANGE" not in text


@pytest.mark.parametrize("group", [cli, fleet])
def test_a_list_of_verbs_cuts_no_sentence(group):
    verbs = group.get_help(click.Context(group, info_name="waiter", terminal_width=80)).partition("Verbs:")[2]
    assert verbs
    assert "..." not in verbs
