"""How long a lease is, how often a waiter renews it and looks for the dead, and how long it waits for the silent."""

from __future__ import annotations

from random import Random

LEASE_S = 60.0
"""How long a shift lives without a heartbeat."""

BEATS_PER_LEASE = 4
"""How often a waiter renews its lease in its time (every 15 s): three beats may fail before the lease is in danger."""

LEAST_BEATS_PER_LEASE = 2
"""The same in a large fleet. A beat that failed is tried again at once, and for half a lease."""

STRAYS_S = 300.0
"""How often a fleet looks for RUNNING orders of a shift that the kitchen does not know."""


def sweep_s(lease_s: float) -> float:
    """How often somebody looks for the dead: as often as a waiter of a small fleet beats."""
    return lease_s / BEATS_PER_LEASE


def turn_s(lease_s: float) -> float:
    """The least time between two sweeps of a fleet, so that there is one within `sweep_s` whoever is late for it."""
    return sweep_s(lease_s) * 2 / 3


def grace_s(lease_s: float) -> float:
    """How long who is missed may still say that it lives, from the first look that missed it.

    Less than a sweep, so that one of the next two decides; much more than a heartbeat needs once the kitchen is back.
    """
    return lease_s / 5


# How many heartbeats a whole fleet sends in a second. Each is a write, which costs a replica set three times as much.
BEATS_PER_S = 33.0
"""As long as leases allow: more waiters beat less often each, down to `LEAST_BEATS_PER_LEASE`."""
MOST_BEATS_PER_S = 100.0
"""At the most. Leases are as long as that needs."""


def lease_of_fleet_s(lease_s: float, fleet_size: int) -> float:
    """The lease of each waiter in a fleet of so many: `lease_s` up to 3,000 of them, 200 s for 10,000."""
    return max(lease_s, LEAST_BEATS_PER_LEASE * fleet_size / MOST_BEATS_PER_S)


def beat_of_fleet_s(lease_s: float, fleet_size: int, held_s: float) -> float:
    """After how long a waiter in a fleet of so many renews a lease of `held_s`: 15 s up to 500 of them, 30 s for 1,000.

    `lease_s` is the kitchen's own.
    """
    return min(held_s / LEAST_BEATS_PER_LEASE, max(lease_s / BEATS_PER_LEASE, fleet_size / BEATS_PER_S))


MOST_DOUBLINGS = 7
"""From here on a lost order waits up to 10 minutes, however often it is lost again."""


def loss_delay_s(losses: int, rng: Random) -> float:
    """Seconds to wait before an order that was lost `losses` times is offered again.

    Full jitter between 0 and min(600, 5 * 2**losses): waiters that died together do not come back together.
    """
    return rng.uniform(0, min(600.0, 5.0 * 2.0 ** min(losses, MOST_DOUBLINGS)))
