"""The orders that the rows of an input will be, before they are loaded: for --dry-run, and to check the command."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from waiter.intake import Input, OnBad, Seen, read
from waiter.orders import Order


def orders_of(input: Input, on_bad: OnBad) -> Iterator[Order]:
    """The orders, as far as a command sees them."""
    for number, arguments, names in chain.from_iterable(read(input, on_bad=on_bad, seen=Seen())):
        yield Order(f"dry-run-{number}", "dry-run", number, tuple(arguments), None if names is None else tuple(names))
