"""Looking at a kitchen again and again at a bounded cost: the slower it answers, the less often it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from waiter.kitchen.contract import Kitchen
from waiter.orders import Selector, Status
from waiter.report.capacity import measure_capacity
from waiter.report.dashboard import Seen
from waiter.report.eta import clip_to_busy
from waiter.report.status import choose_window

NOW_S = 15.0
"""The window of the rate now."""

MOST_RUNNING = 200
"""How many RUNNING orders are looked at."""

SHARES = {"counts": 0.015, "recent": 0.005, "longer": 0.005, "shifts": 0.005, "running": 0.005, "failures": 0.005}
"""How much of one core of the kitchen each question may use: 4 % in all, so that the first look fits under 5 %."""

Answer = TypeVar("Answer")


class ThrottledQuery(Generic[Answer]):
    """Something to ask the kitchen now and then, its answer kept in between.

    The time to the next asking is the time that the answer took, divided by `share`: a query keeps one core busy at
    most, so `share` bounds what it costs the kitchen.
    """

    def __init__(self, ask: Callable[[], Answer], share: float, every_s: float) -> None:
        self._ask = ask
        self._share = share
        self._least_s = every_s
        self._due = 0.0
        self.every_s = every_s
        self._answers: list[Answer] = []

    def answer(self) -> Answer:
        """The latest answer; asks when it is time. Raises KitchenUnreachable."""
        if not self._answers or time.monotonic() >= self._due:
            began = time.monotonic()
            answer = self._ask()
            ended = time.monotonic()
            self._answers = [answer]
            self.every_s = max(self._least_s, (ended - began) / self._share)
            self._due = ended + self.every_s
        return self._answers[0]


class Poller:
    """Looks at a kitchen, each of its sides as often as that may cost."""

    def __init__(self, kitchen: Kitchen, every_s: float) -> None:
        self._place = kitchen
        asked: dict[str, Callable[[], Any]] = {
            "counts": kitchen.counts,
            "recent": lambda: kitchen.throughput(NOW_S),
            "longer": lambda: choose_window(kitchen),
            "shifts": lambda: kitchen.shifts(include_left=True),
            "running": lambda: list(
                kitchen.find(Selector(statuses=(Status.RUNNING,)), sort="start", limit=MOST_RUNNING)
            ),
            "failures": kitchen.failure_groups,
        }
        self._questions = {name: ThrottledQuery(ask, SHARES[name], every_s) for name, ask in asked.items()}

    def look(self) -> Seen:
        """What there is to see. Raises KitchenUnreachable."""
        # A cheap question first: the others are given a minute, too long to find out that nobody is there.
        now = self._place.now()
        answers = {name: question.answer() for name, question in self._questions.items()}
        shifts = answers["shifts"]
        lately = measure_capacity(shifts, now, answers["longer"].window_s)
        return Seen(
            kitchen=self._place.url,
            now=now,
            counts=answers["counts"],
            recent=clip_to_busy(answers["recent"], measure_capacity(shifts, now, NOW_S)),
            longer=clip_to_busy(answers["longer"], lately),
            capacity=lately,
            shifts=[shift for shift in shifts if shift.left_at is None],
            running=answers["running"],
            failures=answers["failures"],
            delivering={shift.host for shift in shifts},
            every_s=self._questions["counts"].every_s,
        )
