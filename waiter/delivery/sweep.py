"""The sweep: orders of waiters that died go back to the others. Whoever comes first does it for the whole fleet."""

from __future__ import annotations

from collections.abc import Callable

from waiter.errors import PASSING, KitchenDamaged, KitchenError
from waiter.kitchen.contract import Kitchen, Reclaimed, sweep_s
from waiter.orders import Notice


class Sweep:
    """Asks for the turn every `sweep_s` of the kitchen's lease, or when the kitchen says that it is free. Times are
    those of one clock that never goes back."""

    def __init__(self, kitchen: Kitchen, max_losses: int, note: Callable[[str], None], now: float) -> None:
        self._kitchen = kitchen
        self._max_losses = max_losses
        self._note = note
        self._every_s = sweep_s(kitchen.lease_s)
        self._due_at = now + self._every_s
        self._ran_at = 0.0
        self._last_refusal = ""
        self._heard: Notice | None = None

    def is_due(self, now: float) -> bool:
        return now >= self._due_at

    def bring_forward(self, now: float, least_s: float = 0.0) -> None:
        """Make it due, `least_s` after the last one: whoever waits for the orders of others does not wait longer than
        needed for the dead."""
        self._due_at = min(self._due_at, max(now, self._ran_at + least_s))

    def hear(self, notice: Notice, now: float) -> None:
        """Make it due, once for each time that the kitchen says so, if the whole fleet is late.

        In a large fleet each waiter asks seldom, for another does: when most of them die at once, no other is left.
        """
        if notice is not self._heard and notice.is_sweep_overdue:
            self.bring_forward(now)
        self._heard = notice

    def run(self, now: float, later_s: float = 0.0) -> Reclaimed | None:
        """Take back the orders of the dead; None where the kitchen refuses to.

        Where it is another's turn, it asks again `later_s` after the next one is free.
        One order of somebody else stops nobody's work, so a refusal is noted, once. Raises KitchenDamaged, and the
        errors that pass.
        """
        self._ran_at, self._due_at = now, now + self._every_s
        try:
            reclaimed = self._kitchen.sweep(self._max_losses)
        except (*PASSING, KitchenDamaged):
            raise
        except KitchenError as error:
            self._refused(str(error))
            return None
        if reclaimed.next_s is not None:
            self._due_at = now + min(reclaimed.next_s, self._every_s) + later_s
        if reclaimed:
            names = ", ".join(reclaimed.shifts) or "a waiter that is gone"
            self._note(f"Reclaimed orders of {names}: {reclaimed.ready + reclaimed.failed}.")
        return reclaimed

    def _refused(self, why: str) -> None:
        if why != self._last_refusal:
            self._note(f"Cannot reclaim orders of dead waiters: {why}")
        self._last_refusal = why
