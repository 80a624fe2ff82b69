"""What an input begins with, byte for byte: by it one is known again that has grown since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

from waiter.light_dataclass import dataclass

_ENDS = b"\r\n\0"
"""What ends a row; how many of them stand at the very end says nothing."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Beginning:
    """So many bytes of an input, without the last line's end."""

    length: int
    digest: str


def whole(file: BinaryIO) -> Beginning:
    """All that the file holds."""
    length = file.seek(0, 2)
    while length:
        file.seek(length - 1)
        if file.read(1) not in (b"\r", b"\n", b"\0"):
            break
        length -= 1
    return Beginning(length, _digests(file, [length])[length])


def begins_with(file: BinaryIO, beginnings: Iterable[Beginning]) -> list[Beginning]:
    """Those that the file begins with, or is, each followed by the end of a line; the longest comes last."""
    ordered = sorted(beginnings, key=lambda one: one.length)
    digests = _digests(file, sorted({one.length for one in ordered}))
    return [one for one in ordered if digests.get(one.length) == one.digest and _ends_at(file, one.length)]


def _digests(file: BinaryIO, lengths: Iterable[int]) -> dict[int, str]:
    """The digest of so many of its first bytes each; none for more than there are. The lengths rise."""
    digest, position, found = hashlib.blake2b(digest_size=16), 0, {}
    file.seek(0)
    for length in lengths:
        while position < length and (chunk := file.read(min(_CHUNK, length - position))):
            digest.update(chunk)
            position += len(chunk)
        if position == length:
            found[length] = digest.hexdigest()
    return found


def _ends_at(file: BinaryIO, position: int) -> bool:
    file.seek(position)
    following = file.read(1)
    return not following or following in _ENDS
