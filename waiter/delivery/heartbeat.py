"""Keeps a shift alive beside the work, and says when it is lost.

A thread with a kitchen connection of its own, so that a claim that hangs does not cost the lease. The waiter's loop
asks it; it never calls the loop. Whatever ends the thread before its time is there for the loop to raise: a waiter
without a heartbeat would work on for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from waiter.errors import PASSING, KitchenDamaged, KitchenError
from waiter.kitchen.contract import Kitchen, sweep_s
from waiter.orders import Notice, Shift, Vitals
from waiter.processes import boottime

NEWS_S = 2.0
"""How often the kitchen is asked whether there is anything new: a busy waiter asks as often as an idle one."""

YOUNG_BEATS = 4
"""A young shift beats after a quarter of its age: what a new waiter delivers is soon seen."""

RETRY_S = 1.0
"""How soon a heartbeat that failed is tried again: a kitchen that was away hears of the living before it is swept."""


class Heartbeat:
    """The heartbeat of one shift. `start` it once; `stop` waits for the thread."""

    def __init__(
        self,
        open_kitchen: Callable[[], Kitchen],
        shift: Shift,
        asked_at: float,
        vitals: Callable[[], Vitals],
        lease_s: float,
    ) -> None:
        """`asked_at` is `boottime()` from before the shift was checked in: its lease counts from there, so that no
        command starts after the kitchen may have given the shift to others."""
        self._open_kitchen = open_kitchen
        self._shift = shift
        self._vitals = vitals
        self._lease_s = lease_s
        self._heartbeat_s = sweep_s(lease_s)
        self._lease_ends = asked_at + lease_s
        self._lapse_ended_at = -lease_s
        self._began_at = self._beaten_at = self._heard_at = asked_at
        self._notice = Notice()
        self._changes = 0
        self._broken: Exception | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float = 30.0) -> None:
        """End it, and wait so long for the thread; the lease runs out by itself unless the shift is checked
        out."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(within_s)

    @property
    def lease_ends(self) -> float:
        """When the lease runs out on `boottime()`, as far as this waiter knows."""
        with self._lock:
            return self._lease_ends

    @property
    def heard_at(self) -> float:
        """When that was asked which the kitchen answered last."""
        with self._lock:
            return self._heard_at

    @property
    def may_reclaim(self) -> bool:
        """This waiter may say who is lost: its own lease was renewed just now, and did not lapse within a sweep.

        One that slept (a frozen process, a laptop's lid) would take back its own orders, and those of all who slept
        with it and wake a moment later.
        """
        now = boottime()
        with self._lock:
            is_fresh = now - self._beaten_at < 2 * self._heartbeat_s
            return is_fresh and now - self._lapse_ended_at >= self._heartbeat_s

    @property
    def notice(self) -> Notice:
        """What the kitchen said last."""
        with self._lock:
            return self._notice

    @property
    def changes(self) -> int:
        """A number that rises when something new was heard of: time to ask for work again."""
        with self._lock:
            return self._changes

    @property
    def broken(self) -> Exception | None:
        """What ended it, which is not to be expected of any kitchen; None while it beats."""
        with self._lock:
            return self._broken

    def _run(self) -> None:
        try:
            self._keep_beating()
        except Exception as error:  # noqa: BLE001 - the loop raises it in its own thread
            with self._lock:
                self._broken = error

    def _keep_beating(self) -> None:
        kitchen: Kitchen | None = None
        seen: object = None
        wait_s = ask_s = min(NEWS_S, self._heartbeat_s)
        while not self._stopping.wait(wait_s):
            wait_s = ask_s
            try:
                kitchen = kitchen or self._open_kitchen()
                token = self._ask_change_token(kitchen)
                is_new = token != seen
                seen = token
                if is_new or self._is_due():
                    self._beat(kitchen, is_new)
            except KitchenDamaged:
                if kitchen is not None:
                    kitchen.close()
                raise  # no waiting mends it
            except KitchenError as error:
                if not isinstance(error, PASSING):
                    self._note_answer(boottime())  # a refusal is an answer, which the loop will get too
                # Commands go on meanwhile; the lease is what tells the loop how long that is worth anything.
                if kitchen is not None:
                    kitchen.close()
                kitchen = None
                wait_s = RETRY_S
        if kitchen is not None:
            kitchen.close()

    def _ask_change_token(self, kitchen: Kitchen) -> object:
        asked_at = boottime()
        token = kitchen.change_token()
        self._note_answer(asked_at)
        return token

    def _note_answer(self, asked_at: float) -> None:
        with self._lock:
            self._heard_at = asked_at

    def _is_due(self) -> bool:
        now = boottime()
        return now - self._beaten_at >= min(self._heartbeat_s, (now - self._began_at) / YOUNG_BEATS)

    def _beat(self, kitchen: Kitchen, is_new: bool) -> None:
        asked_at = boottime()
        notice = kitchen.heartbeat(self._shift, self._vitals())
        with self._lock:
            if asked_at >= self._lease_ends:
                self._lapse_ended_at = boottime()
            self._beaten_at = asked_at
            self._notice = notice
            if not notice.is_lost:
                self._lease_ends = asked_at + self._lease_s
            if is_new:
                self._changes += 1
