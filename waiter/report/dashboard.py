"""The live view as lines of styled text: a pure function of what was seen, for any size of terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from waiter.durations import format_duration
from waiter.kitchen.contract import Timeline
from waiter.orders import Counts, FailureGroup, Order, Shift, Status, Throughput
from waiter.report.capacity import Capacity, at_work, busy_slots, state
from waiter.report.claimed import claimed_ahead
from waiter.report.cost import FleetCost
from waiter.report.eta import Eta, eta, percent, rate, shown_percent
from waiter.report.failures import how, only_host, says_how
from waiter.report.formatting import clock_time, escape_control, per_second, truncate_left
from waiter.report.waiting import WAITING, WaitingBatch, counts_by_word, is_all_waiting

Line = list[tuple[str, str]]
"""Pieces of text, each with a style as Rich names it; empty: none."""

COLOURS: Mapping[str, str] = {
    WAITING: "blue",
    Status.READY: "cyan",
    Status.RUNNING: "yellow",
    Status.DONE: "green",
    Status.ERROR: "red",
    Status.CANCELLED: "magenta",
}
NAME_WIDTH = 20
OLD_S = 5.0
"""Counts that are older say so."""

COUNTING = "counting the orders…"

WAITING_SHOWN = 3
"""So many batches that wait are named."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kitchen said, and when."""

    kitchen: str
    now: float  # kitchen's clock
    counts: Counts
    recent: Throughput  # the rate now
    longer: Throughput  # the rate that the end is estimated from
    capacity: Capacity  # in that time
    shifts: Sequence[Shift]
    running: Sequence[Order]  # those that run longest
    failures: Sequence[FailureGroup]
    delivering: Collection[str]  # hosts that take part
    every_s: float = 1.0  # how often the counts are asked for
    trouble: str | None = None  # why this may be old
    waiting: Sequence[WaitingBatch] = ()  # batches whose turn has not come
    costs: Sequence[FleetCost] = ()  # of the fleets that were launched from here
    counted_s: float | None = 0.0  # how old the counts are; None: the orders are still being counted
    hour: Timeline | None = None  # the last one; None: nobody has asked yet
    of_batches: Sequence[str] | None = None  # ids; the orders are those of these batches alone
    is_alone: bool = True  # no orders are left but these
    is_all_running: bool = False  # there are no more RUNNING orders than those

    @property
    def at_work(self) -> list[Shift]:
        return at_work(self.shifts, self.now)

    @property
    def claimed(self) -> int:
        """RUNNING orders that have not begun."""
        return claimed_ahead(self.counts[Status.RUNNING], self.shifts, self.now, self.of_batches)

    @property
    def shown_counts(self) -> list[tuple[str, int, str]]:
        """Orders by status, each with its colour; what waits or is claimed ahead stands apart, if there is any."""
        counts = [(word, n, COLOURS[word]) for word, n in counts_by_word(self.counts, self.waiting).items()]
        if not self.claimed:
            return counts
        running = [word for word, _, _ in counts].index(Status.RUNNING)
        apart = [("RUNNING", self.counts[Status.RUNNING] - self.claimed, "yellow"), ("claimed", self.claimed, "yellow")]
        return [*counts[:running], *apart, *counts[running + 1 :]]

    @property
    def eta(self) -> Eta | None:
        """When all is done; None while nobody takes orders, and of a batch while others take part of the work."""
        if not self.is_alone or is_all_waiting(self.counts, self.waiting):
            return None
        oldest_s = max((self.now - order.start for order in self.running if order.start is not None), default=0.0)
        return eta(self.counts, self.longer, self.capacity, oldest_s=oldest_s)

    @property
    def is_done(self) -> bool:
        return self.counted_s is not None and self.counts.finished == self.counts.total

    @property
    def age(self) -> str:
        """How old the counts are, where that is worth saying: among millions of orders they are not counted often."""
        if self.counted_s is None or self.counted_s < OLD_S:
            return ""
        return f"counted {format_duration(self.counted_s)} ago"


