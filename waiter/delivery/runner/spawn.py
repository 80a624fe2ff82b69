"""How a command is started: in a session of its own, with no signal blocked, and those that it is to have by default.

Python's public way is `os.posix_spawn`. What `subprocess` calls underneath does the same by a plain vfork: glibc's
spawn maps a stack for each child and sets each signal by a call of its own, a sixth of what the runner does for a
command and a fifth of the time for which it waits in it. That function is no public one, so it is called only as the
Pythons call it that were looked at, on Linux, and only if a first try ends as it should.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

Streams = Sequence[int]
"""The descriptors that are a command's stdin, stdout and stderr."""

Spawn = Callable[[list[str], Sequence[bytes], Streams], int]
"""Starts the program with these words, environment (`NAME=value`) and streams; its pid. Raises OSError."""


def spawner(program: str, defaulted: Sequence[int]) -> Spawn:
    """How this Python starts the program fastest. Raises OSError.

    `defaulted` are the signals that it is to have by default; those that it is to ignore are ignored here.
    """
    if sys.platform == "linux" and sys.implementation.name == "cpython" and sys.version_info < (3, 15):
        forked = _Forked(program)
        if forked.is_as_known():
            return forked
    return by_posix_spawn(program, defaulted)


def by_posix_spawn(program: str, defaulted: Sequence[int]) -> Spawn:
    """The public way."""

    def spawn(argv: list[str], env: Sequence[bytes], streams: Streams) -> int:
        variables = dict(line.split(b"=", 1) for line in env)
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(streams)]
        how: dict[str, Any] = {"setsid": True, "setsigmask": (), "setsigdef": defaulted}
        return os.posix_spawn(program, argv, variables, file_actions=actions, **how)

    return spawn


class _Forked:
    """What `subprocess` does, without its pipe for each child."""

    def __init__(self, program: str) -> None:
        from _posixsubprocess import fork_exec

        self._fork_exec: Callable[..., int] = fork_exec
        self._programs = (os.fsencode(program),)
        self._read_end, self._write_end = os.pipe()
        self._told = select.poll()
        self._told.register(self._read_end, select.POLLIN)
        may_vfork = (True,) if sys.version_info < (3, 14) else ()
        self._last = (None, None, None, -1, None, *may_vfork)  # no other user, mask of files or function

    def is_as_known(self) -> bool:
        """Whether it takes these arguments, and has heard of an error when it returns: a fork, as emulators make of a
        vfork, would be told of it later, in place of the next command.
        """
        null = os.open(os.devnull, os.O_RDWR)
        try:
            pid = self._start([""], (b"",), (), (null, null, null))
        except TypeError:
            return False
        finally:
            os.close(null)
        is_told = bool(self._told.poll(0))
        os.waitpid(pid, 0)
        return is_told and self._error().errno == errno.ENOENT

    def __call__(self, argv: list[str], env: Sequence[bytes], streams: Streams) -> int:
        pid = self._start(argv, self._programs, env, streams)
        if self._told.poll(0):
            os.waitpid(pid, 0)
            raise self._error()
        return pid

    def _start(self, argv: list[str], programs: tuple[bytes], env: Sequence[bytes], streams: Streams) -> int:
        reads, writes, errors = streams
        ends = reads, -1, -1, writes, -1, errors, self._read_end, self._write_end
        return self._fork_exec(argv, programs, False, (), None, env, *ends, True, True, -1, *self._last)

    def _error(self) -> OSError:
        """What the child wrote that came to no exec: a kind of error, a number in hexadecimal digits, where."""
        number = int(os.read(self._read_end, 1 << 12).split(b":")[1], 16)
        return OSError(number, os.strerror(number))
