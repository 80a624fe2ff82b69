"""Every message that the program can say, as far as it can be checked without saying it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tokenize import COMMENT, STRING, tokenize

import click
import pytest

from tests.docs.page import ROOT
from waiter.cli import VERBS, cli

OF_OTHERS = {"--list", "--some-param", "--instance-ids", "--headless", "--convert-to"}
"""Options of other programs that messages name."""

WIDEST = 100

AVOIDED = re.compile(
    r"\b(go(es)? home|going home|gone home|went home|mend(s|ed|ing)?|in the hands of|lives on|found their end"
    r"|nobody was told|given up by|poison|let us in|no file of its own|says nothing here|was ordered)\b",
    re.IGNORECASE,
)
"""Words that say something only to who knows the program from inside."""


@cache
def messages() -> list[tuple[Path, int, str]]:
    """File, line and text of what looks like a sentence; what is filled in is `{}`."""
    return list(_messages())


def _messages() -> Iterator[tuple[Path, int, str]]:
    for file in sorted((ROOT / "waiter").rglob("*.py")):
        tree = ast.parse(file.read_text())
        nodes = list(ast.walk(tree))
        parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        parts -= {id(node) for node in nodes if isinstance(node, ast.JoinedStr)}
        parts |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if id(node) not in parts and text.count(" ") > 1:
                yield file.relative_to(ROOT), node.lineno, text


@pytest.fixture(scope="module")
def options() -> set[str]:
    """All options of all verbs."""
    commands: list[click.Command] = [cli]
    for command in (cli.get_command(click.Context(cli), verb) for verb in VERBS):
        commands += [command, *getattr(command, "commands", {}).values()]
    return {option for command in commands for parameter in command.params for option in parameter.opts}


def test_the_options_that_messages_name_are_there(options):
    named = [
        f"{file}:{line}: {option}"
        for file, line, text in messages()
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]+", text)
        if option not in options | OF_OTHERS | {"--help", "--version"}
    ]

    assert len(messages()) > 500
    assert named == []


def prose() -> Iterator[tuple[Path, int, str]]:
    """File, line and text of what people read: pages, and of code the comments and docstrings."""
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        yield from ((page.relative_to(ROOT), n, line) for n, line in enumerate(page.read_text().splitlines(), 1))
    for file in sorted((ROOT / "waiter").rglob("*.py")):
        with file.open("rb") as source:
            for token in tokenize(source.readline):
                if token.type == COMMENT or (token.type == STRING and token.string.startswith('"""')):
                    yield file.relative_to(ROOT), token.start[0], token.string


def test_messages_pages_and_comments_use_plain_words():
    found = [
        f"{file}:{line}: {word[0]}" for file, line, text in (*messages(), *prose()) if (word := AVOIDED.search(text))
    ]

    assert found == []


def test_no_line_of_a_message_is_longer_than_100_columns():
    """But what is read by programs: SQL, and what a shell or Python runs; and help, which is wrapped."""
    long = [
        f"{file}:{line}: {len(each)} columns: {each}"
        for file, line, text in messages()
        for each in text.splitlines()
        if len(each) > WIDEST and not set(file.parts) & {"sqlite", "protocol.py"} and "NotificationFailed" not in each
    ]

    assert long == []


def test_hints_stand_on_lines_of_their_own():
    inline = [f"{file}:{line}" for file, line, text in messages() if re.search(r"[^\n]+hint: ", text)]

    assert inline == []


def raised(name: str) -> Iterator[tuple[Path, int, str]]:
    """Where an error of that class is made of text that stands there."""
    for file in sorted((ROOT / "waiter").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name):
                continue
            if node.args and isinstance(node.args[0], ast.JoinedStr | ast.Constant):
                yield file.relative_to(ROOT), node.lineno, ast.unparse(node.args[0])


@pytest.mark.parametrize("name", ["CommandUnstartable", "KitchenHindered"])
def test_what_somebody_can_fix_says_how(name):
    """A command that cannot be started, and a kitchen that cannot do its work now, are for the user to fix."""
    found = list(raised(name))
    silent = [f"{file}:{line}: {text}" for file, line, text in found if "hint" not in text and "strerror" not in text]

    assert len(found) > 3
    assert silent == []