def frame(seen: Seen, width: int, height: int, *, is_unicode: bool = True) -> list[Line]:
    """The view: at most `height` lines of at most `width` characters."""
    head = _head(seen, width, is_unicode)
    foot = [_foot(seen)]
    room = max(0, height - len(head) - len(foot))
    waiters, failures = _waiter_lines(seen), _failures(seen, width)
    for_failures = min(len(failures), max(room // 3, room - len(waiters)))
    for_waiters = room - for_failures
    body = [*_cut(waiters, for_waiters, "waiters"), *_cut(failures, for_failures, "kinds of failures")]
    lines = [_fitted(line, width) for line in [*head, *body, *foot]][:height]
    return lines if is_unicode else [[(_ascii(text), style) for text, style in line] for line in lines]


def _ascii(text: str) -> str:
    return text.replace("…", "~").encode("ascii", "replace").decode()


def summary(seen: Seen) -> str:
    """The view in one line."""
    if seen.counted_s is None:
        return f"{COUNTING}; {pace(seen)}"
    counts = ", ".join(f"{count:,} {name}" for name, count, _ in seen.shown_counts if count)
    age = f" ({seen.age})" if seen.age else ""
    return f"{percent_of(seen.counts)} of {seen.counts.total:,}: {counts or 'no orders'}{age}; {pace(seen)}"


def percent_of(counts: Counts) -> str:
    """How much has found its end, never 100 % too early."""
    return shown_percent(counts.finished, counts.total) or "0 %"


def pace(seen: Seen) -> str:
    """The rate now and over a longer time, and when all is done, in one line."""
    if seen.is_done:
        return "all orders have ended" if seen.counts.total else "no orders"
    window = format_duration(seen.longer.window_s).removesuffix(" 00 s")
    now = "" if seen.recent == seen.longer else f"{per_second(rate(seen.recent))} now, "
    rates = f"{now}{per_second(rate(seen.longer))} over {window}"
    return f"{rates}; {f'done {seen.eta}' if seen.eta else _why_no_end(seen)}"


def _why_no_end(seen: Seen) -> str:
    if not seen.at_work:
        return "no waiter is at work"
    if seen.capacity.slots:
        return "no end in sight yet"
    return "all waiters are paused" if all(shift.is_paused for shift in seen.at_work) else "all waiters drain or pause"


def cost_words(seen: Seen) -> list[str]:
    """What each fleet costs, where that is known."""
    return [f"cost of {cost.words(seen.eta)}" for cost in seen.costs if cost.so_far is not None]


def _head(seen: Seen, width: int, is_unicode: bool) -> list[Line]:
    clock = clock_time(seen.now, seen.now)
    where = escape_control(seen.kitchen)[: max(10, width - len(clock) - 2)]
    share = f" {percent_of(seen.counts)}  {seen.counts.finished:,} of {seen.counts.total:,}"
    counts: Line = []
    for name, count, colour in seen.shown_counts:
        style = colour if count else "dim"
        counts += [(f"{name} ", style), (f"{count:,}", f"bold {style}"), ("  ", "")]
    bar = _bar(seen.counts, max(10, width - len(share)), is_unicode)
    if seen.counted_s is None:
        bar, counts, share = _bar(Counts({}), max(10, width - 1), is_unicode), [(COUNTING, "dim")], ""
    waiting: list[Line] = [[(escape_control(str(one)), "dim")] for one in seen.waiting[:WAITING_SHOWN]]
    first: Line = [(where.ljust(width - len(clock)), "bold"), (clock, "")]
    costs: list[Line] = [[(escape_control(words), "dim")] for words in cost_words(seen)]
    return [first, [*bar, (share, "")], counts, *waiting, [(pace(seen), "")], *_hour(seen, width, is_unicode), *costs]


SPARKS = " ▁▂▃▄▅▆▇█"


def sparkline(hour: Timeline) -> str:
    """What was finished in each minute as the heights of blocks, the present minute last."""
    finished = [step.done + step.failed for step in hour.steps]
    most = max(finished, default=0)
    return "".join(SPARKS[-(-n * (len(SPARKS) - 1) // most) if most else 0] for n in finished)


def _hour(seen: Seen, width: int, is_unicode: bool) -> list[Line]:
    """The last hour in a line, once something was finished in it."""
    if seen.hour is None or not is_unicode or not (finished := seen.hour.done + seen.hour.failed):
        return []
    about = "about " if seen.hour.share < 1 else ""
    words = f" {about}{finished:,} in the last hour"
    return [[(sparkline(seen.hour)[-max(0, width - len(words)) :], "cyan"), (words, "")]]


def _bar(counts: Counts, width: int, is_unicode: bool) -> Line:
    """Green is DONE, red what failed, the rest is to come; what is there at all gets a cell."""
    full, empty = ("━", "─") if is_unicode else ("#", "-")
    total = max(1, counts.total)
    bad = counts[Status.ERROR] + counts[Status.CANCELLED]
    red = min(width, -(-bad * width // total))
    green = min(width - red, counts[Status.DONE] * width // total)
    if percent(counts) < 100 and red + green == width:
        green, red = (green - 1, red) if green else (green, red - 1)
    bad_mark = full if is_unicode else "!"
    return [(full * green, "green"), (bad_mark * red, "red"), (empty * (width - green - red), "dim")]


def _waiter_lines(seen: Seen) -> list[Line]:
    if not seen.shifts:
        return [[], [("No waiter is at work.", "yellow")]]
    lines: list[Line] = [
        [],
        [(f"{'WAITER':<{NAME_WIDTH}} {'STATE':<8} {'BUSY':>5} {'DONE':>7} {'FAILED':>6}  RUNS", "dim")],
    ]
    by_shift: dict[str, list[Order]] = {}
    for order in seen.running:
        by_shift.setdefault(order.shift or "", []).append(order)
    # Who needs a look comes first.
    rank = {"lost": 0, "late": 1, "paused": 2, "draining": 3}
    ranked = sorted(seen.shifts, key=lambda shift: (rank.get(state(shift, seen.now), 4), shift.waiter))
    return lines + [_waiter(shift, by_shift.get(shift.token, []), seen) for shift in ranked]


def _waiter(shift: Shift, running: Sequence[Order], seen: Seen) -> Line:
    now, vitals = seen.now, shift.vitals
    its_state = state(shift, now)
    busy = f"{busy_slots(shift, len(running), is_all_known=seen.is_all_running)}/{vitals.slots}"
    begun = running[: min(4, vitals.slots)]  # what was claimed ahead comes after them
    runs = ", ".join(f"{_short(order)} {format_duration(max(0.0, now - (order.start or now)))}" for order in begun)
    if its_state == "paused" and shift.pause_reason:
        runs = escape_control(shift.pause_reason)
    elif its_state == "alive" and vitals.waits_for and not running:
        runs = f"waits for {escape_control(vitals.waits_for)}"
    style = {"alive": "green", "lost": "red", "late": "red"}.get(its_state, "yellow")
    return [
        (f"{truncate_left(shift.waiter, NAME_WIDTH):<{NAME_WIDTH}} ", ""),
        (f"{its_state:<8} ", style),
        (f"{busy:>5} {vitals.delivered:>7,} {vitals.failed:>6,}  {runs}", ""),
    ]


def _short(order: Order) -> str:
    text = " ".join(escape_control(" ".join(order.arguments)).split())
    return text if len(text) <= 16 else text[:15] + "…"


def _failures(seen: Seen, width: int) -> list[Line]:
    if not seen.failures:
        return []
    lines: list[Line] = [[], [(f"{seen.counts[Status.ERROR]:,} FAILED, the latest kinds first", "dim")]]
    for group in sorted(seen.failures, key=lambda group: -group.last):
        ended = how(group.reason, group.exit_code, group.signal)
        host = only_host(group, seen.delivering)
        place = f" [all on {host}]" if host else ""
        message = " ".join(escape_control(group.message).split())
        message = message if says_how(message) else f"{ended}: {message}"
        start = f"{clock_time(group.last, seen.now)} {group.count:>7,} "
        message = message[: max(10, width - len(start) - len(place))]
        lines.append([(start, ""), (message, "red"), (place, "bold")])
    return lines


def _cut(lines: list[Line], room: int, what: str) -> list[Line]:
    """As many lines as there is room for; the last one says how many are missing."""
    if len(lines) <= room:
        return lines
    if room < 3:
        return lines[:room]
    return [*lines[: room - 1], [(f"and {len(lines) - room + 1} more {what}", "dim")]]


def _foot(seen: Seen) -> Line:
    if seen.trouble:
        return [(escape_control(seen.trouble), "bold red")]
    if seen.age:
        return [(f"q quits; {seen.age}, every {format_duration(seen.every_s)}", "dim")]
    if seen.counted_s is None:
        return [("q quits", "dim")]
    return [(f"q quits; asked every {format_duration(seen.every_s)}", "dim")]


def _fitted(line: Line, width: int) -> Line:
    fitted: Line = []
    for text, style in line:
        if len(text) > width:
            return [*fitted, (f"{text[: width - 1]}…"[:width], style)]
        fitted.append((text, style))
        width -= len(text)
    return fitted
