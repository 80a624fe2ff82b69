"""Turns of two threads of a waiter on one connection."""

from __future__ import annotations

import threading
import time

from tests.conftest import eventually
from waiter.kitchen.mongo.turns import Turns

BUSY_S = 60.0
"""How long one may wait: this bounds a test that fails."""


def test_two_that_ask_again_and_again_have_every_other_turn():
    turns, is_over = Turns(), threading.Event()
    theirs, between = 0, []

    def ask_again_and_again() -> None:
        nonlocal theirs
        while not is_over.is_set():
            assert turns.acquire(BUSY_S)
            theirs += 1
            time.sleep(0.002)  # as one that waits for its answer
            turns.release()

    other = threading.Thread(target=ask_again_and_again)
    other.start()
    try:
        eventually(lambda: theirs)
        for _ in range(50):
            before = theirs
            assert turns.acquire(BUSY_S)
            between.append(theirs - before)
            time.sleep(0.002)  # so that the other one waits for its turn
            turns.release()
    finally:
        is_over.set()
        other.join()
    assert between.count(1) > 40, "one of them kept the other one out"


def test_whoever_waited_in_vain_leaves_the_turn_to_others():
    turns, may_end = Turns(), threading.Event()
    has_it = threading.Event()

    def hold() -> None:
        assert turns.acquire(BUSY_S)
        has_it.set()
        may_end.wait(BUSY_S)
        turns.release()

    holder = threading.Thread(target=hold)
    holder.start()
    assert has_it.wait(BUSY_S)
    assert not turns.acquire(0.01)
    may_end.set()
    holder.join()

    assert turns.acquire(0.01)
    assert turns.acquire(0.01), "inside of its own turn"
    turns.release()
    given: list[bool] = []
    other = threading.Thread(target=lambda: given.append(turns.acquire(0.01)))
    other.start()
    other.join()
    assert given == [False], "it has still its turn outside"
    turns.release()
    assert turns.acquire(0.0)
