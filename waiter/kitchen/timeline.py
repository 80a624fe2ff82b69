"""How the work went over time: what was finished step by step, how long it took, how many slots were busy.

Made of what the kitchen has of each order: its last attempt. A kitchen gives the rows (`Ended`), from an index, and all
else is counted here, the same for every kind. Of many orders only those that ended in some moments of each step are
looked at, spread evenly, so that it costs the same however many there are; `Timeline.share` says how many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Protocol

from waiter.errors import UsageError
from waiter.light_dataclass import dataclass, field
from waiter.orders import Throughput

STEPS = 120
"""About so many steps a timeline has whose step nobody named."""

MOST_STEPS = 1500

PER_DECADE = 4
"""Durations are counted by powers of 10**(1/4) seconds."""

SHORTEST_S = 0.001

MOST_RUNNING = 5000
"""So many RUNNING orders are looked at, and stand for all of them."""

MOST_COUNTED = 50_000
"""Who finished more of them in the time that is asked for is not counted, but estimated: see `estimate`."""

LOOKS = 6
"""So often it is looked, with more or less of each step, until about so many orders are found as may be."""

QUANTILES = (0.5, 0.9, 0.99)

NICE_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)

Window = tuple[float, float]
"""From this second, up to before that one."""

Ended = tuple[float, str, float, int | None, int | str]
"""Of an order that ran: when its last attempt stopped, its status, when that attempt started, the memory it had, and
its batch, as the source calls it."""

Finished = Mapping[int, tuple[int, int]]
"""How many orders were delivered and how many failed in a step, by its place; steps without any are left out."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happened in one step."""

    done: int = 0
    failed: int = 0
    mean_s: float | None = None  # how long those that were finished took
    quantiles_s: tuple[float, ...] | None = None  # the same: QUANTILES of them took no longer
    busy: float = 0.0  # slots, on the average


@dataclass(frozen=True, slots=True)
class Timeline:
    """What was finished, DONE or ERROR, from `since` on, step by step. Times are the kitchen's clock."""

    since: float
    step_s: float
    until: float
    steps: tuple[Step, ...] = ()
    share: float = 1.0  # of the orders that was looked at; below 1 numbers are estimates
    mean_s: float | None = None
    quantiles_s: tuple[float, ...] | None = None
    durations: Mapping[int, int] = field(default_factory=dict)  # orders by `duration_class`
    memory: Mapping[int, int] = field(default_factory=dict)  # orders by the power of 2 below their peak, in bytes
    peak_memory: int | None = None  # the most that one of those looked at had, in bytes
    finished: Mapping[str, Finished] = field(default_factory=dict)  # by id of the batch

    @property
    def done(self) -> int:
        return sum(step.done for step in self.steps)

    @property
    def failed(self) -> int:
        return sum(step.failed for step in self.steps)


class Source(Protocol):
    """What a kitchen is asked for."""

    most: int
    """So many rows may be read at once."""

    def size(self) -> int:
        """How many orders there are, about."""

    def span(self) -> Window | None:
        """When the first order that ended began, and when the last one stopped; None: none has ended."""

    def last_stop(self) -> float | None:
        """When the last order stopped, whatever its batch: an index tells at once. None: none has."""

    def ended(self, windows: Sequence[Window], limit: int) -> list[Ended]:
        """The orders that stopped in one of these windows, and had started; `limit` of them at most."""

    def ids(self, batches: Iterable[int | str]) -> Mapping[int | str, str]:
        """The ids of batches that it called so."""

    def running(self) -> tuple[Sequence[float], int]:
        """When some RUNNING orders started, MOST_RUNNING at most, and how many there are."""


def duration_class(seconds: float) -> int:
    """The class of a duration: it lasts 10**(class / PER_DECADE) seconds, and less than the next class."""
    return math.floor(PER_DECADE * math.log10(max(seconds, SHORTEST_S)) + 1e-9)


