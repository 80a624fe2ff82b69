"""Whether what a command says is what stands in the docs, but for what differs each time: times, rates, ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import TextWrapper

ANY = "…"
"""A line of its own that stands for any lines."""

_FOLD_AT, _FOLD = 120, "  "

_T = r"\d[\d.]*(e-\d+)?( ms| s| min| h| d)( \d\d? (s|min|h))?\b"

_MASKS = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+Z|\+\d{4})"), "<time>"),
    (re.compile(r"(\d\d-\d\d )?\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"<time> to <time>"), "<time>"),
    (re.compile(rf"\bin {_T}( to {_T})?"), "in <while>"),
    (re.compile(rf"\b{_T}"), "<while>"),
    (re.compile(r"\b\d[\d.,]*(e-\d+)?(/s|/min|/h)"), "<rate>"),
    (re.compile(r"\b\d[\d.]* (B|[KMGT]iB)"), "<size>"),
    (re.compile(r"\bPython \d[\d.]*, \d+ CPUs, \d+ GB free"), "Python <n>, <n> CPUs, <n> GB free"),
    (re.compile(r"\bcost \d[\d.]*( to \d[\d.]*)?"), "cost <n>"),
    (re.compile(r"\b\d+\.\d+(e-\d+)?(?!\d* %)\b(?! %)"), "<n>"),
    (re.compile(r"\bpid \d+|\b(?<=crunch-\d/)\d+"), "<pid>"),
    (re.compile(r"\b\d+ delivered,"), "<count> delivered,"),
    (re.compile(r"(?<= running ) *\d+ +\w+ +(\d/\d) +\d+ +(\d+) +\w+ "), r"<pid> <while> \1 <count> \2 <while> "),
    (re.compile(r"\d+ \(<id>-\d+(?=, .*\) done)"), "<order>"),
    (re.compile(r"\b\d[\d,]* bytes"), "<size>"),
    (re.compile(r"[━─]+"), "━"),
    (re.compile(r"[▁▂▃▄▅▆▇█]+( +[▁▂▃▄▅▆▇█]+)*"), "█"),
    (re.compile(r"-{4,}"), "----"),
    (re.compile(r"\s+"), " "),
]
_FIGURE = re.compile(r'("(?:pid|memory|peak_memory|at|load)": )\d[\d.]*')
"""Numbers of JSON that could be taken for ids."""

_ID = re.compile(r"(?<!\.)\b(?=[a-f]*\d)(?:[0-9a-f]{8,12}|[0-9a-f]{32})\b|(?<=laptop/)\d+|\bi-[0-9a-f]{17}\b")


class Ids:
    """Which ids of the docs are which of this run: learned from outputs, put into the commands that name them."""

    def __init__(self) -> None:
        self._here: dict[str, str] = {}

    def put_in(self, command: str) -> str:
        return _ID.sub(lambda match: self._here.get(match[0], match[0]), command)

    def are_same(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Whether these lines (said, written) name the same ids; those never seen before are learned."""
        known = dict(self._here)
        for said, written in pairs:
            for here, there in zip(_ids(said), _ids(written), strict=True):
                if there not in known and here in known.values():
                    return False  # it is called otherwise further up on the page
                if known.setdefault(there, here) != here:
                    return False
        self._here = known
        return True


def _ids(line: str) -> list[str]:
    return _ID.findall(_FIGURE.sub(r"\1<n>", line))


def masked(line: str) -> str:
    """The line without what differs each time."""
    line = _ID.sub("<id>", _FIGURE.sub(r"\1<n>", line))
    for pattern, word in _MASKS:
        line = pattern.sub(word, line)
    return line.strip()


def is_alike(said: Sequence[str], written: Sequence[str], ids: Ids, *, any_order: bool = False) -> bool:
    """Whether the lines that were said are those that are written; a written line `…` stands for any lines."""
    written = unfolded(written)
    if any_order:
        said, written = sorted(said, key=masked), sorted(written, key=masked)
    pairs = _pairs(said, written)
    return pairs is not None and ids.are_same(pairs)


def folded(lines: Sequence[str]) -> list[str]:
    """Lines for a page: JSON that is too wide goes on in the next lines, two columns further in."""
    wrapper = TextWrapper(_FOLD_AT, subsequent_indent=_FOLD, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in (wrapper.wrap(line) if line.startswith("{") else [line])]


def unfolded(lines: Sequence[str]) -> list[str]:
    """The lines as the command said them."""
    whole: list[str] = []
    for line in lines:
        if line.startswith(_FOLD) and whole and whole[-1].startswith("{"):
            whole[-1] += line.removeprefix(_FOLD[1:])
        else:
            whole.append(line)
    return whole


def _pairs(said: Sequence[str], written: Sequence[str]) -> list[tuple[str, str]] | None:
    """Which line is which; None if they are not alike."""
    if not written:
        return None if said else []
    if written[0].strip() == ANY:
        rests = (_pairs(said[skipped:], written[1:]) for skipped in range(len(said) + 1))
        return next((pairs for pairs in rests if pairs is not None), None)
    if not said or masked(said[0]) != masked(written[0]):
        return None
    pairs = _pairs(said[1:], written[1:])
    return None if pairs is None else [(said[0], written[0]), *pairs]
