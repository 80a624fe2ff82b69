"""What worker processes are given in `bench_functions`: a module that they can import."""

from __future__ import annotations

from collections.abc import Sequence

from waiter import Order

ROUNDS = 150_000


def crunch(order: Order) -> int:
    """Some 10 ms of work that holds the interpreter's lock."""
    number = int(order.arguments[0])
    for _ in range(ROUNDS):
        number = (number * 1103515245 + 12345) % 2147483648
    return number


def nothing(order: Order) -> None:
    """An empty call."""


def nothing_at_all(orders: Sequence[Order]) -> None:
    """An empty call for many."""
