"""A port on a host that leads to an address on this side: what `ssh -R` does, on a connection that is open already."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

CONNECT_S = 10.0
"""How long this side may take to reach what the host asks for."""

_CHUNK = 1 << 16


def forward_back(transport: Any, port: int, target: tuple[str, int]) -> None:
    """Let the host's 127.0.0.1:port lead to `target`, as seen from here, while the connection lasts.

    Raises paramiko.SSHException where the host refuses, or the port is taken there.
    """

    def came_in(channel: Any, _origin: object, _server: object) -> None:
        # The transport's own thread calls: it must not wait for anybody.
        threading.Thread(target=_joined, args=(channel, target), daemon=True).start()

    transport.request_port_forward("127.0.0.1", port, came_in)


def _joined(channel: Any, target: tuple[str, int]) -> None:
    """Pass on what either side says until both have ended."""
    try:
        sock = socket.create_connection(target, timeout=CONNECT_S)
    except OSError:
        channel.close()  # to the host it is a connection that ended at once, as one that was refused
        return
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = threading.Thread(target=_passed_on, args=(sock, channel), daemon=True)
    back.start()
    _passed_on(channel, sock)
    back.join()
    channel.close()
    sock.close()


def _passed_on(source: Any, sink: Any) -> None:
    """Until the source ends or the sink takes no more; then neither waits for the other."""
    with suppress(OSError, EOFError):
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
    with suppress(OSError, EOFError):
        sink.shutdown_write() if hasattr(sink, "shutdown_write") else sink.shutdown(socket.SHUT_WR)
