"""The user's command: a template and an order make an argv. No shell reads it, unless the user asked for one."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from waiter.blake import blake2b
from waiter.errors import CommandUnstartable, UsageError
from waiter.orders import Order

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_POSITIONAL = re.compile(r"\$(?:[@*1-9]|\{[@*1-9])")
_HASHED_BYTES = 64 * 1024 * 1024
_CHUNK = 1 << 18


class NoSuchArgument(ValueError):
    """A placeholder asks for an argument that this order does not have: the order's fault, not the command's."""


@dataclass(frozen=True, slots=True)
class Command:
    """What `deliver` was given: words, of which `program` is the first, found on this machine."""

    words: tuple[str, ...]
    program: str  # an absolute path
    is_appended: bool  # no placeholder anywhere: the arguments go to the end

    def argv(self, order: Order) -> tuple[str, ...]:
        """The words to execute for this order. Raises NoSuchArgument."""
        if self.is_appended:
            return (*self.words, *order.arguments)
        argv: list[str] = []
        for word in self.words:
            if word == "{}":
                argv.extend(order.arguments)
            else:
                argv.append(filled(word, order))
        return tuple(argv)


def command(words: Sequence[str], *, shell: bool = False, cwd: str | None = None, path: str | None = None) -> Command:
    """The command that these words are. Raises UsageError without words, CommandUnstartable when it cannot be found."""
    if not words:
        raise UsageError("no command given. Say what to run at the end of the line, for example: ./crunch.sh")
    if shell:
        line = " ".join(words)
        return Command(("/bin/sh", "-c", shell_line(line), "sh"), "/bin/sh", is_appended=True)
    program = found(words[0], cwd=cwd, path=path)
    is_appended = not any(_PLACEHOLDER.search(word) for word in words[1:] if _stands_for_something(word))
    return Command((words[0], *words[1:]), program, is_appended)


def _stands_for_something(word: str) -> bool:
    # A word such as awk's '{print $1}' looks like a name, and is one only for orders that have it: see `named`.
    return any(not name or name.isdecimal() for name in _PLACEHOLDER.findall(word))


def named(template: Command, names: Sequence[str] | None) -> Command:
    """The same command for orders with these names: `{name}` counts as a placeholder too."""
    if not names or not template.is_appended or template.words[:2] == ("/bin/sh", "-c"):
        return template
    known = {f"{{{name}}}" for name in names}
    if any(placeholder in word for word in template.words for placeholder in known):
        return Command(template.words, template.program, is_appended=False)
    return template


def filled(word: str, order: Order) -> str:
    """The word with its placeholders replaced. `{}` inside a word stands for all arguments, a space between them."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not name:
            return " ".join(order.arguments)
        if name.isdecimal():
            number = int(name)
            if 1 <= number <= len(order.arguments):
                return order.arguments[number - 1]
            last = f"{{{len(order.arguments)}}}" if order.arguments else "none"
            raise NoSuchArgument(f"the command asks for {{{name}}}, and this order's last argument is {last}")
        return order.named.get(name, match[0])

    return _PLACEHOLDER.sub(value, word)


def shell_line(line: str) -> str:
    """The line for `sh -c` with the order's arguments as "$@": `{}` and `{2}` become "$@" and "${2}".

    A line that mentions no argument gets "$@" at its end. The arguments themselves are never part of the line, so
    nothing in them is ever executed.
    """

    def parameter(match: re.Match[str]) -> str:
        if not match[1]:
            return '"$@"'
        return f'"${{{match[1]}}}"' if match[1].isdecimal() else match[0]

    replaced = _PLACEHOLDER.sub(parameter, line)
    return replaced if replaced != line or _POSITIONAL.search(line) else f'{line} "$@"'


def found(program: str, *, cwd: str | None = None, path: str | None = None) -> str:
    """The absolute path of a program, as a shell in `cwd` would find it. Raises CommandUnstartable."""
    if os.sep not in program:
        absolute = shutil.which(program, path=path)
        if absolute is None:
            hint = f". Did you mean ./{program}?" if Path(cwd or ".", program).is_file() else ""
            raise CommandUnstartable(f"{program}: command not found on the PATH of this machine{hint}")
        return str(Path(absolute).absolute())
    file = Path(cwd or ".", program).absolute()
    if not file.exists():
        raise CommandUnstartable(f"{program}: no such file in {file.parent}")
    if file.is_dir():
        raise CommandUnstartable(f"{program}: a directory cannot be run")
    if not os.access(file, os.X_OK):
        if os.statvfs(file).f_flag & os.ST_NOEXEC:
            raise CommandUnstartable(f"{program}: {file.parent} is mounted noexec. Name its interpreter: sh {program}")
        raise CommandUnstartable(f"{program}: not executable. Run: chmod +x {program}")
    return str(file)


class Version:
    """The hash of the command's words and of the files among them, looked at again when one changes."""

    def __init__(self, words: Sequence[str], program: str, cwd: str | None) -> None:
        self._words = tuple(words)
        self._files = [Path(program), *(Path(cwd or ".", word) for word in words[1:] if word)]
        self._seen: Mapping[Path, tuple[int, int]] = {}
        self._hash = ""

    def current(self) -> str:
        """12 hex digits."""
        seen = {file: facts for file in self._files if (facts := _facts(file))}
        if seen != self._seen or not self._hash:
            digest = blake2b("\0".join(self._words).encode("utf-8", "surrogateescape"), digest_size=6)
            for file in seen:
                digest.update(_content_hash(file))
            self._hash = digest.hexdigest()
            self._seen = seen  # last: the heartbeat asks, too
        return self._hash


def _facts(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    is_hashed = stat.S_ISREG(status.st_mode) and status.st_size <= _HASHED_BYTES
    return (status.st_mtime_ns, status.st_size) if is_hashed else None


def _content_hash(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            digest = blake2b()
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
            return digest.digest()
    except OSError:
        return b"unreadable"
