"""[fleet.launch] of waiter.toml: each flag of `launch` as a key, for Click and for Fabric."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from waiter.cli.fleet.commands import fleet
from waiter.cli.fleet.launch_options import _request
from waiter.errors import UsageError
from waiter.machines import Market

LAUNCH = fleet.commands["launch"]
OPTIONS = [each for each in LAUNCH.params if isinstance(each, click.Option) and each.name != "help"]
ELSEWHERE = {"kitchen", "db", "kitchen_from_hosts"}
WORDS = ("3", "5m", "A=b", "10%", "cpus=2", "soon,fail=1", "2000", "x")
"""One of them is a value for any flag that does not say which it takes."""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(*words: str, is_task: bool = False) -> click.Context:
    """`launch crunch …`, with the settings of this folder; `is_task`: by Fabric, which has no group above."""
    parent = None if is_task else click.Context(fleet)
    return LAUNCH.make_context("launch", ["crunch", *words], parent=parent)


def typed(option: click.Option) -> Sequence[str]:
    """The option with a value that it takes."""
    flag = max(option.opts, key=len)
    if option.is_flag:
        return [flag]
    values = list(option.type.choices) if isinstance(option.type, click.Choice) else WORDS
    for value in values:
        try:
            asked(*count_for(option), flag, str(value))
        except (click.UsageError, UsageError):
            continue
        return [flag, str(value)]
    raise AssertionError(f"{flag} takes none of {values}")


def count_for(option: click.Option) -> list[str]:
    return [] if option.name == "count" else ["--count", "2"]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: str(option.name))
def test_each_flag_of_launch_is_a_key_for_both_programs(option: click.Option) -> None:
    flag, *value = typed(option)
    there: Any = value[0] if value else True
    Path("waiter.toml").write_text(f"[fleet.launch]\n{flag.removeprefix('--')} = {json.dumps(there)}\n")
    if flag.removeprefix("--").replace("-", "_") in ELSEWHERE:
        with pytest.raises(UsageError, match=r"waiter.toml, \[fleet.launch\]: .*\nhint: put it under \[fleet\]"):
            asked("--count", "2")
        return

    by_words, by_table, by_task = (
        asked(*count_for(option), flag, *value),
        *(asked(*count_for(option), is_task=is_task) for is_task in (False, True)),
    )

    assert by_table.params == by_task.params == by_words.params


def test_what_is_typed_of_the_market_comes_before_the_table_and_unknown_keys_are_named() -> None:
    Path("waiter.toml").write_text("[fleet.launch]\nspot = true\n")
    names = ("spot", "on_demand", "spot_then_on_demand")

    def market(*words: str) -> Market:
        with asked("--count", "2", *words) as context:
            return _request(**{name: context.params[name] for name in names}, kinds=(), subnets=(), groups=()).market

    assert (market(), market("--on-demand")) == (Market.SPOT, Market.ON_DEMAND)
    with pytest.raises(UsageError, match="two wishes"):
        market("--on-demand", "--spot")
    Path("waiter.toml").write_text("[fleet.launch]\ntypo = 1\n")
    for is_task in (False, True):
        with pytest.raises(UsageError, match=r"waiter.toml, \[fleet.launch\]: unknown key typo"):
            asked("--count", "2", is_task=is_task)


def test_follow_of_the_table_is_for_hosts_that_come_and_not_for_logs() -> None:
    Path("waiter.toml").write_text("[fleet]\nfollow = true\n")

    def follows(verb: str, *words: str) -> bool:
        parent = click.Context(fleet)
        return bool(fleet.commands[verb].make_context(verb, list(words), parent=parent).params["follow"])

    assert follows("start")
    assert not follows("start", "--no-follow")
    assert asked("--count", "2").params["follow"]
    assert (follows("logs"), follows("logs", "-f")) == (False, True)
