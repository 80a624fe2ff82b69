"""What a few orders tell about all the others: how long, how often they fail, what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from waiter.report.eta import Eta


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured on the orders of a pilot."""

    seconds: tuple[float, ...]  # one for each attempt, ascending
    failed: int
    peak_memory: int | None  # bytes, of the hungriest

    @property
    def count(self) -> int:
        return len(self.seconds)

    @property
    def mean_s(self) -> float:
        return sum(self.seconds) / len(self.seconds)

    def quantile(self, share: float) -> float:
        """The time that so many of the orders did not exceed: nearest rank."""
        return self.seconds[max(0, math.ceil(share * len(self.seconds)) - 1)]

    def failure_interval(self) -> tuple[float, float]:
        """Between which shares of all orders fail, nine times out of ten (Wilson)."""
        z, n, p = 1.645, self.count, self.failed / self.count
        middle = p + z * z / (2 * n)
        spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low, high = ((middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
        return (0.0 if not self.failed else max(0.0, low)), (1.0 if self.failed == n else min(1.0, high))


def projected(sample: Sample, left: int, slots: int) -> Eta | None:
    """How long `left` more orders take in so many slots; None when nothing is left.

    The truth is inside the range nine times out of ten, eight out of ten when times are spread over orders of
    magnitude: a pilot cannot see orders of a kind that it did not meet. Slots on one machine are taken not to slow
    each other down more than they did in the pilot.
    """
    if not left:
        return None
    fewer, more = _doubts(sample)
    shared, shortest = left / slots, sample.seconds[0]
    soonest = max(shortest, shared * max(sample.mean_s - fewer, shortest))
    return Eta(soonest, max(soonest, math.ceil(shared) * (sample.mean_s + more)))


def _doubts(sample: Sample) -> tuple[float, float]:
    """How far below and above the sample's mean the mean of all orders may be, in seconds (90 %).

    Student's t, with Hall's correction for skewness: a few long orders, as there always are, move the range up.
    """
    n, mean = sample.count, sample.mean_s
    if n < 3:
        return mean, 3 * mean
    deviation = math.sqrt(sum((s - mean) ** 2 for s in sample.seconds) / (n - 1))
    if not deviation:
        return 0.0, 0.0
    skewness = sum((s - mean) ** 3 for s in sample.seconds) / n / deviation**3
    quantile = 1.645 + 1.5 / (n - 1)
    shift = max(0.0, skewness) * (1 + 2 * quantile**2) / (6 * math.sqrt(n))
    error = deviation / math.sqrt(n)
    return error * max(0.0, quantile - shift), error * (quantile + shift)


def cost(end: Eta, hosts: int, price: float) -> tuple[float, float]:
    """What so many hosts cost for that time, at `price` per host and hour, paid by the second as EC2's are."""
    return end.soonest_s / 3600 * hosts * price, end.latest_s / 3600 * hosts * price
