"""SFTP where names are bytes: Paramiko takes every name for UTF-8, and one that is none would end a whole listing.

Here such bytes travel as surrogate escapes, as Python's own file functions have it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Self

import paramiko
from paramiko.sftp import CMD_CLOSE, CMD_HANDLE, CMD_NAME, CMD_OPENDIR, CMD_READDIR


class Files(paramiko.SFTPClient):
    """The files of a host. Paths are relative to the user's home."""

    _request: Callable[..., tuple[int, Any]]  # Paramiko's own, which its published types leave out

    @classmethod
    def over(cls, transport: paramiko.Transport) -> Self:
        """SFTP on a connection. Raises SSHException where the host has none."""
        channel = transport.open_session()
        channel.invoke_subsystem("sftp")
        return cls(channel)

    def names(self, folder: str) -> Iterator[paramiko.SFTPAttributes]:
        """What a folder holds, as the host tells it, in flat memory, however long it goes on. Raises OSError."""
        kind, reply = self._request(CMD_OPENDIR, os.fsencode(folder))
        if kind != CMD_HANDLE:
            raise paramiko.SFTPError("the host's SFTP server opens a folder in a way of its own")
        handle = reply.get_binary()
        try:
            while True:
                try:
                    kind, reply = self._request(CMD_READDIR, handle)
                except EOFError:
                    return
                if kind != CMD_NAME:
                    raise paramiko.SFTPError("the host's SFTP server lists a folder in a way of its own")
                for _ in range(reply.get_int()):
                    name = os.fsdecode(reply.get_binary())
                    yield self._facts(reply, name)
        finally:
            self._request(CMD_CLOSE, handle)

    @staticmethod
    def _facts(reply: Any, name: str) -> paramiko.SFTPAttributes:
        shown = reply.get_binary().decode("utf-8", "replace")
        attributes: Any = paramiko.SFTPAttributes
        facts: paramiko.SFTPAttributes = attributes._from_msg(reply, name, shown)
        return facts
