"""Why a job could not be started: whose fault that is, and how to say so."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

NO_PROCESS = "the system refuses a new process: this user's limit is reached (ulimit -u), or a cgroup's (pids.max)"

PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
THE_JOBS_OWN = {errno.E2BIG, errno.ENAMETOOLONG}
THE_OUTPUTS_OWN = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENXIO}
"""A name that only this job's arguments make."""

TELL_OF_DELAY_S = 2.0
"""How long nothing can be started before the waiter is told: most often that is over in a moment."""


class Delay:
    """For how long nothing could be started. Times are those of one clock that never goes back."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._is_told = False

    def begins_to_matter(self, now: float) -> bool:
        """Nothing could be started again: whether the waiter is to be told, which is so once."""
        self._since = now if self._since is None else self._since
        if self._is_told or now - self._since < TELL_OF_DELAY_S:
            return False
        self._is_told = True
        return True

    def ends(self) -> bool:
        """Something was started: whether the waiter is to be told."""
        was_told, self._since, self._is_told = self._is_told, None, False
        return was_told


def why_not_started(program: str, error: OSError) -> str:
    if error.errno == errno.E2BIG:
        return "the kernel takes no such arguments: one is longer than 128 KiB, or all of them are too long"
    if error.errno == errno.ENOEXEC:
        return f"{program}: not a program, and no #! line says what runs it. Start it with #!/bin/sh or the like"
    if error.errno == errno.ENOENT and os.path.exists(program):
        return _why_no_interpreter(program)
    if error.errno == errno.EAGAIN:
        return NO_PROCESS
    return f"{program}: cannot be started: {error.strerror}"


def _why_no_interpreter(program: str) -> str:
    with suppress(OSError), open(program, "rb") as script:
        quoted = "'" + program.replace("'", "'\\''") + "'"
        if script.readline(256).endswith(b"\r\n"):
            return (
                f"{program}: its #! line ends as Windows ends lines, and names no program of this machine\n"
                f"hint: sed -i 's/\\r$//' {quoted}"
            )
    return f"{program}: the interpreter that its #! line names does not exist"


def why_no_file(error: OSError) -> str:
    if error.errno == errno.ENXIO:
        return f"{error.filename}: output cannot go there: it is a FIFO that nobody reads, or a socket"
    return f"{error.filename}: {error.strerror}"
