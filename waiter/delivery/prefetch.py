"""How long orders take, and so how many to claim at once and when one of them takes too long.

One order at a time when they last seconds, so that nothing waits behind a slow one; up to CLAIM_LIMIT when they
last milliseconds, so that the kitchen is asked seldom. A kitchen that is loaded answers slowly: then a waiter of many
slots claims as many ahead as come free until the answer is there, and asks for several at once.
"""

from __future__ import annotations

from collections import deque

from waiter.durations import parse_duration
from waiter.errors import UsageError
from waiter.kitchen.contract import CLAIM_LIMIT

AHEAD_S = 1.0
"""How much work may wait in front of each slot."""

LOADED_S = 0.1
"""A kitchen that takes so long for a claim is loaded; with time to spare it takes some milliseconds."""

WAIT_S = 2.0
"""An order that has waited for so long to begin goes back to the kitchen, for whoever has a free slot."""

FIRST_OF_MANY = 16
"""So many orders for each slot last while hundreds are claimed, also those of a millisecond."""

MAX_QUEUE = 2 * CLAIM_LIMIT
_ENOUGH_FOR_A_MEDIAN = 3


class Prefetch:
    """What this waiter has seen of its orders' durations."""

    def __init__(self, slots: int, many: int = 1) -> None:
        """`slots` orders run at a time, `many` of them in one call."""
        self.slots = slots
        self._many = many
        self._limit = max(CLAIM_LIMIT, many)
        self._mean_s: float | None = None
        self._claim_s = 0.0
        self._lately: deque[float] = deque(maxlen=999)
        self._longest = max(MAX_QUEUE, 2 * many)
        self._most_ahead = self._longest

    def saw(self, duration_s: float, *, is_delivered: bool = True) -> None:
        """Learn from an order that ended; long ones count at once, short ones little by little."""
        self._most_ahead = min(self._longest, self._most_ahead + 1)
        if is_delivered:  # those that fail at once say nothing of how long the work takes
            self._lately.append(duration_s)
        if self._mean_s is None or duration_s > 4 * self._mean_s:
            self._mean_s = duration_s
        else:
            self._mean_s += 0.1 * (duration_s - self._mean_s)

    def claimed(self, took_s: float) -> None:
        """Learn from a claim that gave orders how long the kitchen takes."""
        self._claim_s += 0.3 * (took_s - self._claim_s)

    def claim_size(self, in_flight: int) -> int:
        """How many orders to claim with that many in the slots and in front of them; 0 while there are enough."""
        ahead_s = self._ahead_s()
        queue = min(self._most_ahead, int(self.slots * ahead_s / max(self._mean_s, 1e-4))) if self._mean_s else 0
        if not queue:
            return min(self._limit, max(0, self.slots - in_flight))
        missing = self.slots + queue - in_flight
        # Half the queue at a time: fewer, larger claims.
        return min(self._limit, missing) if in_flight < self.slots or missing * 2 >= queue else 0

    def at_first(self, size: int, in_flight: int) -> int:
        """How many of so many to claim before the rest: where slots have nothing to do, they do not wait for all."""
        return min(size, FIRST_OF_MANY * self.slots) if in_flight < self.slots and self._many == 1 else size

    def _ahead_s(self) -> float:
        """How much work may wait in front of each slot now."""
        if self._mean_s is not None and self._mean_s < AHEAD_S:
            return AHEAD_S
        return min(self._claim_s, AHEAD_S) if self._claim_s >= LOADED_S else 0.0

    def held_up(self) -> None:
        """Orders went back because they had waited for too long: whatever the mean says, claim none ahead; then, with
        each order that ends, one more."""
        self._most_ahead = 0

    def timeout_s(self, timeout: str | None) -> float | None:
        """`--timeout` in seconds: "12.5", "5m", or "200%" of the median so far (none until three are delivered)."""
        if timeout is None:
            return None
        if not timeout.endswith("%"):
            return _seconds(timeout)
        if len(self._lately) < _ENOUGH_FOR_A_MEDIAN:
            return None
        return sorted(self._lately)[len(self._lately) // 2] * float(timeout[:-1]) / 100


def checked_timeout(timeout: str | None) -> None:
    """Raise UsageError unless `Prefetch.timeout_s` can read it."""
    if timeout is None:
        return
    seconds = _seconds(timeout.removesuffix("%"))
    if seconds is None or not seconds > 0:  # NaN is neither
        raise UsageError(f"--timeout {timeout}: give seconds, a duration such as 5m, or a percentage such as 200%")


def _seconds(text: str) -> float | None:
    """Seconds, as a number or a duration; None for what is neither."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_duration(text)
    except UsageError:
        return None
