"""How long orders take, and so how many to claim at once and when one of them takes too long.

One order at a time when they last seconds, so that nothing waits behind a slow one; up to CLAIM_LIMIT when they
last milliseconds, so that the kitchen is asked seldom.
"""

from __future__ import annotations

from collections import deque

from waiter.errors import UsageError
from waiter.kitchen.contract import CLAIM_LIMIT

AHEAD_S = 1.0
"""How much work may wait in front of each slot."""

WAIT_S = 2.0
"""An order that has waited for so long to begin goes back to the kitchen, for whoever has a free slot."""

MAX_QUEUE = 2 * CLAIM_LIMIT
_ENOUGH_FOR_A_MEDIAN = 3


class Prefetch:
    """What this waiter has seen of its orders' durations."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._mean_s: float | None = None
        self._lately: deque[float] = deque(maxlen=999)
        self._most_ahead = MAX_QUEUE

    def saw(self, duration_s: float, *, is_delivered: bool = True) -> None:
        """Learn from an order that ended; long ones count at once, short ones little by little."""
        self._most_ahead = min(MAX_QUEUE, self._most_ahead + 1)
        if is_delivered:  # those that fail at once say nothing of how long the work takes
            self._lately.append(duration_s)
        if self._mean_s is None or duration_s > 4 * self._mean_s:
            self._mean_s = duration_s
        else:
            self._mean_s += 0.1 * (duration_s - self._mean_s)

    def claim_size(self, in_flight: int) -> int:
        """How many orders to claim with that many in the slots and in front of them; 0 while there are enough."""
        if self._mean_s is None or self._mean_s >= AHEAD_S:
            return min(CLAIM_LIMIT, max(0, self.slots - in_flight))
        queue = min(self._most_ahead, int(self.slots * AHEAD_S / max(self._mean_s, 1e-4)))
        missing = self.slots + queue - in_flight
        # Half the queue at a time: fewer, larger claims.
        return min(CLAIM_LIMIT, missing) if in_flight < self.slots or missing * 2 >= queue else 0

    def held_up(self) -> None:
        """Orders went back because they had waited for too long: whatever the mean says, claim none ahead; then, with
        each order that ends, one more."""
        self._most_ahead = 0

    def timeout_s(self, timeout: str | None) -> float | None:
        """`--timeout` in seconds: "12.5", or "200%" of the median so far (none until three orders are delivered)."""
        if timeout is None:
            return None
        if not timeout.endswith("%"):
            return float(timeout)
        if len(self._lately) < _ENOUGH_FOR_A_MEDIAN:
            return None
        return sorted(self._lately)[len(self._lately) // 2] * float(timeout[:-1]) / 100


def checked_timeout(timeout: str | None) -> None:
    """Raise UsageError unless `Prefetch.timeout_s` can read it."""
    if timeout is None:
        return
    try:
        is_sound = float(timeout.removesuffix("%")) > 0
    except ValueError:
        is_sound = False
    if not is_sound:
        raise UsageError(f"--timeout {timeout}: give seconds, a duration such as 5m, or a percentage such as 200%")
