"""Turns of threads that share one connection: whoever waits gets the next one."""

from __future__ import annotations

import threading
import time


class Turns:
    """A lock that its holder cannot take again before somebody who waits for it had it.

    With a plain lock, a thread that asks again and again keeps out the one that asks now and then, for as long as that
    one is not awake in the very moment when the lock is free. The holder may take it once more inside, as an RLock.
    """

    def __init__(self) -> None:
        self._held = threading.RLock()
        self._next = threading.Lock()  # by who waits: whoever comes later waits for it
        self._holder: int | None = None
        self._depth = 0

    def acquire(self, timeout: float) -> bool:
        """Wait for a turn, so many seconds at the most; whether this thread has it now."""
        ends = time.monotonic() + timeout
        is_inside = self._holder == threading.get_ident()  # nobody else can make that true or false
        if not is_inside and not self._next.acquire(timeout=timeout):
            return False
        try:
            if not self._held.acquire(timeout=max(0.0, ends - time.monotonic())):
                return False
        finally:
            if not is_inside:
                self._next.release()
        self._holder, self._depth = threading.get_ident(), self._depth + 1
        return True

    def release(self) -> None:
        """End the turn of this thread."""
        self._depth -= 1
        if not self._depth:
            self._holder = None
        self._held.release()
