"""Every verb's --help: what it is for, an example, and no line wider than 80 columns."""

from __future__ import annotations

import re

import click
import pytest

from waiter.cli import VERBS, cli
from waiter.cli.fleet.commands import fleet
from waiter.cli.help_groups import OTHERS, VERB_GROUPS

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
    assert not re.search(r"x[<>]=", text)


def test_help_is_a_word_too_and_a_number_that_is_none_is_told_plainly(waiter_cli):
    for words in ((), ("deliver",), ("fleet", "start")):
        asked, flag = waiter_cli("help", *words), waiter_cli(*words, "--help")
        assert (asked.returncode, asked.stdout) == (0, flag.stdout)
    assert "Did you mean run? " in waiter_cli("help", "rum").stderr
    assert "'x' is not a whole number" in waiter_cli("deliver", "--retries", "x", "true").stderr


@pytest.mark.parametrize("group", [cli, fleet])
def test_a_list_of_verbs_cuts_no_sentence(group):
    help = group.get_help(click.Context(group, info_name="waiter", terminal_width=80))
    verbs = help.partition("Deliver:" if group is cli else "Verbs:")[2]
    assert verbs
    assert "..." not in verbs


def test_verbs_stand_under_what_they_are_for():
    lines = cli.get_help(click.Context(cli, info_name="waiter", terminal_width=80)).splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", *(f"{heading}:" for heading in VERB_GROUPS)]
    assert len(VERBS) == len(set(VERBS))
    verbs = [line for line in lines[lines.index(headings[1]) :] if line.startswith("  ") and "Exit codes" not in line]
    assert [line for line in verbs[: len(VERBS)] if line[2] == " "] == [], "a purpose that wraps"


@pytest.mark.parametrize("verb", ["run", "deliver", "fleet start"])
def test_the_many_options_of_delivery_stand_in_groups(verb):
    """A new option belongs into help_groups.OPTION_GROUPS."""
    help = COMMANDS[verb].get_help(click.Context(COMMANDS[verb], info_name=verb, terminal_width=80))
    others = help.partition(f"{OTHERS}:\n")[2]
    known = {
        "--name",
        "--notify",
        "--report",
        "--link",
        "--on-done",
        "--kitchen",
        "--db",
        "--require-kitchen",
        "--help",
        "--json",
    }
    known |= {"--kitchen-from-hosts", "--boot", "--tunnel", "--tunnel-port"} if verb == "fleet start" else set()
    ungrouped = set(re.findall(r"^  (?:-\S+, )*(--[\w-]+)", others, re.MULTILINE)) - known
    assert ungrouped == set()
    assert all(f"{heading}:\n" in help for heading in ("What runs", "When an order fails"))
    assert "x>=" not in help
