"""Where the orders of some batches lie: spans of `seq`, which begins with the batch's number.

Neighbours make one span, so that a scope that leaves a few batches out has few of them, whatever their number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from waiter.kitchen.contract import SPANS_AT_ONCE
from waiter.orders import Scope

Span = tuple[int, int]
"""The first `seq`, and the one after the last."""


def spans(batches: Iterable[tuple[str, int]], chosen: Collection[str], rows: int) -> list[Span]:
    """The spans of the chosen batches among all, which come as (id, number) by rising number; `rows` fit into one."""
    found: list[Span] = []
    is_open = False
    for batch_id, number in batches:
        is_chosen = batch_id in chosen
        if is_chosen and is_open:
            found[-1] = (found[-1][0], (number + 1) * rows)
        elif is_chosen:
            found.append((number * rows, (number + 1) * rows))
        is_open = is_chosen
    return found


class SpansOfScope:
    """The spans of the scope that was asked for last: a waiter asks with the same one again and again."""

    def __init__(self) -> None:
        self._scope: Scope | None = None
        self._spans: list[Span] = []

    def of(self, scope: Scope, batches: Iterable[tuple[str, int]], rows: int) -> list[Span]:
        """The spans of a scope that names batches. `batches` are read only for another scope than the last."""
        if scope is not self._scope:  # not equal: batches may have been deleted, and made anew, between two of the same
            self._spans = spans(batches, set(scope.batches or ()), rows)
            self._scope = scope
        return self._spans


def chunks(found: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """So many spans at a time as one question may hold."""
    for start in range(0, len(found), SPANS_AT_ONCE):
        yield found[start : start + SPANS_AT_ONCE]
