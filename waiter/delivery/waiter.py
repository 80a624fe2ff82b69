"""The loop of a waiter: claim, run, finish, until it is time to go home.

One thread: what the runner says comes in, what it means goes to the kitchen, and new orders go out. The heartbeat beats
beside it, `Outbox` holds what the kitchen must still hear, `Prefetch` says how much to claim.

Long because it is one loop over one state, the orders that are held: whoever parts it has to share them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import chain
from random import Random

from waiter.delivery.heartbeat import Heartbeat, boottime
from waiter.delivery.hooks import Hooks
from waiter.delivery.host_metrics import host_load, resident_bytes
from waiter.delivery.joblog import Joblog
from waiter.delivery.listener import SUCCEEDED, Listener, Summary
from waiter.delivery.options import DeliveryOptions, Until
from waiter.delivery.outbox import Outbox, PendingOutcome
from waiter.delivery.outcomes import Halt, decide_outcome, died_of, lost, parse_halt, unstartable
from waiter.delivery.prefetch import WAIT_S, Prefetch
from waiter.delivery.runner.client import Delayed, End, Ended, Event, Job, Output, Refused, Returned, Runner, RunnerDied
from waiter.delivery.shutdown import SIGNALS, Shutdown, Stop
from waiter.delivery.spool import Spool
from waiter.delivery.state import Counters, Executor, HeldOrder
from waiter.delivery.stop_conditions import is_host_busy, stop_reason
from waiter.errors import PASSING, CommandUnstartable, KitchenDamaged, KitchenError, ShiftLost
from waiter.kitchen.contract import Kitchen, sweep_s
from waiter.orders import RESULT_BYTES, FinishResult, Order, Outcome, Reason, Selector, Status, Vitals

RUNNER_WAIT_S = 0.2
"""The longest that the loop waits for the runner before it looks at everything else again."""

ASK_AGAIN_S = 2.0
"""How soon a waiter that waits for the orders of others asks again."""

LOOK_AGAIN_S = 60.0
"""How soon a waiter with nothing to wait for asks again, although the kitchen has announced nothing."""

ALONE_FROM_LOSSES = 2
"""From that many losses on, an order runs alone in its waiter: a poison order takes no innocent neighbour with it."""

SHARED_SIGNAL_S = 0.5
"""How long after a command's death by a signal the waiter may hear the same one: it was sent to all, one by one."""

LOOKED_AT = 10_000
"""In so many orders of a batch is looked for one that has what the command asks for, when the first one has not."""

PULSE_ENDS_WITHIN_S = 30.0
"""How long who goes home waits for its heartbeat's last word with the kitchen."""

HURRY_S = 0.5
"""The same, while the kitchen is away: there is no word to come."""

MAX_RUNNER_DEATHS = 5
"""So many runners may die in a row before the waiter goes home instead of starting another."""


