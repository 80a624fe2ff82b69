"""Which braces stand for an order's arguments, and what goes there: one rule for commands, shell lines and file names.

Braces hold a placeholder when an argument has exactly the name in them, or when they hold nothing (all arguments), a
number (an argument's place) or a single word (a name). A name goes before a place: where a column is called 2019,
`{2019}` is that column. What follows it takes a path apart, as in GNU parallel: `{.}` without its ending, `{/}` without
its folder, `{//}` the folder, `{/.}` without both; `{1.}` and `{name/}` likewise. `{#}` is the order's row, `{%}` the
slot. `{stage.name}` is an argument or a result of the same row in a stage before. A placeholder that the order cannot
fill is an error. All other braces stay as they are, and so do those after a `$`, which belong to a shell. Doubled
braces stand for themselves: `{{1}}` is `{1}`.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from waiter.errors import UsageError
from waiter.orders import Order

BRACES = re.compile(r"(?<![${])(\{+)([^{}]*)(\}+)")
_WORD = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)*")
_ALIKE = 0.8
"""What is no single word is a misspelt name only where it is so much like one."""

_WITH_CHANGE = re.compile(r"(.*?)(//|/\.|/|\.)", re.DOTALL)

ROW = "#"
SLOTS = ("%", "slot")
"""What only the runner knows, when the command starts."""

Value = Callable[[str], str]
"""What stands for the name, or the number, in a placeholder's braces."""


class NoSuchArgument(ValueError):
    """A placeholder asks for an argument that this order does not have: the order's fault, not the command's.

    `hint` says what to do should all orders lack it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def filled(text: str, names: Sequence[str] | None, value: Value) -> str:
    """The text with its placeholders replaced, and doubled braces halved. `names` are those of the arguments."""

    def replaced(match: re.Match[str]) -> str:
        opening, name, closing = match.groups()
        if not is_placeholder(name, names):
            return match[0]
        depth = min(len(opening), len(closing))
        kept = depth // 2
        inside = value(name) if depth % 2 else name
        return opening[: len(opening) - depth + kept] + inside + closing[: len(closing) - depth + kept]

    return BRACES.sub(replaced, text) if "{" in text else text


def holds_placeholder(text: str, names: Sequence[str] | None) -> bool:
    """Whether something is to be filled in. Doubled braces alone are nothing to be filled in."""
    return any(
        min(len(opening), len(closing)) % 2 and is_placeholder(name, names)
        for opening, name, closing in BRACES.findall(text)
    )


def is_placeholder(name: str, names: Sequence[str] | None) -> bool:
    """Whether braces around this are a placeholder, be it one that cannot be filled."""
    if (names and name in names) or name in (ROW, *SLOTS):
        return True
    base, _ = parted(name, names)
    if not base or is_number(base) or (names and base in names) or _WORD.fullmatch(base):
        return True
    return bool(names and nearest(base, tuple(names), _ALIKE))


def parted(name: str, names: Sequence[str] | None) -> tuple[str, str]:
    """What braces hold, as a name (or a number, or nothing) and the change to its value: a key of CHANGES."""
    if names and name in names:
        return name, ""
    found = _WITH_CHANGE.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")


def is_slot(name: str, names: Sequence[str] | None) -> bool:
    """Whether these braces stand for the number of the slot, and for no column of that name."""
    return name in SLOTS and not (names and name in names)


def _without_folder(path: str) -> str:
    return path[path.rfind("/") + 1 :]


def _without_ending(path: str) -> str:
    return re.sub(r"\.[^/.]+\Z", "", path)


def _folder(path: str) -> str:
    return os.path.dirname(path.rstrip("/")) or ("/" if path.startswith("/") else ".")  # noqa: PTH120 - a text, no path


CHANGES: Mapping[str, Callable[[str], str]] = {
    "": str,
    ".": _without_ending,
    "/": _without_folder,
    "//": _folder,
    "/.": lambda path: _without_ending(_without_folder(path)),
}
"""What the marks behind a name make of its value; the rules are GNU parallel's (its manual, "Replacement strings")."""


