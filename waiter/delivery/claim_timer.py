"""When a waiter with free slots asks the kitchen for orders."""

from __future__ import annotations

from math import inf

from waiter.kitchen.contract import Backlog

ASK_AGAIN_S = 2.0
"""How soon a waiter that waits for the orders of others asks again."""

LOOK_AGAIN_S = 60.0
"""How soon a waiter with nothing to wait for asks again, although the kitchen has announced nothing."""

SOONEST_S = 0.05


def wait_s(backlog: Backlog, idle_s: float | None = None) -> float:
    """How long to wait with a kitchen that has nothing to claim now.

    `idle_s`: a batch waits for others, and so long this waiter has had nothing to do: the less, the sooner it asks.
    """
    longest = ASK_AGAIN_S if backlog.ready or backlog.running else LOOK_AGAIN_S
    if idle_s is not None:
        longest = min(ASK_AGAIN_S, max(SOONEST_S, idle_s / 4))
    return min(longest, max(SOONEST_S, inf if backlog.next_due_s is None else backlog.next_due_s))


class ClaimTimer:
    """When to ask next. Times are those of one clock that never goes back."""

    def __init__(self) -> None:
        self._ask_at = 0.0
        self._changes_seen = -1

    def is_due(self, now: float, changes: int) -> bool:
        """`changes` is a number that rises when the kitchen has something new."""
        if changes != self._changes_seen:
            self._changes_seen = changes
            return True
        return now >= self._ask_at

    def ask_at_once(self) -> None:
        self._ask_at = 0.0

    def ask_by(self, at: float) -> None:
        """No later than then."""
        self._ask_at = min(self._ask_at, at)

    def ask_at(self, at: float) -> None:
        self._ask_at = at
