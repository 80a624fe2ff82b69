"""What the stages before an order know of its row: arguments and results, for `{stage.name}` in its command.

Only stages that are joined row by row (`Batch.after_row`) have a row that is the order's. They are asked only if the
command names one of them, or is a function, which finds it in `order.earlier`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from waiter.delivery.function_names import names_function
from waiter.kitchen.contract import Kitchen
from waiter.orders import Batch, Order, Selector

_PORTION = 64


def stages_named(words: Sequence[str] | None, batch: Batch, batches: Mapping[str, Batch]) -> tuple[Batch, ...]:
    """The stages before this batch, row by row, that the words of a command name; for a function all of them."""
    is_function = names_function(words or ())
    return tuple(
        stage
        for stage in _before(batch, batches)
        if is_function or any(f"{{{stage.name or stage.id}." in word for word in words or ())
    )


def _before(batch: Batch, batches: Mapping[str, Batch]) -> Iterator[Batch]:
    seen = {batch.id}
    while (other := batches.get(batch.after_row or "")) is not None and other.id not in seen:
        seen.add(other.id)
        yield other
        batch = other


def with_earlier(kitchen: Kitchen, orders: Iterable[Order], stages: Sequence[Batch]) -> Iterator[Order]:
    """The orders of one batch, each with what these stages know of its row."""
    rest = iter(orders)
    while stages and (some := list(islice(rest, _PORTION))):
        known = {stage.id: _rows(kitchen, stage, some) for stage in stages}
        for order in some:
            there = [(stage, known[stage.id].get(order.row)) for stage in stages]
            facts = [
                pair for stage, other in there if other is not None for pair in facts_of(stage.name or stage.id, other)
            ]
            yield replace(order, earlier=tuple(facts))
    yield from rest


def _rows(kitchen: Kitchen, stage: Batch, orders: Sequence[Order]) -> dict[int, Order]:
    ids = tuple(f"{stage.id}-{order.row}" for order in orders)
    return {other.row: other for other in kitchen.find(Selector(ids=ids), with_details=True)}


def facts_of(stage: str, order: Order) -> Iterator[tuple[str, str]]:
    """`stage.name` and value of all that is known of the order: arguments before results, names before places."""
    values: dict[str, str] = dict(order.named)
    for key, value in order.value.items() if isinstance(order.value, dict) else ():
        values.setdefault(str(key), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    if order.result is not None:
        values.setdefault("result", order.result.removesuffix("\n"))
    for place, argument in enumerate(order.arguments, 1):
        values.setdefault(str(place), argument)
    yield from ((f"{stage}.{name}", value) for name, value in values.items())
