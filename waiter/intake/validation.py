"""What the arguments of an order may be: text that stands for bytes without NUL, and not too many of them."""

from __future__ import annotations

from collections.abc import Sequence

from waiter.limits import ARGUMENTS_BYTES

CUT = "\0cut\0"
"""What ends a line that was too long to keep. It is no argument, as no NUL byte is."""

_NUL = "a NUL byte cannot be passed to a command\nhint: remove it, or skip such rows with --skip-bad"
TOO_LARGE = (
    f"more than the {ARGUMENTS_BYTES >> 20} MiB that an order may hold\n"
    "hint: pass a file's name instead, or use --skip-bad"
)
_HALF = "invalid \\u escape: half of a surrogate pair\nhint: fix it, or skip such rows with --skip-bad"


def unfit(arguments: Sequence[str]) -> str | None:
    """Why these arguments cannot be an order's, or None."""
    joined = "".join(arguments)
    if joined.isascii():
        size = len(joined)
    else:
        try:
            size = len(joined.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            return _HALF
    if size > ARGUMENTS_BYTES or CUT in joined:
        return TOO_LARGE
    return _NUL if "\0" in joined else None
