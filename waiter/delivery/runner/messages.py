"""What a waiter and its runner say to each other: marshal's bytes behind their length.

Both are the same Python, so one reads what the other wrote, bytes as bytes. JSON would be a sixth of the runner's
start.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

_LENGTH = 4
"""Bytes that say how long the message behind them is."""


def packed(message: Any) -> bytes:
    """The message as it is sent: texts, numbers, bytes and None, in lists, tuples and dicts."""
    try:
        content = marshal.dumps(message)
    except ValueError:
        content = marshal.dumps(_plain(message))
    return len(content).to_bytes(_LENGTH, "big") + content


def unpacked(received: bytes) -> tuple[list[Any], bytes]:
    """The whole messages in what has been received, and what is left of it."""
    messages = []
    at, view = 0, memoryview(received)
    while (end := _end(received, at)) is not None:
        messages.append(marshal.loads(view[at + _LENGTH : end]))
        at = end
    return messages, received[at:]


def first(received: bytes) -> tuple[Any, bytes] | None:
    """The first message and what came with it; None while it is not whole."""
    end = _end(received, 0)
    return None if end is None else (marshal.loads(memoryview(received)[_LENGTH:end]), received[end:])


def _end(received: bytes, at: int) -> int | None:
    """Where the message that begins there ends; None if it is not all here."""
    end = at + _LENGTH + int.from_bytes(received[at : at + _LENGTH], "big")
    return end if at + _LENGTH <= len(received) and end <= len(received) else None


def _plain(value: Any) -> Any:
    """The same without kinds of texts and numbers that a user has made, which marshal does not know."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