def is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def place_of(name: str, names: Sequence[str] | None, count: int, asker: str) -> int:
    """Which of `count` arguments this name or number means, from 1. Raises NoSuchArgument; `asker` is who wants it."""
    if names and name in names:
        return names.index(name) + 1
    if is_number(name):
        if 1 <= int(name) <= count:
            return int(name)
        last = f"{{{count}}}" if count else "none"
        raise NoSuchArgument(
            f"{asker} asks for {{{name}}}, and this order's last argument is {last}",
            f"write {{{{{name}}}}} for the braces themselves",
        )
    raise _no_such_name(name, names, asker)


def argument(name: str, order: Order, asker: str) -> str:
    """What the placeholder stands for: an argument, or for no name all of them with a space between."""
    if name == ROW and not (order.names and name in order.names):
        return str(order.row)
    if is_slot(name, order.names):
        raise NoSuchArgument(f"{asker} asks for {{{name}}}, the slot, which is not known before the command starts")
    base, change = parted(name, order.names)
    if not base:
        return " ".join(map(CHANGES[change], order.arguments))
    if is_earlier(base, order):
        return CHANGES[change](_earlier(base, order, asker))
    return CHANGES[change](order.arguments[place_of(base, order.names, len(order.arguments), asker) - 1])


def is_earlier(name: str, order: Order) -> bool:
    """Whether this names something of an earlier stage: `stage.name`, where the order's own names go first."""
    if not order.earlier or (order.names and name in order.names):
        return False
    return any(known == name or name.startswith(known.partition(".")[0] + ".") for known, _ in order.earlier)


def _earlier(name: str, order: Order, asker: str) -> str:
    known = dict(order.earlier)
    if name not in known:
        near = nearest(name, tuple(known))
        guess = f"Did you mean {{{near}}}? " if near else ""
        raise NoSuchArgument(
            f"{asker} asks for {{{name}}}. {guess}Of the stages before there is {', '.join([*known][:20])}",
            f"write {{{{{name}}}}} for the braces themselves",
        )
    return known[name]


def _no_such_name(name: str, names: Sequence[str] | None, asker: str) -> NoSuchArgument:
    literally = f"write {{{{{name}}}}} for the braces themselves"
    if not names:
        why = "this order's arguments have no names"
        return NoSuchArgument(
            f"{asker} asks for {{{name}}}, and {why}", f"name them with --header or as JSON objects, or {literally}"
        )
    near = nearest(name, tuple(names))
    guess = f". Did you mean {{{near}}}, which is {{{names.index(near) + 1}}}?" if near else ""
    known = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return NoSuchArgument(
        f"{asker} asks for {{{name}}}, and this order's arguments are named {known}{guess}", literally
    )


@lru_cache(maxsize=256)
def nearest(name: str, names: tuple[str, ...], cutoff: float = 0.6) -> str | None:
    """The one of these names that looks most like it, if any does; upper and lower case are alike."""
    from difflib import get_close_matches  # only a mistake needs it

    lower = {one.lower(): one for one in reversed(names)}
    found = get_close_matches(name.lower(), lower, 1, cutoff)
    return lower[found[0]] if found else None


def own_or_argument(own: Mapping[str, str], order: Order, asker: str) -> Value:
    """Placeholders of the asker's own go first, then the order's arguments."""
    return lambda name: own[name] if name in own else argument(name, order, asker)


def refuse_if_none_fits(fill: Callable[[Order], object], orders: Iterable[Order]) -> None:
    """Raise UsageError if `fill` raises NoSuchArgument for each of these orders: then it is no order's own fault."""
    trouble = None
    for order in orders:
        try:
            fill(order)
        except NoSuchArgument as error:
            trouble = trouble or error
        else:
            return
    if trouble:
        raise UsageError(f"{trouble}\nhint: {trouble.hint}")
