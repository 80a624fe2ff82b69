"""Waiting until every order has found its end, or nobody waits any longer."""

from __future__ import annotations

import time
from collections.abc import Callable

from waiter.errors import ExitCode, KitchenHindered, KitchenUnreachable
from waiter.kitchen.contract import Kitchen
from waiter.notify.result import WaitResult, wait_result
from waiter.orders import Counts, Selector, Status
from waiter.report.capacity import at_work
from waiter.report.waiting import waiting_batches

LOOK_S = 0.5
"""The least time between two looks at the kitchen."""

SHARE = 0.05
"""The most of one core of the kitchen that waiting uses."""

Say = Callable[[str], None]
"""Tells people what keeps the end from coming."""


def wait_for_end(
    kitchen: Kitchen, say: Say, *, batch: str | None = None, timeout_s: float | None, unattended_s: float | None
) -> WaitResult:
    """How it stands when all orders, or those of a batch, have ended, or nobody waits any longer.

    Gives up after `timeout_s`, and when no waiter was at work for `unattended_s`; None: never. Raises UsageError for
    an unknown batch.
    """
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    selector = Selector(batch=batch) if batch else None
    kitchen.counts(selector)  # an unknown batch is told at once
    gave_up = _wait(CompletionWatcher(kitchen, selector, unattended_s, say), ends)
    try:
        return wait_result(kitchen, batch, gave_up)
    except KitchenUnreachable:
        if not gave_up:
            raise
        return WaitResult(kitchen.url, batch, Counts({}), gave_up)


class CompletionWatcher:
    """Looks whether all is done, and says, each time that it changes, what keeps that from coming."""

    def __init__(self, kitchen: Kitchen, selector: Selector | None, unattended_s: float | None, say: Say) -> None:
        self._kitchen = kitchen
        self._selector = selector
        self._unattended_s = unattended_s
        self._say = say
        self._nobody_since: float | None = None
        self._said: str | None = None

    def is_over(self) -> bool:
        """Whether every order has found its end. A kitchen that does not answer is waited for."""
        try:
            if self._is_done():
                return True
            self._say_once(self._hindrance())
        except KitchenUnreachable as error:
            self._say_once(f"{error.sentence} Waiting for it.")
        return False

    @property
    def is_hopeless(self) -> bool:
        """Nobody has been at work for longer than the user wants to wait for."""
        if self._nobody_since is None or self._unattended_s is None:
            return False
        return time.monotonic() - self._nobody_since >= self._unattended_s

    def _is_done(self) -> bool:
        if self._selector is None:
            backlog = self._kitchen.backlog()  # the cheaper question, on MongoDB not always of one moment
            if not backlog.is_done or backlog.held:
                return backlog.is_done
        counts = self._kitchen.counts(self._selector)
        return counts.finished == counts.total

    def _hindrance(self) -> str | None:
        now = self._kitchen.now()
        here = at_work(self._kitchen.shifts(), now)
        if here:
            self._nobody_since = None
            is_paused = all(shift.is_paused for shift in here)
            return self._stuck() or ("All waiters are paused: waiter resume" if is_paused else None)
        if self._nobody_since is None:
            self._nobody_since = time.monotonic()
        self._take_back()
        return self._stuck() or "No waiter is at work. Start one: waiter deliver CMD…"

    def _stuck(self) -> str | None:
        """What is said where all that is left belongs to batches that wait for others, some of which failed."""
        waiting = waiting_batches(self._kitchen)
        counts = self._kitchen.counts()
        if (
            not waiting
            or not counts[Status.ERROR]
            or sum(one.orders for one in waiting) < counts.total - counts.finished
        ):
            return None
        named = "; ".join(map(str, waiting))
        return (
            f"{named}\nhint: do again what failed: waiter reset --status ERROR; or go on without: waiter batch release"
        )

    def _take_back(self) -> None:
        """Else nobody would, and what was lost too often would never end."""
        try:
            reclaimed = self._kitchen.reclaim()
        except KitchenHindered:  # who may only read, waits for others to do it
            return
        if reclaimed:
            who = f" ({', '.join(reclaimed.shifts)})" if reclaimed.shifts else ""
            self._say(f"Reclaimed the orders of waiters that died{who}.")

    def _say_once(self, hindrance: str | None) -> None:
        if hindrance != self._said:
            self._say(hindrance or "Now waiters are at work.")
        self._said = hindrance


def _wait(watcher: CompletionWatcher, ends: float | None) -> int:
    """0 when every order has found its end, else the exit code that says why nobody waits any longer."""
    while True:
        began = time.monotonic()
        if watcher.is_over():
            return 0
        if watcher.is_hopeless:
            return ExitCode.UNATTENDED
        pause_s = max(LOOK_S, (time.monotonic() - began) / SHARE)
        if ends is not None:
            if time.monotonic() >= ends:
                return ExitCode.LIMIT
            pause_s = min(pause_s, max(0.0, ends - time.monotonic()))
        time.sleep(pause_s)
