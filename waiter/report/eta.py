"""How far, how fast, and when it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from waiter.durations import format_duration
from waiter.orders import Counts, Status, Throughput
from waiter.report.capacity import Capacity

ENOUGH = 20
"""So many finished orders tell enough; where they take long, it takes long until there are as many."""

OVERHEAD_S = 0.02
"""Between two orders a slot waits no longer than this, if there are any."""


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until everything is delivered, as a range: the truth is inside it nine times out of ten."""

    soonest_s: float
    latest_s: float

    def __str__(self) -> str:
        soonest, latest = format_duration(self.soonest_s), format_duration(self.latest_s)
        return f"in {soonest}" if soonest == latest else f"in {soonest} to {latest}"


def clip_to_busy(throughput: Throughput, capacity: Capacity) -> Throughput:
    """The same, its window cut to the time that somebody was at work."""
    return replace(throughput, window_s=capacity.worked_s)


def rate(throughput: Throughput) -> float:
    """Orders finished per second."""
    return (throughput.done + throughput.failed) / throughput.window_s


def eta(
    counts: Counts, throughput: Throughput, capacity: Capacity, *, oldest_s: float = 0.0, more_hosts: int = 0
) -> Eta | None:
    """When the READY and RUNNING orders will be finished by today's waiters, or that with more hosts like theirs.

    None while nothing is known, or nobody takes orders. `throughput` and `capacity` are of one window. Finishes are
    taken as a Poisson process: n of them leave the rate uncertain by 1.64/sqrt(n) (90 %). The rate is that of a slot:
    at the latest what slots did in the whole window, at the soonest what they do when they never wait for orders.
    Orders are not divided, so few of them use few slots; and one that has been running for `oldest_s` may take as
    long again.
    """
    left = counts[Status.READY] + counts[Status.RUNNING]
    finished = throughput.done + throughput.failed
    if not left or finished < 3 or not capacity.slots:
        return None
    slots = min(left, capacity.slots * (1 + more_hosts / capacity.hosts))
    doubt = min(0.9, 1.64 / math.sqrt(finished))
    measured = finished / capacity.slot_s
    unhindered = max(measured, 1 / ((throughput.mean_s or 0.0) + OVERHEAD_S))
    soonest_s = left / slots / (unhindered * (1 + doubt))
    return Eta(soonest_s, max(soonest_s, left / slots / (measured * (1 - doubt)), oldest_s))


def percent(counts: Counts) -> float:
    """How much has found its end; 0 of nothing."""
    return 100 * counts.finished / counts.total if counts.total else 0.0


def shown_percent(part: int, whole: int) -> str:
    """`42.0 %`, never 100 while something is missing, never 0 when there is something."""
    if not whole:
        return ""
    value = 100 * part / whole
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %"
