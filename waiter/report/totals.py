"""What monitoring counts: totals since the first look that never fall, and how things stand, at a bounded cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waiter.kitchen.contract import Durations, Kitchen
from waiter.orders import Shift
from waiter.report.capacity import at_work, state
from waiter.report.formatting import escape_control, truncate
from waiter.report.json_answers import batches_answer
from waiter.report.poller import ThrottledQuery
from waiter.report.status import oldest_running_s

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 43_200.0)
"""Of the histogram of durations, in seconds."""

LATE_S = 600.0
"""An outcome may reach the kitchen so long after its order stopped, and is counted still."""

EVERY_S = 5.0
"""No question is asked more often."""

SHARES = {"batches": 0.02, "ended": 0.02, "shifts": 0.005, "oldest": 0.005}
"""How much of one core of the kitchen each question may use: 5 % in all."""

MOST_NAMES = 200
"""So many names of batches are told apart, the latest: each is a time series for each status."""

LONGEST_NAME = 200

OTHERS = "(older)"
"""The name of all other batches together."""

STATES = ("alive", "late", "paused", "draining", "lost")


class EndedTotals:
    """How many orders ended, how many of them failed, and how long they took.

    Each look asks for what stopped since a time that follows at some distance, and adds what is more than before: so
    nothing is missed that comes late, and nothing is taken back when orders are reset or deleted.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)  # by bound
        self.failed = 0
        self.seconds = 0.0
        self._since: float | None = None
        self._before = Durations((), 0, 0.0)

    def look(self, kitchen: Kitchen) -> None:
        """Add what ended since the last look. Raises KitchenUnreachable."""
        now = kitchen.now()
        if self._since is not None:
            self._add(kitchen.durations(self._since, BOUNDS))
        if self._since is None or not 0 <= now - self._since <= 2 * LATE_S:  # the clock was set back, or is ahead of it
            self._since = now - LATE_S
            self._before = kitchen.durations(self._since, BOUNDS)

    def _add(self, ended: Durations) -> None:
        before = self._before
        more = [max(0, n - old) for n, old in zip(ended.counts, before.counts, strict=True)]
        self.counts = [total + n for total, n in zip(self.counts, more, strict=True)]
        self.failed += max(0, ended.failed - before.failed)
        self.seconds += max(0.0, ended.total_s - before.total_s)
        self._before = ended


@dataclass(frozen=True, slots=True)
class Standing:
    """How the work stands."""

    orders: Mapping[tuple[str, str], int]  # by name of the batch and status
    waiters: Mapping[str, int]  # by state
    slots: int
    busy: int
    claimed: int  # RUNNING orders that have not begun
    oldest_s: float  # the oldest RUNNING order has been running; 0: none is


def answer_s(kitchen: Kitchen) -> float:
    """Seconds that the kitchen takes for a small question. Raises KitchenError."""
    began = time.monotonic()
    kitchen.change_token()  # one row that lies in the kitchen; the time of an SQLite kitchen is this machine's
    return time.monotonic() - began


class MonitoringPoller:
    """Asks a kitchen for what monitoring counts, each question as often as it may cost."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self.ended = EndedTotals()
        self.lost = 0  # waiters that were lost since the first look
        self._lost: set[str] | None = None  # tokens of those that are known
        self._kitchen: Kitchen | None = None
        self._questions: Mapping[str, ThrottledQuery[Any]] = {}

    def look(self, kitchen: Kitchen) -> Standing:
        """Ask what is due. Raises KitchenError; the totals stay what they were."""
        if kitchen is not self._kitchen:
            self._kitchen, self._questions = kitchen, self._asked(kitchen)
        found = {name: question.answer() for name, question in self._questions.items()}
        # How they are is told by the time when they were asked for: an old answer makes nobody late.
        now, shifts = found["shifts"]
        self._count_lost(shifts, now)
        here = at_work(shifts, now)
        return Standing(
            orders_by_batch(found["batches"]),
            {word: n for word, n in Counter(state(shift, now) for shift in shifts).items() if word in STATES},
            slots=sum(shift.vitals.slots for shift in here),
            busy=sum(shift.vitals.busy for shift in here),
            claimed=sum(shift.vitals.claimed for shift in here),
            oldest_s=found["oldest"],
        )

    def _asked(self, kitchen: Kitchen) -> dict[str, ThrottledQuery[Any]]:
        asks: dict[str, Callable[[], Any]] = {
            "batches": lambda: batches_answer(kitchen, is_all=True)["batches"],
            "ended": lambda: self.ended.look(kitchen),
            "shifts": lambda: (kitchen.now(), kitchen.shifts()),
            "oldest": lambda: oldest_running_s(kitchen, kitchen.now()),
        }
        return {name: ThrottledQuery(ask, SHARES[name], self._every_s) for name, ask in asks.items()}

    def _count_lost(self, shifts: Sequence[Shift], now: float) -> None:
        lost, shown = {shift.token for shift in shifts if is_lost(shift, now)}, {shift.token for shift in shifts}
        if self._lost is not None:
            self.lost += len(lost - self._lost)
        self._lost = lost | (self._lost or set()) & shown


def is_lost(shift: Shift, now: float) -> bool:
    """Somebody declared it lost, or nobody is there to do so.

    All leases run out while the kitchen is away. When it is back, waiters have a lease's time to say that they live.
    """
    return shift.lost_at is not None or (shift.left_at is None and shift.lease_until + shift.lease_s <= now)


def orders_by_batch(batches: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """How many orders stand where, by name of the batch (else its id) and status; batches of one name together."""
    names = [truncate(escape_control(batch["name"] or batch["id"]), LONGEST_NAME) for batch in batches]
    shown = set(list(dict.fromkeys(reversed(names)))[:MOST_NAMES])
    orders: Counter[tuple[str, str]] = Counter()
    for name, batch in zip(names, batches, strict=True):
        for word in ("READY", "WAITING", "RUNNING", "DONE", "ERROR", "CANCELLED"):
            orders[name if name in shown else OTHERS, word] += batch["counts"].get(word, 0)
    return dict(orders)