def nice_step_s(span_s: float, steps: int = STEPS) -> float:
    """A step of round length, so that about so many, or fewer, make up the span."""
    whole_days = math.ceil(span_s / steps / NICE_S[-1]) * NICE_S[-1]
    return float(next((step for step in NICE_S if step * steps >= span_s), whole_days))


def read_timeline(
    source: Source, now: float, since: float | None, step_s: float | None, not_begun: int = 0
) -> Timeline:
    """See `Kitchen.timeline`.

    What stopped later than now, as the clock was set back, stands at its own time: the steps go on until then.
    """
    if step_s is not None and not step_s > 0:
        raise UsageError(f"timeline: a step of {step_s} s is none")
    is_ahead = (source.last_stop() or 0.0) > now  # somebody set the clock back
    span = source.span() if since is None or is_ahead else None  # of a batch among millions it costs more than the rest
    starts, running = source.running()
    begin = since if since is not None else min([*(span or ())[:1], *starts], default=now)
    end = now if since is not None or running or span is None else span[1]
    last = max(end, span[1]) if span and is_ahead else end
    step_s = step_s or nice_step_s(last - begin)
    begin = math.floor(begin / step_s) * step_s
    number, to_last = (max(1, math.floor((until - begin) / step_s) + 1) for until in (end, last))
    if number > MOST_STEPS:
        raise UsageError(f"timeline: {number:,} steps are too many\nhint: ask for longer ones, or for less time")
    number = min(to_last, MOST_STEPS)
    until = min(max(now, last), begin + number * step_s)
    rows, one_in = _look(source, begin, step_s, number) if span or since is not None else ([], 1)
    begun = _begun(starts, running, not_begun, now, until)
    line = _timeline(rows, one_in, (begin, until), step_s, number, begun)
    return replace(line, finished=_by_batch(source, rows, one_in, line))


def estimate(source: Source, now: float, window_s: float) -> Throughput:
    """What was finished in the last `window_s` seconds, from the orders of some moments: it costs the same for any
    number, and of more than `MOST_COUNTED` it is seldom more than 2 % off.
    """
    until = min(max(now, source.last_stop() or 0.0), now + window_s)
    rows, one_in = _look(source, now - window_s, (until - now + window_s) / STEPS, STEPS)
    took: dict[str, list[float]] = {"DONE": [], "ERROR": []}
    for stop, status, start, *_ in rows:
        took.get(status, []).append(max(0.0, stop - start))
    done, failed = took["DONE"], took["ERROR"]
    mean_s = sum(done + failed) / len(done + failed) if done or failed else None
    return Throughput(window_s, len(done) * one_in, len(failed) * one_in, mean_s)


def _begun(
    starts: Sequence[float], running: int, not_begun: int, now: float, until: float
) -> list[tuple[Window, float]]:
    """The RUNNING orders that are in slots, from when until when, and for how many each stands.

    Those that are claimed ahead were claimed last. What began before the clock was set back runs until the very end.
    """
    begun = max(0, running - not_begun)
    first = sorted(starts)[: math.ceil(len(starts) * begun / running) if running else 0]
    return [((start, until if start > now else min(now, until)), begun / len(first)) for start in first]


def _by_batch(source: Source, rows: Iterable[Ended], one_in: int, line: Timeline) -> dict[str, Finished]:
    counted: dict[int | str, dict[int, Counter[str]]] = {}
    for stop, status, _, _, batch in rows:
        at = int((stop - line.since) / line.step_s)
        if status in ("DONE", "ERROR") and 0 <= at < len(line.steps):
            counted.setdefault(batch, {}).setdefault(at, Counter())[status] += one_in
    return {
        id: {at: (n["DONE"], n["ERROR"]) for at, n in sorted(counted[batch].items())}
        for batch, id in source.ids(counted).items()
    }


