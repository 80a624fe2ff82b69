"""What commands on hosts print, line by line, as it comes."""

from __future__ import annotations

from collections.abc import Callable

from waiter.fleet.inventory import Host

LONGEST_LINE = 1 << 16

OnLine = Callable[[Host, int, str], None]
"""Is told each line of output as it comes: host, stream (1 or 2), text. Many threads call it. May raise NobodyReads."""


class NobodyReads(Exception):
    """Who read our output has had enough: the end of the whole verb, and no host's fault."""


class Lines:
    """Puts the pieces of one host's output together to lines. What goes on too long is cut."""

    def __init__(self, host: Host, on_line: OnLine) -> None:
        self._host, self._on_line = host, on_line
        self._rest = {1: b"", 2: b""}

    def take(self, stream: int, chunk: bytes) -> None:
        *lines, self._rest[stream] = (self._rest[stream] + chunk).split(b"\n")
        for line in lines:
            self._on_line(self._host, stream, line.decode("utf-8", "replace"))
        if len(self._rest[stream]) > LONGEST_LINE:
            self.end()

    def end(self) -> None:
        for stream, rest in self._rest.items():
            if rest:
                self._on_line(self._host, stream, rest.decode("utf-8", "replace"))
                self._rest[stream] = b""
