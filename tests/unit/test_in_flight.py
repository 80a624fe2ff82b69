"""Steps that a server carries out while the next ones are prepared."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from waiter.kitchen.mongo.in_flight import AT_ONCE, in_flight

PATIENCE_S = 20.0


def test_results_come_in_the_order_of_the_things_whichever_is_ready_first():
    second_is_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_is_done.wait(PATIENCE_S)
        if number == 1:
            second_is_done.set()
        return number * 10

    assert list(in_flight(range(5), work)) == [0, 10, 20, 30, 40]


def test_no_more_things_are_made_than_are_worked_at():
    made, done = [], threading.Semaphore(0)

    def things() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            yield number

    def work(number: int) -> int:
        assert done.acquire(timeout=PATIENCE_S)
        return number

    results = in_flight(things(), work)
    for number in range(4):
        done.release()
        done.release()
        assert next(results) == number
        assert len(made) <= number + AT_ONCE


class Odd(Exception):
    """What some test raises."""


@pytest.mark.parametrize("who", ["the work", "what makes the things"])
def test_what_fails_ends_it_once_what_is_in_flight_has_come_to_an_end(who):
    ended, has_failed = [], threading.Event()

    def things() -> Iterator[int]:
        yield 1
        if who != "the work":
            has_failed.set()
            raise Odd
        yield 2

    def work(number: int) -> None:
        if number == 1 and who == "the work":
            has_failed.set()
            raise Odd
        assert has_failed.wait(PATIENCE_S)
        ended.append(number)

    with pytest.raises(Odd):
        list(in_flight(things(), work))

    assert ended == [2 if who == "the work" else 1]
