"""A pipeline as a file: a few stages, each an input, a command, and which others it comes after. Nothing more.

    [[stage]]
    name = "prepare"
    input = "samples.csv"
    command = "./prepare.sh {1}"

    [[stage]]
    name = "align"
    after-row = "prepare"
    command = "./align.sh {1} {prepare.size}"
    jobs = 4

All other keys are long flags of `waiter deliver`, and those of `waiter load` that say how an input is read.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from waiter.cli.delivery_options import field_from_toml, toml_keys
from waiter.delivery.batch_scope import bound_words
from waiter.errors import InputUnreadable, UsageError
from waiter.intake import Format
from waiter.light_dataclass import dataclass
from waiter.loading import LoadOptions

_OWN = ("name", "input", "command", "after", "after_any", "after_row")
_READING = {"format": str, "header": bool, "delimiter": str, "sheet": str, "skip_bad": bool, "priority": int}
_KINDS = {str: "a text in quotes", bool: "true or false", int: "a whole number"}
_NOT_HERE = {"name", "batch", "match", "priority_min", "any_command", "until", "log_format", "dry_run"}
_NAMED = ", ".join(key.replace("_", "-") for key in (*_OWN, *_READING))
_KEYS = f"known are {_NAMED}, and the long flags of `waiter deliver`"
_NAME = re.compile(r"[^\W\d][\w-]*")
_HEADER = re.compile(r"\s*\[\[\s*stage\s*\]\]")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a pipeline."""

    name: str
    input: str  # a path; relative to the folder of the file
    words: tuple[str, ...]  # of its command; with `is_shell` the line
    is_shell: bool
    after: tuple[str, ...]
    after_any: tuple[str, ...]
    after_row: str | None
    reading: LoadOptions
    flags: Mapping[str, object]  # fields of DeliveryOptions

    @property
    def before(self) -> tuple[str, ...]:
        """The stages that it comes after."""
        return (*self.after, *self.after_any, *((self.after_row,) if self.after_row else ()))

    @property
    def bound_to(self) -> tuple[str, ...]:
        """What its batch is bound to."""
        return bound_words(self.words, shell=self.is_shell, literal=bool(self.flags.get("literal")))


def named_file(command: Sequence[str]) -> Path | None:
    """The pipeline that is named instead of a command; None: it is a command. Raises UsageError for words behind it."""
    file = Path(command[0])
    if not command[0].endswith(".toml") or not file.is_file():
        return None
    if len(command) > 1:
        if os.access(file, os.X_OK):
            return None
        raise UsageError(
            f"{file}: a pipeline takes no arguments: {shlex.join(command[1:])}\n"
            'hint: a stage names its input in the file: input = "samples.csv"'
        )
    return file


