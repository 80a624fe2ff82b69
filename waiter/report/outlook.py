"""How far, how fast, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from waiter.durations import words
from waiter.orders import Counts, Shift, Status, Throughput
from waiter.report.staff import worked_s


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until everything is delivered, as a range: the truth is inside it nine times out of ten."""

    soonest_s: float
    latest_s: float

    def __str__(self) -> str:
        soonest, latest = words(self.soonest_s), words(self.latest_s)
        return f"in {soonest}" if soonest == latest else f"in {soonest} to {latest}"


def while_busy(throughput: Throughput, shifts: Iterable[Shift], now: float) -> Throughput:
    """The same, its window cut to the time that somebody was at work. `shifts` are all, those that left included."""
    return replace(throughput, window_s=worked_s(shifts, now, throughput.window_s))


def rate(throughput: Throughput) -> float:
    """Orders finished per second."""
    return (throughput.done + throughput.failed) / throughput.window_s


def eta(counts: Counts, throughput: Throughput) -> Eta | None:
    """When the READY and RUNNING orders will be finished at the recent rate; None while nothing is known.

    Finishes are taken as a Poisson process: n of them in the window leave the rate uncertain by 1.64/sqrt(n) (90 %).
    """
    left = counts[Status.READY] + counts[Status.RUNNING]
    finished = throughput.done + throughput.failed
    if not left or finished < 3:
        return None
    per_s = rate(throughput)
    doubt = min(0.9, 1.64 / math.sqrt(finished))
    return Eta(left / (per_s * (1 + doubt)), left / (per_s * (1 - doubt)))


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
