"""A `--shell` line as /bin/sh gets it: arguments are parameters, and one word each, however the line quotes them.

The arguments are never part of the line, so nothing in them is ever executed. `{1}` becomes `"${1}"` where nothing is
quoted, `${1}` inside double quotes and `'"${1}"'` inside single ones; a bare `$1` gets the quotes that it lacks. For
that the line is read as a shell would read it, as far as quotes go. Where an argument stands in what is not read here
(backquotes, here-documents, arithmetic), the line is refused with what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from waiter.delivery.placeholders import BRACES, Value, filled, holds_placeholder, is_placeholder
from waiter.errors import UsageError
from waiter.light_dataclass import dataclass, field

_PARAMETER = re.compile(r"\$(?:[1-9@*#]|\{#?[1-9@*#])")
_SPLITS = re.compile(r"(?:^|[;&|(\n]|\b(?:do|then|else)\b)\s*(?:set(?:\s+--)?|for\s+\w+\s+in)\s[^;&|\n]*$")
_NO_END = re.compile(r"(?:(?<!\\)[;&|({\n]|(?<=[\s;])\}|\b(?:do|done|then|else|fi|esac))\s*\Z")
_HERE = re.compile(r"<<(-?)[ \t]*(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\\?[^\s;&|<>()'\"\\$`]+))(?=[\s;&|<>()]|\Z)")

# What is read as one piece. Inside `${…}` one level of further braces and quotes is understood.
_INNER = r"""(?:[^{}"'`\\]|\$\{[^{}"'`\\]*\}|"[^"\\`]*"|'[^']*'|\\.)*"""
_PIECES = {
    "escape": r"\\.",
    "ansi": r"\$'(?:[^'\\]|\\[^'])*'",
    "single": r"'[^']*'",
    "arithmetic": r"\$\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)",
    "backquotes": r"`(?:[^`\\]|\\.)*`",
    "expansion": r"\$\{" + _INNER + r"\}",
    "parameter": r"\$[1-9@*]",
    "substitution": r"\$\(",
    "dollar": r"\$[$?!#0-]",
    "braces": BRACES.pattern,
    "here_string": r"<<<",
    "here": _HERE.pattern,
    "odd_here": r"<<",
    "double": r'"',
    "open": r"\(",
    "close": r"\)",
    "comment": r"(?:(?<=[\s;&|()])|\A)#[^\n]*",
    "newline": r"\n",
    "case": r"\bcase\b",
    "broken": r"['`]|\$\{|\$'|\\\Z",
}
_IN_QUOTES = (
    "escape",
    "arithmetic",
    "backquotes",
    "expansion",
    "parameter",
    "substitution",
    "dollar",
    "braces",
    "double",
)
_ANY = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _PIECES.items()), re.DOTALL)
_QUOTED = re.compile("|".join(f"(?P<{name}>{_PIECES[name]})" for name in _IN_QUOTES), re.DOTALL)


def shell_line(line: str, names: Sequence[str] | None, place: Value) -> str:
    """The line for `sh -c` with an order's arguments as parameters; without a mention of any, "$@" goes to its end.

    `place` turns what a placeholder's braces hold into a parameter: "1", or "@" for all. Raises NotOneWord for a line
    in which an argument would not stay one word, and what `place` raises.
    """
    return _Reading(line, names, place).whole()


class NotOneWord(UsageError, ValueError):
    """A line in which an argument would come apart; where only some order's names make it so, that order's fault."""


@dataclass(slots=True)
class _Reading:
    line: str
    names: Sequence[str] | None
    place: Value
    written: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)  # of what: double quotes, $( or (
    here: list[_End] = field(default_factory=list)  # of here-documents to come
    mentions: bool = False
    last: str = ""  # the kind of the last piece

    def whole(self) -> str:
        at = 0
        while at < len(self.line):
            pieces = _QUOTED if self._is_quoted() else _ANY
            if (found := pieces.search(self.line, at)) is None:
                self.last = ""
                self.written.append(self.line[at:])
                break
            self.written.append(self.line[at : found.start()])
            self.last = str(found.lastgroup)
            at = self._read(self.last, found)
        if self.inside and self.inside[-1] == '"':
            self._refuse("a double quote is never closed", "close it")
        return "".join(self.written) if self.mentions else self._with_all()

    def _is_quoted(self) -> bool:
        return bool(self.inside) and self.inside[-1] == '"'

    def _with_all(self) -> str:
        is_subshell = self.last in ("close", "(") and self.line.rstrip().endswith(")")
        if self.last in ("comment", "here") or self.here or is_subshell or _NO_END.search(self.line):
            self._refuse("its end is no place for the arguments", "say where they go: {}")
        return f'{"".join(self.written)} "$@"'

    def _read(self, kind: str, found: re.Match[str]) -> int:
        """Write one piece, and say where the next begins."""
        text = found[kind]
        match kind:
            case "single":
                text = self._filled(text, "'\"", "\"'")
            case "braces":
                opening = text[: len(text) - len(text.lstrip("{"))]
                if not is_placeholder(text.strip("{}"), self.names):
                    self.written.append(opening)  # of a group of commands, or a function: it is read on
                    return found.start() + len(opening)
                text = self._filled(text, *(("", "") if self._is_quoted() else ('"', '"')))
            case "expansion":
                text = self._expansion(text)
            case "parameter":
                text = self._parameter(text, found.start())
            case "dollar":
                self.mentions = self.mentions or text == "$#"
            case "ansi" | "arithmetic" | "backquotes":
                self._leave(kind, text)
            case "odd_here":
                self._refuse("a here-document whose end is no plain word", "write <<'END', and END on its own line")
            case "broken":
                self._refuse(f"what begins at {self.line[found.start() :][:20]} has no end", "close it")
            case _:
                return self._structure(kind, text, found)
        self.written.append(text)
        return found.end()

    def _structure(self, kind: str, text: str, found: re.Match[str]) -> int:
        self.written.append(text)
        match kind:
            case "double":
                if self._is_quoted():
                    self.inside.pop()
                else:
                    self.inside.append(text)
            case "substitution" | "open":
                self.inside.append(text)
            case "close" if self.inside:
                self.last = self.inside.pop()
            case "case" if "$(" in self.inside:
                self._refuse("`case` inside $(…) is not understood here", "put it into a script")
            case "here":
                self.here.append(_end_of_here(text))
            case "newline" if self.here:
                return self._here_documents(found.end())
        return found.end()

    def _filled(self, text: str, before: str, after: str) -> str:
        self.mentions = self.mentions or holds_placeholder(text, self.names)

        def parameter(name: str) -> str:
            place = self.place(name)
            return f"{before}$@{after}" if place == "@" else f"{before}${{{place}}}{after}"

        return filled(text, self.names, parameter)

    def _parameter(self, text: str, at: int) -> str:
        """$1: a bare one would come apart at blanks."""
        self.mentions = True
        if self._is_quoted():
            return text
        if text[1].isdecimal() and _SPLITS.search(self.line, 0, at):
            self._refuse(f"{text} stays one word here", f"to part it at blanks: x={text}, and then $x")
        return '"$@"' if text in ("$@", "$*") else f'"{text}"'

    def _expansion(self, text: str) -> str:
        if holds_placeholder(text[2:], self.names):
            self._refuse(f"a placeholder in {text}", "write $1 there")
        if not _PARAMETER.search(text):
            return text
        self.mentions = True
        is_whole = self._is_quoted() or text.startswith("${#")
        if is_whole and "$(" not in text:
            return text
        if any(mark in text for mark in ('"', "'", "$(")):
            self._refuse(f"{text} may come apart", f"put all of it in quotes, or into a variable first: x={text}")
        return '"$@"' if text in ("${@}", "${*}") else f'"{text}"'

    def _leave(self, kind: str, text: str) -> None:
        """What stays as it is must hold no argument that would not stay whole."""
        has_placeholder = holds_placeholder(text, self.names)
        has_parameter = _PARAMETER.search(text) is not None
        if kind == "backquotes" and (has_placeholder or has_parameter):
            self._refuse("an argument in backquotes", "write $(…) instead of them")
        if kind == "arithmetic" and has_placeholder:
            self._refuse("a placeholder in $((…)), which a shell reads as code", "check it, and write $1 there")
        if kind == "ansi" and has_placeholder:
            self._refuse("a placeholder in $'…'", "end the quotes before it")
        if kind == "here" and (has_placeholder or (has_parameter and re.search(r"`|\$\(", text))):
            self._refuse("a placeholder in a here-document", "write $1 there, and outside of $(…)")
        self.mentions = self.mentions or (kind in ("arithmetic", "here") and has_parameter)

    def _here_documents(self, at: int) -> int:
        for end in self.here:
            is_over = False
            while at < len(self.line) and not is_over:
                text = self.line[at:].partition("\n")[0]
                if text.endswith("\\") and not end.is_quoted:
                    self._refuse("a line of a here-document that goes on in the next", "write <<'END', or one line")
                is_over = (text.lstrip("\t") if end.is_indented else text) == end.word
                self._leave("here", text)
                self.written.append(self.line[at : at + len(text) + 1])
                at += len(text) + 1
            self.last = "here"
        self.here.clear()
        return at

    def _refuse(self, why: str, instead: str) -> None:
        raise NotOneWord(f"--shell {self.line}: {why}\nhint: {instead}")


@dataclass(frozen=True, slots=True)
class _End:
    """What ends a here-document."""

    word: str
    is_indented: bool  # tabs before it do not count
    is_quoted: bool  # nothing in the document stands for anything else


def _end_of_here(text: str) -> _End:
    """What ends the here-document that this announces."""
    found = _HERE.fullmatch(text)
    groups: Sequence[str | None] = found.groups() if found else ("", "", "", "")
    word = next((group for group in groups[1:] if group is not None), "")
    return _End(word.removeprefix("\\"), bool(groups[0]), groups[3] is None or word.startswith("\\"))