def read_pipeline(file: Path) -> list[Stage]:
    """The stages, each behind those that it comes after. Raises UsageError, which names the stage and the line."""
    try:
        text = file.read_text("utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputUnreadable(f"{file}: {getattr(error, 'strerror', None) or 'no text in UTF-8'}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: not TOML: {error}") from None
    return _Reader(file, text).stages(content)


class _Reader:
    """Reads one file, and says where in it something is wrong."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()
        self._names: list[str] = []
        self._flags = tuple(key for key in toml_keys() if key not in _NOT_HERE)

    def stages(self, content: Mapping[str, Any]) -> list[Stage]:
        for key in content:
            if key != "stage":
                self._refuse(self._line_of(key, -1), f"unknown key {key}", "a pipeline is a list of [[stage]]")
        tables = content.get("stage")
        if not isinstance(tables, list) or not tables:
            raise UsageError(f"{self._file}: no stages\nhint: each begins with a line [[stage]]")
        for at, table in enumerate(tables):
            self._names.append(self._name(table, at))
        ordered = list(self._in_order([self._before(table, at) for at, table in enumerate(tables)]))
        found: dict[str, Stage] = {}
        for at in ordered:
            found[self._names[at]] = self._stage(tables[at], at, found)
        return list(found.values())

    def _name(self, table: Mapping[str, Any], at: int) -> str:
        name = table.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            what = "no name" if name is None else f"name = {name!r} is not a valid name"
            self._wrong(at, "name", what, 'give it one word, as in name = "prepare"')
        if name in self._names:
            self._wrong(at, "name", f"there are two stages {name}", "give each a name of its own")
        return name

    def _before(self, table: Mapping[str, Any], at: int) -> list[int]:
        """The places of the stages that it comes after."""
        places = []
        for key in ("after", "after_any", "after_row"):
            for name in self._texts(table, key, at):
                if name not in self._names:
                    self._wrong(at, key, f"no stage is called {name}", self._nearest(name, self._names))
                places.append(self._names.index(name))
        return places

    def _in_order(self, before: Sequence[Sequence[int]]) -> Iterator[int]:
        done: set[int] = set()

        def visit(at: int, path: tuple[int, ...]) -> Iterator[int]:
            if at in path:
                ring = " → ".join(self._names[one] for one in (*path[path.index(at) :], at))
                self._wrong(at, "after", f"these stages would wait for each other: {ring}", "leave one of them out")
            if at not in done:
                for other in before[at]:
                    yield from visit(other, (*path, at))
                if at not in done:
                    done.add(at)
                    yield at

        for at in range(len(before)):
            yield from visit(at, ())

    def _stage(self, table: Mapping[str, Any], at: int, found: Mapping[str, Stage]) -> Stage:
        """The stage; those that it comes after are `found` already."""
        values = {key.replace("-", "_"): value for key, value in table.items()}
        known = (*_OWN, *_READING, *self._flags)
        for key in table:
            if key.replace("-", "_") not in known:
                shown = [one.replace("_", "-") for one in known]
                hint = self._nearest(key.replace("_", "-"), shown, _KEYS)
                self._wrong(at, key, f"unknown key {key}", hint)
        after, after_any, rows = (self._texts(values, key, at) for key in ("after", "after_any", "after_row"))
        if len(rows) > 1:
            self._wrong(at, "after_row", "a stage is joined to the rows of one other", "name one")
        name, is_shell = self._names[at], values.get("shell") is True
        flags = dict(self._flag(key, values[key], at) for key in values if key in self._flags)
        source = values.get("input") or next((found[one].input for one in (*rows, *after, *after_any)), None)
        if not isinstance(source, str):
            self._wrong(at, "input", "no input", 'name a file: input = "samples.csv"')
        reading = self._reading(values, name, at, found[rows[0]].reading if rows and "input" not in values else None)
        words = self._words(values, at, is_shell=is_shell)
        return Stage(name, source, words, is_shell, after, after_any, rows[0] if rows else None, reading, flags)

    def _words(self, values: Mapping[str, Any], at: int, *, is_shell: bool) -> tuple[str, ...]:
        command = values.get("command")
        if isinstance(command, list) and command and all(isinstance(word, str) for word in command):
            return tuple(command)
        if not isinstance(command, str) or not command.strip():
            self._wrong(at, "command", "no command", 'say what to run: command = "./prepare.sh {1}"')
        try:
            return (command,) if is_shell else tuple(shlex.split(command))
        except ValueError as error:
            self._wrong(at, "command", f"command: {error}", "close the quotes, or write a list of words")

    def _reading(self, values: Mapping[str, Any], name: str, at: int, same: LoadOptions | None) -> LoadOptions:
        """How its input is read; `same` is that of the stage whose input it has."""
        given: dict[str, Any] = {key: values[key] for key in _READING if key in values}
        for key, value in given.items():
            if type(value) is not _READING[key]:
                self._wrong(at, key, f"{key} = {value!r} is not a valid value", f"give {_KINDS[_READING[key]]}")
        if "format" in given and given["format"] not in list(Format):
            self._wrong(at, "format", f"format = {given['format']!r} is not known", f"give {', '.join(Format)}")
        kept = {key: getattr(same, key) for key in _READING} if same else {}
        return LoadOptions(**{**kept, **given}, batch=name, stage=name)

    def _flag(self, key: str, value: Any, at: int) -> tuple[str, Any]:
        return field_from_toml(key, value, f"{self._where(at, key)}: {key.replace('_', '-')}")

    def _texts(self, table: Mapping[str, Any], key: str, at: int) -> tuple[str, ...]:
        value = table.get(key, table.get(key.replace("_", "-"), ()))
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            self._wrong(at, key, f"{key} = {value!r} names no stage", 'write a name, or a list: ["prepare"]')
        return tuple(texts)

    # What is said of something wrong

    def _wrong(self, at: int, key: str, what: str, hint: str) -> NoReturn:
        raise UsageError(f"{self._where(at, key)}: {what}" + (f"\nhint: {hint}" if hint else ""))

    def _refuse(self, line: int | None, what: str, hint: str) -> NoReturn:
        place = f", line {line}" if line else ""
        raise UsageError(f"{self._file}{place}: {what}\nhint: {hint}")

    def _where(self, at: int, key: str) -> str:
        line = self._line_of(key, at)
        place = f", line {line}" if line else ""
        name = self._names[at] if at < len(self._names) else str(at + 1)
        return f"{self._file}{place}, stage {name}"

    def _line_of(self, key: str, at: int) -> int | None:
        """The line where this key of a stage stands, or the stage; at -1 it stands outside of all."""
        stage, begins = -1, None
        written = re.compile(rf"""\s*\[*\s*["']?{re.escape(key).replace("_", "[-_]")}["']?\s*(=|\]|\.)""")
        for number, line in enumerate(self._lines, 1):
            if _HEADER.match(line):
                stage += 1
                begins = number if stage == at else begins
            elif at in (stage, -1) and written.match(line):
                return number
        return begins

    def _nearest(self, word: str, known: Sequence[str], otherwise: str = "") -> str:
        near = get_close_matches(word, known, 1)
        return f"did you mean {near[0]}?" if near else otherwise or f"known are {', '.join(known)}"
