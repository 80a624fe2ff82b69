"""Steering the work: cancel, priority, pause, resume, drain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from waiter.cli.options import PRIORITIES, agreed, chosen, kitchen_options, opened, plural, say, selected, selecting
from waiter.cli.ordering import touched
from waiter.cli.tables import show_json
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Counts, Status
from waiter.report.capacity import at_work


def json_option(function: Any) -> Any:
    """--json."""
    return click.option("--json", "is_json", is_flag=True, help="One JSON object.")(function)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@kitchen_options
def cancel(kitchen: str | None, db: str | None, ids: tuple[str, ...], yes: bool, is_json: bool, **said: Any) -> int:
    """Take READY orders off the list at once; those that run get TERM with their waiter's next heartbeat.

    \b
    waiter cancel                        all that is READY or RUNNING
    waiter cancel --batch night --yes
    waiter cancel --status RUNNING --longer-than 2h
    """
    with opened(chosen(kitchen, db)) as place:
        which = selected(place, ids, **said)
        if not which.statuses:
            which = replace(which, statuses=(Status.READY, Status.RUNNING))
        counts = place.counts(which)
        ready, running = counts[Status.READY], counts[Status.RUNNING]
        affected = Counts({status: counts[status] for status in (Status.READY, Status.RUNNING)})
        question = f"Cancel {plural(affected.total, 'order')} ({touched(affected)}) in {place.url}?"
        is_agreed = not affected.total or agreed(question, is_yes=yes)
        done = place.cancel(which) if affected.total and is_agreed else 0
    if is_json:
        show_json({"cancelled": done, "ready": ready, "running": running})
    elif is_agreed and not done:
        say("Nothing to cancel.")
    elif done:
        stopping = "; those that run are stopped with their waiter's next heartbeat" if running else ""
        say(f"Cancelled {plural(done, 'order')}{stopping}.")
    return 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("number", type=PRIORITIES, metavar="N")
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@json_option
@kitchen_options
def priority(kitchen: str | None, db: str | None, number: int, ids: tuple[str, ...], is_json: bool, **said: Any) -> int:
    """Give READY orders the priority N: higher goes first, 0 is usual, negative is last.

    \b
    waiter priority 10 --batch urgent
    waiter priority -1 --match huge
    """
    for word in ids:
        if word.startswith("-"):  # negative numbers make us let unknown options through
            raise UsageError(f"no such option: {word}")
    with opened(chosen(kitchen, db)) as place:
        changed = place.set_priority(selected(place, ids, **said), number)
    if is_json:
        show_json({"changed": changed, "priority": number})
    else:
        say(f"Priority {number} for {plural(changed, 'READY order')}.")
    return 0


@click.command()
@click.argument("waiter", required=False, metavar="[WAITER]")
@click.option("--reason", metavar="TEXT", help="Why: `waiter waiters` shows it.")
@json_option
@kitchen_options
def pause(kitchen: str | None, db: str | None, waiter: str | None, reason: str | None, is_json: bool) -> int:
    """Let waiters take no new orders; what runs goes on. Without a name all, those to come included.

    \b
    waiter pause --reason "disk is full"
    waiter pause ip-10-0-3-7/4711
    """
    with opened(chosen(kitchen, db)) as place:
        _known_waiter(place, waiter)
        changed = place.pause(waiter, reason)
    later = "" if waiter else ", and those to come,"
    return _told(
        "paused",
        changed,
        is_json,
        f"Paused: {plural(changed, 'waiter')}{later} will take no order until `waiter resume`.",
    )


@click.command()
@click.argument("waiter", required=False, metavar="[WAITER]")
@json_option
@kitchen_options
def resume(kitchen: str | None, db: str | None, waiter: str | None, is_json: bool) -> int:
    """Let paused waiters go on: one, or all.

    \b
    waiter resume
    waiter resume ip-10-0-3-7/4711
    """
    with opened(chosen(kitchen, db)) as place:
        _known_waiter(place, waiter)
        changed = place.resume(waiter)
    return _told("resumed", changed, is_json, f"Resumed: {plural(changed, 'waiter')}.")


@click.command()
@click.argument("waiter", metavar="WAITER")
@json_option
@kitchen_options
def drain(kitchen: str | None, db: str | None, waiter: str, is_json: bool) -> int:
    """Ask a waiter to finish the orders that it runs and go home.

    \b
    waiter drain ip-10-0-3-7/4711
    """
    with opened(chosen(kitchen, db)) as place:
        _known_waiter(place, waiter)
        changed = place.drain(waiter)
    return _told("draining", changed, is_json, f"{waiter} finishes what it runs and goes home.")


def _known_waiter(place: Kitchen, waiter: str | None) -> None:
    """Raise UsageError for a waiter that is not at work."""
    if waiter is None:
        return
    here = sorted({shift.waiter for shift in at_work(place.shifts(), place.now())})
    if waiter not in here:
        who = f"At work are {', '.join(here[:10])}" if here else "Nobody is at work"
        raise UsageError(f"no such waiter: {waiter}. {who}. See: waiter waiters")


def _told(what: str, changed: int, is_json: bool, sentence: str) -> int:
    if is_json:
        show_json({what: changed})
    else:
        say(sentence)
    return 0
