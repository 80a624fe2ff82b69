"""How a waiter gets its orders: how many it claims, when, and which of them run alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from math import ceil, inf

from waiter.delivery.claim_timer import wait_s
from waiter.delivery.earlier import with_earlier
from waiter.delivery.endings import Endings
from waiter.delivery.held_orders import HeldOrder, may_be_poison
from waiter.delivery.idle_notes import IdleNotes, why_nothing_to_claim
from waiter.delivery.listener import BRAKED
from waiter.delivery.options import Until
from waiter.delivery.outcomes import unstartable
from waiter.delivery.packed_claims import ASK_AGAIN_S, PackedClaims
from waiter.delivery.runner.client import Job
from waiter.delivery.state import Work
from waiter.delivery.stop_conditions import why_nothing_starts
from waiter.delivery.sweep import Sweep
from waiter.errors import PASSING, UsageError
from waiter.kitchen.contract import CLAIM_LIMIT, Backlog
from waiter.orders import Order, Selector
from waiter.processes import boottime

LOOKED_AT = 10_000
"""In so many orders of a batch is looked for one that has what the command asks for, when the first one has not."""

SAY_WAITING_S = 5.0
"""After so long with nothing to do a waiter says for what a batch waits."""

LET_GO_S = 5.0
LET_GO_SHARE = 0.01
"""How often, and for which share of the time, a waiter with nothing else to do asks the kitchen to look through what is
held."""

BUSY_LOOK_S = 15.0
"""How often a waiter that has other work looks whether a batch that waits for others still does."""


class Claims:
    """Puts orders into the waiter's hands."""

    def __init__(self, work: Work, endings: Endings, sweep: Sweep) -> None:
        self._work = work
        self._endings = endings
        self._sweep = sweep
        self._fitting: set[str] = set()  # batches of which some order has what the command asks for
        self._changes_seen = -1
        self._look_again_at = inf
        self._let_go_again_at = 0.0
        self._missed: frozenset[str] = frozenset()  # the batches that it was asked for last
        self._said: set[str] = set()
        self._said_of: dict[str, bool] = {}  # batches of which is said that they wait, and whether in vain
        self._packed = PackedClaims(work)
        self._idle = IdleNotes(work)
        self._waits_for_others = False  # it has no order, and the last look found only orders that others run

    def top_up(self) -> None:
        """Claim orders if any are wanted now. Raises ShiftLost, and KitchenError where waiting does not help."""
        work = self._work
        work.share.keep_only(work.held)
        self._idle.say()
        if not self._wants_orders():
            return
        limit = self._claim_size()
        if limit <= 0:
            self._idle.note(None)
            return
        why_not = why_nothing_starts(work.options, is_paused=work.current.heartbeat.notice.is_paused)
        if why_not:
            self._idle.note(why_not)
            if work.held:
                return
        try:
            if self._waits_for_others and not why_not and self._waits_on():
                return
            # Even if no order may be taken, look: others may have delivered everything, and then it leaves.
            if not why_not and self._take(limit):
                self._idle.note(self._packed.waits_for)
            elif not why_not and self._packed.waits_for:
                self._idle.note(self._packed.waits_for)
                work.timer.ask_at(boottime() + ASK_AGAIN_S)
            else:
                self._check_backlog(why_not)
        except PASSING as error:
            # The claim may have happened: ask the kitchen what this shift holds before anything of it runs.
            work.unanswered.note()
            work.absence.went_away(error)

    def _waits_on(self) -> bool:
        """Whether there is still nothing but orders that others run, as when it looked last: one small question."""
        work, heartbeat = self._work, self._work.current.heartbeat
        if work.scope.is_stale or heartbeat.changes != self._changes_seen:
            return False
        if not work.kitchen.is_only_running(work.scope.all()):
            return False
        now = boottime()
        work.timer.ask_at(now + heartbeat.pace.look_s(ASK_AGAIN_S, work.rng))
        self._sweep.bring_forward(now, heartbeat.pace.turn_s)
        return True

    def _take(self, limit: int) -> bool:
        """Claim so many, and start them; False if there was none."""
        first = self._work.prefetch.at_first(limit, len(self._work.held))
        orders = self._claim(first)
        if orders:
            self.accept(orders)
        if first <= len(orders) < limit and (rest := self._claim(limit - len(orders))):
            self.accept(rest)
        return bool(orders)

    def _claim(self, limit: int) -> list[Order]:
        work, changes = self._work, self._work.current.heartbeat.changes
        if work.scope.is_stale or changes != self._changes_seen or boottime() >= self._look_again_at:
            work.scope.look()
            self._changes_seen = changes
            self._look_again_at = boottime() + BUSY_LOOK_S if work.scope.waiting else inf
        if self._packed.is_used:
            return self._packed.claim(limit, self._claim_once)
        orders = self._claim_once(limit, ())
        while CLAIM_LIMIT <= len(orders) < limit and (
            more := self._claim_once(limit - len(orders), [order.id for order in orders])
        ):
            orders += more  # for a call of many orders that is to be full
        return orders

    def _claim_once(self, limit: int, others: Sequence[str]) -> list[Order]:
        """What the kitchen gives in one claim, beside what is held and these others."""
        work = self._work
        known = (*work.held, *others)
        for scope, part in work.scope.claims():
            if work.scope.has_rows_with_needs:  # whose place is kept must be met again
                scope = replace(scope, is_strict=True)  # noqa: PLW2901
            began = boottime()
            if orders := work.kitchen.claim(work.current.shift, ceil(limit * part), known, scope):
                work.prefetch.claimed(boottime() - began)
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
        if work.options.max_load or work.options.min_memory or self._packed.is_used:
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
        self._waits_for_others = False
        if not (orders := self._admitted(self._with_earlier(orders))):
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
        granted = self._packed.granted(mine, work.prefetch.slots - len(work.held))
        if len(granted) < len(mine):
            others += [order for order in mine if order not in granted]
        for order in others:
            work.outbox.release(work.current.shift, order)
        return granted

    def _with_earlier(self, orders: Sequence[Order]) -> list[Order]:
        """The orders, with what earlier stages know of their rows where their command asks for it."""
        work, found = self._work, dict[str, Order]()
        for batch, order in {order.batch: order for order in orders}.items():
            if stages := work.scope.stages_before(order, work.executor.words):
                own = (order for order in orders if order.batch == batch)
                found |= {order.id: order for order in with_earlier(work.kitchen, own, stages)}
        return [found.get(order.id, order) for order in orders] if found else [*orders]

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
            outcome = unstartable(order, str(error), work.current.kitchen_time(), work.version(order))
            self._endings.record(HeldOrder(order, work.current.shift, (), boottime()), outcome)
            return None
        work.held.add(HeldOrder(order, work.current.shift, job.argv, boottime()))
        return self._packed.with_grant(job, order)

    def _check(self, order: Order) -> None:
        """Leave the order's batch alone if none of its orders has what the command asks for.

        Raises UsageError instead as long as nothing was taken: then the command is wrong, and nothing has run.
        """
        work = self._work
        try:
            others = work.kitchen.find(Selector(batch=order.batch), limit=LOOKED_AT)
            stages = work.scope.stages_before(order, work.executor.words)
            work.executor.check(chain([order], with_earlier(work.kitchen, others, stages)))
            self._fitting.add(order.batch)
        except UsageError as error:
            if not work.counters.claimed:
                raise
            work.scope.leave_out(order.batch, str(error))

    def _check_backlog(self, why_not: str | None) -> None:
        """Nothing to claim, or not now: find out whether there will be, and when to ask again."""
        work, now = self._work, boottime()
        self._waits_for_others = False
        if self._let_rows_go(now):
            work.timer.ask_at_once()
            return
        # Only now: what others have let go since the batches were looked at is READY in it.
        backlog = work.kitchen.backlog(work.scope.all())
        self._say_what_is_left_alone()
        if not why_not:
            self._idle.note(*((None,) if work.held else self._why_nothing(backlog)))
        wait = wait_s(backlog, now - work.idle_since if work.scope.waiting else None)
        pace = work.current.heartbeat.pace
        stretched = pace.claim_s if backlog.ready and not why_not else pace.look_s
        work.timer.ask_at(now + stretched(wait, work.rng))
        work.scope.is_stale |= bool(work.scope.waiting)
        if work.held:
            return
        self._waits_for_others = backlog.is_only_running and not why_not and not work.scope.waiting
        if backlog.running:
            self._sweep.bring_forward(now, pace.turn_s)
        if self._packed.too_large and backlog.ready <= len(self._packed.too_large):
            backlog = replace(backlog, ready=0)  # what is left is for other hosts
        is_over = {Until.DONE: backlog.is_done, Until.EMPTY: backlog.is_empty, Until.STOPPED: False}
        work.shutdown.is_over = work.outbox.is_clear and is_over[work.options.until] and not work.scope.expects_rows
        if work.shutdown.is_over:
            self._idle.note(None)  # it leaves, or stays for the sake of others in its process

    def done(self) -> str:
        """Why it leaves, now that nothing is left to do; what is left for others alone is told as an error."""
        work = self._work
        is_for_one_command = work.executor.words is not None
        if work.scope.left_out and (is_for_one_command or not work.counters.claimed):
            work.unstartable = next(iter(work.scope.left_out.values()))
        for order_id, why in self._packed.too_large.items():
            work.unstartable = work.unstartable or f"{order_id} and perhaps others are left: {why}"
        return BRAKED if work.scope.braked else "done"

    def _why_nothing(self, backlog: Backlog) -> tuple[str, float]:
        scope = self._work.scope
        return why_nothing_to_claim(backlog, scope.pauses(), scope.blockers(), has_others=scope.has_others)

    def _let_rows_go(self, now: float) -> bool:
        """Let go orders that wait although the order of their row is DONE: who finished that one died before it did."""
        work, missed = self._work, self._work.scope.misses_rows
        if work.held or not missed or (now < self._let_go_again_at and missed == self._missed):
            return False
        self._missed = missed
        released = work.kitchen.release_rows()
        took_s = boottime() - now
        self._let_go_again_at = now + max(LET_GO_S, took_s / LET_GO_SHARE)
        return released > 0

    def _say_what_is_left_alone(self) -> None:
        """Why orders that are READY are not taken, once."""
        work = self._work
        for batch, why in work.scope.pauses().items():
            if why in work.scope.braked.values():  # said already, when it was stopped
                continue
            hint = f"hint: to go on: waiter resume --batch {shlex.quote(batch)}"
            self._say_once(f"Batch {batch} is paused: {why}\n{hint}")
        for batch, why in work.scope.left_out.items():
            self._say_once(f"Batch {batch} is left alone: {why}")
        self._say_what_waits()

    def _say_what_waits(self) -> None:
        """For what batches wait: when this waiter has long had nothing else to do, and when it has come to naught."""
        work = self._work
        is_idle = not work.held and boottime() - work.idle_since >= SAY_WAITING_S
        waiting = work.scope.waiting_batches()
        self._said_of = {batch: is_stuck for batch, is_stuck in self._said_of.items() if waiting.get(batch) is is_stuck}
        for batch, is_stuck in waiting.items():
            if (is_stuck or is_idle) and batch not in self._said_of:
                self._said_of[batch] = is_stuck
                work.listener.waits(*work.scope.why_waiting(batch))

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._work.listener.noted(message)
