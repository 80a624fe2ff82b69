"""By what an input is known again: a digest of its rows."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

from waiter.intake.rows import Row


class RunningDigest:
    """A digest over rows that can be read off after any of them.

    It covers numbers, arguments and names, neither the file's name nor how the rows were written: the same rows as CSV,
    lines or JSON lists have the same digest, and a file that has grown begins with the digest it had. Blank rows at
    the end do not count.
    """

    def __init__(self, stage: str = "") -> None:
        """`stage` tells the same rows for another purpose from these."""
        self._hash = hashlib.blake2b(stage.encode("utf-8", "surrogateescape"), digest_size=16)
        self._number = 0
        self._names: Sequence[str] | None = None

    def add(self, rows: Sequence[Row]) -> None:
        """Go on with these rows."""
        # Each row says how many arguments follow, and as none holds a NUL byte, \0 ends each: there is one reading.
        parts: list[str] = []
        for number, arguments, names in rows:
            self._number += 1
            if number != self._number or names is not self._names:
                parts += self._turn(number, names)
            parts.append(str(len(arguments)))
            parts += arguments
        self._hash.update("\0".join([*parts, ""]).encode("utf-8", "surrogateescape"))

    def _turn(self, number: int, names: Sequence[str] | None) -> list[str]:
        """What says that rows were left out, or that the names are others from here on."""
        parts = [] if number == self._number else [f"@{number}"]
        if names != self._names:
            parts += ["#-"] if names is None else [f"#{len(names)}", *names]
        self._number, self._names = number, names
        return parts

    def copy(self) -> RunningDigest:
        """Another one that has the same rows, and goes on by itself."""
        other = copy.copy(self)
        other._hash = self._hash.copy()
        return other

    def digest(self) -> bytes:
        return self._hash.digest()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
