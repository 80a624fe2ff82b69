"""What the arguments of an order were before they became text: numbers, lists, None and so on, of JSON or of Python.

Commands, digests and searches know text alone. What it was is a letter for each argument, which kitchens keep beside
the names; rows of one kind have the same letters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

TEXT = "t"
JSON = "j"  # the text is JSON
PYTHON = "p"  # the text is a literal of Python's: True, None, [1, 'two'], (1, 2)

_LITERAL = (bool, type(None), list, tuple, dict, set)


class TypedArguments(list[str]):
    """Arguments as text, some of which were something else."""

    __slots__ = ("kinds",)

    def __init__(self, arguments: Sequence[str], kinds: str) -> None:
        super().__init__(arguments)
        self.kinds = kinds


def kinds_of(arguments: Sequence[str]) -> str | None:
    """A letter for each argument; None if all of them have always been text."""
    return arguments.kinds if isinstance(arguments, TypedArguments) else None


def value_of(argument: str, kind: str) -> object:
    """What the argument was."""
    if kind == JSON:
        return json.loads(argument)
    return _literal(argument) if kind == PYTHON else argument


def is_literal(value: object) -> bool:
    """Whether `value_of` gets it back from the text that `str` makes of it."""
    if not isinstance(value, _LITERAL):
        return False
    text = str(value)
    try:
        return repr(_literal(text)) == text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _literal(text: str) -> object:
    from ast import literal_eval  # few orders have such arguments

    value: object = literal_eval(text)
    return value
