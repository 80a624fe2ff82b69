"""The sweep: orders of waiters that died go back to the others."""

from __future__ import annotations

from collections.abc import Callable

from waiter.errors import PASSING, KitchenDamaged, KitchenError
from waiter.kitchen.contract import Kitchen, Reclaimed, sweep_s


class Sweep:
    """Looks for the dead every `sweep_s` of the kitchen's lease. Times are those of one clock that never goes back."""

    def __init__(self, kitchen: Kitchen, max_losses: int, note: Callable[[str], None], now: float) -> None:
        self._kitchen = kitchen
        self._max_losses = max_losses
        self._note = note
        self._every_s = sweep_s(kitchen.lease_s)
        self._swept_at = now
        self._last_refusal = ""

    def is_due(self, now: float) -> bool:
        return now - self._swept_at >= self._every_s

    def bring_forward(self, now: float) -> None:
        """Make it due: whoever waits for the orders of others does not wait longer than needed for the dead."""
        self._swept_at = min(self._swept_at, now - self._every_s)

    def run(self, now: float) -> Reclaimed | None:
        """Take back the orders of the dead; None where the kitchen refuses to.

        One order of somebody else stops nobody's work, so a refusal is noted, once. Raises KitchenDamaged, and the
        errors that pass.
        """
        self._swept_at = now
        try:
            reclaimed = self._kitchen.reclaim(self._max_losses)
        except (*PASSING, KitchenDamaged):
            raise
        except KitchenError as error:
            self._refused(str(error))
            return None
        if reclaimed:
            names = ", ".join(reclaimed.shifts) or "a waiter that is gone"
            self._note(f"Took back orders of {names}: {reclaimed.ready + reclaimed.failed}.")
        return reclaimed

    def _refused(self, why: str) -> None:
        if why != self._last_refusal:
            self._note(f"Orders of dead waiters cannot be taken back: {why}")
        self._last_refusal = why
