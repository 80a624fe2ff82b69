"""A page of orders begins behind a position, not after so many: the thousandth costs what the first one does."""

from __future__ import annotations

from waiter.kitchen.selecting import sort_of
from waiter.light_dataclass import dataclass
from waiter.orders import Order, Status

FEW = 20_000
"""So many orders may be read one by one for a page; more are gone through in an index, or in the table."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where an order stands in a sort. It stays there for who goes on, even if the order moves."""

    value: float | None  # what is sorted by; None: by age, or the order has no such thing
    order_id: str


def position_of(order: Order, sort: str, now: float) -> Position:
    """Where the order stands at this time."""
    by, _ = sort_of(sort)
    until = now if order.status is Status.RUNNING else order.stop
    took = None if order.start is None or until is None else until - order.start
    return Position({"age": None, "start": order.start, "stop": order.stop, "duration": took}[by], order.id)
