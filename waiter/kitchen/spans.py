"""Where the orders of some batches lie: spans of `seq`, which begins with the batch's number.

Neighbours make one span, so that a scope that leaves a few batches out has few of them, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from waiter.kitchen.contract import SPANS_AT_ONCE
from waiter.orders import Scope

Span = tuple[int, int]
"""The first `seq`, and the one after the last."""


SCOPES_KEPT = 64


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
    """The spans of the scopes that were asked for: a waiter asks with the same few again and again.

    What is remembered misses batches that were deleted and made anew since. So who finds nothing looks again.
    """

    def __init__(self, batches: Callable[[], Iterable[tuple[str, int]]], rows: int) -> None:
        self._batches = batches
        self._rows = rows
        self._known: dict[Scope, list[Span]] = {}
        # By `id`, as long as they are kept: a scope of thousands of batches takes long to hash and compare.
        self._seen: dict[int, tuple[Scope, list[Span]]] = {}

    def of(self, scope: Scope) -> Sequence[Span] | None:
        """Where the orders of the scope's batches lie; None: it takes those of any."""
        if scope.batches is None:
            return None
        seen = self._seen.get(id(scope))
        if seen is None:
            if scope not in self._known:
                self._read(scope)
            if len(self._seen) >= SCOPES_KEPT:
                self._seen.clear()
            seen = self._seen[id(scope)] = scope, self._known[scope]
        return seen[1]

    def are_others(self, scope: Scope) -> bool:
        """Look again. Whether the scope's spans are others than was remembered."""
        if scope.batches is None:
            return False
        before = self._known.get(scope)
        self._read(scope)
        self._seen.clear()
        return self._known[scope] != before

    def _read(self, scope: Scope) -> None:
        if len(self._known) >= SCOPES_KEPT:
            self._known.clear()
        self._known[scope] = spans(self._batches(), set(scope.batches or ()), self._rows)


def chunks(found: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """So many spans at a time as one question may hold."""
    for start in range(0, len(found), SPANS_AT_ONCE):
        yield found[start : start + SPANS_AT_ONCE]
