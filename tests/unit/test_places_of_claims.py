"""Where a waiter that loses orders to others looks for its next ones, and when it is back at the head."""

from __future__ import annotations

from random import Random

import pytest

from waiter.kitchen.mongo.places import COMPETING_S, HEAD, HEAD_S, MOST_REACH, REACH, Place, Places


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def places(clock) -> Places:
    return Places(Random(1), clock)


def seen(first: int, many: int = 4, priority: int = 0):
    return [{"priority": priority, "seq": seq} for seq in range(first, first + many)]


def test_who_has_the_orders_for_itself_always_looks_at_the_head(places):
    for first in (1, 5, 9):
        assert places.choose() == (HEAD, True)
        places.took(seen(first), 4, is_all=True)


def test_who_lost_orders_leaps_ahead_and_goes_on_after_what_it_took(places):
    places.took(seen(1), 4, is_all=False)
    leapt, _ = places.choose()
    places.took(seen(leapt.seq), 4, is_all=True)

    assert 1 <= leapt.seq <= 1 + 4 * REACH
    assert places.choose()[0] == Place(0, leapt.seq + 4)


def test_it_sees_every_second_where_the_head_is_and_goes_back_if_that_is_too_far_behind(places, clock):
    places.choose()
    places.took(seen(100_000), 4, is_all=False)
    place, is_head_due = places.choose()
    assert not is_head_due

    clock.now += HEAD_S
    assert places.choose() == (place, True)
    assert not places.goes_back(place, {"priority": 0, "seq": place.seq - 4 * MOST_REACH}, 4)
    assert places.choose() == (place, False)
    assert places.goes_back(place, {"priority": 0, "seq": place.seq - 4 * MOST_REACH - 1}, 4)
    assert places.choose()[0].seq < place.seq - 4 * MOST_REACH


def test_it_goes_back_to_a_head_of_another_priority(places):
    places.took(seen(1), 4, is_all=False)
    place, _ = places.choose()

    assert places.goes_back(place, {"priority": 7, "seq": place.seq + 1}, 4)

    assert places.choose()[0] == Place(7, place.seq + 1)


def test_where_orders_are_few_it_looks_at_the_head_and_leaps_less_far(places):
    places.took(seen(1), 4, is_all=False)
    for _ in range(9):
        places.at_end()
    assert places.choose() == (HEAD, True)

    places.took(seen(1), 4, is_all=False)

    assert places.choose()[0].seq <= 1 + 4 * 2


def test_it_is_back_at_the_head_when_nobody_took_its_orders_for_a_while(places, clock):
    places.took(seen(1), 4, is_all=False)
    clock.now += COMPETING_S

    assert places.choose() == (HEAD, True)
