"""The live view: how far, how fast, until when, and what fails. q or Ctrl-C quits.

Waiters and rates are new each second. Millions of orders are counted beside that and less often, so that watching uses
less than 5 % of one core of the kitchen; counts that are older than 5 s say so.
Where stdout is no terminal, or one that cannot draw (TERM=dumb), it writes a line for each look until all is done.

\b
waiter watch
waiter watch --json | jq .rate
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from waiter.cli.console import say
from waiter.cli.options import Duration, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json
from waiter.errors import KitchenUnreachable
from waiter.kitchen import open_kitchen
from waiter.orders import Status
from waiter.report.dashboard import Seen, frame, summary
from waiter.report.eta import rate
from waiter.report.poller import Poller
from waiter.report.status import hour_facts
from waiter.report.waiting import counts_by_word
from waiter.settings import Settings

CANNOT_DRAW = ("dumb", "unknown")
"""Terminals (TERM) that have lines and nothing else."""

QUIT = ("q", "Q", "\x04")


@click.command(help=__doc__)
@click.option("--every", type=Duration(), default=1.0, help="Refresh at most this often. Default: 1 s.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line for each look, until all is done.")
@with_settings
def watch(settings: Settings, every: float, is_json: bool) -> int:
    return watch_kitchen(settings, every, is_json=is_json)


def watch_kitchen(settings: Settings, every: float = 1.0, *, is_json: bool = False) -> int:
    """Show the live view until all is done or somebody quits. Returns the exit code."""
    with open_kitchen_or_exit(settings) as kitchen:
        onlooker = Poller(
            kitchen,
            max(0.1, every),
            lambda: open_kitchen(settings.kitchen, settings.db, create=False),
            settings.prices,
        )
        try:
            if is_json or not sys.stdout.isatty() or os.environ.get("TERM", "").lower() in CANNOT_DRAW:
                _write(onlooker, every, is_json)
            else:
                _draw(onlooker, every)
        except KeyboardInterrupt:
            return 0
    return 0


def _looks(onlooker: Poller) -> Iterator[Seen | KitchenUnreachable]:
    while True:
        try:
            yield onlooker.look()
        except KitchenUnreachable as error:
            yield error


def _write(onlooker: Poller, every_s: float, is_json: bool) -> None:
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
            if pressed(max(every_s, 0.1)) in QUIT:
                return


def _facts(seen: Seen) -> dict[str, object]:
    return {
        "at": seen.now,
        "counted": None if seen.counted_s is None else round(seen.counted_s, 1),
        "total": seen.counts.total,
        "counts": counts_by_word(seen.counts, seen.waiting),
        "running": seen.counts[Status.RUNNING] - seen.claimed,
        "claimed": seen.claimed,
        "waiters": len(seen.at_work),
        "rate": rate(seen.recent),
        "eta": seen.eta and [seen.eta.soonest_s, seen.eta.latest_s],
        **({"cost": [cost.to_json(seen.eta) for cost in seen.costs]} if seen.costs else {}),
        "last_hour": seen.hour and hour_facts(seen.hour),
        "failures": [{"group": g.group, "count": g.count, "message": g.message} for g in seen.failures[:5]],
    }


def _draw(onlooker: Poller, every_s: float) -> None:
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