def _look(source: Source, begin: float, step_s: float, number: int) -> tuple[list[Ended], int]:
    """The orders to look at, and of how many each is one: first of a few, which tell how many there are."""
    one_in = math.ceil(source.size() / source.most) or 1
    limit, is_crowded, rows = 3 * source.most, False, list[Ended]()
    for _ in range(LOOKS):
        rows = source.ended(_windows(begin, step_s, number, one_in), limit)
        if len(rows) >= limit:  # many stopped at the same moment
            one_in, is_crowded = one_in * 4, True
            continue
        better = math.ceil(len(rows) * one_in / source.most) or 1
        if is_crowded or better > one_in // 2:
            break
        one_in = better
    return rows, one_in


def _windows(begin: float, step_s: float, number: int, one_in: int) -> list[Window]:
    """The moments of the steps that are looked at. Another part of each, so that no rhythm of the work is met."""
    if one_in == 1:
        return [(begin, begin + number * step_s)]
    part_s = step_s / one_in
    starts = (begin + at * step_s + at * 7919 % one_in * part_s for at in range(number))
    return [(start, start + part_s) for start in starts]


def _timeline(
    rows: Iterable[Ended],
    one_in: int,
    within: Window,
    step_s: float,
    number: int,
    running: Sequence[tuple[Window, float]],
) -> Timeline:
    begin, until = within
    ended, busy = [Counter[str]() for _ in range(number)], _Busy(number)
    lasted: list[list[float]] = [[] for _ in range(number)]
    memory, peak = Counter[int](), 0
    for stop, status, start, peak_memory, _ in rows:
        busy.add((start - begin) / step_s, (stop - begin) / step_s, one_in)
        at = int((stop - begin) / step_s)
        if status in ("DONE", "ERROR") and 0 <= at < number:
            ended[at][status] += one_in
            lasted[at].append(max(0.0, stop - start))
            if peak_memory:
                memory[peak_memory.bit_length() - 1] += one_in
                peak = max(peak, peak_memory)
    for (start, until_then), weight in running:
        busy.add((start - begin) / step_s, (until_then - begin) / step_s, weight)
    steps = tuple(
        Step(n["DONE"], n["ERROR"], *_mean_and_quantiles(took), slots)
        for n, took, slots in zip(ended, lasted, busy.slots((until - begin) / step_s), strict=True)
    )
    every = [seconds for took in lasted for seconds in took]
    durations = Counter(map(duration_class, every))
    return Timeline(
        begin,
        step_s,
        until,
        steps,
        1 / one_in,
        *_mean_and_quantiles(every),
        {of: n * one_in for of, n in sorted(durations.items())},
        dict(sorted(memory.items())),
        peak or None,
    )


class _Busy:
    """How many slots were busy in each step. Times are in steps."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._parts = [0.0] * (number + 1)  # of those that an attempt began or ended in
        self._changes = [0.0] * (number + 2)  # so many more are busy from this step on, all of it

    def add(self, start: float, stop: float, weight: float) -> None:
        start, stop = max(0.0, start), min(stop, float(self._number))
        if stop <= start:
            return
        first, last = int(start), int(stop)
        if first == last:
            self._parts[first] += (stop - start) * weight
            return
        self._parts[first] += (first + 1 - start) * weight
        self._parts[last] += (stop - last) * weight
        self._changes[first + 1] += weight
        self._changes[last] -= weight

    def slots(self, until: float) -> list[float]:
        """On the average of each step; the last one has lasted only `until` then."""
        whole = accumulate(self._changes)
        busy = [part + slots for part, slots in zip(self._parts[: self._number], whole, strict=False)]
        busy[-1] /= min(1.0, max(0.01, until - (self._number - 1)))
        return [max(0.0, slots) for slots in busy]


def _mean_and_quantiles(seconds: list[float]) -> tuple[float | None, tuple[float, ...] | None]:
    if not seconds:
        return None, None
    seconds.sort()
    return sum(seconds) / len(seconds), tuple(seconds[math.ceil(q * len(seconds)) - 1] for q in QUANTILES)
