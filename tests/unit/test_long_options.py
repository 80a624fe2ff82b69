"""Short options are read as the long ones that they stand for; what is wrong is left to Click."""

from __future__ import annotations

import click
import pytest

from waiter.cli import VERBS, cli
from waiter.cli.long_options import with_long_options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-j2 true -j3", "--jobs=2 true -j3"),
        ("-j 2 -k x.sqlite true -x", "--jobs 2 --kitchen x.sqlite true -x"),
        ("--jobs 2 -kx true", "--jobs 2 --kitchen=x true"),
        ("--jobs=2 -k x=y true", "--jobs=2 --kitchen x=y true"),
        ("--shell -j2 true", "--shell --jobs=2 true"),
        ("-j -1 true", "--jobs -1 true"),
        ("-- -j2", "-- -j2"),
        ("- -j2", "- -j2"),
        ("-j", "-j"),
        ("-j=2 true", "-j=2 true"),
        ("-hj2", "-hj2"),
        ("--no-such -j2", "--no-such -j2"),
        ("--shell=2 -j2", "--shell=2 -j2"),
        ("", ""),
    ],
)
def test_short_options_up_to_the_command_are_spelled_out(words, said):
    deliver = cli.get_command(click.Context(cli), "deliver")
    assert deliver is not None

    assert with_long_options(deliver.get_params(click.Context(deliver)), words.split()) == said.split()


@pytest.mark.parametrize("verb", ["deliver", "run"])
def test_click_understands_the_same_by_both(verb):
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert verb in VERBS
    words = ["-k", "x.sqlite", "-j3", "true", "-j4"]

    plain = click.Command.parse_args
    ours, theirs = (
        command.make_context(verb, list(words)),
        click.Context(command, info_name=verb, **command.context_settings),
    )
    plain(command, theirs, list(words))

    assert ours.params == theirs.params
    assert ours.params["jobs"] is not None
