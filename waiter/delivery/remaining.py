"""What a waiter leaves behind: how many of the orders that it might take wait, run, or stay in ERROR."""

from __future__ import annotations

from collections import Counter

from waiter.errors import KitchenError
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.orders import Counts, Scope, Selector, Status, is_in_scope

ONE_BY_ONE = 20
"""So many batches are counted one after the other; more are counted with all others, at once."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """Orders of a scope that have not been delivered."""

    left: int  # READY or RUNNING
    in_error: int


def remaining(kitchen: Kitchen, scope: Scope) -> Remaining | None:
    """What remains of the scope; None if the kitchen does not tell."""
    try:
        counts = count_orders(kitchen, scope)
    except KitchenError:
        return None
    return Remaining(counts[Status.READY] + counts[Status.RUNNING], counts[Status.ERROR])


def count_orders(kitchen: Kitchen, scope: Scope) -> Counts:
    """Orders of the scope by status; of a `priority_min` only those that have not been finished, or failed."""
    if scope.priority_min is not None:
        unfinished = Selector(statuses=(Status.READY, Status.RUNNING, Status.ERROR), match=scope.match)
        return Counts(Counter(order.status for order in kitchen.find(unfinished) if is_in_scope(order, scope)))
    if scope.batches is None:
        return kitchen.counts(None if scope.match is None else Selector(match=scope.match))
    there = {batch.id for batch in kitchen.batches()}.intersection(scope.batches)  # not what was deleted meanwhile
    if len(there) > ONE_BY_ONE and scope.match is None:
        progress = kitchen.batch_progress(1.0)
        return _sum([progress[batch].counts for batch in there if batch in progress])
    return _sum([kitchen.counts(Selector(batch=batch, match=scope.match)) for batch in there])


def _sum(parts: list[Counts]) -> Counts:
    return Counts({status: sum(part[status] for part in parts) for status in Status})
