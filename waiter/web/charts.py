"""Charts, as the shapes that `templates/chart.html` draws: bars over time, and histograms on a log scale.

A chart is also words (its label) and a table, for who cannot see it. Heights and widths are in the units of the
picture, which is stretched to the room that it gets: text stands beside it, not in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from waiter.durations import format_duration
from waiter.kitchen.contract import PER_DECADE, Finished, Timeline
from waiter.orders import Order, Status
from waiter.report.formatting import clock_time, plural, size

WIDTH, HEIGHT = 1000.0, 100.0
LEAST = 1.0
"""What is there at all is so high."""

MINUTE_S, HOUR_S = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar, coloured as its class says."""

    css: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One step or class; `words` are said of it when it is pointed at."""

    x: float
    width: float
    parts: tuple[Part, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, its words, and the same as a table."""

    id: str
    title: str
    label: str
    bars: tuple[Bar, ...]
    most: str  # at the top of the vertical axis
    half: str  # in its middle
    marks: tuple[str, ...]  # below, at even distances
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()  # colour and word
    note: str = ""


def written_at(line: Timeline, now: float) -> float:
    """The time that the times in charts are written for: those of another day have its date.

    To the hour, so that the charts of a run that has ended stay as they are from look to look.
    """
    return line.until + max(0.0, now - line.until) // HOUR_S * HOUR_S


def charts(line: Timeline, now: float) -> list[Chart]:
    """All that a run has; none before something was finished."""
    if not line.done + line.failed:
        return []
    return [finished(line, now), slots(line, now), durations(line), *([memory(line)] if line.memory else [])]


def finished(line: Timeline, now: float) -> Chart:
    """What was delivered and what failed, per minute."""
    paces = [
        (step.done * MINUTE_S / seconds, step.failed * MINUTE_S / seconds)
        for step, seconds in zip(line.steps, _lengths(line), strict=True)
    ]
    top = _top(max(map(sum, paces), default=0))
    said = [f"{_number(done)} delivered, {_number(failed)} failed per minute" for done, failed in paces]
    took = [_took(step.mean_s, step.quantiles_s) for step in line.steps]
    rows = tuple(
        (clock_time(at, now), _number(done), _number(failed), took_words)
        for at, (done, failed), took_words in zip(_starts(line), paces, took, strict=True)
        if done or failed
    )
    return Chart(
        id="finished",
        title="Finished per minute",
        label=f"{line.done:,} delivered and {line.failed:,} failed, {_number(max(map(sum, paces)))} a minute at most, "
        f"{_from_to(line, now)}",
        bars=_over_time(
            line, now, [(("s-DONE", done), ("s-ERROR", failed)) for done, failed in paces], top, said, took
        ),
        most=_number(top),
        half=_number(top / 2),
        marks=_times(line, now),
        columns=("From", "Delivered", "Failed", "Took"),
        rows=rows,
        legend=(("DONE", "delivered"), ("ERROR", "failed")),
        note=_share(line),
    )


def slots(line: Timeline, now: float) -> Chart:
    """How many slots were busy."""
    busy = [step.busy for step in line.steps]
    top, said = _top(max(busy, default=0)), [f"{_number(n)} slots busy" for n in busy]
    return Chart(
        id="slots",
        title="Slots busy",
        label=f"{_number(sum(busy) / len(busy))} on average, {_number(max(busy))} at most, {_from_to(line, now)}",
        bars=_over_time(line, now, [(("s-RUNNING", n),) for n in busy], top, said, [""] * len(busy)),
        most=_number(top),
        half=_number(top / 2),
        marks=_times(line, now),
        columns=("From", "Slots busy"),
        rows=tuple((clock_time(at, now), _number(n)) for at, n in zip(_starts(line), busy, strict=True)),
        note=" ".join(
            filter(None, ["Made of the last attempt of each order, from its start to its stop.", _share(line)])
        ),
    )


def durations(line: Timeline) -> Chart:
    """How long orders took, on a log scale."""
    first = math.floor(min(line.durations) / PER_DECADE) * PER_DECADE
    end = (math.floor(max(line.durations) / PER_DECADE) + 1) * PER_DECADE

    def at(of: int) -> str:
        return format_duration(10 ** (of / PER_DECADE))

    return _histogram(
        Chart("durations", "How long orders take", "", (), "", "", (), ("From", "To", "Orders"), ()),
        line.durations,
        [(of, at(of), at(of + 1)) for of in range(first, end)],
        tuple(at(of) for of in range(first, end + 1, PER_DECADE)),
        _took(line.mean_s, line.quantiles_s),
    )


def memory(line: Timeline) -> Chart:
    """How much memory orders had at most, on a log scale."""
    first, last = min(line.memory), max(line.memory)
    each = max(1, math.ceil((last + 1 - first) / 4))
    end = first + each * math.ceil((last + 1 - first) / each)
    return _histogram(
        Chart("memory", "How much memory orders take", "", (), "", "", (), ("From", "To", "Orders"), ()),
        line.memory,
        [(of, size(1 << of), size(2 << of)) for of in range(first, end)],
        tuple(size(1 << of) for of in range(first, end + 1, each)),
        f"the most: {size(line.peak_memory)}",
    )


