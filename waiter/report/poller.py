"""Looking at a kitchen again and again at a bounded cost: the slower it answers, the less often it is asked.

What may take seconds among millions of orders, the counts above all, is asked beside the rest, in a thread and through
a connection of its own: waiters and rates never wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from waiter.errors import KitchenUnreachable, WaiterError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Counts, Selector, Status
from waiter.report.capacity import measure_capacity
from waiter.report.cost import NO_PRICES, fleet_costs
from waiter.report.dashboard import Seen
from waiter.report.eta import clip_to_busy
from waiter.report.status import choose_window, last_hour
from waiter.report.waiting import waiting_batches

NOW_S = 15.0
"""The window of the rate now."""

MOST_RUNNING = 200
"""How many RUNNING orders are looked at."""

FIRST_S = 3.0
"""So long the first look waits for what may take long; without counts it says that the orders are being counted."""

FIRST_EVERY_S = 5.0
"""A question's second time comes no later: the first one also paid for opening and for cold pages."""

SHARES = {
    **dict.fromkeys(("counts", "recent", "shifts"), 0.01),
    **dict.fromkeys(("longer", "running", "failures", "waiting", "hour"), 0.0035),
    "costs": 0.002,
}
"""How much of one core of the kitchen each question may use: 5 % in all."""

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
        self.answered = 0.0  # when, on the monotonic clock
        self._answers: list[Answer] = []
        self._times = 0

    def answer(self) -> Answer:
        """The latest answer; asks when it is time. Raises KitchenUnreachable."""
        if not self._answers or time.monotonic() >= self._due:
            began = time.monotonic()
            answer = self._ask()
            self.answered = time.monotonic()
            self._answers = [answer]
            self._times += 1
            self.every_s = max(self._least_s, (self.answered - began) / self._share)
            if self._times == 1:
                self.every_s = min(self.every_s, max(self._least_s, FIRST_EVERY_S))
            self._due = self.answered + self.every_s
        return self._answers[0]

    def forget(self) -> None:
        """Ask anew with the next look: something was changed."""
        self._due = 0.0

    @property
    def latest(self) -> list[Answer]:
        """The latest answer, without asking; empty before the first."""
        return self._answers


class _Beside:
    """Asks what may take long in a thread of its own, through a kitchen of its own."""

    def __init__(self, open_another: Callable[[], Kitchen], questions: Callable[[Kitchen], Mapping[str, Any]]) -> None:
        self._open = open_another
        self._questions = questions
        self.asked: Mapping[str, ThrottledQuery[Any]] = {}
        self.problem: WaiterError | None = None
        self.has_looked = threading.Event()
        threading.Thread(target=self._run, name="counts", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                with self._open() as kitchen:
                    self.asked = self._questions(kitchen)
                    self._go_on()
            except KitchenUnreachable as error:  # whoever looks says so, from what it asks itself
                self.problem = error
            except WaiterError as error:
                self.problem = error
                self.has_looked.set()
                return
            time.sleep(1.0)

    def _go_on(self) -> None:
        while True:
            for question in self.asked.values():
                question.answer()
            self.problem = None
            self.has_looked.set()
            time.sleep(0.1)


class Poller:
    """Looks at a kitchen, each of its sides as often as that may cost."""

    def __init__(
        self,
        kitchen: Kitchen,
        every_s: float,
        open_another: Callable[[], Kitchen] | None = None,
        prices: Mapping[str, float] = NO_PRICES,
    ) -> None:
        """With `open_another`, which opens the same kitchen once more, no look waits for what takes long. `prices` are
        those of waiter.toml, for what fleets cost."""
        self._place = kitchen

        def asked(*names: str) -> Callable[[Kitchen], dict[str, ThrottledQuery[Any]]]:
            return lambda place: {
                name: ThrottledQuery(ask, SHARES[name], every_s)
                for name, ask in _asks(place, prices).items()
                if name in names
            }

        slow = ("counts", "longer", "failures", "hour", "costs")
        quick = tuple(name for name in SHARES if name not in slow)
        self._questions = asked(*quick)(kitchen)
        self._beside = _Beside(open_another, asked(*slow)) if open_another else None
        self._slow: Mapping[str, ThrottledQuery[Any]] = {} if self._beside else asked(*slow)(kitchen)

    def look(self) -> Seen:
        """What there is to see. Raises KitchenUnreachable."""
        # A cheap question first: the others are given a minute, too long to find out that nobody is there.
        now = self._place.now()
        quick = {name: question.answer() for name, question in self._questions.items()}
        slow, counted_s = self._slow_ones()
        shifts, longer = quick["shifts"], slow.get("longer") or quick["recent"]
        lately = measure_capacity(shifts, now, longer.window_s)
        return Seen(
            kitchen=self._place.url,
            now=now,
            counts=slow.get("counts") or Counts({}),
            recent=clip_to_busy(quick["recent"], measure_capacity(shifts, now, NOW_S)),
            longer=clip_to_busy(longer, lately),
            capacity=lately,
            shifts=[shift for shift in shifts if shift.left_at is None],
            running=quick["running"],
            is_all_running=len(quick["running"]) < MOST_RUNNING,
            failures=slow.get("failures") or (),
            delivering={shift.host for shift in shifts},
            every_s=self._slow["counts"].every_s if "counts" in self._slow else 0.0,
            waiting=quick["waiting"],
            costs=slow.get("costs") or (),
            counted_s=counted_s,
            hour=slow.get("hour"),
        )

    def forget(self) -> None:
        """Ask everything anew with the next look: something was changed."""
        for question in (*self._questions.values(), *self._slow.values()):
            question.forget()

    def _slow_ones(self) -> tuple[dict[str, Any], float | None]:
        """The latest answers to what may take long, and how old the counts are; None: there are none yet."""
        if self._beside is None:
            return {name: question.answer() for name, question in self._slow.items()}, 0.0
        self._beside.has_looked.wait(0 if self._slow else FIRST_S)
        if self._beside.problem and not isinstance(self._beside.problem, KitchenUnreachable):
            raise self._beside.problem
        self._slow = self._beside.asked
        answers = {name: latest[0] for name, question in self._slow.items() if (latest := question.latest)}
        return answers, time.monotonic() - self._slow["counts"].answered if "counts" in answers else None


def _asks(kitchen: Kitchen, prices: Mapping[str, float]) -> dict[str, Callable[[], Any]]:
    """All that is asked."""
    running = Selector(statuses=(Status.RUNNING,))
    return {
        "counts": kitchen.counts,
        "recent": lambda: kitchen.throughput(NOW_S),
        "longer": lambda: choose_window(kitchen),
        "shifts": lambda: kitchen.shifts(include_left=True),
        "running": lambda: list(kitchen.find(running, sort="start", limit=MOST_RUNNING)),
        "failures": kitchen.failure_groups,
        "waiting": lambda: waiting_batches(kitchen),
        "costs": lambda: fleet_costs(kitchen, prices),
        "hour": lambda: last_hour(kitchen),
    }
