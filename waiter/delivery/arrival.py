"""The beginning of a waiter's stay, with a kitchen whose server has too much to do to answer.

A thousand waiters that start at once may keep a server busy for longer than a driver is patient. Who gets no answer
then tries again, ever more seldom and each at another moment. A server that takes a connection and keeps silent has too
much to do; an address where nobody takes one is wrong, and that is said at once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

from waiter.durations import format_duration
from waiter.errors import KitchenUnreachable
from waiter.processes import boottime

PATIENCE_S = 300.0
"""How long a waiter that starts tries, from the first question on that was not answered."""

FIRST_S, LONGEST_S = 1.0, 15.0
"""The longest wait before the second try, and before any."""

LOOK_S = 0.2
"""How soon who is told to stop does so."""

PROBE_S = 2.0
"""How long a server may take to accept a connection, and is then listened to."""

Answer = TypeVar("Answer")


class Arrival:
    """Asks again and again what a waiter must know before it can begin. `note` is told of it once."""

    def __init__(
        self,
        note: Callable[[str], None],
        is_told_to_stop: Callable[[], bool] = lambda: False,
        patience_s: float | None = None,
    ) -> None:
        self._note = note
        self._is_told_to_stop = is_told_to_stop
        self._patience_s = PATIENCE_S if patience_s is None else min(PATIENCE_S, patience_s)
        self._since: float | None = None  # None: everything was answered so far
        self._wait_s = FIRST_S
        self._rng = Random()

    def insist(self, ask: Callable[[], Answer], failed: KitchenUnreachable | None = None) -> Answer:
        """What `ask` returns, sooner or later; `failed`: how it ended when it was asked before.

        Raises what it raises, KitchenUnreachable only if no server was heard to be there, if that has lasted for too
        long, or if it is time to stop.
        """
        while True:
            if failed is None:
                try:
                    answer = ask()
                except KitchenUnreachable as error:
                    failed = error
                else:
                    self._was_answered()
                    return answer
            self._wait_after(failed)
            failed = None

    def _wait_after(self, error: KitchenUnreachable) -> None:
        """Wait before the next try. Raises the error if there is to be none."""
        since = boottime() if self._since is None else self._since
        left_s = since + self._patience_s - boottime()
        if left_s <= 0 or self._is_told_to_stop() or not any(keeps_silent(*server) for server in error.servers):
            raise error
        if self._since is None:
            self._since = since
            for_s = format_duration(self._patience_s)
            self._note(f"{error.sentence} It takes connections, so it has too much to do: trying for up to {for_s}.")
        ends = boottime() + min(left_s, self._wait_s * self._rng.uniform(0.3, 1.0))
        self._wait_s = min(LONGEST_S, 2 * self._wait_s)
        while boottime() < ends and not self._is_told_to_stop():
            time.sleep(LOOK_S)

    def _was_answered(self) -> None:
        if self._since is not None:
            self._note(f"The kitchen answers after {boottime() - self._since:.0f} s.")
            self._since, self._wait_s = None, FIRST_S


def keeps_silent(host: str, port: int | None) -> bool:
    """Whether somebody there takes a connection, and neither ends it nor says anything unasked."""
    try:
        with socket.create_connection((host, port or 0), PROBE_S) as probe:
            probe.settimeout(PROBE_S)
            try:
                probe.recv(1)
            except TimeoutError:
                return True
    except OSError:
        pass
    return False
