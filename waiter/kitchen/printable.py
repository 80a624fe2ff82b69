"""Words as every database takes them, for reading. Arguments, which must come back byte for byte, go another way."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(words: str | None) -> str | None:
    """The words; what is no UTF-8 becomes U+FFFD."""
    return words if words is None or words.isascii() else _SURROGATE.sub("\ufffd", words)
