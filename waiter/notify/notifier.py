"""Telling somebody that orders have ended: a command that gets the facts, or an HTTP POST of one JSON object.

Each process that waits tells once, when its own waiting is over. Waiters that share a kitchen do not agree on one of
them, so `deliver` does not tell: let one `run`, `wait` or `notify` do it.
"""

from __future__ import annotations

from collections.abc import Callable

from waiter.errors import NotificationFailed
from waiter.notify.command import to_command
from waiter.notify.result import WaitResult, result_facts

Notifier = Callable[[WaitResult], None]
"""Tells somebody how the waiting ended. Raises NotificationFailed."""

Say = Callable[[str], None]
"""Tells the people at the terminal what goes wrong meanwhile."""


def make_notifier(word: str | None, say: Say, *, is_json: bool = False) -> Notifier | None:
    """What `--notify` asks for: an http(s):// address, or a line for the shell. None if nobody is to be told."""
    if not word:
        return None
    if word.partition("://")[0].lower() in ("http", "https"):
        return to_url(word, say)
    return to_command(["/bin/sh", "-c", word], is_json=is_json, shown=word)


def notify_and_exit_code(notifier: Notifier | None, result: WaitResult, say: Say) -> int:
    """Tell, and return the exit code: how the orders went; if all is well but the telling, NotificationFailed's."""
    try:
        if notifier:
            notifier(result)
    except NotificationFailed as error:
        say(f"waiter: {error}")
        return result.exit_code or error.exit_code
    return result.exit_code


def to_url(url: str, say: Say) -> Notifier:
    """Tells by an HTTP POST. Raises UsageError for what is no address."""
    from waiter.notify.webhook import post, webhook_address  # urllib is heavy, and most never need it

    address = webhook_address(url)
    return lambda result: post(address, result_facts(result), say)
