"""Where the orders of some batches lie, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from waiter.kitchen.spans import SCOPES_KEPT, SpansOfScope
from waiter.orders import Scope

ROWS = 100


class Batches:
    """Batches of these names, numbered as they come; counts who reads them."""

    def __init__(self, names: str) -> None:
        self.names = list(names)
        self.reads = 0

    def __call__(self) -> Iterator[tuple[str, int]]:
        self.reads += 1
        return ((name, number) for number, name in enumerate(self.names, 1))


@pytest.fixture
def batches() -> Batches:
    return Batches("abcde")


@pytest.fixture
def spans(batches) -> SpansOfScope:
    return SpansOfScope(batches, ROWS)


def test_neighbours_make_one_span(spans):
    assert spans.of(Scope(("a", "b", "d"))) == [(100, 300), (400, 500)]


def test_several_scopes_that_take_turns_are_looked_for_once(spans, batches):
    scopes = [Scope(("a",)), Scope(("b", "c")), Scope(("e",))]

    answers = [[spans.of(scope) for scope in scopes] for _ in range(5)]

    assert answers == [[[(100, 200)], [(200, 400)], [(500, 600)]]] * 5
    assert batches.reads == len(scopes)


def test_no_scope_gets_the_spans_of_one_that_is_no_more(spans, batches):
    for turn in range(3 * SCOPES_KEPT):
        number = turn % len(batches.names)
        assert spans.of(Scope((batches.names[number],))) == [((number + 1) * ROWS, (number + 2) * ROWS)]


def test_a_batch_that_was_made_anew_is_found_when_one_looks_again(spans, batches):
    scope = Scope(("a",))
    assert spans.of(scope) == [(100, 200)]
    batches.names = ["-", "b", "a"]

    assert spans.are_others(scope)

    assert spans.of(scope) == [(300, 400)]
    assert not spans.are_others(scope)
