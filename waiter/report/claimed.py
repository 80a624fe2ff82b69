"""Orders that are claimed ahead: RUNNING to the kitchen, in a waiter's hands, and not begun.

Waiters tell of them with each heartbeat, so these numbers are as old as those are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from waiter.orders import Shift
from waiter.report.capacity import at_work


def claimed_ahead(running: int, shifts: Iterable[Shift], now: float, batches: Collection[str] | None = None) -> int:
    """How many of so many RUNNING orders, all there are or those of these batches, have not begun."""
    here = at_work(shifts, now)
    if batches is None:
        begun = sum(shift.vitals.busy for shift in here)
    else:
        begun = sum(_batches_at_work(here)[batch] for batch in batches)
    return min(_claimed(here), max(0, running - begun))


def claimed_by_batch(running: Mapping[str, int], shifts: Iterable[Shift], now: float) -> dict[str, int]:
    """The same of each batch: what a waiter does not tell is taken to be spread as its batches are."""
    here = at_work(shifts, now)
    begun = _batches_at_work(here)
    waiting = {batch: max(0, count - begun[batch]) for batch, count in running.items()}
    total, claimed, shared = sum(waiting.values()), _claimed(here), 0
    if total <= claimed:
        return waiting
    by_batch, counted = {}, 0
    for batch, count in waiting.items():
        counted += count
        by_batch[batch] = claimed * counted // total - shared
        shared += by_batch[batch]
    return by_batch


def _claimed(shifts: Iterable[Shift]) -> int:
    return sum(shift.vitals.claimed for shift in shifts)


def _batches_at_work(shifts: Iterable[Shift]) -> Counter[str]:
    """How many orders of each batch are in slots, of those that waiters name."""
    return Counter(order_id.rpartition("-")[0] for shift in shifts for order_id in shift.vitals.running)
