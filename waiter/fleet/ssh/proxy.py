"""A ProxyCommand of ~/.ssh/config: a line of shell whose stdin and stdout are the way to a host.

Not Paramiko's, which knows no shell, reads on for ever when the command has ended, and keeps to itself what it said.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress

SHOWN_BYTES = 4096
"""So much of what the command says at its end is shown."""

_PASSING = (
    *("reset", "refused", "timed out", "timeout", "closed by", "hung up", "broken pipe", "unreachable", "banner"),
    *("kex_exchange", "temporar", "try again", "throttl", "rate exceeded", "too many", "service unavailable"),
)
"""What a command says that may do better in a moment: a bastion with too many connections at once, say."""


class Proxy:
    """One running command; `sock` is our end of it."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.sock, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the command
        with theirs:
            self._process = subprocess.Popen(
                [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {line}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C is ours: the connection ends in order
            )
        threading.Thread(target=self._hang_up, daemon=True).start()

    def _hang_up(self) -> None:
        """A command that fails closes the way at once, though something that it left behind may hold it open."""
        if self._process.wait():
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def last_words(self) -> str | None:
        """What a command that has ended said; None while it lives."""
        try:
            code = self._process.wait(0.3)
        except subprocess.TimeoutExpired:
            return None
        said = self.said()
        return f"{said} (exit code {code})" if said else f"it ended with exit code {code}"

    @property
    def is_passing(self) -> bool:
        """Whether what it said may be over in a moment."""
        said = self.said().lower()
        return any(words in said for words in _PASSING)

    def said(self) -> str:
        """The end of what the command has written to stderr so far, in one line."""
        file = self._stderr.fileno()  # whose position is the command's, too: it is not moved
        tail = os.pread(file, SHOWN_BYTES, max(0, os.fstat(file).st_size - SHOWN_BYTES))
        return " ".join(tail.decode("utf-8", "replace").split())[-300:]

    def close(self) -> None:
        self.sock.close()
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
