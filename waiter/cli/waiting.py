"""Waiting for the end of orders: `wait`, and `notify`, which then tells somebody."""

from __future__ import annotations

import time
from typing import Any

import click

from waiter.cli.notifying import (
    TIMED_OUT,
    UNATTENDED,
    Ending,
    ended,
    facts,
    notify_option,
    to_command,
    to_url,
    told,
)
from waiter.cli.notifying import teller as teller_of
from waiter.cli.options import Duration, batch_option, chosen, complete_file, kitchen_options, opened, say
from waiter.cli.steering import json_option
from waiter.cli.tables import show_json
from waiter.errors import KitchenHindered, KitchenUnreachable, UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Counts, Selector
from waiter.report.capacity import at_work
from waiter.settings import Settings

LOOK_S = 0.5
SHARE = 0.05
"""The most of one core of the kitchen that `wait` uses."""


def patience(function: Any) -> Any:
    """For how long, and for which orders."""
    for option in (
        batch_option("Only for orders of this batch: its id or name."),
        click.option(
            "--unattended", type=Duration(), help="Give up, with 125, when no waiter was at work for so long."
        ),
        click.option("--timeout", type=Duration(), help="Give up, with 124, after this time."),
    ):
        function = option(function)
    return function


@click.command()
@patience
@notify_option
@json_option
@kitchen_options
def wait(kitchen: str | None, db: str | None, notify: str | None, is_json: bool, **said: Any) -> int:
    """Wait until every order has found its end.

    While nobody is at work it says so, takes back the orders of waiters that died, and goes on waiting: somebody may
    start a waiter; --unattended bounds that. Exit code: 0 all DONE, 1 some not, 124 the time was up, 125 nobody came,
    5 all DONE but --notify failed.

    \b
    waiter wait && waiter extract -o all.csv
    waiter wait --batch night --timeout 2h --unattended 10m
    """
    tell = teller_of(notify, is_json=is_json)
    ending = _awaited(chosen(kitchen, db), **said)
    if is_json:
        show_json(facts(ending))
    else:
        say(ending.sentence)
    return told(tell, ending)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@patience
@click.option("--post", "url", metavar="URL", help="POST the facts there, as one JSON object, instead of running CMD.")
@json_option
@kitchen_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="[CMD…]")
def notify(kitchen: str | None, db: str | None, url: str | None, is_json: bool, command: tuple[str, ...],
           **said: Any) -> int:  # fmt: skip
    """Wait until every order has found its end, then run CMD, or POST to a URL: once.

    CMD sees the facts as WAITER_TEXT, WAITER_EXIT_CODE (as `waiter wait` would end), WAITER_BATCH, WAITER_TOTAL,
    WAITER_COUNT_DONE, WAITER_COUNT_ERROR …, and as JSON on stdin. A URL gets the same JSON, and is tried four times if
    it does not answer. Somebody is also told when --timeout or --unattended end the waiting. Exit code: 0 told, 5 not.

    \b
    waiter notify sh -c 'echo "$WAITER_TEXT" | mail -s "orders" me@example.com'
    waiter notify --batch night --unattended 10m --post https://example.com/hook
    """
    if bool(url) == bool(command):
        raise UsageError("notify: say whom to tell: a command, or --post URL")
    tell = to_url(url) if url else to_command(command, is_json=is_json)
    ending = _awaited(chosen(kitchen, db), **said)
    if not is_json:
        say(ending.sentence)
    tell(ending)
    if is_json:
        show_json(facts(ending))
    return 0


def _awaited(from_: Settings, *, batch: str | None, timeout: float | None, unattended: float | None) -> Ending:
    """How it stands when all orders have found their end, or nobody waits any longer."""
    ends = None if timeout is None else time.monotonic() + timeout
    with opened(from_) as place:
        which = Selector(batch=batch) if batch else None
        place.counts(which)  # an unknown batch is told at once
        gave_up = _waited(_Vigil(place, which, unattended), ends)
        try:
            return ended(place, batch, gave_up)
        except KitchenUnreachable:
            if not gave_up:
                raise
            return Ending(place.url, batch, Counts({}), gave_up)


class _Vigil:
    """Looks whether all is done, and tells, each time that it changes, what keeps that from coming."""

    def __init__(self, place: Kitchen, which: Selector | None, unattended_s: float | None) -> None:
        self._place = place
        self._which = which
        self._unattended_s = unattended_s
        self._nobody_since: float | None = None
        self._told: str | None = None

    def is_over(self) -> bool:
        """Whether every order has found its end. A kitchen that does not answer is waited for."""
        try:
            if self._is_done():
                return True
            self._tell(self._hindrance())
        except KitchenUnreachable as error:
            self._tell(f"{error} Waiting for it.")
        return False

    @property
    def is_hopeless(self) -> bool:
        """Nobody has been at work for longer than the user wants to wait for."""
        if self._nobody_since is None or self._unattended_s is None:
            return False
        return time.monotonic() - self._nobody_since >= self._unattended_s

    def _is_done(self) -> bool:
        if self._which is None:
            return self._place.outlook().is_done
        counts = self._place.counts(self._which)
        return counts.finished == counts.total

    def _hindrance(self) -> str | None:
        now = self._place.now()
        here = at_work(self._place.shifts(), now)
        if here:
            self._nobody_since = None
            return "All waiters are paused: waiter resume" if all(shift.is_paused for shift in here) else None
        if self._nobody_since is None:
            self._nobody_since = time.monotonic()
        self._take_back()
        return "No waiter is at work. Start one: waiter deliver CMD…"

    def _take_back(self) -> None:
        """Else nobody would, and what was lost too often would never end."""
        try:
            rescued = self._place.rescue()
        except KitchenHindered:  # who may only read, waits for others to do it
            return
        if rescued:
            who = f" ({', '.join(rescued.shifts)})" if rescued.shifts else ""
            say(f"Took back the orders of waiters that died{who}.")

    def _tell(self, hindrance: str | None) -> None:
        if hindrance != self._told:
            say(hindrance or "Now waiters are at work.")
        self._told = hindrance


def _waited(vigil: _Vigil, ends: float | None) -> int:
    """0 when every order has found its end, else the exit code that says why nobody waits any longer."""
    while True:
        began = time.monotonic()
        if vigil.is_over():
            return 0
        if vigil.is_hopeless:
            return UNATTENDED
        pause_s = max(LOOK_S, (time.monotonic() - began) / SHARE)
        if ends is not None:
            if time.monotonic() >= ends:
                return TIMED_OUT
            pause_s = min(pause_s, max(0.0, ends - time.monotonic()))
        time.sleep(pause_s)
