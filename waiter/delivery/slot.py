"""A slot of the runner: the pipes and files that one command after the other uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from waiter.delivery.outlet import GROUP_BYTES, Outlet

TAIL_BYTES = 4096
RESULT_BYTES = 64 * 1024
MESSAGE_BYTES = 2048
_CHUNK = 1 << 16


@dataclass(slots=True)
class Running:
    """The job in a slot."""

    id: str
    pid: int
    marker: str
    started: float
    stop_at: float | None  # timeout, or the end of the grace period
    out_path: str | None
    err_path: str | None
    end: str = "exited"  # see runner.End; anything else means that TERM was sent


class Slot:
    """Pipes are made once and used again:

    Their write ends stay open here, so a job's end is known by its death alone.
    """

    def __init__(self, number: int, folder: str, capture: str) -> None:
        self.number = number
        self.running: Running | None = None
        self.is_polled: dict[int, bool] = {}
        self._result = os.path.join(folder, f"result-{number}")
        self._message = os.path.join(folder, f"error-{number}")
        self._stdin = os.path.join(folder, f"stdin-{number}")
        self.env = {"WAITER_SLOT": str(number), "WAITER_RESULT": self._result, "WAITER_ERROR": self._message}
        self._null = os.open(os.devnull, os.O_RDWR)
        self._reads: dict[int, int] = {}
        self._writes: dict[int, int] = {}
        for stream in (1, 2) if capture != "files" else ():
            self._reads[stream], self._writes[stream] = os.pipe()
            os.set_blocking(self._reads[stream], False)
        self._tail = b""
        self._kept: list[tuple[int, bytes]] = []
        self._kept_bytes = 0
        self._partial = {1: b"", 2: b""}

    def pipes(self) -> list[tuple[int, int]]:
        """(stream, descriptor) of what is to be read."""
        return list(self._reads.items())

    def file_actions(self, stdin: str | None, out: str | None, err: str | None) -> tuple[list[Any], list[int]]:
        """What posix_spawn does to 0, 1 and 2, and the descriptors to close here afterwards."""
        opened: list[int] = []
        reads = self._null
        if stdin is not None:
            with open(self._stdin, "wb") as file:
                file.write(stdin.encode("latin-1"))
            reads = os.open(self._stdin, os.O_RDONLY)
            opened.append(reads)
        writes = dict(self._writes)
        for stream, path in ((1, out), (2, err)):
            if not self._writes and path is not None:
                writes[stream] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
                opened.append(writes[stream])
        dup2 = os.POSIX_SPAWN_DUP2
        actions = [(dup2, reads, 0), (dup2, writes.get(1, self._null), 1), (dup2, writes.get(2, self._null), 2)]
        return actions, opened

    def read(self, stream: int, outlet: Outlet) -> bool:
        """Take what is in the pipe; False when there was nothing."""
        try:
            chunk = os.read(self._reads[stream], _CHUNK)
        except BlockingIOError:
            return False
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self.running is None:
            return True
        if outlet.capture == "stream" or outlet.live is self:
            outlet.output(self.running.id, stream, chunk)
        elif outlet.capture == "line":
            self._lines(stream, chunk, outlet)
        elif outlet.capture == "group":
            self._keep(stream, chunk, outlet)
        return True

    def _lines(self, stream: int, chunk: bytes, outlet: Outlet) -> None:
        whole, newline, rest = (self._partial[stream] + chunk).rpartition(b"\n")
        if len(rest) > GROUP_BYTES:
            whole, newline, rest = whole + newline + rest, b"", b""
        self._partial[stream] = rest
        if self.running:
            outlet.output(self.running.id, stream, whole + newline)

    def _keep(self, stream: int, chunk: bytes, outlet: Outlet) -> None:
        self._kept.append((stream, chunk))
        self._kept_bytes += len(chunk)
        if self._kept_bytes > GROUP_BYTES and outlet.live is None:
            outlet.live = self
            self._let_go(outlet)

    def is_held_back(self, outlet: Outlet) -> bool:
        """More than is kept back, and another job is live: its command waits in its pipe."""
        return self._kept_bytes > GROUP_BYTES and outlet.live not in (None, self) and self.running is not None

    def _let_go(self, outlet: Outlet) -> None:
        for stream in (1, 2):
            chunks = [chunk for of, chunk in self._kept if of == stream]
            if chunks and self.running:
                outlet.output(self.running.id, stream, b"".join(chunks))
        self._kept.clear()
        self._kept_bytes = 0

    def finish(self, outlet: Outlet) -> bytes:
        """Read what is left of the ended job's output, pass it on, and return its tail."""
        for stream in self._reads:
            while self.read(stream, outlet):
                pass
        if self.running:
            self._let_go(outlet)
            for stream, rest in self._partial.items():
                outlet.output(self.running.id, stream, rest)
        if outlet.live is self:
            outlet.live = None
        self._partial = {1: b"", 2: b""}
        tail, self._tail = self._tail, b""
        if self.running and not self._reads:
            tail = (_end(self.running.out_path) + _end(self.running.err_path))[-TAIL_BYTES:]
        return tail

    def words(self) -> tuple[str | None, str | None]:
        """What the job left in $WAITER_ERROR and $WAITER_RESULT, which are gone then."""
        return _taken(self._message, MESSAGE_BYTES), _taken(self._result, RESULT_BYTES)


def _end(path: str | None) -> bytes:
    if path is None:
        return b""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES)
    except OSError:
        return b""


def _taken(path: str, limit: int) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None  # the usual case: it has written nothing
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit)
    os.unlink(path)
    return content.decode("utf-8", "replace")
