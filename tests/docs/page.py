"""A page of the docs, as blocks that can be run, and written anew with other outputs.

A comment before a block says how it is to be run, where that is not plain:

    <!-- test: eventually -->      other processes are at work: repeated until it says what stands there
    <!-- test: any order -->       lines may come in another order
    <!-- test: screen -->          on a terminal of 80 by 24; what stands there is its screen, `q` ends it
    <!-- test: fleet -->           on a laptop with two hosts of a fleet, a MongoDB and an EC2
    <!-- test: parsed because … -->    not run: only verbs, arguments and options are checked
    <!-- test: skip because … -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""What users read."""

RUN = ("console", "sh", "python")
"""The languages whose blocks are run."""

MARKS = {"eventually", "any order", "screen", "fleet", "parsed", "skip"}

_COMMENT = re.compile(r"<!-- test: (.*?)(?: because (.*?))? -->")
_BETWEEN_FENCES = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_IN_A_SENTENCE = re.compile(r"`(?:python -m )?((?:waiter|fab|invoke) (?!X`|VERB)[^`]+)`")
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'")


@dataclass(frozen=True)
class Step:
    """A command as somebody types it, and what it says."""

    command: str
    output: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        return [*f"$ {self.command}".splitlines(), *self.output]


@dataclass(frozen=True)
class Block:
    """The text between two fences."""

    language: str
    text: tuple[str, ...]
    marks: frozenset[str]
    reason: str | None
    at: int  # the number of its first line, counted from 0

    @property
    def steps(self) -> list[Step]:
        if self.language == "sh":
            return [Step(line) for line in self.text if line and not line.startswith("#")]
        return list(_steps(self.text))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page."""
    found = []
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        if not lines[number].startswith("```"):
            number += 1
            continue
        end = lines.index("```", number + 1)
        comment = _COMMENT.fullmatch(lines[number - 1])
        marks = frozenset(comment[1].split(", ")) if comment else frozenset()
        if wrong := marks - MARKS:
            raise ValueError(f"{page.name}, line {number}: unknown mark {', '.join(wrong)}")
        text = tuple(lines[number + 1 : end])
        found.append(Block(lines[number][3:], text, marks, comment[2] if comment else None, number + 1))
        number = end + 1
    return found


def mentioned(page: Path) -> list[str]:
    """The commands in the page's sentences."""
    sentences = _BETWEEN_FENCES.sub("", page.read_text())
    return [" ".join(found.split()) for found in _IN_A_SENTENCE.findall(sentences)]


def _steps(lines: Sequence[str]) -> Iterator[Step]:
    step: Step | None = None
    until: str | None = None  # the word that ends a here-document
    for line in lines:
        if until is not None:
            assert step is not None
            step = replace(step, command=f"{step.command}\n{line}")
            until = None if line == until else until
        elif line.startswith("$ "):
            if step:
                yield step
            step = Step(line[2:])
            here = _HERE_DOCUMENT.search(line)
            until = here[1] if here else None
        elif step is None:
            raise ValueError(f"a console block starts with $: {line}")
        elif step.command.endswith("\\") and not step.output:
            step = replace(step, command=f"{step.command}\n{line}")
        else:
            step = replace(step, output=(*step.output, line))
    if step:
        yield step


def rewrite(page: Path, texts: dict[int, Sequence[str]]) -> None:
    """Give the blocks that begin at these lines another text."""
    lines = page.read_text().splitlines()
    for block in reversed(blocks(page)):
        if block.at in texts:
            lines[block.at : block.at + len(block.text)] = texts[block.at]
    page.write_text("\n".join(lines) + "\n")
