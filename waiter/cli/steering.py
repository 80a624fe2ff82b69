"""Steering the work: cancel, priority, pause, resume, drain; and waiting for its end."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import click

from waiter.cli.asking import Duration, agreed, chosen, kitchen_options, opened, plural, say, selecting, selector
from waiter.cli.ordering import known_ids, touched
from waiter.cli.tables import show_json
from waiter.errors import KitchenUnreachable, UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Counts, Selector, Status
from waiter.report.staff import at_work

TIMED_OUT = 124
"""What `wait` ends with when the time is up: timeout(1)'s own code."""

UNATTENDED = 125
"""What `wait` ends with when nobody is at work for too long."""

LOOK_S = 0.5
SHARE = 0.05
"""The most of one core of the kitchen that `wait` uses."""


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
        which = selector(place.now(), ids, **said)
        if not which.statuses:
            which = replace(which, statuses=(Status.READY, Status.RUNNING))
        known_ids(place, ids)
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
@click.argument("number", type=click.IntRange(-(2**31), 2**31 - 1), metavar="N")
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
        known_ids(place, ids)
        changed = place.set_priority(selector(place.now(), ids, **said), number)
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


@click.command()
@click.option("--timeout", type=Duration(), help="Wait no longer, and end with 124.")
@click.option("--unattended", type=Duration(), help="End with 125 when no waiter has been at work for so long.")
@click.option("--batch", metavar="BATCH", help="Only for orders of this batch: its id or name.")
@json_option
@kitchen_options
def wait(kitchen: str | None, db: str | None, timeout: float | None, unattended: float | None, batch: str | None,
         is_json: bool) -> int:  # fmt: skip
    """Wait until every order has found its end.

    While nobody is at work it says so, takes back the orders of waiters that died, and goes on waiting: somebody may
    start a waiter; --unattended bounds that. Exit code: 0 all DONE, 1 some not, 124 the time was up, 125 nobody came.

    \b
    waiter wait && waiter extract -o all.csv
    waiter wait --batch night --timeout 2h --unattended 10m
    """
    ends = None if timeout is None else time.monotonic() + timeout
    with opened(chosen(kitchen, db)) as place:
        which = Selector(batch=batch) if batch else None
        place.counts(which)  # an unknown batch is told at once
        gave_up = _waited(_Vigil(place, which, unattended), ends)
        counts = _last_counts(place, which) if gave_up else place.counts(which)
    code = gave_up or (0 if counts[Status.DONE] == counts.total else 1)
    if is_json:
        show_json({"is_done": not gave_up, "exit_code": code, "counts": {s.value: counts[s] for s in Status}})
    else:
        why = {TIMED_OUT: "The time is up: ", UNATTENDED: "Nobody is at work: "}.get(gave_up, "")
        say(f"{why}{touched(counts) if counts.total else 'Nothing was ordered'}.")
    return code


def _last_counts(place: Kitchen, which: Selector | None) -> Counts:
    try:
        return place.counts(which)
    except KitchenUnreachable:
        return Counts({})


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
        if rescued := self._place.rescue():  # else nobody would, and what was lost too often would never end
            who = f" ({', '.join(rescued.shifts)})" if rescued.shifts else ""
            say(f"Took back the orders of waiters that died{who}.")
        return "No waiter is at work. Start one: waiter deliver CMD…"

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
