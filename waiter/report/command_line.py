"""The exact command line that an order was delivered with, rebuilt from what its waiter said of itself."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from waiter.delivery.command import Command, command
from waiter.errors import UsageError
from waiter.orders import Order, Shift

_FUNCTION = re.compile(r"python:[\w.]+:[\w.]+")
"""A function in the place of a command; one without a name nobody can call by hand."""

CUT_AT = 200
"""Waiters tell no more of their command line than so many characters: a longer one is not known exactly."""


def line_by_hand(order: Order, shifts: Sequence[Shift]) -> str | None:
    """What to type to run the order's command once, quoted for bash or zsh; None when nobody knows.

    `shifts` are all that the kitchen remembers: the order's own version of the command is preferred. For an order
    that nobody has delivered, the command that all shifts share.
    """
    told = [shift for shift in shifts if shift.vitals.command and len(shift.vitals.command) < CUT_AT]
    same = [shift for shift in told if order.command and shift.vitals.command_hash == order.command]
    if not same and order.command is None and len({shift.vitals.command for shift in told}) == 1:
        same = told
    if not same:
        return None
    try:
        words = shlex.split(max(same, key=lambda shift: shift.since).vitals.command or "")
        if words and words[0].startswith("python:"):
            return f"waiter try {order.id} {words[0]}" if _FUNCTION.fullmatch(words[0]) else None
        argv = _template(words).argv(order)
    except (ValueError, UsageError):
        return None
    return " ".join(map(_quoted, argv))


def _quoted(word: str) -> str:
    """The word for a shell, in printable characters: others and bytes that are no UTF-8 as bash and zsh write them."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(chr(byte) if _is_safe(byte) else f"\\x{byte:02x}" for byte in os.fsencode(word)) + "'"


def _is_safe(byte: int) -> bool:
    return 0x20 <= byte < 0x7F and byte not in b"'\\"


def _template(words: Sequence[str]) -> Command:
    if len(words) == 1 and any(character in words[0] for character in " |;&$<>"):
        return command(words, shell=True)
    # The program need not exist here: only the words matter.
    return Command(tuple(words), "")