class Delivery:
    """One waiter at work. `run` does it all."""

    def __init__(
        self,
        open_kitchen: Callable[[], Kitchen],
        executor: Executor,
        options: DeliveryOptions,
        *,
        slots: int,
        spool: Callable[[Kitchen], Spool],
        shutdown: Shutdown,
        listener: Listener,
    ) -> None:
        self._open_kitchen = open_kitchen
        self._executor = executor
        self._options = options
        self._halt: Halt | None = parse_halt(options.halt) if options.halt else None
        self._shutdown = shutdown
        self._listener = listener
        self._prefetch = Prefetch(slots)
        self._counters = Counters()
        self._rng = Random()
        self._held: dict[str, HeldOrder] = {}
        self._ahead: frozenset[str] = frozenset()  # of those, what has not begun
        self._cancelled: set[str] = set()  # stop asked for by the kitchen
        self._suspects: list[tuple[float, Ended]] = []  # until when they wait to be judged, see `_ended`
        self._why_left = ""
        self._unstartable: str | None = None
        self._lost_by: KitchenError | None = None  # what the kitchen said that no waiting mends
        self._sweep_failed = ""  # what it said to the last sweep
        self._is_held_asked = False
        self._was_claim_unanswered = False
        self._is_command_tried = False  # some order could be made into a job
        self._began_at = self._idle_since = boottime()
        self._swept_at = boottime()
        self._ask_at = 0.0
        self._changes_seen = -1
        self._hooks = Hooks(options, listener.noted)
        self._joblog: Joblog | None = None
        self._runner, self._kitchen, kept = _begun(executor, open_kitchen, spool)
        self._sweep_s = sweep_s(self._kitchen.lease_s)
        self._outbox = Outbox(self._kitchen, kept, listener.noted)

    # A stay, from check-in to check-out.

    def run(self) -> Summary:
        """Deliver until it is time to go home. Raises CommandUnstartable, KitchenError; orders never get lost by it."""
        try:
            try:
                if self._options.joblog:  # only now: it may be the kitchen that it names
                    self._joblog = Joblog(self._options.joblog, socket.gethostname(), self._listener.noted)
                self._begin_shift()
                self._outbox.hand_in_spool()
                self._top_up()  # before the first wait for a runner that has nothing to say yet
                while not self._is_time_to_go():
                    self._tick()
            finally:
                self._go_home()
        finally:
            self._kitchen.close()
        if self._lost_by is not None:
            raise self._lost_by
        if self._unstartable:
            raise CommandUnstartable(self._unstartable)
        return self._summary()

    def _begin_shift(self) -> None:
        asked_at = boottime()
        name = self._options.name or f"{socket.gethostname()}/{os.getpid()}"
        self._shift = self._kitchen.check_in(name, socket.gethostname(), os.getpid(), self._vitals())
        self._clock_offset_s = self._shift.heartbeat_at - (asked_at + boottime()) / 2
        self._heartbeat = Heartbeat(self._open_kitchen, self._shift, asked_at, self._vitals, self._kitchen.lease_s)
        self._heartbeat.start()
        self._brief_runner()
        self._listener.checked_in(self._shift)

    def _brief_runner(self) -> None:
        self._runner.set_deadline(self._heartbeat.lease_ends)
        self._runner.set_timeout(self._prefetch.timeout_s(self._options.timeout))

    def _go_home(self) -> None:
        self._listener.draining(self._why_left or self._shutdown.why or "error")
        begun = {*self._runner.close(), *(ended.id for _, ended in self._suspects)}
        if not hasattr(self, "_heartbeat"):
            return  # the kitchen did not let it in
        self._let_go(begun)
        try:
            self._tell(self._outbox.hand_in())
            if not self._is_kitchen_away:
                self._outbox.hand_in_spool()  # the check-out releases what is RUNNING, also what has its end on disk
                self._kitchen.check_out(self._shift, replace(self._vitals(), busy=0, running=(), claimed=0))
        except PASSING as error:
            self._outbox.went_away(error)
        finally:
            if self._is_kitchen_away:
                self._listener.noted(
                    "The orders that this waiter still held are offered again when its lease runs out."
                )
            self._heartbeat.stop(HURRY_S if self._is_kitchen_away else PULSE_ENDS_WITHIN_S)
            self._hooks.close()
            if self._joblog:
                self._joblog.close()

    @property
    def _is_kitchen_away(self) -> bool:
        return self._outbox.away_since is not None

    def _let_go(self, begun: Collection[str]) -> None:
        """Part from orders that are still held, which is so only after an error. What has begun counts as an attempt,
        and as a loss: the order may be what brought the error about."""
        for order_id, held in self._held.items():
            if order_id in begun:
                outcome = self._lost(held.order, "its waiter went home with an error while it ran")
                self._outbox.finish(PendingOutcome(held.shift, held.order, outcome))
            else:
                self._outbox.release(held.shift, held.order)

    def _tick(self) -> None:
        self._handle_events(self._runner.events(RUNNER_WAIT_S))
        self._settle_suspects()
        self._give_back_what_waits()
        self._talk_to_kitchen()
        self._handle_stop_requests()

    # What the runner says.

    def _handle_events(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Ended():
                    self._ended(event)
                case Output():
                    if (held := self._held.get(event.id)) is not None:
                        self._listener.output(held.order, event.stream, event.chunk)
                case Returned():
                    self._give_back(event.ids)
                case Refused():
                    self._unstartable = event.why
                    self._give_back([event.id])
                    self._shutdown.request(Stop.DRAIN)
                case Delayed():
                    self._listener.noted(_words_of(event))
                case RunnerDied():
                    self._runner_died(event)

    def _ended(self, ended: Ended) -> None:
        self._counters.runner_deaths = 0
        if died_of(ended, SIGNALS) and not self._shutdown.heard:
            # By its own fault, or as all do when a service or a machine is stopped: then this waiter hears of it, too.
            self._suspects.append((boottime() + SHARED_SIGNAL_S, ended))
        else:
            self._settle(ended)

    def _settle_suspects(self, *, is_last_call: bool = False) -> None:
        is_clear = bool(self._shutdown.heard) or is_last_call
        suspects, self._suspects = self._suspects, []
        for until, ended in suspects:
            if is_clear or boottime() >= until:
                self._settle(ended)
            else:
                self._suspects.append((until, ended))

    def _settle(self, ended: Ended) -> None:
        held = self._held[ended.id]  # until its outcome is on its way, whatever goes wrong on the way there
        if died_of(ended, self._shutdown.heard):
            ended = replace(ended, end=End.STOPPED)  # whoever stopped this waiter stopped it
        if len(self._held) == 1:
            self._ask_at = 0.0  # nothing of our own to wait for any more
        self._idle_since = boottime()
        why_stopped = Reason.CANCELLED if ended.id in self._cancelled else Reason.INTERRUPTED
        outcome = decide_outcome(
            held.order, ended, self._options, self._clock_offset_s, self._rng, self._executor.version(), why_stopped
        )
        if outcome.reason is Reason.INTERRUPTED:
            # Its command has begun, so its attempt counts: no two executions share a number. Nobody failed.
            self._hand_over(held, outcome)
            self._counters.claimed -= 1
            return
        if ended.cut_from is not None:
            self._listener.noted(_words_of_cut(held.order, ended.cut_from))
        self._prefetch.saw(outcome.duration_s, is_delivered=outcome.status is Status.DONE)
        self._record(held, outcome)

    def _hand_over(self, held: HeldOrder, outcome: Outcome) -> None:
        self._outbox.finish(PendingOutcome(held.shift, held.order, outcome))
        self._part_with(held.order.id)

    def _part_with(self, order_id: str) -> HeldOrder | None:
        self._cancelled.discard(order_id)  # should it come back, it was not asked of that claim
        return self._held.pop(order_id, None)

    def _record(self, held: HeldOrder, outcome: Outcome) -> None:
        self._hand_over(held, outcome)  # first: a joblog on a full disk, or a listener, must not lose it
        self._counters.count(outcome.status)
        if outcome.status is Status.READY:
            self._ask_at = min(self._ask_at, boottime() + outcome.delay_s)
        if self._joblog:
            self._joblog.write(held.order, outcome, [os.fsdecode(word) for word in held.argv or ()])
        self._listener.finished(held.order, outcome)
        self._hooks.call(held.order, outcome)
        self._look_at_halt()

    def _give_back(self, order_ids: Sequence[str]) -> None:
        for order_id in order_ids:
            if (held := self._part_with(order_id)) is not None:
                self._listener.given_back(held.order)
                self._release(held)

    def _give_back_what_waits(self) -> None:
        """What was claimed ahead is for others where it does not soon begin here: after a pause, or behind slow orders.

        While the kitchen is away nobody else could take it.
        """
        queue = self._runner.waiting()
        self._ahead = frozenset([*queue, *self._waiting()])
        if self._outbox.away_since is not None:
            return
        if self._heartbeat.notice.is_paused:
            self._give_back(self._waiting())
        elif not queue or boottime() - self._held[queue[0]].claimed_at < WAIT_S:
            return
        else:
            self._prefetch.held_up()
        if queue:
            self._runner.give_back()

    def _release(self, held: HeldOrder) -> None:
        if held.shift.token == self._shift.token:  # a lost shift has nothing to give back
            self._outbox.release(held.shift, held.order)
            self._counters.claimed -= 1

    def _runner_died(self, died: RunnerDied) -> None:
        self._counters.runner_deaths += 1
        if died.why is None:
            self._listener.noted("The runner process died; its commands were killed. Starting another one.")
        for order_id in died.ids:
            if (held := self._held.get(order_id)) is not None:
                self._record(held, self._lost(held.order, "its runner died while it ran"))
        self._settle_suspects(is_last_call=True)
        self._give_back(list(self._held))
        self._runner.close()
        if died.why is not None:
            self._unstartable = f"no command can be run on this machine: {died.why}"
        elif self._counters.runner_deaths >= MAX_RUNNER_DEATHS:
            self._unstartable = f"the runner process died {MAX_RUNNER_DEATHS} times in a row"
        if self._unstartable:
            self._shutdown.request(Stop.DRAIN)
            return
        self._runner = self._executor.start_runner()
        self._brief_runner()

    def _lost(self, order: Order, words: str) -> Outcome:
        now = boottime() + self._clock_offset_s
        return lost(order, words, now, self._executor.version(), self._options.max_losses, self._rng)

    # What the kitchen says.

    def _talk_to_kitchen(self) -> None:
        self._outbox.heard_at = self._heartbeat.heard_at
        try:
            self._come_back()
            self._tell(self._outbox.hand_in())
            self._handle_notice()
            self._sweep()
            self._top_up()
        except KitchenError as error:
            self._lose_kitchen(error)

    def _lose_kitchen(self, error: KitchenError) -> None:
        """Go home once what runs has ended: waiting does not mend this, and no command is to pay for it."""
        if self._lost_by is not None:
            return  # said, and the pulse goes on saying it
        self._lost_by = error
        self._outbox.is_lost(error)
        self._shutdown.request(Stop.DRAIN, "kitchen lost")

    def _tell(self, accepted: Sequence[tuple[PendingOutcome, FinishResult]]) -> None:
        for pending, result in accepted:
            if result is FinishResult.LATE:
                self._counters.late += 1
                self._listener.late(pending.order, pending.outcome)

    def _come_back(self) -> None:
        """Ask a kitchen that was away for what went wrong meanwhile:

        Outcomes on disk, orders claimed without a reply.
        """
        if not self._outbox.may_ask or (self._outbox.away_since is None and not self._is_held_asked):
            return
        try:
            # Nothing below asks it anything if nothing waits for it. And a full disk can still be read from.
            self._kitchen.heartbeat(self._shift, self._vitals())
            self._outbox.hand_in_spool()
            # What waits to be handed in is RUNNING there too, and must not be taken for an order never started.
            self._tell(self._outbox.hand_in())
            if self._outbox.is_clear and self._outbox.may_ask:
                self._find_what_is_held()
                self._outbox.came_back()
        except PASSING as error:
            self._outbox.went_away(error)

    def _find_what_is_held(self) -> None:
        """Take the orders of claims without a reply, or give them back if it is time to go."""
        if not self._is_held_asked:
            return
        found = [order for order in self._kitchen.held(self._shift) if order.id not in self._held]
        self._is_held_asked = False
        if not self._shutdown.level:
            self._accept(found)
            return
        for order in found:
            self._outbox.release(self._shift, order)

    def _handle_notice(self) -> None:
        if self._heartbeat.broken is not None:
            raise self._heartbeat.broken
        notice = self._heartbeat.notice
        self._brief_runner()
        if notice.is_lost:
            if self._outbox.may_ask:
                self._begin_shift_anew()
            return
        if notice.is_draining:
            self._shutdown.request(Stop.DRAIN)
        asked = [
            order_id for order_id in notice.cancelled if order_id in self._held and order_id not in self._cancelled
        ]
        if asked:
            self._cancelled.update(asked)
            self._runner.stop(asked)

    def _begin_shift_anew(self) -> None:
        self._listener.noted("The kitchen gave this waiter up: its orders are offered to others. Starting a new shift.")
        self._runner.give_back()
        if self._options.on_lost == "kill":
            self._runner.stop(list(self._held))
        old = self._heartbeat
        try:
            self._begin_shift()
        except PASSING as error:
            self._outbox.went_away(error)  # the old pulse goes on saying that the shift is lost
        else:
            old.stop()

    def _sweep(self) -> None:
        outbox = self._outbox
        if boottime() - self._swept_at < self._sweep_s or not outbox.may_ask or not self._heartbeat.may_reclaim:
            return
        self._swept_at = boottime()
        try:
            reclaimed = self._kitchen.reclaim(self._options.max_losses)
        except PASSING as error:
            self._outbox.went_away(error)
            return
        except KitchenDamaged:
            raise
        except KitchenError as error:  # one order of somebody else stops nobody's work
            if str(error) != self._sweep_failed:
                self._listener.noted(f"Orders of dead waiters cannot be taken back: {error}")
            self._sweep_failed = str(error)
            return
        # A claim without a reply may take effect later still: a server that was frozen finds it in its buffers.
        self._is_held_asked = self._was_claim_unanswered
        if reclaimed:
            self._ask_at = 0.0
            names = ", ".join(reclaimed.shifts) or "a waiter that is gone"
            self._listener.noted(f"Took back orders of {names}: {reclaimed.ready + reclaimed.failed}.")

    # New orders.

    def _top_up(self) -> None:
        if not self._wants_orders():
            return
        limit = self._claim_size()
        is_held_back = self._heartbeat.notice.is_paused or is_host_busy(self._options)
        if limit <= 0 or (is_held_back and self._held):
            return
        try:
            # Who may take nothing still looks out: others may have delivered everything, and then it goes home.
            orders = [] if is_held_back else self._kitchen.claim(self._shift, limit, exclude=tuple(self._held))
            if orders:
                self._accept(orders)
            else:
                self._check_backlog()
        except ShiftLost:
            self._begin_shift_anew()
        except PASSING as error:
            # The claim may have happened: ask the kitchen what this shift holds before anything of it runs.
            self._is_held_asked = self._was_claim_unanswered = True
            self._outbox.went_away(error)

    def _claim_size(self) -> int:
        """How many orders to claim now."""
        held, counters = len(self._held), self._counters
        limit = self._prefetch.claim_size(held)
        if self._options.max_orders is not None:
            limit = min(limit, self._options.max_orders - counters.claimed)
        if self._options.max_load or self._options.min_memory:
            limit = min(limit, self._prefetch.slots - held)
        if self._halt and (left := self._halt.left(counters.delivered, counters.failed)) is not None:
            # What waits in the runner does not halt at once.
            limit = min(limit, max(self._prefetch.slots, left) - held)
        return limit

    def _wants_orders(self) -> bool:
        outbox = self._outbox
        if self._shutdown.level or self._holds_poison_order() or outbox.away_since is not None or outbox.is_spool_full:
            return False
        if boottime() >= self._heartbeat.lease_ends:
            return False
        if self._heartbeat.changes != self._changes_seen:
            self._changes_seen = self._heartbeat.changes
            return True
        return boottime() >= self._ask_at

    def _accept(self, orders: Sequence[Order]) -> None:
        self._ask_at = 0.0
        self._idle_since = boottime()
        self._counters.claimed += len(orders)
        self._listener.claimed(orders)
        jobs: list[Job] = []
        holds_poison_order = self._holds_poison_order()
        for order in orders:
            holds_poison_order = holds_poison_order or order.losses >= ALONE_FROM_LOSSES
            if self._held and holds_poison_order:
                self._held[order.id] = HeldOrder(order, self._shift, None, boottime())
            elif (job := self._job(order)) is not None:
                jobs.append(job)
        if jobs:
            self._runner.submit(jobs)

    def _holds_poison_order(self) -> bool:
        """Whether it holds an order that may take its neighbours down with it."""
        return any(held.order.losses >= ALONE_FROM_LOSSES for held in self._held.values())

    def _job(self, order: Order) -> Job | None:
        try:
            job = self._executor.job(order)
        except ValueError as error:
            self._refuse_if_none_fits(order)
            outcome = unstartable(order, str(error), boottime() + self._clock_offset_s, self._executor.version())
            self._record(HeldOrder(order, self._shift, (), boottime()), outcome)
            return None
        self._is_command_tried = True
        self._held[order.id] = HeldOrder(order, self._shift, job.argv, boottime())
        return job

    def _refuse_if_none_fits(self, order: Order) -> None:
        """The first order lacks what the command asks for. Raise UsageError if all others do, too: nothing has run."""
        if not self._is_command_tried:
            others = self._kitchen.find(Selector(batch=order.batch), limit=LOOKED_AT)
            self._executor.check(chain([order], others))
            self._is_command_tried = True

    def _check_backlog(self) -> None:
        """Nothing to claim: find out whether there will be, and when to ask again."""
        backlog = self._kitchen.backlog()
        wait_s = ASK_AGAIN_S if backlog.ready or backlog.running else LOOK_AGAIN_S
        if backlog.next_due_s is not None:
            wait_s = min(wait_s, max(0.05, backlog.next_due_s))
        self._ask_at = boottime() + wait_s
        if backlog.running and not self._held:
            # Do not wait longer than needed for the dead.
            self._swept_at = min(self._swept_at, boottime() - self._sweep_s)
        is_over = {Until.DONE: backlog.is_done, Until.EMPTY: backlog.is_empty, Until.STOPPED: False}
        if not self._held and self._outbox.is_clear and is_over[self._options.until]:
            self._why_left = "done"

    # When to stop.

    def _is_time_to_go(self) -> bool:
        self._start_alone()
        if self._held or not self._outbox.may_leave:
            return False
        away_since = self._outbox.away_since
        self._why_left = self._why_left or (
            self._shutdown.why
            if self._shutdown.level
            else stop_reason(
                self._options, self._counters.claimed, self._began_at, self._idle_since, away_since, boottime()
            )
        )
        return bool(self._why_left)

    def _waiting(self) -> list[str]:
        """Orders that are held until nothing else runs."""
        return [order_id for order_id, held in self._held.items() if held.argv is None]

    def _start_alone(self) -> None:
        waiting = self._waiting()
        if not waiting or len(waiting) < len(self._held):
            return
        order = self._held[waiting[0]].order
        if order.id in self._cancelled:
            self._give_back([order.id])  # the runner was told to stop it, and knew nothing of it
        elif (job := self._job(order)) is not None:
            self._runner.submit([job])

    def _handle_stop_requests(self) -> None:
        options = self._options
        if options.max_time_s is not None and boottime() - self._began_at >= options.max_time_s:
            self._shutdown.request(Stop.DRAIN, "max time")
        if self._shutdown.consume(Stop.DRAIN):
            self._listener.draining(self._shutdown.why)
            if not self._unstartable:  # that is said at the end
                self._listener.noted(f"Going home ({self._shutdown.why}): what runs may end, the rest is given back.")
            self._runner.give_back()
            self._give_back(self._waiting())
        if self._shutdown.consume(Stop.NOW):
            self._listener.noted("Stopping what runs; its orders are given back.")
            self._runner.stop(list(self._held))

    def _look_at_halt(self) -> None:
        if self._halt and self._halt.is_reached(self._counters.delivered, self._counters.failed):
            why = SUCCEEDED if self._halt.counts == "success" else "halted"
            self._shutdown.request(Stop.NOW if self._halt.is_now else Stop.DRAIN, why)
        if self._options.pause_after and self._counters.failed_in_a_row >= self._options.pause_after:
            self._counters.failed_in_a_row = 0
            self._pause_if_others_do_well()

    def _pause_if_others_do_well(self) -> None:
        try:
            others = [shift for shift in self._kitchen.shifts() if shift.token != self._shift.token]
            if any(other.lost_at is None and other.vitals.delivered > other.vitals.failed for other in others):
                reason = f"{self._options.pause_after} orders in a row failed here while others deliver theirs"
                self._kitchen.pause(self._shift.waiter, reason)
                self._listener.noted(f"{reason}: this waiter pauses. Mend the host, then: waiter resume")
        except PASSING as error:
            self._outbox.went_away(error)
        except KitchenError as error:
            self._lose_kitchen(error)

    # What it tells of itself.

    def _vitals(self) -> Vitals:
        counters = self._counters
        held, ahead = list(self._held), self._ahead
        running = [order_id for order_id in held if order_id not in ahead][: self._prefetch.slots]
        return Vitals(
            slots=self._prefetch.slots,
            busy=len(running),
            delivered=counters.delivered,
            failed=counters.failed,
            memory=resident_bytes(self._runner.pid),
            load=host_load(),
            running=tuple(running[:64]),
            claimed=len(held) - len(running),
            command=self._executor.title[:200],
            command_hash=self._executor.version(),
            is_draining=self._shutdown.level > Stop.NO,
        )

    def _summary(self) -> Summary:
        counters = self._counters
        return Summary(
            delivered=counters.delivered,
            failed=counters.failed,
            retried=counters.retried,
            cancelled=counters.cancelled,
            late=counters.late,
            spooled=self._outbox.spooled,
            refused=self._outbox.refused,
            seconds=boottime() - self._began_at,
            left_because=self._why_left,
            is_joblog_lost=self._joblog is not None and self._joblog.is_lost,
        )


def _words_of(delay: Delayed) -> str:
    if delay.why is None:
        return "Commands start again."
    return f"No command can be started now: {delay.why}. Trying again and again."


def _words_of_cut(order: Order, size: int) -> str:
    return (
        f"{order.id}: its result is cut: of {size:,} bytes the first {RESULT_BYTES:,} are kept\n"
        "hint: write what is larger to a file, and its name as the result"
    )


def _begun(
    executor: Executor, open_kitchen: Callable[[], Kitchen], spool: Callable[[Kitchen], Spool]
) -> tuple[Runner, Kitchen, Spool]:
    """A runner that starts while the kitchen is opened."""
    runner = executor.start_runner()
    try:
        kitchen = open_kitchen()
        return runner, kitchen, spool(kitchen)
    except BaseException:
        runner.close()
        raise
