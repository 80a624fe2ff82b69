"""The runner and signals: what it ignores, what its commands are to have by default again, and how it hears of ends."""

from __future__ import annotations

import os
import signal

_IGNORED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
_IGNORED_BY_PYTHON = [signal.SIGPIPE, signal.SIGXFSZ]


def ignore_what_the_waiter_decides_on() -> list[int]:
    """Ignore what a user or a system tells the waiter. Returns the signals that commands are to have by default.

    They have what the waiter was given: under nohup, say, hangups are ignored.
    """
    ours = [number for number in _IGNORED if signal.getsignal(number) is not signal.SIG_IGN]
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    return [*_IGNORED_BY_PYTHON, *ours]


def ends_of_children() -> int:
    """A descriptor that can be read when a child has ended."""
    wake, wake_end = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    return wake
