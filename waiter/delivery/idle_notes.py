"""What a waiter that starts nothing says of it: in its vitals at once, for `waiters` and `watch`; later in its log.

Why nothing starts is told by whoever found it out; here is decided how long that must last to be worth a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from waiter.delivery.state import Work
from waiter.durations import format_duration
from waiter.kitchen.contract import Backlog
from waiter.processes import boottime

OF_THE_HOST_S = 1.0
"""After so long a wait for room, for a lower load, or for the end of a pause is said."""

SAID_AGAIN_S = (60.0, 3600.0)
"""So long after that it is said again, then after twice that, and so on up to the other."""

OF_ORDERS_S = 5.0
"""After so long it is said, once, that there are no orders: most such waits are short."""

ELSEWHERE_S = inf
"""Who asks for this has said it already."""


class IdleNotes:
    """Remembers why one waiter starts nothing."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._kind: str | None = None
        self._say_at = inf
        self._again_s = SAID_AGAIN_S[0]

    def note(self, why: str | None, after_s: float = OF_THE_HOST_S) -> None:
        """Nothing starts for this reason; None: something does, or could."""
        self._work.waits_for = why
        if why is None:
            self._kind = None
            return
        kind = why.partition(";")[0].partition(" in ")[0]  # without what changes from one look to the next
        if kind != self._kind:
            self._kind, self._say_at = kind, boottime() + after_s
            self._again_s = SAID_AGAIN_S[0] if after_s == OF_THE_HOST_S else inf

    def say(self) -> None:
        """Say it if it has lasted long enough. Who runs something, or leaves, says nothing."""
        work, now = self._work, boottime()
        if work.held or work.shutdown.level:
            self._kind = None
        elif self._kind is not None and now >= self._say_at:
            self._say_at = now + self._again_s
            self._again_s = max(self._again_s, min(2 * self._again_s, SAID_AGAIN_S[1]))
            work.listener.noted(f"Waiting for {work.waits_for}.")


def why_nothing_to_claim(
    backlog: Backlog, pauses: Mapping[str, str], blockers: Mapping[str, str], *, has_others: bool
) -> tuple[str, float]:
    """Why there is nothing to claim, and after how long that is worth a line.

    `pauses` are batches with the reasons of their pauses, `blockers` those that wait with what they wait for; there may
    be other batches, which are not this waiter's (`has_others`).
    """
    for batch in pauses:
        return f"waiter resume: batch {batch} is paused", ELSEWHERE_S
    for batch, blocker in blockers.items():
        return f"{blocker}, which batch {batch} comes after", ELSEWHERE_S
    if backlog.ready:
        return "orders that others claim just now", OF_ORDERS_S
    if backlog.next_due_s is not None:
        return f"an order that is tried again in {format_duration(max(0.0, backlog.next_due_s))}", OF_ORDERS_S
    if backlog.running:
        return "the orders that others run", OF_ORDERS_S
    of_others = "; other batches are left alone" if has_others else ""
    return f"orders: none is READY{of_others}", OF_ORDERS_S
