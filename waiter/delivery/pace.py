"""How often a waiter asks its kitchen for this and that: the larger the fleet, the less often.

What a fleet asks in all is bounded, so that upkeep is a constant for the kitchen. Fleets of a few hundred waiters are
below all bounds, and each waiter is as quick as if it were alone. What every waiter waits for at once comes with
jitter.
"""

from __future__ import annotations

from random import Random

from waiter.kitchen.contract import BEATS_PER_LEASE, beat_of_fleet_s, lease_of_fleet_s
from waiter.light_dataclass import dataclass

NEWS_S = 2.0
"""How often the kitchen is asked whether there is anything new: a busy waiter asks as often as an idle one."""

SEEN_WITHIN_S = 8.0
"""The longest between two questions for news up to fleets of 2,000; larger ones ask `MOST_NEWS_PER_S`."""

YOUNG_BEATS = 3
"""A young shift beats again when it is older by a third: what a new waiter delivers is soon seen."""

RETRY_S = 1.0
"""How soon a heartbeat that failed is tried again: a kitchen that was away hears of the living before it is swept."""

# What all waiters of a fleet ask for in a second. A question for news costs a server 0.15 ms, a heartbeat or a look at
# the backlog half a millisecond to one.
NEWS_PER_S = 125.0
MOST_NEWS_PER_S = 250.0
YOUNG_BEATS_PER_S = 100.0
RETRIES_PER_S = 1000.0
CLAIMS_PER_S = 500.0
LOOKS_PER_S = 50.0
TURNS_PER_S = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of one waiter in a fleet of so many, as the kitchen counted them last. 0: it does not count."""

    kitchen_lease_s: float
    fleet_size: int = 0

    @property
    def lease_s(self) -> float:
        """The lease to ask for, long enough for a fleet of this size to renew it in time."""
        return lease_of_fleet_s(self.kitchen_lease_s, self.fleet_size)

    def beat_s(self, lease_s: float, age_s: float) -> float:
        """After how long a lease of that length is renewed, the one that is held: a longer one is still to come.

        `age_s` is what the shift's age was at its last heartbeat.
        """
        young_s = max(age_s / YOUNG_BEATS, self.fleet_size / YOUNG_BEATS_PER_S)
        return min(beat_of_fleet_s(self.kitchen_lease_s, self.fleet_size, lease_s), young_s)

    def news_s(self, rng: Random) -> float:
        least_s = min(NEWS_S, self.kitchen_lease_s / BEATS_PER_LEASE)
        longest_s = max(min(self.fleet_size / NEWS_PER_S, SEEN_WITHIN_S), self.fleet_size / MOST_NEWS_PER_S)
        return self._stretched(least_s, longest_s, rng)

    def retry_s(self, rng: Random) -> float:
        return self._stretched(RETRY_S, self.fleet_size / RETRIES_PER_S, rng)

    def look_s(self, wait_s: float, rng: Random) -> float:
        """Until the next look of one who waits for orders that others run. Whoever looks first takes what comes back.

        So the fleet as a whole looks as often as ever, and somebody is there at once.
        """
        return self._stretched(wait_s, self.fleet_size / LOOKS_PER_S, rng)

    def claim_s(self, wait_s: float, rng: Random) -> float:
        """Until the next claim where there are orders, which others were faster to get."""
        return self._stretched(wait_s, self.fleet_size / CLAIMS_PER_S, rng)

    def spread_s(self, rng: Random) -> float:
        """So much later than the next turn to sweep one asks for it, lest all ask at once."""
        return rng.uniform(0, self.turn_s)

    @property
    def turn_s(self) -> float:
        """How long at least one who waits for the orders of others waits between two sweeps."""
        return self.fleet_size / TURNS_PER_S

    def _stretched(self, least_s: float, longest_s: float, rng: Random) -> float:
        return least_s if longest_s <= least_s else max(least_s, longest_s * rng.uniform(0.7, 1.0))
