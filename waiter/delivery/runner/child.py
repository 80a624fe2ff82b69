"""The runner as the waiter's child process: how it is started, maybe early, how its end is waited for, and the memory
that outlives it.

A runner takes as long to start as the waiter's command line takes to be imported. So a process that is about to deliver
starts one first (`start_early`), and the first `ProcessRunner` that it makes finds it. Nothing of what the runner is to
do is known then: it waits for its options, and goes when nobody has any for it.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence

from waiter.delivery.runner.boot import BOOT, PYTHON_FLAGS
from waiter.light_dataclass import dataclass

KITCHEN = "WAITER_KITCHEN"
"""The variable that names the kitchen, maybe with its password: the runner's environment is without it."""

DISCARD_S = 15.0
"""How long a runner that nobody needs may take to go."""

_USELESS = {"-h", "--help", "--dry-run", "--dry-run=all"}
_FUNCTION = "python:"
_VERBS = ("deliver", "run")
_WITH_VALUE = ("-k", "--kitchen", "--db")


@dataclass(frozen=True, slots=True)
class Child:
    """A runner's process, the waiter's end of its socket, and its table, which is empty until the slots are known."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    table_fd: int


_early: list[Child] = []


def start() -> Child:
    """Start a runner. Raises OSError."""
    table_fd = shared_file()
    ours, theirs = socket.socketpair()
    with theirs:
        passed = (theirs.fileno(), table_fd)
        boot = BOOT.format(room="main")
        process = subprocess.Popen(
            [sys.executable, *PYTHON_FLAGS, boot, package_root(), *map(str, passed)],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != KITCHEN},
            start_new_session=True,
        )
    return Child(process, ours, table_fd)


def will_deliver(words: Sequence[str]) -> bool:
    """Whether this command line seems to need a runner. Should it not, `discard` ends the runner."""
    coming = iter(words)
    for word in coming:
        if word in _WITH_VALUE:
            next(coming, None)
        elif not word.startswith("-"):
            return word in _VERBS and not any(one in _USELESS or one.startswith(_FUNCTION) for one in coming)
        elif word in _USELESS:
            return False
    return False


def start_early() -> None:
    """Start the runner of the first `ProcessRunner` that this process will make. Where that fails, it says so then."""
    try:
        for number in (0, 1, 2):
            os.fstat(number)  # where one is closed, the next file would take its place
        os.getcwd()  # where that was deleted, its shells would say so before the waiter does
        _early.append(start())
    except OSError:
        return


def take() -> Child:
    """The runner that was started early, or a new one. Raises OSError."""
    return _early.pop() if _early else start()


def discard() -> None:
    """Let a runner go that nobody took, and wait until it has: it leaves no process and no folder."""
    while _early:
        child = _early.pop()
        child.socket.close()
        os.close(child.table_fd)
        has_ended_within(child.process, DISCARD_S)


def has_ended_within(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def shared_file() -> int:
    """A descriptor of a file without a name, which outlives the runner that writes to it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("waiter-runner")
    import tempfile  # on macOS

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def package_root() -> str:
    """The folder, or the zipapp, that this package is imported from."""
    return __file__.rsplit(os.sep, 4)[0]
