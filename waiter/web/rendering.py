"""Values as HTML: the templates, in which all text is text, whatever stands in it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from waiter.durations import format_duration
from waiter.orders import Order
from waiter.report.capacity import average_rate, state
from waiter.report.dashboard import Seen, cost_words, pace, percent_of
from waiter.report.failures import how, only_host, says_how
from waiter.report.formatting import clock_time, escape_control, last_lines, per_second, plural, size, truncate
from waiter.web.charts import charts, sparks, totals
from waiter.web.waiter_grid import command_versions, grid

BAR_WIDTH = 1000
"""Of the bar by status, in the units of its picture."""

BAR_ORDER = ("DONE", "ERROR", "CANCELLED", "RUNNING", "claimed", "READY", "WAITING")


ARGUMENTS_SHOWN, LONGEST_SHOWN = 100, 5000
"""So many arguments of an order are shown, and so many characters of each."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the bar by status."""

    word: str
    count: int
    x: float
    width: float


def bar(counts: Iterable[tuple[str, int]]) -> list[Segment]:
    """The bar by status, from what has ended to what has not begun; what is there at all can be seen."""
    shown = in_bar_order((word, count) for word, count in counts if count)
    total, x, segments = sum(count for _, count in shown), 0.0, []
    for word, count in shown:
        width = max(3.0, BAR_WIDTH * count / total)
        segments.append(Segment(word, count, round(x, 1), round(width, 1)))
        x += width
    return segments


def day(at: float) -> str:
    """The whole time, with the zone: `2026-11-27 02:10:07 +0100`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))


def zone() -> str:
    """The zone of all times: whoever looks may live in another one."""
    return time.strftime("%Z")


def seen_counts(seen: Seen) -> list[tuple[str, int]]:
    return [(word, count) for word, count, _ in seen.shown_counts]


def in_bar_order(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda one: BAR_ORDER.index(one[0]))


def end_between(seen: Seen) -> str:
    """The estimated end by the clock: `between 14:03:00 and 14:20:00`."""
    if seen.eta is None:
        return ""
    soonest, latest = (clock_time(seen.now + seconds, seen.now) for seconds in (seen.eta.soonest_s, seen.eta.latest_s))
    return f"at {soonest}" if soonest == latest else f"between {soonest} and {latest}"


def plain(text: object) -> object:
    """Text without what a terminal or a browser obeys: control and bidi characters, bytes that are no UTF-8."""
    if not isinstance(text, str) or isinstance(text, Markup):
        return "" if text is None else text
    return escape_control(text)


def arguments(order: Order) -> str:
    return " ".join(order.arguments)


def named_arguments(order: Order) -> list[tuple[str, str]]:
    """The first arguments by name or number, as much of each as somebody reads."""
    names = order.names or tuple(map(str, range(1, len(order.arguments) + 1)))
    return [(name, shortened(word)) for name, word in zip(names, order.arguments, strict=False)][:ARGUMENTS_SHOWN]


def shortened(text: str) -> str:
    """The text, its end left out and counted where it is very long."""
    more = len(text) - LONGEST_SHOWN
    return f"{text[:LONGEST_SHOWN]}… and {more:,} characters more" if more > 0 else text


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("waiter.web"),
        autoescape=True,
        finalize=plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "how": how,
        "says_how": says_how,
        "only_host": only_host,
        "state": state,
        "bar": bar,
        "pace": pace,
        "plural": plural,
    }
    made.globals |= {"percent_of": percent_of, "clock": clock_time, "average_rate": average_rate, "size": size}
    made.globals |= {"duration": format_duration, "per_second": per_second, "arguments": arguments}
    made.globals |= {"truncate_text": truncate, "end_between": end_between}
    made.globals |= {
        "seen_counts": seen_counts,
        "in_bar_order": in_bar_order,
        "grid": grid,
        "command_versions": command_versions,
    }
    made.globals |= {
        "charts": charts,
        "sparks": sparks,
        "totals": totals,
        "cost_words": cost_words,
        "last_lines": last_lines,
        "day": day,
        "named_arguments": named_arguments,
    }
    return made


TEMPLATES = _environment()


def render(template: str, **values: object) -> str:
    return TEMPLATES.get_template(template).render(**values)
