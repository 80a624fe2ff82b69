"""A TCP proxy before a mongod that loses replies: the server did what was asked, and the client never hears of it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from enum import StrEnum

_HEAD = struct.Struct("<iiii")
_OP_MSG = 2013
_COMMAND_AT = _HEAD.size + 4 + 1 + 4 + 1
"""Where an OP_MSG spells its command: after head, flags, kind of section, length and type of the first element."""


class Loss(StrEnum):
    """What a client sees when a reply is lost."""

    CUT = "cut"  # the connection ends
    SILENCE = "silence"  # nothing at all


class Proxy:
    """Listens on a free loopback port and passes everything on to `port`."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._plan: list[tuple[str, Loss]] = []
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._delays_s: dict[str, float] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        # Direct: the driver must not learn the server's own address from its greeting.
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def lose_reply_to(self, command: str, how: Loss, times: int = 1) -> None:
        """Pass the next `times` requests with this command (update, find, aggregate…) on, and drop their replies."""
        with self._lock:
            self._plan += [(command, how)] * times

    def delay(self, command: str, seconds: float) -> None:
        """Let each request with this command wait for so long before it reaches the server."""
        self._delays_s[command] = seconds

    def lose_nothing_more(self) -> None:
        with self._lock:
            self._plan.clear()

    @property
    def has_lost_all(self) -> bool:
        """Everything that was to be lost is lost."""
        with self._lock:
            return not self._plan

    def cut(self) -> None:
        """End all connections; who asks again gets a new one."""
        with self._lock:
            opened, self._open = self._open, []
        for one in opened:
            _end(one)

    def close(self) -> None:
        _end(self._listener)
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._server, 5)
                except OSError:  # it is down, and may come back
                    client.close()
                    continue
                server.settimeout(None)
                with self._lock:
                    self._open += [client, server]
                lost: list[Loss] = []
                for pump in (self._requests, self._replies):
                    threading.Thread(target=pump, args=(client, server, lost), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, lost: list[Loss]) -> None:
        with closing(server), suppress(OSError):
            for message in _messages(client):
                time.sleep(self._delays_s.get(_command(message), 0.0))
                if (how := self._planned(_command(message))) is not None:
                    lost.append(how)  # before the server sees it: its reply cannot be faster
                server.sendall(message)
            server.shutdown(socket.SHUT_RDWR)

    def _replies(self, client: socket.socket, server: socket.socket, lost: list[Loss]) -> None:
        with closing(client), suppress(OSError):
            while piece := server.recv(1 << 16):
                if Loss.CUT in lost:
                    break
                if not lost:
                    client.sendall(piece)
            client.shutdown(socket.SHUT_RDWR)

    def _planned(self, command: str) -> Loss | None:
        with self._lock:
            for entry in self._plan:
                if entry[0] == command:
                    self._plan.remove(entry)
                    return entry[1]
        return None


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def _messages(client: socket.socket) -> Iterator[bytes]:
    """Whole messages of MongoDB's wire protocol: each begins with its length."""
    pending = b""
    while piece := client.recv(1 << 16):
        pending += piece
        while len(pending) >= _HEAD.size and len(pending) >= (length := _HEAD.unpack_from(pending)[0]):
            yield pending[:length]
            pending = pending[length:]


def _command(message: bytes) -> str:
    if _HEAD.unpack_from(message)[3] != _OP_MSG:
        return ""
    return message[_COMMAND_AT:].partition(b"\0")[0].decode("ascii", "replace")
