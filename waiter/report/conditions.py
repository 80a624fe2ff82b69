"""Conditions on what `status` tells, for cron and monitoring: `error>0`, `idle>10m`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from waiter.durations import format_duration, parse_duration
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Selector, Status
from waiter.report.waiting import WAITING

COUNTS = (*(status.value.lower() for status in Status), "waiting", "total", "claimed", "waiters")
DURATIONS = ("idle", "oldest")
NAMES = (*COUNTS, "rate", *DURATIONS)
"""What a condition may be on: orders by status, how many are claimed ahead, waiters at work, orders per second, for how
long nobody works although orders are left, and the age of the oldest RUNNING order."""

_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|==|!=|=|>|<)\s*(\S.*?)\s*")
_RATE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(?:/\s*(s|min|h))?")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_PER_S = {None: 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of one of NAMES with a number, as it was typed."""

    text: str
    name: str
    comparison: str
    limit: float  # seconds for DURATIONS, per second for the rate

    def holds(self, value: float) -> bool:
        return _COMPARE[self.comparison](value, self.limit)


def parse_condition(text: str) -> Condition:
    """The condition that was typed. Raises UsageError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(f"--fail-if {text!r}: not a condition\nhint: write 'error>0' or 'idle>10m'")
    name, comparison, limit = match.groups()
    name = name.lower()
    if name not in NAMES:
        raise UsageError(f"--fail-if {text!r}: nothing is called {name}\nhint: known are {', '.join(NAMES)}")
    return Condition(text.strip(), name, comparison, _limit(text, name, limit))


def _limit(text: str, name: str, limit: str) -> float:
    if name in DURATIONS:
        return parse_duration(limit)
    rate = _RATE.fullmatch(limit)
    if rate is None or (name != "rate" and not limit.isdigit()):
        wanted = "a rate: 5, 5/s, 30/min" if name == "rate" else "a whole number"
        raise UsageError(f"--fail-if {text!r}: {limit} is not a number\nhint: {name} is compared with {wanted}")
    return float(rate[1]) / _PER_S[rate[2]]


def measure(kitchen: Kitchen, name: str, facts: Mapping[str, Any], batch: str | None) -> float:
    """What a name stands for now; `facts` are those of `status`, of the batch or of all."""
    match name:
        case "total" | "running" | "claimed" | "waiters" | "rate":
            return float(facts[name])
        case "oldest":
            return float(facts["oldest_running"]["seconds"]) if facts["oldest_running"] else 0.0
        case "idle":
            return idle_s(kitchen, facts, batch)
    return float(facts["counts"].get(name.upper(), 0))  # WAITING only where some wait


def idle_s(kitchen: Kitchen, facts: Mapping[str, Any], batch: str | None) -> float:
    """For how long nobody has worked although orders are left: since one ended, or was loaded. Else 0."""
    counts = facts["counts"]
    is_worked_on = counts[Status.RUNNING] and facts["waiters"]
    if is_worked_on or not counts[Status.READY] + counts.get(WAITING, 0) + counts[Status.RUNNING]:
        return 0.0
    ended = next(kitchen.find(Selector(batch=batch), sort="-stop", limit=1), None)
    moments = [one.loaded_at for one in kitchen.batches() if batch in (None, one.id, one.name)]
    moments += [ended.stop] if ended and ended.stop else []
    return max(0.0, kitchen.now() - max(moments, default=kitchen.now()))


def describe(condition: Condition, value: float) -> str:
    """The condition and what is there, for one line."""
    if condition.name in DURATIONS:
        return f"{condition.text}: {format_duration(value)}"
    return f"{condition.text}: {value:,.3g}/s" if condition.name == "rate" else f"{condition.text}: {value:,.0f}"
