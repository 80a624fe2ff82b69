"""Make failed orders, and those of dead waiters, READY again.

A waiter is dead when its process on this machine has ended, or when its lease has expired and no heartbeat follows
within some seconds: the kitchen may just have been away. The orders keep their history.

\b
waiter reset                       all that failed or got stuck
waiter reset --like 3f9c2a1b       failures of one kind, see `waiter errors`
waiter reset 7f2e90c14ab3-17       one order, also if it is DONE
"""

from __future__ import annotations

import time
from dataclasses import replace

import click

from waiter.cli.console import LOOKING, confirm, said_if_long, say
from waiter.cli.options import Selection, open_kitchen_or_exit, resolve_selector, selecting, with_settings
from waiter.cli.progress import changing
from waiter.cli.tables import show_json
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen, Reclaimed
from waiter.orders import Selector, Status
from waiter.report.formatting import format_counts, plural
from waiter.report.waiting import WAITING
from waiter.settings import Settings

LOOK_AGAIN_S = 1.0
"""How often a reset looks whether those who are missed live."""


@click.command(help=__doc__)
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option("--running", is_flag=True, help="Also orders that living waiters run: they lose them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
def reset(settings: Settings, selection: Selection, running: bool, yes: bool, is_json: bool) -> int:  # fmt: skip
    with open_kitchen_or_exit(settings) as kitchen:
        selector = _resettable(resolve_selector(kitchen, selection), is_from_living=running)
        reclaimed = kitchen.reclaim() if running else _reclaimed_patiently(kitchen)  # who is dead is dead
        with said_if_long(LOOKING):
            counts = kitchen.counts(selector)
        question = f"Reset {plural(counts.total, 'order')} ({format_counts(counts)}) in {kitchen.url}?"
        is_agreed = not counts.total or confirm(question, is_yes=yes)
        with changing("Resetting", counts.total) as told:
            done = kitchen.reset(selector, from_living=running, told=told) if counts.total and is_agreed else 0
    if is_json:
        show_json({"reset": done, "reclaimed": reclaimed.ready})
        return 0
    if reclaimed.ready:
        say(f"Reclaimed {plural(reclaimed.ready, 'order')} of waiters that are gone.")
    if done:
        say(f"Reset {plural(done, 'order')}.")
    elif counts[Status.RUNNING] and not running and is_agreed:
        say(f"{plural(counts[Status.RUNNING], 'order')} still running; add --running to reset them.")
    elif is_agreed and not reclaimed.ready:
        say("Nothing to reset.")
    return 0


def _reclaimed_patiently(kitchen: Kitchen) -> Reclaimed:
    """Take back the orders of the dead; who is missed first gets the time to say that it lives."""
    reclaimed = kitchen.reclaim()
    if not reclaimed.missed:
        return reclaimed
    names = ", ".join(reclaimed.missed[:5]) + (" and others" if len(reclaimed.missed) > 5 else "")
    say(
        f"No heartbeat of {names} for longer than a lease lasts: dead, or cut off from {kitchen.url}.\n"
        f"Waiting {reclaimed.missed_s:.0f} s for a heartbeat\n"
        "hint: to reset all RUNNING orders without waiting: waiter reset --running"
    )
    ready, failed, ends = reclaimed.ready, reclaimed.failed, time.monotonic() + reclaimed.missed_s + 2 * LOOK_AGAIN_S
    while reclaimed.missed and time.monotonic() < ends:
        time.sleep(LOOK_AGAIN_S)
        reclaimed = kitchen.reclaim()
        ready, failed = ready + reclaimed.ready, failed + reclaimed.failed
    return replace(reclaimed, ready=ready, failed=failed)


def _resettable(selector: Selector, *, is_from_living: bool) -> Selector:
    """The orders of a selector that a reset changes. Without a word on it those that failed; never READY ones."""
    statuses = selector.statuses
    if selector.waiting is not None:
        statuses = (*statuses, Status.READY)
    if not statuses:
        is_any = selector.ids or selector.except_command is not None
        statuses = tuple(Status) if is_any else (Status.ERROR, *([Status.RUNNING] if is_from_living else []))
    if set(statuses) == {Status.READY}:
        word = WAITING if selector.waiting is not None else Status.READY
        raise UsageError(f"--status {word}: those are READY already. A reset is for the others, above all ERROR.")
    return replace(selector, waiting=None, statuses=tuple(status for status in statuses if status is not Status.READY))
