"""Talk on stderr: what is said to people, what is waited for, and asking before something is changed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from waiter.cli.log_lines import log_line
from waiter.cli.tables import show_json
from waiter.errors import UsageError

SILENT_S = 3.0
"""How long a kitchen may take to answer before the user is told what is waited for. It gives up after some 10 s."""


def say(message: str, level: str = "info", kind: str = "note", **facts: object) -> None:
    """Talk: to stderr, so that stdout holds nothing but what was asked for. It does not matter if nobody listens.

    Whoever's words it holds, nothing in it makes a terminal obey. Level, kind and facts come out where JSON is wanted.
    """
    with suppress(OSError):
        click.echo(log_line(message, level, kind, facts), err=True)


def end_line() -> None:
    """End a line of stderr that somebody else has left open."""
    with suppress(OSError):
        click.echo(err=True)


LOOKING = "Looking through the orders…"
"""What is said of a question that some millions of orders answer only after a while."""


@contextmanager
def said_if_long(message: str) -> Iterator[Callable[[], None]]:
    """Say what is waited for, once that has taken a moment. What it gives is called when that has come before."""
    notice = threading.Timer(SILENT_S, say, (message,))
    notice.daemon = True
    with suppress(RuntimeError):  # a machine that starts no more threads
        notice.start()
    try:
        yield notice.cancel
    finally:
        notice.cancel()


def confirm(question: str, *, is_yes: bool) -> bool:
    """Whether to go on: asks on a terminal. Raises UsageError where nobody can be asked and --yes was not given."""
    if is_yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Not a terminal: add --yes to confirm.")
    is_agreed = click.confirm(question, err=True)
    if not is_agreed:
        say("Nothing was changed.")
    return is_agreed


def show_changed(what: str, count: int, is_json: bool, sentence: str) -> int:
    """What a verb changed, as one JSON object or in a sentence. Returns the exit code, 0."""
    if is_json:
        show_json({what: count})
    else:
        say(sentence)
    return 0
