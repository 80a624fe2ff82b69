"""Every command in README.md and docs/ does what stands there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from click.exceptions import Exit

from tests.conftest import needed_binary, unavailable
from tests.docs.environments import fleet, machine
from tests.docs.page import PAGES, RUN, blocks, mentioned
from tests.docs.running import parse, parts, run
from tests.fleet.network import why_not

HERE = [page for page in PAGES if parts(page, fleet=False)]
THERE = [page for page in PAGES if parts(page, fleet=True)]

NOT_RUN = 7
"""So many blocks at most are only parsed, or left out, and each says why."""


def checked(page: Path, steps) -> None:
    for block, step, said, sandbox in steps:
        written = expected(page, block) if block.language == "python" else step.output
        shown = "\n".join([f"{page.name}, line {block.at}: $ {step.command}", "says:", *said, "written is:", *written])
        assert sandbox.is_as_written(said, type(step)(step.command, tuple(written)), block), shown


def expected(page: Path, block) -> tuple[str, ...]:
    """What stands in the text block after a program."""
    after = [other for other in blocks(page) if other.at > block.at]
    return after[0].text if after and after[0].language == "text" else ()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The fleet's environment, built once."""
    if reason := why_not():
        unavailable(reason)
    with fleet(tmp_path_factory.mktemp("fleet"), needed_binary()) as environment:
        yield environment


@pytest.mark.parametrize("page", THERE, ids=lambda page: page.name)
def test_every_command_for_a_fleet_does_what_stands_there(environment, page):
    with environment.laptop(page.stem) as sandbox:
        checked(page, ((*step, sandbox) for step in run(page, sandbox, fleet=True)))


@pytest.mark.long
@pytest.mark.parametrize("page", HERE, ids=lambda page: page.name)
def test_every_command_does_what_stands_there(page):
    binary = needed_binary() if page.name == "mongodb.md" else None
    with machine(0.4, binary=binary) as sandbox:
        checked(page, ((*step, sandbox) for step in run(page, sandbox, fleet=False)))


def test_commands_that_are_not_run_are_at_least_known():
    not_run = [block for page in PAGES for block in blocks(page) if block.marks & {"parsed", "skip"}]

    assert len(not_run) <= NOT_RUN
    assert [block.text for block in not_run if not block.reason] == []
    for block in not_run:
        for step in block.steps if "parsed" in block.marks else ():
            parse(step.command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_are_known(page):
    for command in mentioned(page):
        with suppress(Exit):  # --help
            parse(command)


def test_no_command_hides_in_another_language():
    """Whatever stands between fences is run, or is no command."""
    languages = {block.language for page in PAGES for block in blocks(page)}

    assert languages <= {*RUN, "text", "json", "toml", "yaml", "ini", "mermaid"}
    assert [page.name for page in PAGES if "\n    waiter " in page.read_text()] == []
