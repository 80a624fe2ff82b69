"""The runner and signals: what it does not heed, what commands have by default all the same, how it hears of ends."""

from __future__ import annotations

import os
import signal

_UNHEEDED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
_IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
_NOBODY_MAY_SET = {signal.SIGKILL, signal.SIGSTOP}


def leave_signals_to_the_waiter() -> list[int]:
    """Heed nothing that a user or a system tells the waiter. Returns the signals that commands are to have by default.

    They have what the waiter was given: under nohup, say, hangups are ignored. Others have a handler here that does
    nothing, for an exec takes that away and leaves "ignored" as it is. All are named, also those that are at their
    default: of a signal that is not named, glibc's posix_spawn asks first what it is, and sets it all the same; that
    doubles the calls with which each command begins.
    """
    given = {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}
    for number in _UNHEEDED:
        if number not in given:
            signal.signal(number, lambda *_: None)
    return sorted(signal.valid_signals() - given - _NOBODY_MAY_SET | _IGNORED_BY_PYTHON)


def ends_of_children() -> int:
    """A descriptor that can be read when a child has ended."""
    wake, wake_end = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    return wake
