"""Orders whose turn has not come, because their batch waits for others: how many, and for what.

The kitchen has them as READY: no order is touched when the turn of its batch comes. Who looks is told WAITING.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from waiter.kitchen.contract import Kitchen
from waiter.kitchen.stages import before, waiting, why_waiting
from waiter.light_dataclass import dataclass
from waiter.orders import Batch, Counts, Order, Selector, Status

WAITING = "WAITING"
"""What is said instead of READY."""

MOST_ONE_BY_ONE = 200
"""Of more batches all are read at once."""


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch of which orders wait."""

    id: str
    name: str | None
    orders: int  # that wait
    why: str  # "waits for batch prepare: 12 left, 3 ERROR"
    is_by_row: bool = False  # only those that are held wait

    def __str__(self) -> str:
        return f"{self.name or self.id} {self.why}"


def waiting_batches(kitchen: Kitchen, wanted: str | None = None) -> list[WaitingBatch]:
    """The batches, or those of this id or name, that wait; it costs one look at the batches where none do."""
    batches = {batch.id: batch for batch in kitchen.batches()}
    return _told(kitchen, [batch for batch in batches.values() if wanted in (None, batch.id, batch.name)], batches)


def waiting_among(kitchen: Kitchen, ids: Collection[str]) -> list[WaitingBatch]:
    """Those of the batches with these ids that wait; the others are not looked at, unless one waits for them."""
    asked, batches, rest = [*dict.fromkeys(ids)], dict[str, Batch](), [*ids]
    while rest:
        if len(batches) > MOST_ONE_BY_ONE:
            batches = {batch.id: batch for batch in kitchen.batches()}
            break
        id = rest.pop()
        if id not in batches and (batch := kitchen.batch(id)):
            batches[id] = batch
            rest += before(batch)
    return _told(kitchen, [batches[id] for id in asked if id in batches], batches)


def _told(kitchen: Kitchen, asked: list[Batch], batches: Mapping[str, Batch]) -> list[WaitingBatch]:
    """The batches asked for that wait; `batches` are all that could matter."""
    found, held = waiting(kitchen, asked, batches), dict[str, int]()
    if any(one.is_by_row for one in found.values()):
        held = kitchen.held_rows()
    told = []
    for id, one in found.items():
        orders = held.get(id, 0) if one.is_by_row else kitchen.counts(Selector(batch=id))[Status.READY]
        if orders:
            why = why_waiting(kitchen, batches[id], one)
            told.append(WaitingBatch(id, batches[id].name, orders, why, one.is_by_row))
    return told


def counts_by_word(counts: Counts, waiting: Iterable[WaitingBatch]) -> dict[str, int]:
    """How many orders stand where, in words; those that wait are not READY, and named only where there are some."""
    words = {status.value: counts[status] for status in Status}
    if n := min(counts[Status.READY], sum(batch.orders for batch in waiting)):
        words = {Status.READY.value: counts[Status.READY] - n, WAITING: n, **dict(list(words.items())[1:])}
    return words


def is_all_waiting(counts: Counts, waiting: Iterable[WaitingBatch]) -> bool:
    """Whether nothing runs, and all that is READY waits: then no rate tells when it ends."""
    return not counts[Status.RUNNING] and 0 < counts[Status.READY] <= sum(batch.orders for batch in waiting)


def word_of(order: Order, waiting: Mapping[str, WaitingBatch]) -> str:
    """The status of an order in a word; `waiting` are the batches that wait, by their ids."""
    batch = waiting.get(order.batch)
    is_waiting = order.is_held or (batch is not None and not batch.is_by_row)
    return WAITING if order.status is Status.READY and is_waiting else order.status.value


def why_waits(order: Order, waiting: Mapping[str, WaitingBatch]) -> str:
    """For what the order waits, in words; empty: it does not."""
    return str(waiting.get(order.batch, "")) if word_of(order, waiting) == WAITING else ""


def waiting_facts(waiting: Iterable[WaitingBatch]) -> list[dict[str, object]]:
    """The batches that wait, as JSON."""
    return [{"batch": one.id, "name": one.name, "orders": one.orders, "why": one.why} for one in waiting]