def _histogram(
    chart: Chart, counted: Mapping[int, int], classes: Sequence[tuple[int, str, str]], marks: tuple[str, ...], note: str
) -> Chart:
    top, width = _top(max(counted.values())), WIDTH / len(classes)
    bars = tuple(
        Bar(
            *_span(index, width),
            _stacked([("bar-of", counted.get(of, 0))], top),
            f"{low} to {high}: {plural(counted.get(of, 0), 'order')}",
        )
        for index, (of, low, high) in enumerate(classes)
    )
    rows = tuple((low, high, f"{counted[of]:,}") for of, low, high in classes if of in counted)
    label, half = f"{plural(sum(counted.values()), 'order')}; {note}", _number(top / 2) if top > 1 else ""
    return replace(chart, label=label, bars=bars, most=_number(top), half=half, marks=marks, rows=rows, note=note)


def sparks(line: Timeline, finished: Finished, now: float) -> tuple[Bar, ...]:
    """The bars of a small chart of what one batch finished, each as high as its share of the highest."""
    pairs = [finished.get(at, (0, 0)) for at in range(len(line.steps))]
    top = max(map(sum, pairs), default=0) or 1
    said = [f"{done:,} delivered, {failed:,} failed" for done, failed in pairs]
    parts = [(("s-DONE", float(done)), ("s-ERROR", float(failed))) for done, failed in pairs]
    return _over_time(line, now, parts, top, said, [""] * len(said))


def totals(finished: Finished) -> str:
    """It in words."""
    done, failed = (sum(pair[at] for pair in finished.values()) for at in (0, 1))
    return f"{done:,} delivered, {failed:,} failed"


@dataclass(frozen=True, slots=True)
class Attempts:
    """What an order ran, as bars from left to right."""

    bars: tuple[Bar, ...]
    began: float
    until: float


def attempts(order: Order, now: float) -> Attempts | None:
    """The attempts at an order, as far as its history has them; None: there was none."""
    ran = [(event.start, event.stop, event.status, event.attempt) for event in order.history]
    if order.status is Status.RUNNING:
        ran.append((order.start, now, order.status, order.attempt))
    spans = [(start, stop, status, at) for start, stop, status, at in ran if start is not None and stop is not None]
    if not spans:
        return None
    began, until = min(start for start, *_ in spans), max(stop for _, stop, *_ in spans)
    whole = max(until - began, 1e-6)
    bars = tuple(
        Bar(
            round(WIDTH * (start - began) / whole, 2),
            round(max(3.0, WIDTH * (stop - start) / whole), 2),
            (Part(f"s-{'ERROR' if status is Status.READY else status.value}", 0.0, HEIGHT),),
            f"attempt {at}, {clock_time(start, now)}: {status.value} after {format_duration(max(0.0, stop - start))}",
        )
        for start, stop, status, at in spans
    )
    return Attempts(bars, began, until)


def _over_time(
    line: Timeline,
    now: float,
    values: Sequence[Sequence[tuple[str, float]]],
    top: float,
    said: Sequence[str],
    took: Sequence[str],
) -> tuple[Bar, ...]:
    width = WIDTH / max(1, len(line.steps))
    return tuple(
        Bar(
            *_span(index, width),
            _stacked(value, top),
            f"{clock_time(at, now)}, {format_duration(line.step_s)}: {words}{f', {more}' if more else ''}",
        )
        for index, (at, value, words, more) in enumerate(zip(_starts(line), values, said, took, strict=True))
    )


def _span(index: int, width: float) -> tuple[float, float]:
    """Where a bar begins, and its width up to the next one: a gap of 0.01 may be seen as a line."""
    x = round(index * width, 2)
    return x, round(round((index + 1) * width, 2) - x, 2)


def _stacked(values: Iterable[tuple[str, float]], top: float) -> tuple[Part, ...]:
    """The pieces of a bar, the first at the bottom."""
    parts, y = [], HEIGHT
    for css, value in values:
        if value > 0:
            height = max(LEAST, HEIGHT * value / top)
            y -= height
            parts.append(Part(css, round(max(0.0, y), 2), round(height, 2)))
    return tuple(parts)


def _starts(line: Timeline) -> list[float]:
    return [line.since + at * line.step_s for at in range(len(line.steps))]


def _lengths(line: Timeline) -> list[float]:
    """How long each step has lasted, in seconds; the last one may have only begun."""
    last = line.until - line.since - (len(line.steps) - 1) * line.step_s
    return [line.step_s] * (len(line.steps) - 1) + [min(line.step_s, max(1.0, last))]


def _times(line: Timeline, now: float) -> tuple[str, ...]:
    end = line.since + len(line.steps) * line.step_s
    return tuple(clock_time(at, now) for at in (line.since, (line.since + end) / 2, min(end, line.until)))


def _from_to(line: Timeline, now: float) -> str:
    return f"from {clock_time(line.since, now)} to {clock_time(line.until, now)}"


def _share(line: Timeline) -> str:
    if line.share == 1:
        return ""
    return f"Estimated: one in {round(1 / line.share):,} of the orders was looked at, evenly over the time."


def _took(mean_s: float | None, quantiles_s: Sequence[float] | None) -> str:
    if mean_s is None or quantiles_s is None:
        return ""
    half, most, nearly_all = map(format_duration, quantiles_s)
    return f"{format_duration(mean_s)} on average, half up to {half}, 90 % up to {most}, 99 % up to {nearly_all}"


def _top(value: float) -> float:
    """A round number that is no less."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(power * by for by in (1, 1.6, 2, 3, 4, 5, 6, 8, 10) if power * by >= value * (1 - 1e-9)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
