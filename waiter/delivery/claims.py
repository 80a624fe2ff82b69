"""How a waiter gets its orders: how many it claims, when, and which of them run alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import chain
from math import ceil

from waiter.delivery.claim_timer import wait_s
from waiter.delivery.endings import Endings
from waiter.delivery.held_orders import HeldOrder, may_be_poison
from waiter.delivery.options import Until
from waiter.delivery.outcomes import unstartable
from waiter.delivery.runner.client import Job
from waiter.delivery.state import Work
from waiter.delivery.stop_conditions import is_host_busy
from waiter.delivery.sweep import Sweep
from waiter.errors import PASSING, UsageError
from waiter.orders import Order, Selector
from waiter.processes import boottime

LOOKED_AT = 10_000
"""In so many orders of a batch is looked for one that has what the command asks for, when the first one has not."""


class Claims:
    """Puts orders into the waiter's hands."""

    def __init__(self, work: Work, endings: Endings, sweep: Sweep) -> None:
        self._work = work
        self._endings = endings
        self._sweep = sweep
        self._fitting: set[str] = set()  # batches of which some order has what the command asks for
        self._changes_seen = -1
        self._said: set[str] = set()

    def top_up(self) -> None:
        """Claim orders if any are wanted now. Raises ShiftLost, and KitchenError where waiting mends nothing."""
        work = self._work
        if not self._wants_orders():
            return
        limit = self._claim_size()
        is_held_back = work.current.heartbeat.notice.is_paused or is_host_busy(work.options)
        if limit <= 0 or (is_held_back and work.held):
            return
        try:
            # Who may take nothing still looks out: others may have delivered everything, and then it goes home.
            if orders := [] if is_held_back else self._claim(limit):
                self.accept(orders)
            else:
                self._check_backlog()
        except PASSING as error:
            # The claim may have happened: ask the kitchen what this shift holds before anything of it runs.
            work.unanswered.note()
            work.absence.went_away(error)

    def _claim(self, limit: int) -> list[Order]:
        work, changes = self._work, self._work.current.heartbeat.changes
        if work.scope.is_stale or changes != self._changes_seen:
            work.scope.look()
            self._changes_seen = changes
        for scope, part in work.scope.claims():
            if orders := work.kitchen.claim(work.current.shift, ceil(limit * part), tuple(work.held), scope):
                return orders
        return []

    def _wants_orders(self) -> bool:
        work, heartbeat = self._work, self._work.current.heartbeat
        if work.shutdown.level or work.held.holds_poison_order():
            return False
        if work.absence.since is not None or work.outbox.is_spool_full:
            return False
        now = boottime()
        return now < heartbeat.lease_ends and work.timer.is_due(now, heartbeat.changes)

    def _claim_size(self) -> int:
        """How many orders to claim now."""
        work, held = self._work, len(self._work.held)
        counters, slots = work.counters, work.prefetch.slots
        limit = work.prefetch.claim_size(held)
        if work.options.max_orders is not None:
            limit = min(limit, work.options.max_orders - counters.claimed)
        if work.options.max_load or work.options.min_memory:
            limit = min(limit, slots - held)
        halt_left = work.halt.left(counters.delivered, counters.failed) if work.halt else None
        for left in (halt_left, work.brake.left()):
            if left is not None:
                limit = min(limit, max(slots, left) - held)  # what waits in the runner does not stop at once
        return limit

    def accept(self, orders: Sequence[Order]) -> None:
        """These are this waiter's now, but for those that are another command's."""
        work = self._work
        work.timer.ask_at_once()
        if not (orders := self._admitted(orders)):
            return
        work.idle_since = boottime()
        work.counters.claimed += len(orders)
        work.listener.claimed(orders)
        jobs: list[Job] = []
        holds_poison_order = work.held.holds_poison_order()
        for order in orders:
            holds_poison_order = holds_poison_order or may_be_poison(order)
            if work.held and holds_poison_order:
                work.held.add(HeldOrder(order, work.current.shift, None, boottime()))
            elif (job := self._job(order)) is not None:
                jobs.append(job)
        if jobs:
            work.runner.submit(jobs)

    def _admitted(self, orders: Sequence[Order]) -> list[Order]:
        """Those of the orders that this waiter may run; the others go back."""
        work = self._work
        for order in {order.batch: order for order in reversed(orders)}.values():  # the first of each batch
            if order.batch not in self._fitting and work.scope.takes(order.batch):
                self._check(order)  # before its batch is bound to a command that cannot take its orders
        mine, others = work.scope.admit(orders)
        for order in list(mine):
            if why := work.executor.missing(order):
                work.scope.leave_out(order.batch, why)
                mine.remove(order)
                others.append(order)
        for order in others:
            work.outbox.release(work.current.shift, order)
        return mine

    def ask_what_is_held(self) -> None:
        """Take the orders of claims that were not answered, or give them back if it is time to go."""
        work, shift = self._work, self._work.current.shift
        if not work.unanswered.is_question_open:
            return
        found = [order for order in work.kitchen.held(shift) if order.id not in work.held]
        work.unanswered.answered()
        if not work.shutdown.level:
            self.accept(found)
            return
        for order in found:
            work.outbox.release(shift, order)

    def start_alone(self) -> None:
        """Start an order that waits until nothing else runs, if nothing else does."""
        work = self._work
        order = work.held.next_alone()
        if order is None:
            return
        if work.held.is_cancelled(order.id):
            self._endings.give_back([order.id])  # the runner was told to stop it, and knew nothing of it
        elif (job := self._job(order)) is not None:
            work.runner.submit([job])

    def _job(self, order: Order) -> Job | None:
        work = self._work
        try:
            job = work.executor.job(order)
        except ValueError as error:
            outcome = unstartable(order, str(error), work.current.kitchen_time(), work.executor.version(order))
            self._endings.record(HeldOrder(order, work.current.shift, (), boottime()), outcome)
            return None
        work.held.add(HeldOrder(order, work.current.shift, job.argv, boottime()))
        return job

    def _check(self, order: Order) -> None:
        """Leave the order's batch alone if none of its orders has what the command asks for.

        Raises UsageError instead as long as nothing was taken: then the command is wrong, and nothing has run.
        """
        work = self._work
        try:
            others = work.kitchen.find(Selector(batch=order.batch), limit=LOOKED_AT)
            work.executor.check(chain([order], others))
            self._fitting.add(order.batch)
        except UsageError as error:
            if not work.counters.claimed:
                raise
            work.scope.leave_out(order.batch, str(error))

    def _check_backlog(self) -> None:
        """Nothing to claim: find out whether there will be, and when to ask again."""
        work = self._work
        backlog, now = work.kitchen.backlog(work.scope.all()), boottime()
        self._say_what_is_left_alone()
        work.timer.ask_at(now + wait_s(backlog))
        if work.held:
            return
        if backlog.running:
            self._sweep.bring_forward(now)
        is_over = {Until.DONE: backlog.is_done, Until.EMPTY: backlog.is_empty, Until.STOPPED: False}
        if work.outbox.is_clear and is_over[work.options.until]:
            work.why_left = "done"
            is_for_one_command = work.executor.words is not None
            if work.scope.left_out and (is_for_one_command or not work.counters.claimed):
                work.unstartable = next(iter(work.scope.left_out.values()))

    def _say_what_is_left_alone(self) -> None:
        """Why orders that are READY are not taken, once."""
        work = self._work
        for batch, why in work.scope.pauses().items():
            hint = f"hint: to go on: waiter resume --batch {shlex.quote(batch)}"
            self._say_once(f"Batch {batch} is paused: {why}\n{hint}")
        for batch, why in work.scope.left_out.items():
            self._say_once(f"Batch {batch} is left alone: {why}")

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._work.listener.noted(message)
