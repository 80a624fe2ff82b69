"""The user's command: a template and an order make an argv. No shell reads it, unless the user asked for one."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock

from waiter.delivery.placeholders import (
    CHANGES,
    ROW,
    argument,
    filled,
    holds_placeholder,
    is_slot,
    parted,
    place_of,
)
from waiter.delivery.runner.slot_mark import SLOT_MARK
from waiter.errors import CommandUnstartable, UsageError
from waiter.hashing import blake2b
from waiter.kitchen.open_files import is_kitchen
from waiter.light_dataclass import dataclass
from waiter.orders import Order
from waiter.user_dirs import full_path

SHELL = "/bin/sh"
_OF_A_LINE = r"[\s|;&<>$*]"
"""What stands in lines for a shell, and hardly in the name of a program."""

ASKER = "the command"

_HASHED_BYTES = 64 * 1024 * 1024
_CHUNK = 1 << 18
_CHANGES = 3
"""Whoever edits a script saves it less often than a waiter looks."""


@dataclass(frozen=True, slots=True)
class Command:
    """What `deliver` was given: words, of which `program` is the first, found on this machine."""

    words: tuple[str, ...]  # with `is_shell` only one: the line
    program: str  # an absolute path
    is_shell: bool = False
    is_literal: bool = False  # braces are nothing but braces

    def argv(self, order: Order) -> tuple[str, ...]:
        """The words to execute for this order, SLOT_MARK where the slot's number goes.

        Raises NoSuchArgument, and UsageError for a shell line.
        """
        if self.is_shell:
            return (SHELL, "-c", self._line(order).text, "sh", *order.arguments)
        if self.is_literal:
            return (*self.words, *order.arguments)
        is_filled = _holds_placeholders(self.words[1:], order.names)
        argv = [self.words[0]]
        for word in self.words[1:]:
            if (change := _ALL.get(word)) is not None:
                argv.extend(map(CHANGES[change], order.arguments))
            else:
                argv.append(filled(word, order.names, lambda name: _value(name, order)))
        return tuple(argv) if is_filled else (*argv, *order.arguments)

    def variables(self, order: Order) -> Mapping[str, str]:
        """What the line of `argv` takes from its environment: parts of arguments. Raises as `argv` does."""
        if not self.is_shell:
            return {}
        asked = self._line(order).asked
        return {_variable(at): argument(name, order, ASKER) for at, name in enumerate(asked)}

    def _line(self, order: Order) -> _Line:
        if self.is_literal:
            return _Line(self.words[0], ())
        stages = frozenset(name.partition(".")[0] for name, _ in order.earlier)
        return _line(self.words[0], order.names, len(order.arguments), stages)


_ALL = {f"{{{change}}}": change for change in CHANGES}
"""Words that become as many as there are arguments."""


def _value(name: str, order: Order) -> str:
    return SLOT_MARK if is_slot(name, order.names) else argument(name, order, ASKER)


def command(
    words: Sequence[str],
    *,
    shell: bool = False,
    literal: bool = False,
    cwd: str | None = None,
    path: str | None = None,
) -> Command:
    """The command that these words are. Raises UsageError without words, CommandUnstartable when it cannot be found."""
    if not words:
        raise UsageError("no command given\nhint: add it at the end of the line, for example: ./crunch.sh")
    if shell:
        line = " ".join(words)
        if not literal:
            _shell_line(line, None, lambda name: name or "@")  # as far as it can be checked without an order
        return Command((line,), SHELL, is_shell=True, is_literal=literal)
    return Command(tuple(words), found(words[0], cwd=cwd, path=path), is_literal=literal)


@lru_cache(maxsize=256)
def _holds_placeholders(words: tuple[str, ...], names: tuple[str, ...] | None) -> bool:
    return any(holds_placeholder(word, names) for word in words)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line for the shell, and the placeholders in it whose values are variables of its environment."""

    text: str
    asked: tuple[str, ...]


def _variable(at: int) -> str:
    return f"WAITER_PART_{at}"


@lru_cache(maxsize=256)
def _line(line: str, names: tuple[str, ...] | None, count: int, stages: frozenset[str]) -> _Line:
    asked: list[str] = []

    def parameter(name: str) -> str:
        if is_slot(name, names):
            return "WAITER_SLOT"
        base, change = parted(name, names)
        is_earlier = base.partition(".")[0] in stages and not (names and base in names)
        if change or name == ROW or is_earlier:
            asked.append(name)
            return _variable(len(asked) - 1)
        return str(place_of(base, names, count, ASKER)) if base else "@"

    return _Line(_shell_line(line, names, parameter), tuple(asked))


