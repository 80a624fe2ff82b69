"""What becomes of the orders that a waiter holds: an outcome, or back to the kitchen for somebody else."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace

from waiter.delivery.brake import Braked
from waiter.delivery.held_orders import HeldOrder
from waiter.delivery.hooks import Hooks
from waiter.delivery.listener import BRAKED, HALTED, SUCCEEDED
from waiter.delivery.options import Until
from waiter.delivery.outbox import PendingOutcome
from waiter.delivery.outcomes import decide_outcome, died_of, lost
from waiter.delivery.prefetch import WAIT_S
from waiter.delivery.runner.client import End, Ended, Entangled, RunnerDied
from waiter.delivery.shutdown import SIGNALS, Stop
from waiter.delivery.state import Work
from waiter.delivery.suspects import Suspects
from waiter.errors import PASSING, KitchenError
from waiter.limits import RESULT_BYTES
from waiter.needs import memory_words
from waiter.orders import Order, Outcome, Reason, Selector, Status
from waiter.processes import boottime

MAX_RUNNER_DEATHS = 5
"""So many runners may die in a row before the waiter leaves instead of starting another."""


class Endings:
    """Takes orders out of the waiter's hands."""

    def __init__(self, work: Work, hooks: Hooks) -> None:
        self._work = work
        self._hooks = hooks
        self._suspects = Suspects()
        self._has_paused = False  # itself, because others do well

    def ended(self, ended: Ended) -> None:
        """A command has ended."""
        work = self._work
        work.counters.runner_deaths = 0
        if died_of(ended, SIGNALS) and not work.shutdown.heard:
            # By its own fault, or as all do when a service or a machine is stopped: then this waiter hears of it, too.
            self._suspects.add(ended, boottime())
        else:
            self._settle(ended)

    def settle_suspects(self, *, is_last_call: bool = False) -> None:
        """Decide on commands that died of a signal, once it is clear who sent it."""
        if self._suspects:
            is_clear = bool(self._work.shutdown.heard) or is_last_call
            for ended in self._suspects.take(boottime(), is_clear=is_clear):
                self._settle(ended)

    def _settle(self, ended: Ended) -> None:
        work = self._work
        held = work.held[ended.id]  # until its outcome is on its way, whatever goes wrong on the way there
        if work.shutdown.heard and died_of(ended, work.shutdown.heard):
            ended = replace(ended, end=End.STOPPED)  # whoever stopped this waiter stopped it
        if len(work.held) == 1:
            work.timer.ask_at_once()  # nothing of our own to wait for any more
        work.idle_since = boottime()
        why_stopped = Reason.CANCELLED if work.held.is_cancelled(ended.id) else Reason.INTERRUPTED
        offset_s, version = work.current.clock_offset_s, work.version(held.order)
        if ended.end is End.MEMORY:
            ended = replace(
                ended, message=f"killed for memory: limit {memory_words(work.memory_limit(held.order) or 0)}"
            )
        outcome = decide_outcome(held.order, ended, work.options, offset_s, work.rng, version, why_stopped)
        if outcome.reason is Reason.MEMORY and work.has_more_memory(held.order):
            outcome = replace(outcome, status=Status.READY, delay_s=0.0)
        if outcome.reason is Reason.INTERRUPTED:
            # Its command has begun, so its attempt counts: no two executions share a number. Nobody failed.
            self._hand_over(held, outcome)
            work.counters.claimed -= 1
            return
        if ended.cut_from is not None:
            work.listener.noted(_words_of_cut(held.order, ended.cut_from))
        work.prefetch.saw(outcome.duration_s, is_delivered=outcome.status is Status.DONE)
        self.record(held, outcome)

    def _hand_over(self, held: HeldOrder, outcome: Outcome) -> None:
        self._work.outbox.finish(PendingOutcome(held.shift, held.order, outcome))
        self._work.held.remove(held.order.id)

    def record(self, held: HeldOrder, outcome: Outcome) -> None:
        """An attempt has ended so: the kitchen hears of it next, and everybody else who is to be told."""
        work = self._work
        self._hand_over(held, outcome)  # first: a joblog on a full disk, or a listener, must not lose it
        work.counters.count(outcome.status)
        if outcome.status is Status.READY:
            work.timer.ask_by(boottime() + outcome.delay_s)
        if work.joblog:
            work.joblog.write(held.order, outcome, [os.fsdecode(word) for word in held.argv or ()])
        work.listener.finished(held.order, outcome)
        self._hooks.call(held.order, outcome)
        self._check_halt()
        command = work.scope.command_of(held.order)
        braked = work.brake.saw(command, held.order, outcome)
        if braked and not self._has_paused:  # else the host is to blame, and not the command
            self._stop_command(command, braked)

    # Orders that have not begun.

    def give_back(self, order_ids: Sequence[str]) -> None:
        work = self._work
        for order_id in order_ids:
            if (held := work.held.remove(order_id)) is not None:
                work.listener.given_back(held.order)
                if held.shift.token == work.current.shift.token:  # a lost shift has nothing to give back
                    work.outbox.release(held.shift, held.order)
                    work.counters.claimed -= 1

    def give_back_what_waits(self) -> None:
        """What was claimed ahead is for others where it does not soon begin here: after a pause, or behind slow orders.

        While the kitchen is away nobody else could take it.
        """
        work = self._work
        queue = work.runner.waiting()
        work.held.note_queue(queue)
        if work.absence.since is not None:
            return
        if work.current.heartbeat.notice.is_paused:
            self.give_back(work.held.waiting_alone())
        elif not queue or boottime() - work.held[queue[0]].claimed_at < WAIT_S:
            return
        else:
            work.prefetch.held_up()
        if queue:
            work.runner.give_back()

    # Orders that something went wrong with.

    def entangled(self, entangled: Entangled) -> None:
        """A call of several orders went wrong as a whole: each is tried again in a call of its own.

        That it counts as a loss, as for an order whose runner died, is what keeps them apart from then on: there is
        nothing to wait for.
        """
        self._work.listener.noted(f"{_sentence(entangled.why)}. They are tried again one by one.")
        for order_id in entangled.ids:
            held = self._work.held[order_id]
            self.record(held, replace(self._lost(held.order, entangled.why), delay_s=0.0))

    def runner_died(self, died: RunnerDied) -> None:
        """What it ran is lost, the rest goes back. Start another runner if that promises more."""
        work = self._work
        work.counters.runner_deaths += 1
        if died.why is None:
            work.listener.noted("The runner process died; its commands were killed. Starting another one.")
        for order_id in died.ids:
            if (held := work.held.get(order_id)) is not None:
                self.record(held, self._lost(held.order, "its runner died while it ran"))
        self.settle_suspects(is_last_call=True)
        self.give_back(list(work.held))
        work.runner.close()
        if died.why is not None:
            work.unstartable = f"no command can be run on this machine: {died.why}"
        elif work.counters.runner_deaths >= MAX_RUNNER_DEATHS:
            work.unstartable = f"the runner process died {MAX_RUNNER_DEATHS} times in a row"
        if work.unstartable:
            work.shutdown.request(Stop.DRAIN)
            return
        work.runner = work.executor.start_runner()
        work.brief_runner()

    def let_go(self, begun: Collection[str]) -> None:
        """Part from orders that are still held, which is so only after an error.

        What has begun counts as an attempt, and as a loss: the order may be what brought the error about.
        """
        begun = {*begun, *self._suspects.ids}
        for held in self._work.held.values():
            if held.order.id in begun:
                outcome = self._lost(held.order, "its waiter stopped with an error while it ran")
                self._work.outbox.finish(PendingOutcome(held.shift, held.order, outcome))
            else:
                self._work.outbox.release(held.shift, held.order)

    def _lost(self, order: Order, words: str) -> Outcome:
        work = self._work
        now, version = work.current.kitchen_time(), work.version(order)
        return lost(order, words, now, version, work.options.max_losses, work.rng)

    # Failures that are not the orders' alone.

    def _check_halt(self) -> None:
        work = self._work
        if work.halt and work.halt.is_reached(work.counters.delivered, work.counters.failed):
            why = SUCCEEDED if work.halt.counts == "success" else HALTED
            work.shutdown.request(Stop.NOW if work.halt.is_now else Stop.DRAIN, why)
        if work.options.pause_after and work.counters.failed_in_a_row >= work.options.pause_after:
            work.counters.failed_in_a_row = 0
            self._pause_if_others_do_well()

    def _stop_command(self, command: object, braked: Braked) -> None:
        """Take no more orders of a command that does nothing but fail; others that do are to pause, too.

        A waiter with one command leaves, unless it is one that stays: it leaves the batches alone until somebody
        resumes them. One with many commands leaves the batches alone, and goes on with the others.
        """
        work = self._work
        stays = work.options.until is Until.STOPPED
        paused: tuple[str, ...] = ()
        try:
            if stays or self._others_at_work():
                paused = self._pause_batches(braked)
        except PASSING as error:
            work.absence.went_away(error)
        except KitchenError as error:
            work.lose_kitchen(error)
            return
        leaves = work.executor.words is not None and not (stays and len(paused) == len(braked.batches))
        names, theirs = (list(map(work.scope.name_of, batches)) for batches in (braked.batches, paused))
        work.listener.noted(_words_of_brake(braked, names, theirs, leaves=leaves))
        if leaves:
            work.shutdown.request(Stop.DRAIN, BRAKED)
        else:
            for batch in braked.batches:
                work.scope.brake(batch, braked.sentence, is_paused=batch in paused)
            work.brake.rearm(command)
        work.runner.give_back()

    def _others_at_work(self) -> bool:
        mine = self._work.current.shift.token
        return any(shift.token != mine and shift.lost_at is None for shift in self._work.kitchen.shifts())

    def _pause_batches(self, braked: Braked) -> tuple[str, ...]:
        """Let all waiters leave those of the batches alone of which nothing was ever delivered. Returns these."""
        work = self._work
        work.scope.is_stale = True
        paused = []
        for batch in braked.batches:
            delivered = Selector(statuses=(Status.DONE,), batch=batch)
            if not any(work.kitchen.find(delivered, limit=1)):
                work.kitchen.amend_batch(batch, pause_reason=braked.sentence)
                paused.append(batch)
        return tuple(paused)

    def _pause_if_others_do_well(self) -> None:
        work, mine = self._work, self._work.current.shift
        try:
            # Those that take no orders deliver none: were they counted, all could pause one after the other.
            others = [
                shift
                for shift in work.kitchen.shifts()
                if shift.token != mine.token and not (shift.lost_at or shift.is_paused or shift.is_leaving)
            ]
            if any(other.vitals.delivered > other.vitals.failed for other in others):
                reason = f"{work.options.pause_after} orders in a row failed here while others deliver theirs"
                work.kitchen.pause(mine.waiter, reason)
                self._has_paused = True
                work.listener.noted(f"{reason}: this waiter pauses. Fix the host, then run: waiter resume")
        except PASSING as error:
            work.absence.went_away(error)
        except KitchenError as error:
            work.lose_kitchen(error)


def _words_of_brake(braked: Braked, names: Sequence[str], paused: Sequence[str], *, leaves: bool) -> str:
    """What is said when it stops a command; `names` are those of its batches, `paused` of what all leave alone now."""
    again = "".join(f"; waiter resume --batch {name}" for name in paused) or ", and start again"
    for_all = "".join(f"; batch {name} is paused for all waiters" for name in paused)
    alone = "; ".join(f"Batch {name} is left alone" for name in names)
    what = "Stopped" if leaves else alone
    return f"{what}: {braked.sentence}{for_all}\nhint: fix the command, then: waiter reset{again}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _words_of_cut(order: Order, size: int) -> str:
    return (
        f"{order.id}: its result is cut: of {size:,} bytes the first {RESULT_BYTES:,} are kept\n"
        "hint: write what is larger to a file, and its name as the result"
    )
