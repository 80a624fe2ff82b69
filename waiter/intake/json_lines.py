"""A line of JSON as the arguments of an order, and their names; and a row of Python's as such a line."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from math import isfinite
from typing import NoReturn, TypeGuard

from waiter.errors import UsageError
from waiter.intake.validation import CUT, TOO_LARGE, unfit
from waiter.typed_arguments import JSON, PYTHON, TEXT, TypedArguments, is_literal

_OF_PYTHON = "\0python"
"""The key of what stands for a literal of Python's. No argument of anybody's holds a NUL."""


class _Number(str):
    """A JSON number as it was written: 1.10 and 1e400 are passed on as such."""

    __slots__ = ()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return named


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
)


def json_row(line: str) -> tuple[list[str], tuple[str, ...] | None]:
    """Arguments and names of a line. Raises ValueError with a message for the user."""
    if CUT in line:
        raise ValueError(TOO_LARGE)
    try:
        value = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {_said(error)}\nhint: fix it, or skip such rows with --skip-bad") from None
    if isinstance(value, list):
        return _arguments(value), None
    if not isinstance(value, dict):
        raise ValueError('neither a list nor an object\nhint: write ["a", "b"] or {"name": "value"}')
    names = tuple(value)
    if (why := unfit(names)) is not None:
        raise ValueError(why)
    if "" in names:
        raise ValueError("a key is empty\nhint: name it, or skip such rows with --skip-bad")
    return _arguments(value.values()), names


def _said(error: Exception) -> str:
    """What is wrong, and at which character of the line: json speaks of a line 1 that is none of the file's."""
    return f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)


def _arguments(values: Collection[object]) -> list[str]:
    arguments = list(map(_argument, values))
    kinds = "".join(map(_kind, values))
    return arguments if kinds == TEXT * len(kinds) else TypedArguments(arguments, kinds)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return JSON if isinstance(value, _Number) else TEXT
    return PYTHON if _is_of_python(value) else JSON


def _is_of_python(value: object) -> TypeGuard[dict[str, str]]:
    """Whether `python_row` wrote it."""
    return isinstance(value, dict) and _OF_PYTHON in value


def _argument(value: object) -> str:
    """Strings are themselves, everything else is its JSON text."""
    if not isinstance(value, str):
        return value[_OF_PYTHON] if _is_of_python(value) else _json_text(value)
    if value.isascii():
        return str(value)
    try:  # escapes of single bytes may add up to a character: what `os.fsdecode` makes of the bytes is the argument
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value  # `unfit` says what is wrong


def _json_text(value: object) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_json_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json_text(key)}:{_json_text(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def python_row(source: str, number: int, row: object) -> bytes:
    """The line for a row of arguments, or of arguments by name: what is no text becomes text as `str` makes it, and is
    remembered if it can be got back from that."""
    if isinstance(row, str | bytes) or not isinstance(row, Iterable):
        raise UsageError(f"{source}, row {number}: {row!r:.60} is not a list of arguments\nhint: write [{row!r:.60}]")
    if isinstance(row, Mapping):
        value: object = {str(name): _told(argument) for name, argument in row.items()}
    else:
        value = list(map(_told, row))
    return json.dumps(value).encode() + b"\n"


def _told(argument: object) -> object:
    """What JSON has, if the same text comes of it; a literal of Python's so marked; else its text."""
    if type(argument) is int or (type(argument) is float and isfinite(argument)):
        return argument
    if is_literal(argument):
        return {_OF_PYTHON: str(argument)}
    return os.fsdecode(argument) if isinstance(argument, bytes) else str(argument)
