"""Which braces stand for an order's arguments, and what goes there: one rule for commands, shell lines and file names.

Braces hold a placeholder when an argument has exactly the name in them, or when they hold nothing (all arguments), a
number (an argument's place) or a single word (a name). A name goes before a place: where a column is called 2019,
`{2019}` is that column. A placeholder that the order cannot fill is an error. All other braces stay as they are, and so
do those after a `$`, which belong to a shell. Doubled braces stand for themselves: `{{1}}` is `{1}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache

from waiter.errors import UsageError
from waiter.orders import Order

BRACES = re.compile(r"(?<![${])(\{+)([^{}]*)(\}+)")
_WORD = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)*")
_ALIKE = 0.8
"""What is no single word is a misspelt name only where it is so much like one."""

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
    if not name or is_number(name) or (names and name in names) or _WORD.fullmatch(name):
        return True
    return bool(names and nearest(name, tuple(names), _ALIKE))


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
    if not name:
        return " ".join(order.arguments)
    return order.arguments[place_of(name, order.names, len(order.arguments), asker) - 1]


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
