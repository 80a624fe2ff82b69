"""Running a page: its blocks from the top to the bottom, each by the way that its language and marks say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from tests.docs.page import RUN, Block, Step, blocks
from tests.docs.sandbox import Sandbox
from waiter.cli import cli


def parts(page: Path, *, fleet: bool) -> list[Block]:
    """The blocks of the page that are run, in the fleet's environment or elsewhere."""
    return [block for block in blocks(page) if block.language in RUN and ("fleet" in block.marks) == fleet]


def run(page: Path, sandbox: Sandbox, *, fleet: bool) -> Iterator[tuple[Block, Step, list[str]]]:
    """Every command of the page that is run, and what it says. The next one is run when the caller asks for it."""
    for number, block in enumerate(parts(page, fleet=fleet)):
        if block.marks & {"parsed", "skip"}:
            continue
        if block.language == "python":
            yield block, Step("python …"), sandbox.run_python(block, number)
            continue
        for step in block.steps:
            yield block, step, sandbox.said(step, block)


def parse(line: str) -> None:
    """Check the verbs, arguments and options of the Waiter commands in a line. Raises UsageError of Click."""
    for words in _commands(line):
        program, *rest = words
        if program.endswith("waiter"):
            _parse(cli, rest)
        elif program in ("fab", "invoke", "inv"):
            task, *flags = rest
            _parse(cli, [*task.split("."), *flags])


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[;&|<>()]+", word):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _parse(command: click.Command, words: Sequence[str]) -> None:
    if not words:
        return  # a verb's name and nothing more
    with command.make_context(command.name, list(words)) as context:
        if isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            _, verb, more = command.resolve_command(context, rest)
            assert verb is not None
            _parse(verb, more)