def _shell_line(line: str, names: tuple[str, ...] | None, parameter: Callable[[str], str]) -> str:
    from waiter.delivery.shell_line import shell_line  # few commands are lines, and it reads them with large patterns

    return shell_line(line, names, parameter)


def found(program: str, *, cwd: str | None = None, path: str | None = None) -> str:
    """The absolute path of a program, as a shell in `cwd` would find it. Raises CommandUnstartable."""
    if os.sep not in program:
        from shutil import which  # it knows compression, and many programs are paths

        absolute = which(program, path=path)
        if absolute is None:
            hint = f"\nhint: did you mean ./{program}?" if Path(cwd or ".", program).is_file() else _line_hint(program)
            raise CommandUnstartable(f"{program}: command not found on the PATH of this machine{hint}")
        return str(Path(absolute).absolute())
    file = full_path(Path(cwd or ".", program))
    if not file.exists():
        raise CommandUnstartable(f"{program}: no such file in {file.parent}{_line_hint(program)}")
    if file.is_dir():
        raise CommandUnstartable(f"{program}: a directory cannot be run\nhint: name the program in it")
    if not os.access(file, os.X_OK):
        if os.statvfs(file).f_flag & os.ST_NOEXEC:
            raise CommandUnstartable(
                f"{program}: {file.parent} is mounted noexec\nhint: name its interpreter: sh {program}"
            )
        raise CommandUnstartable(f"{program}: not executable\nhint: chmod +x {program}")
    return str(file)


def _line_hint(program: str) -> str:
    """For one word that looks like a whole line."""
    return "\nhint: drop the quotes, or add --shell" if re.search(_OF_A_LINE, program) else ""


class Version:
    """The hash of the command's words and of the files among them, looked at again when one changes.

    A file that the commands write to is no part of the command: it would make a version of each order. It counts as it
    was. What tells it: it was not there when the waiter began, it grew at its end, or it changed between any two looks.
    """

    def __init__(self, words: Sequence[str], program: str, cwd: str | None) -> None:
        self._words = tuple(words)
        named = [Path(cwd or ".", word) for word in words[1:] if word]
        self._files = [_File(Path(program), is_code=True), *map(_File, named)]
        self._hash = ""
        self._lock = Lock()  # the heartbeat asks, too

    def current(self) -> str:
        """12 hex digits."""
        with self._lock:
            is_changed = [file.look() for file in self._files]
            if any(is_changed) or not self._hash:
                digest = blake2b("\0".join(self._words).encode("utf-8", "surrogateescape"), digest_size=6)
                for file in self._files:
                    digest.update(file.hash)
                self._hash = digest.hexdigest()
            return self._hash


@dataclass(slots=True)
class _File:
    """A file that a word may name, as far as it belongs to the command."""

    path: Path
    is_code: bool = False  # whatever becomes of it: the program, or what can be run
    hash: bytes = b""  # none: not there
    facts: tuple[int, int] | None = None
    looks: int = 0
    changes: int = 0  # so many looks in succession found another content
    is_output: bool = False  # the commands write to it

    def look(self) -> bool:
        """Whether it is another than at the last look."""
        facts = None if self.is_output else _facts(self.path)
        if facts is not None and facts != self.facts and is_kitchen(self.path):
            facts = None  # closing it would drop the kitchen's locks, and it changes with every order
        self.looks += 1
        if self.is_output or facts == self.facts:
            self.changes = 0
            return False
        self.changes += 1
        self.is_code = self.is_code or (facts is not None and _can_be_run(self.path))
        self.is_output = self.looks > 1 and not self.is_code and self._is_written(facts)
        if not self.is_output:
            self.facts, self.hash = facts, _content_hash(self.path) if facts else b""
        return not self.is_output

    def _is_written(self, facts: tuple[int, int] | None) -> bool:
        if self.facts is None or self.changes >= _CHANGES:
            return True
        old_size = self.facts[1]
        return facts is not None and facts[1] > old_size and _content_hash(self.path, old_size) == self.hash


def _can_be_run(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return content.read(2) == b"#!" or os.access(file, os.X_OK)
    except (OSError, ValueError):
        return False


def _facts(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    is_hashed = stat.S_ISREG(status.st_mode) and status.st_size <= _HASHED_BYTES
    return (status.st_mtime_ns, status.st_size) if is_hashed else None


def _content_hash(file: Path, size: int = _HASHED_BYTES) -> bytes:
    """Of its first bytes, so many."""
    try:
        with file.open("rb") as content:
            digest = blake2b()
            while chunk := content.read(min(size, _CHUNK)):
                digest.update(chunk)
                size -= len(chunk)
            return digest.digest()
    except OSError:
        return b"unreadable"
