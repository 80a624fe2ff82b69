"""The runner's end of the socket to its waiter: see `messages`. It waits for no waiter that is slow."""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress
from math import inf

from waiter.delivery.runner.event_buffer import EventBuffer
from waiter.delivery.runner.messages import first, packed
from waiter.delivery.runner.start_errors import NO_PROCESS

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

FLUSH_S = 0.08
"""How long events may wait for company while there is more to do: fewer, larger messages, and commits."""

MANY_QUEUED = 128
"""With fewer left events are sent sooner: what is told at the very end, somebody waits for."""

MAX_UNSENT = 1 << 20
"""Bytes that may wait for a slow waiter before the commands' output is left in their pipes."""

MAX_BEHIND = 16 << 20
"""Bytes that may wait before no job is started any more: each that ends adds what it has kept back."""


class Sender:
    """Sends what is in the buffer, as far as the waiter takes it."""

    def __init__(self, control: int, poll: select.poll, buffer: EventBuffer) -> None:
        """`poll` is told to watch for room in the socket while something is unsent."""
        self._control = control
        self._poll = poll
        self._buffer = buffer
        self.unsent = memoryview(b"")  # a view: what was sent is cut off without a copy of the rest
        self._flushed_at = 0.0

    @property
    def flush_at(self) -> float:
        """When the events that wait are to be sent by; never while there are none, or the waiter takes no more."""
        return self._flushed_at + FLUSH_S if self._buffer.events and not self.unsent else inf

    def is_full(self) -> bool:
        return self._waiting_bytes() >= MAX_UNSENT

    def is_behind(self) -> bool:
        return self._waiting_bytes() >= MAX_BEHIND

    def _waiting_bytes(self) -> int:
        return len(self.unsent) + self._buffer.output_bytes

    def may_wait(self, now: float, queued: int) -> bool:
        """Whether the events have not waited for long, nor are many, and so many jobs are still to be started."""
        wait_s = FLUSH_S if queued >= MANY_QUEUED else FLUSH_S / 8
        return queued > 0 and now - self._flushed_at < wait_s and not self.is_full()

    def flush(self, now: float) -> None:
        if not self._buffer.events or self.unsent:
            return
        self._flushed_at = now
        while self._buffer.events and not self.unsent:
            self.unsent = memoryview(b"".join(map(packed, self._buffer.take())))
            if not self.send():
                return

    def send(self) -> bool:
        """False when the waiter is gone: the next poll sees the end of the stream."""
        try:
            sent = os.write(self._control, self.unsent)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            return False
        self.unsent = self.unsent[sent:]
        self._poll.modify(self._control, select.POLLIN | (select.POLLOUT if self.unsent else 0))
        return True


def first_message(control: int) -> tuple[Any, bytes]:
    """The first message, None if the waiter has gone, and what came with it."""
    received = b""
    while (found := first(received)) is None:
        more = os.read(control, 1 << 16)
        if not more:
            return None, b""
        received += more
    return found


def decline(control: int, error: OSError) -> None:
    """Tell the waiter why there is no runner."""
    why = NO_PROCESS if error.errno == errno.EAGAIN else str(error)
    with suppress(BrokenPipeError, ConnectionResetError):  # the waiter fares no better, and has gone
        os.write(control, packed(("cannot", why)))
