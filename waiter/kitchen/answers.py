"""What a kitchen answers, where that is more than orders and shifts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from waiter.light_dataclass import dataclass
from waiter.orders import Status


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a waiter that got nothing may hope for."""

    ready: int  # claimable now, counted up to CLAIM_LIMIT
    next_due_s: float | None  # seconds until a waiting READY order falls due
    running: int  # claimed by some waiter, counted up to CLAIM_LIMIT
    held: int = 0  # READY, but waiting for the same row of another batch; counted up to CLAIM_LIMIT

    @property
    def is_empty(self) -> bool:
        """Nothing is READY, now or later, but for what is held."""
        return not self.ready and self.next_due_s is None

    @property
    def is_done(self) -> bool:
        """Nothing is READY or RUNNING: every order has found its end, or is held."""
        return self.is_empty and not self.running

    @property
    def is_only_running(self) -> bool:
        """All that is left is in somebody's hands, but for what is held."""
        return self.is_empty and self.running > 0


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What one sweep did."""

    ready: int = 0  # orders of dead shifts offered again
    failed: int = 0  # orders that reached `max_losses`
    shifts: tuple[str, ...] = ()  # names of the waiters that were found lost
    missed: tuple[str, ...] = ()  # names of those whose lease ran out, and who may still say that they live
    missed_s: float = 0.0  # so long from now: then a sweep decides
    next_s: float | None = None  # it was another's turn, and so long from now it is that of whoever comes first

    def __bool__(self) -> bool:
        return bool(self.ready or self.failed or self.shifts)


@dataclass(frozen=True, slots=True)
class Durations:
    """How long orders took that ended DONE or ERROR within some time, by anybody."""

    counts: tuple[int, ...]  # for each bound those that took no longer, and longer than the bound before; then the rest
    failed: int  # of all of them
    total_s: float


def durations_from(rows: Iterable[tuple[str, int, int, float]], bounds: int) -> Durations:
    """Of so many bounds; the rows have a status, the number of a bound, how many orders, and all their seconds."""
    counts, failed, total_s = [0] * (bounds + 1), 0, 0.0
    for status, bound, count, seconds in rows:
        counts[bound] += count
        total_s += seconds
        failed += count if status == Status.ERROR else 0
    return Durations(tuple(counts), failed, total_s)


def own_window(ages: Sequence[float | None], window_s: float) -> float:
    """How much of a window a batch was at work in, in seconds, from how long ago its first orders there began."""
    known = [age for age in ages if age is not None]
    return min(window_s, max(1.0, *known)) if known else window_s
