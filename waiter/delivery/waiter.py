"""The loop of a waiter: claim, run, finish, until it is time to leave.

One thread: what the runner says comes in, what it means goes to the kitchen, and new orders go out. The heartbeat beats
beside it. `Claims` puts orders into the waiter's hands, `Endings` takes them out again, `Outbox` holds what the kitchen
must still hear; what they share is `Work`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from waiter.delivery.absence import KitchenAbsence
from waiter.delivery.arrival import Arrival
from waiter.delivery.batch_scope import BatchScope
from waiter.delivery.brake import Brake, brake_after
from waiter.delivery.claims import Claims
from waiter.delivery.current_shift import check_in
from waiter.delivery.endings import Endings
from waiter.delivery.hooks import Hooks
from waiter.delivery.listener import DRAINED, Listener, Summary
from waiter.delivery.options import DeliveryOptions, Until
from waiter.delivery.outbox import Outbox, PendingOutcome
from waiter.delivery.outcomes import parse_halt
from waiter.delivery.prefetch import Prefetch
from waiter.delivery.remaining import Remaining, remaining
from waiter.delivery.resources.share import HostShare
from waiter.delivery.runner.client import (
    Delayed,
    Ended,
    Entangled,
    Event,
    Output,
    Refused,
    Returned,
    Runner,
    RunnerDied,
)
from waiter.delivery.shutdown import Shutdown, Stop
from waiter.delivery.spool import Spool
from waiter.delivery.state import Executor, Work
from waiter.delivery.stop_conditions import stop_reason
from waiter.delivery.sweep import Sweep
from waiter.delivery.vitals import summary, vitals
from waiter.errors import LEASE_EXPIRED, PASSING, CommandUnstartable, KitchenError, ShiftLost
from waiter.kitchen.contract import Kitchen
from waiter.orders import FinishResult, Vitals
from waiter.processes import boottime

RUNNER_WAIT_S = 0.2
"""The longest that the loop waits for the runner before it looks at everything else again."""

HEARTBEAT_ENDS_WITHIN_S = 30.0
"""How long who leaves waits for its heartbeat's last word with the kitchen."""

