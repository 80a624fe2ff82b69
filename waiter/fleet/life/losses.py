"""Machines that work has lost: EC2 took them back, say. Which, when, why, and what was launched in their place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from waiter.fleet.life.following import is_to_be_replaced
from waiter.fleet.life.launching import Account, look
from waiter.machines import Call
from waiter.report.formatting import clock_time

LATELY_S = 86_400.0
"""So long is told of machines that are gone."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A machine that work has lost."""

    id: str
    fleet: str
    why: str
    at: float  # the kitchen's clock
    replaced_by: str | None  # the machine that was launched since

    def words(self, now: float) -> str:
        """`now`: the kitchen's."""
        by = f"replaced by {self.replaced_by}" if self.replaced_by else "not replaced"
        return f"{self.id} of {self.fleet} is gone since {clock_time(self.at, now)}, {by}: {self.why}"


def seen_losses(account: Account) -> list[Gone]:
    """The fleet's losses since yesterday, after a look at EC2: nobody may have looked since. Raises FleetError."""
    return lost_lately(account.ledger.fleet, look(account).calls, account.now)


def lost_lately(fleet: str, calls: Sequence[Call], now: float) -> list[Gone]:
    """The machines that are gone since yesterday, but for those that somebody ended, or that had nothing to do."""
    machines = sorted((each for call in calls for each in call.machines), key=lambda each: each.launched_at)
    lives = {machine.id: call.max_life_s or math.inf for call in calls for machine in call.machines}
    ended = [(each.ended_at, each) for each in machines if each.ended_at is not None]
    found: list[Gone] = []
    for at, machine in sorted(ended, key=lambda pair: pair[0]):
        if now - at < LATELY_S and is_to_be_replaced(machine, lives[machine.id]):
            taken = {gone.replaced_by for gone in found}
            by = next((each.id for each in machines if each.launched_at >= at and each.id not in taken), None)
            found.append(Gone(machine.id, fleet, str(machine.why_ended), at, by))
    return found
