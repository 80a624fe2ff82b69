"""How a waiter is told to stop: once, drain; twice, stop the commands; a third time, leave at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import TypeAlias

from waiter.delivery.listener import DRAINED, INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ECHO_S = 0.005
"""A signal so soon after another is the same wish: timeout(1) signals its child and then its group."""

Handler: TypeAlias = "Callable[[int, FrameType | None], object] | int | None"


class Stop(IntEnum):
    """How soon."""

    NO = 0
    DRAIN = 1  # running orders end, the others go back
    NOW = 2  # running orders are stopped and go back too
    EXIT = 3  # this process ends; its runner kills what is left, and the kitchen takes the orders back


class Shutdown:
    """What was asked for so far. It only rises."""

    def __init__(self) -> None:
        self.level = Stop.NO
        self.why = ""
        self.heard: set[int] = set()  # the signals that asked
        self.first: int | None = None  # of these
        self.is_over = False  # its waiter finds nothing left to do
        self._taken = Stop.NO
        self._heard_at = 0.0
        self._followers: list[Shutdown] = []
        self._together: list[Shutdown] = [self]
        self._before: dict[int, Handler] = {}

    def follower(self) -> Shutdown:
        """One of another waiter in this process: it hears all that this one hears, and leaves when all may."""
        other = Shutdown()
        self._followers.append(other)
        other._together = self._followers
        return other

    @property
    def are_all_over(self) -> bool:
        """Whether none of the waiters that leave together has anything left to do."""
        return all(one.is_over for one in self._together)

    def request(self, level: Stop, why: str = DRAINED) -> None:
        if level > self.level:
            self.level = level
            self.why = self.why or why
        for follower in self._followers:
            follower.request(level, why)

    def consume(self, level: Stop) -> bool:
        """Whether this level was asked for and nobody has taken care of it yet."""
        if self.level >= level > self._taken:
            self._taken = level
            return True
        return False

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """Inside, SIGINT, SIGTERM and SIGHUP ask for one level more each. Does nothing outside the main thread.

        One that was ignored before stays so: nohup(1), and a shell for what it runs in the background, want it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        meant = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._receive) for number in meant}
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before = {}

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """Inside, they do what they did outside of `by_signals`: end at once what may take long, with nothing begun."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number in self._before:
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        for one in (self, *self._followers):
            one.heard.add(number)
            one.first = one.first or number
        if time.monotonic() - self._heard_at < ECHO_S:
            return
        self._heard_at = time.monotonic()
        if self.level >= Stop.NOW:
            os._exit(128 + number)
        self.request(Stop(self.level + 1))
        if self.level == Stop.NOW:
            for one in (self, *self._followers):
                one.why = INTERRUPTED