HURRY_S = 0.5
"""The same, while the kitchen is away: there is no word to come."""


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
        scope: Callable[[Kitchen], BatchScope],
        shutdown: Shutdown,
        listener: Listener,
    ) -> None:
        halt = parse_halt(options.halt) if options.halt else None
        now = boottime()
        self._open_kitchen = open_kitchen
        self._hooks = Hooks(options, listener.noted)
        share = HostShare(options.needs, options.has, lambda: self._work.runner.folder)
        self._arrival = Arrival(listener.noted, lambda: bool(shutdown.level), options.max_time_s)
        runner, kitchen, kept = _begun(executor, open_kitchen, spool, self._arrival, shutdown)
        absence = KitchenAbsence(listener.noted, kept.folder, boottime)
        self._work = Work(
            options=options,
            executor=executor,
            kitchen=kitchen,
            runner=runner,
            listener=listener,
            shutdown=shutdown,
            absence=absence,
            outbox=Outbox(kitchen, kept, absence, listener.noted),
            prefetch=Prefetch(slots, options.many or 1),
            halt=halt,
            scope=scope(kitchen),
            brake=Brake(brake_after(options)),
            began_at=now,
            idle_since=now,
            share=share,
        )
        self._sweep = Sweep(kitchen, options.max_losses, listener.noted, now)
        self._endings = Endings(self._work, self._hooks)
        self._claims = Claims(self._work, self._endings, self._sweep)

    def run(self) -> Summary:
        """Deliver until it is time to leave. Raises CommandUnstartable, KitchenError; orders never get lost by it."""
        work = self._work
        try:
            try:
                if work.options.joblog:  # only now: it may be the kitchen that it names
                    from waiter.delivery.joblog import Joblog  # few waiters keep one

                    work.joblog = Joblog(work.options.joblog, socket.gethostname(), work.listener.noted)
                self._arrive()
                work.outbox.hand_in_spool()
                self._top_up()  # before the first wait for a runner that has nothing to say yet
                while not self._is_time_to_go():
                    self._tick()
            finally:
                self._go_home()
            left = self._remaining()
        finally:
            work.kitchen.close()
        if work.absence.lost_by is not None:
            raise work.absence.lost_by
        if work.unstartable:
            raise CommandUnstartable(work.unstartable)
        return summary(work, left)

    def _arrive(self) -> None:
        work, insist = self._work, self._arrival.insist
        insist(work.scope.check)
        if work.options.until is not Until.STOPPED:
            insist(work.scope.refuse_if_all_are_others)
        insist(self._begin_shift)

    def _remaining(self) -> Remaining | None:
        """What is left behind; who delivered all there was need not ask."""
        work = self._work
        if work.absence.since is not None or work.absence.lost_by is not None:
            return None
        counters = work.counters
        if work.why_left == "done" and (counters.delivered or counters.failed or counters.cancelled):
            return Remaining(0, 0)
        return remaining(work.kitchen, work.scope.mine if work.scope.braked else work.scope.all())

    def _tick(self) -> None:
        self._handle_events(self._work.runner.events(RUNNER_WAIT_S))
        self._endings.settle_suspects()
        self._endings.give_back_what_waits()
        self._talk_to_kitchen()
        self._handle_stop_requests()

    def _talk_to_kitchen(self) -> None:
        work = self._work
        work.absence.heard_at = work.current.heartbeat.heard_at
        try:
            self._come_back()
            self._tell_late(work.outbox.hand_in())
            self._handle_notice()
            self._reclaim()
            self._top_up()
        except KitchenError as error:
            work.lose_kitchen(error)

    def _is_time_to_go(self) -> bool:
        work = self._work
        self._claims.start_alone()
        if work.held or not work.outbox.may_leave:
            work.shutdown.is_over &= not work.held
            return False
        if work.shutdown.level:
            work.why_left = work.shutdown.why
        elif work.shutdown.is_over:  # limits are for who has work left
            work.why_left = self._claims.done() if work.shutdown.are_all_over else ""
        else:
            work.why_left = self._stop_reason()
        return bool(work.why_left)

    def _stop_reason(self) -> str:
        work = self._work
        claimed, away_since = work.counters.claimed, work.absence.since
        return stop_reason(work.options, claimed, work.began_at, work.idle_since, away_since, boottime())

    # From check-in to check-out.

    def _vitals(self) -> Vitals:
        return vitals(self._work)

    def _begin_shift(self) -> None:
        work = self._work
        work.checked_in = check_in(work.kitchen, self._open_kitchen, work.options.name, self._vitals)
        work.current.heartbeat.start()  # only now: should the machine refuse the thread, the shift is checked out
        work.brief_runner()
        work.listener.checked_in(work.current.shift)

    def _begin_shift_anew(self) -> None:
        work, old = self._work, self._work.current
        work.listener.noted(f"This waiter was declared lost: {LEASE_EXPIRED}. Starting a new shift.")
        work.runner.give_back()
        if work.options.on_lost == "kill":
            work.runner.stop(list(work.held))
        try:
            self._begin_shift()
        except PASSING as error:
            work.absence.went_away(error)  # the old heartbeat goes on saying that the shift is lost
        else:
            old.heartbeat.stop()

    def _go_home(self) -> None:
        work = self._work
        work.listener.draining(work.why_left or work.shutdown.why or "error")
        begun: Collection[str] = ()
        if work.held:
            begun = work.runner.close()
        else:
            work.runner.leave()  # while the kitchen hears of the end
        try:
            if work.checked_in is not None:  # else the kitchen did not let it in
                self._check_out(begun)
        finally:
            work.runner.close()

    def _check_out(self, begun: Collection[str]) -> None:
        work = self._work
        self._endings.let_go(begun)
        try:
            self._tell_late(work.outbox.hand_in())
            if work.absence.since is None:
                work.outbox.hand_in_spool()  # the check-out releases what is RUNNING, also what has its end on disk
                work.kitchen.check_out(work.current.shift, replace(self._vitals(), busy=0, running=(), claimed=0))
        except PASSING as error:
            work.absence.went_away(error)
        finally:
            is_away = work.absence.since is not None
            if is_away:
                work.listener.noted("The orders that this waiter still held are offered again when its lease runs out.")
            work.current.heartbeat.stop(HURRY_S if is_away else HEARTBEAT_ENDS_WITHIN_S)
            work.share.close()
            self._hooks.close()
            if work.joblog:
                work.joblog.close()

    # What the runner says.

    def _handle_events(self, events: Sequence[Event]) -> None:
        work = self._work
        work.versions.clear()
        for event in events:
            match event:
                case Ended():
                    self._endings.ended(event)
                case Entangled():
                    self._endings.entangled(event)
                case Output():
                    if (held := work.held.get(event.id)) is not None:
                        work.listener.output(held.order, event.stream, event.chunk)
                case Returned():
                    self._endings.give_back(event.ids)
                case Refused():
                    work.unstartable = event.why
                    self._endings.give_back([event.id])
                    work.shutdown.request(Stop.DRAIN)
                case Delayed():
                    work.listener.noted(_words_of(event))
                case RunnerDied():
                    self._endings.runner_died(event)

    # What the kitchen says.

    def _come_back(self) -> None:
        """Ask a kitchen that was away for what went wrong meanwhile:

        Outcomes on disk, orders claimed without a reply.
        """
        work, absence = self._work, self._work.absence
        if not absence.may_ask or (absence.since is None and not work.unanswered.is_question_open):
            return
        try:
            # Nothing below asks it anything if nothing waits for it. And a full disk can still be read from.
            work.current.heartbeat.beat(work.kitchen)
            work.outbox.hand_in_spool()
            # What waits to be handed in is RUNNING there too, and must not be taken for an order never started.
            self._tell_late(work.outbox.hand_in())
            if work.outbox.is_clear and absence.may_ask:
                self._claims.ask_what_is_held()
                absence.came_back()
        except PASSING as error:
            absence.went_away(error)

    def _tell_late(self, accepted: Sequence[tuple[PendingOutcome, FinishResult]]) -> None:
        for pending, result in accepted:
            if result is FinishResult.LATE:
                self._work.counters.late += 1
                self._work.listener.late(pending.order, pending.outcome)

    def _handle_notice(self) -> None:
        work, heartbeat = self._work, self._work.current.heartbeat
        if heartbeat.broken is not None:
            raise heartbeat.broken
        notice = heartbeat.notice
        work.brief_runner()
        if notice.is_lost:
            if work.absence.may_ask:
                self._begin_shift_anew()
            return
        if notice.is_draining:
            work.shutdown.request(Stop.DRAIN)
        if asked := work.held.cancel(notice.cancelled):
            work.runner.stop(asked)

    def _reclaim(self) -> None:
        work, now = self._work, boottime()
        self._sweep.hear(work.current.heartbeat.notice, now)
        if not self._sweep.is_due(now) or not work.absence.may_ask or not work.current.heartbeat.may_reclaim:
            return
        try:
            reclaimed = self._sweep.run(now, work.current.heartbeat.pace.spread_s(work.rng))
        except PASSING as error:
            work.absence.went_away(error)
            return
        if reclaimed is not None:
            work.unanswered.ask_again()
        if reclaimed:
            work.timer.ask_at_once()

    def _top_up(self) -> None:
        try:
            self._claims.top_up()
        except ShiftLost:
            self._begin_shift_anew()

    # What its user says.

    def _handle_stop_requests(self) -> None:
        work, shutdown = self._work, self._work.shutdown
        max_time_s = work.options.max_time_s
        if max_time_s is not None and boottime() - work.began_at >= max_time_s and not shutdown.is_over:
            shutdown.request(Stop.DRAIN, "max time")
        if shutdown.consume(Stop.DRAIN):
            work.listener.draining(shutdown.why)
            work.runner.give_back()  # before it is said: whoever reads it may count on it
            if not work.unstartable:  # that is said at the end
                why = "" if shutdown.why == DRAINED else f" ({shutdown.why})"
                work.listener.noted(f"Draining{why}: finishing running orders, returning the rest.")
            self._endings.give_back(work.held.waiting_alone())
        if shutdown.consume(Stop.NOW):
            work.runner.stop(list(work.held))
            work.listener.noted("Stopping running commands and returning their orders.")


def _words_of(delay: Delayed) -> str:
    if delay.why is None:
        return "Commands start again."
    return f"Cannot start commands now: {delay.why}. Retrying."


def _begun(
    executor: Executor,
    open_kitchen: Callable[[], Kitchen],
    spool: Callable[[Kitchen], Spool],
    arrival: Arrival,
    shutdown: Shutdown,
) -> tuple[Runner, Kitchen, Spool]:
    """A runner that starts while the kitchen is opened. Ctrl-C ends the wait for a server that does not answer."""
    runner = executor.start_runner()
    try:
        with shutdown.as_before():
            kitchen = arrival.insist(open_kitchen)
            return runner, kitchen, arrival.insist(lambda: spool(kitchen))
    except BaseException:
        runner.close()
        raise
