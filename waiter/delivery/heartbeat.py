"""Keeps a shift alive beside the work, and says when it is lost.

A thread with a kitchen of its own, so that a claim that hangs does not cost the lease: over the connections of the
loop's where these are made for threads. The loop asks it; it never calls the loop. Whatever ends the thread before its
time is there for the loop to raise: a waiter without a heartbeat would work on for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random

from waiter.delivery.pace import Pace
from waiter.errors import PASSING, KitchenDamaged, KitchenError
from waiter.kitchen.contract import Kitchen, sweep_s
from waiter.orders import Notice, Shift, Vitals
from waiter.processes import boottime


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
        self._pace = Pace(lease_s)
        self._lease_s = lease_s  # the one that it holds
        self._lease_ends = asked_at + lease_s
        self._lapse_ended_at = -lease_s
        self._began_at = self._beaten_at = self._heard_at = asked_at
        self._notice = Notice()
        self._changes = 0
        self._broken: Exception | None = None
        self._rng = Random()
        self._beat_share = 1.0  # a little less where a fleet beats seldom: who started together part by and by
        self._lock = threading.Lock()
        self._beating = threading.Lock()
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
            beat_s = sweep_s(self._lease_s)  # of a small fleet; of a large one twice that
            return now - self._beaten_at < 2 * beat_s and now - self._lapse_ended_at >= beat_s

    @property
    def notice(self) -> Notice:
        """What the kitchen said last."""
        with self._lock:
            return self._notice

    @property
    def pace(self) -> Pace:
        """How often to ask the kitchen for what, in a fleet as large as it said last."""
        with self._lock:
            return self._pace

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
        wait_s = self._pace.news_s(self._rng)
        while not self._stopping.wait(wait_s):
            try:
                kitchen = kitchen or self._open_kitchen()
                token = self._ask_change_token(kitchen)
                is_new = token != seen
                seen = token
                if is_new or self._is_due():
                    self.beat(kitchen, is_new=is_new)
                wait_s = self._next_s()
            except KitchenDamaged:
                if kitchen is not None:
                    kitchen.close()
                raise  # waiting does not fix it
            except KitchenError as error:
                if not isinstance(error, PASSING):
                    self._note_answer(boottime())  # a refusal is an answer, which the loop will get too
                # Commands go on meanwhile; the lease is what tells the loop how long that is worth anything.
                if kitchen is not None:
                    kitchen.close()
                kitchen = None
                wait_s = self._pace.retry_s(self._rng)
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
        return boottime() >= self._beat_at()

    def _beat_at(self) -> float:
        """When the lease is to be renewed."""
        beat_s = self._pace.beat_s(self._lease_s, self._beaten_at - self._began_at)
        is_stretched = beat_s > sweep_s(self._pace.kitchen_lease_s)
        return self._beaten_at + (beat_s * self._beat_share if is_stretched else beat_s)

    def _next_s(self) -> float:
        """Until the next question: the next heartbeat is one, and a small fleet asks no more often than for news."""
        least_s = Pace(self._pace.kitchen_lease_s).news_s(self._rng)
        return min(self._pace.news_s(self._rng), max(least_s, self._beat_at() - boottime()))

    def beat(self, kitchen: Kitchen, *, is_new: bool = False) -> None:
        """Renew the lease now.

        Never for less than is left of it, and one after the other: the kitchen keeps what it was asked for last, and
        if its answer gets lost, this waiter goes on believing in what it had.
        """
        with self._beating:
            asked_at = boottime()
            lease_s = max(self._pace.lease_s, self._lease_ends - asked_at)
            if lease_s > self._pace.kitchen_lease_s:
                notice = kitchen.heartbeat(self._shift, self._vitals(), lease_s)
            else:
                notice = kitchen.heartbeat(self._shift, self._vitals())
            self._note(notice, asked_at, lease_s, is_new)

    def _note(self, notice: Notice, asked_at: float, lease_s: float, is_new: bool) -> None:
        with self._lock:
            if asked_at >= self._lease_ends:
                self._lapse_ended_at = boottime()
            self._beaten_at = asked_at
            self._beat_share = self._rng.uniform(0.9, 1.0)
            self._notice = notice
            self._pace = Pace(self._pace.kitchen_lease_s, notice.fleet_size)
            if not notice.is_lost:
                self._lease_s = lease_s
                self._lease_ends = asked_at + lease_s
            if is_new:
                self._changes += 1
