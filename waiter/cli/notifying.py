"""Telling somebody that orders have found their end: a command that gets the facts, or an HTTP POST of one JSON object.

Each process that waits tells once, when its own waiting is over. Waiters that share a kitchen do not agree on one of
them, so `deliver` does not tell: let one `run`, `wait` or `notify` do it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from waiter.cli.options import say
from waiter.cli.ordering import touched
from waiter.delivery.command import found
from waiter.delivery.environment import inherited
from waiter.errors import CommandUnstartable, NotTold
from waiter.kitchen.contract import Kitchen
from waiter.orders import Counts, FailureGroup, Selector, Status
from waiter.report.columns import printable, timestamp

TIMED_OUT = 124
"""What `wait` ends with when the time is up: timeout(1)'s own code."""

UNATTENDED = 125
"""What `wait` ends with when nobody is at work for too long."""

FEW = 5
"""How many kinds of failures are told."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How orders stood when the waiting for them was over."""

    kitchen: str  # never with a password
    batch: str | None  # as it was asked for; None: all orders
    counts: Counts
    gave_up: int = 0  # the exit code of who waits no longer; 0: all orders have found their end
    failures: tuple[FailureGroup, ...] = ()
    at: float | None = None  # the kitchen's clock; None: it does not answer
    is_enough: bool = False  # who asked for them wants no more to be delivered

    @property
    def exit_code(self) -> int:
        """What `wait` ends with."""
        if self.is_enough:
            return 0
        return self.gave_up or (0 if self.counts[Status.DONE] == self.counts.total else 1)

    @property
    def sentence(self) -> str:
        """It in words."""
        why = {0: "", TIMED_OUT: "The time is up: ", UNATTENDED: "Nobody is at work: "}.get(self.gave_up, "Not all: ")
        return f"{why}{touched(self.counts) if self.counts.total else 'Nothing was ordered'}."


Tell = Callable[[Ending], None]
"""Tells somebody of an ending. Raises NotTold."""


def ended(place: Kitchen, batch: str | None, gave_up: int = 0) -> Ending:
    """How the orders of a batch, or all, stand now, `gave_up` if some have not found their end."""
    which = Selector(batch=batch) if batch else None
    counts = place.counts(which)
    gave_up = gave_up if counts.finished < counts.total else 0
    failures = place.failure_groups(which)[:FEW] if counts[Status.ERROR] else []
    return Ending(place.url, batch, counts, gave_up, tuple(failures), place.now())


def facts(ending: Ending) -> dict[str, Any]:
    """The JSON object."""
    return {
        "text": ending.sentence if ending.batch is None else f"{ending.batch}: {ending.sentence}",
        "is_done": not ending.gave_up,
        "exit_code": ending.exit_code,
        "kitchen": ending.kitchen,
        "batch": ending.batch,
        "total": ending.counts.total,
        "counts": {status.value: ending.counts[status] for status in Status},
        "failures": [
            {"group": g.group, "count": g.count, "message": printable(g.message), "example": g.example}
            for g in ending.failures
        ],
        "at": timestamp(ending.at),
    }


def variables(ending: Ending) -> dict[str, str]:
    """The facts as WAITER_… variables; what nobody knows is left out."""
    values = facts(ending)
    named = {f"WAITER_{name.upper()}": values[name] for name in ("text", "exit_code", "batch", "total")}
    named |= {"WAITER_KITCHEN_URL": values["kitchen"]}
    named |= {f"WAITER_COUNT_{status}": count for status, count in values["counts"].items()}
    return {name: str(value) for name, value in named.items() if value is not None}


def notify_option(function: Any) -> Any:
    """--notify."""
    return click.option(
        "--notify", metavar="LINE|URL", help="At the end run this shell line, or POST to this URL; see `waiter notify`."
    )(function)


def teller(word: str | None, *, is_json: bool = False) -> Tell | None:
    """What `--notify` asks for: an http(s):// address, or a line for the shell. None if nobody is to be told."""
    if not word:
        return None
    if word.partition("://")[0].lower() in ("http", "https"):
        return to_url(word)
    return to_command(["/bin/sh", "-c", word], is_json=is_json, shown=word)


def told(tell: Tell | None, ending: Ending) -> int:
    """Tell, and return the exit code: how the orders went; if all is well but for the telling, NotTold's."""
    try:
        if tell:
            tell(ending)
    except NotTold as error:
        say(f"waiter: {error}")
        return ending.exit_code or error.exit_code
    return ending.exit_code


def to_command(words: Sequence[str], *, is_json: bool = False, shown: str | None = None) -> Tell:
    """Tells by running a command, its output here (with `is_json` on stderr). Raises CommandUnstartable."""
    program = found(words[0])

    def tell(ending: Ending) -> None:
        env = inherited(os.environ) | variables(ending)
        sys.stdout.flush()
        try:
            done = subprocess.run(
                words,
                executable=program,
                env=env,
                input=json.dumps(facts(ending)).encode() + b"\n",
                stdout=2 if is_json else None,
                check=False,
            )
        except OSError as error:
            raise CommandUnstartable(f"{words[0]}: cannot be started: {error.strerror}") from None
        if done.returncode:
            how = f"exit code {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
            raise NotTold(f"nobody was told: {shown or shlex.join(words)} ended with {how}.")

    return tell


def to_url(url: str) -> Tell:
    """Tells by an HTTP POST. Raises UsageError for what is no address."""
    from waiter.cli.posting import address, post  # urllib is heavy, and most never need it

    to = address(url)
    return lambda ending: post(to, facts(ending))
