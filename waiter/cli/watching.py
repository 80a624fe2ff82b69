"""The live view. It asks little: the slower the kitchen answers, the less often it is asked."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import click

from waiter.cli.options import Duration, chosen, kitchen_options, opened, say
from waiter.cli.reckoning import telling
from waiter.cli.tables import show_json
from waiter.errors import KitchenUnreachable
from waiter.kitchen.contract import Kitchen
from waiter.orders import Selector, Status
from waiter.report.capacity import staffing
from waiter.report.dashboard import Seen, frame, summary
from waiter.report.eta import rate, while_busy

NOW_S = 15.0
"""The window of the rate now."""

MOST_RUNNING = 200
"""How many RUNNING orders are looked at."""

SHARES = {"counts": 0.015, "recent": 0.005, "longer": 0.005, "staff": 0.005, "running": 0.005, "failures": 0.005}
"""How much of one core of the kitchen each question may use: 4 % in all, so that the first look fits under 5 %."""

CANNOT_DRAW = ("dumb", "unknown")
"""Terminals (TERM) that have lines and nothing else."""

QUIT = ("q", "Q", "\x04")

Answer = TypeVar("Answer")


class Question(Generic[Answer]):
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


class Onlooker:
    """Looks at a kitchen, each of its sides as often as that may cost."""

    def __init__(self, place: Kitchen, every_s: float) -> None:
        self._place = place
        asked: dict[str, Callable[[], Any]] = {
            "counts": place.counts,
            "recent": lambda: place.throughput(NOW_S),
            "longer": lambda: telling(place),
            "staff": lambda: place.shifts(include_left=True),
            "running": lambda: list(place.find(Selector(statuses=(Status.RUNNING,)), sort="start", limit=MOST_RUNNING)),
            "failures": place.failure_groups,
        }
        self._questions = {name: Question(ask, SHARES[name], every_s) for name, ask in asked.items()}

    def look(self) -> Seen:
        """What there is to see. Raises KitchenUnreachable."""
        # A cheap question first: the others are given a minute, too long to find out that nobody is there.
        now = self._place.now()
        answers = {name: question.answer() for name, question in self._questions.items()}
        staff = answers["staff"]
        lately = staffing(staff, now, answers["longer"].window_s)
        return Seen(
            kitchen=self._place.url,
            now=now,
            counts=answers["counts"],
            recent=while_busy(answers["recent"], staffing(staff, now, NOW_S)),
            longer=while_busy(answers["longer"], lately),
            staff=lately,
            shifts=[shift for shift in staff if shift.left_at is None],
            running=answers["running"],
            failures=answers["failures"],
            delivering={shift.host for shift in staff},
            every_s=self._questions["counts"].every_s,
        )


@click.command()
@click.option("--every", type=Duration(), default=1.0, help="Ask at most so often. Default: 1 s.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line for each look, until all is done.")
@kitchen_options
def watch(kitchen: str | None, db: str | None, every: float = 1.0, is_json: bool = False) -> int:
    """The live view: how far, how fast, when it ends, who runs what, and what fails. q or Ctrl-C quits.

    A kitchen that takes long to answer is asked less often, so that watching uses less than 5 % of one core of it.
    Where stdout is no terminal, or one that cannot draw (TERM=dumb), it writes a line for each look until all is done.

    \b
    waiter watch
    waiter watch --json | jq .rate
    """
    with opened(chosen(kitchen, db)) as place:
        onlooker = Onlooker(place, max(0.1, every))
        try:
            if is_json or not sys.stdout.isatty() or os.environ.get("TERM", "").lower() in CANNOT_DRAW:
                _write(onlooker, every, is_json)
            else:
                _draw(onlooker, every)
        except KeyboardInterrupt:
            return 0
    return 0


def _looks(onlooker: Onlooker) -> Iterator[Seen | KitchenUnreachable]:
    while True:
        try:
            yield onlooker.look()
        except KitchenUnreachable as error:
            yield error


def _write(onlooker: Onlooker, every_s: float, is_json: bool) -> None:
    is_told = False
    with _keys() as pressed:
        for seen in _looks(onlooker):
            if isinstance(seen, KitchenUnreachable):
                if not is_told:
                    say(f"{seen} Waiting for it.")
                is_told = True
            else:
                is_told = False
                show_json(_facts(seen)) if is_json else click.echo(summary(seen))
                sys.stdout.flush()
                if seen.is_done:
                    return
            if pressed(max(every_s, 0.1 if isinstance(seen, KitchenUnreachable) else seen.every_s)) in QUIT:
                return


def _facts(seen: Seen) -> dict[str, object]:
    return {
        "at": seen.now,
        "total": seen.counts.total,
        "counts": {status.value: seen.counts[status] for status in Status},
        "waiters": len(seen.at_work),
        "rate": rate(seen.recent),
        "eta": seen.eta and [seen.eta.soonest_s, seen.eta.latest_s],
        "failures": [{"group": g.group, "count": g.count, "message": g.message} for g in seen.failures[:5]],
    }


def _draw(onlooker: Onlooker, every_s: float) -> None:
    from dataclasses import replace

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the terminal is to be left as it was
    console = Console(highlight=False)
    is_unicode = (console.encoding or "").lower().startswith("utf")

    def drawn(seen: Seen) -> Text:
        lines = frame(seen, console.width, console.height, is_unicode=is_unicode)
        return Text("\n", no_wrap=True, overflow="crop").join(Text.assemble(*line) for line in lines)

    last: Seen | None = None
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        for seen in _looks(onlooker):
            if isinstance(seen, KitchenUnreachable):
                shown = replace(last, trouble=str(seen)) if last else None
            else:
                shown = last = seen
            live.update(drawn(shown) if shown else Text(str(seen)), refresh=True)
            if pressed(max(every_s, 0.1)) in QUIT:
                break
    if last:
        say(summary(last))


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Inside, a function that waits so many seconds for a key. Ctrl-C stays what it is."""

    def sleep(seconds: float) -> str:
        time.sleep(seconds)
        return ""

    if not (sys.stdin.isatty() and sys.stdout.isatty()):  # in a pipe, the keys are another's: `waiter watch | less`
        yield sleep
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed(seconds: float) -> str:
        if select.select([terminal], [], [], seconds)[0]:
            return os.read(terminal, 1).decode("ascii", "replace") or "q"  # the terminal is gone
        return ""

    try:
        tty.setcbreak(terminal)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
