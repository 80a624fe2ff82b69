"""Which batches' orders a waiter takes: those that are bound to its command, or to none, unless somebody says others.

A kitchen may hold several jobs. The first command that takes orders of a batch binds it to its words, so that no other
command runs over the rest by mistake. A batch of which nothing was delivered yet gives way to another command, unless
somebody reserved it.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import nsmallest
from itertools import islice

from waiter.delivery.earlier import stages_named
from waiter.delivery.options import DeliveryOptions
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.selecting import unknown_batch
from waiter.kitchen.stages import Waiting, lacks_rows, waiting, why_waiting
from waiter.light_dataclass import dataclass
from waiter.needs import NOTHING, Needs, needs_in
from waiter.orders import Batch, Order, Scope, Selector, Status

SHELL_WORD = "--shell"
LITERAL_WORD = "--literal"
"""What stand first among the words of a command that is a line for the shell, or whose braces are no placeholders."""

_PLAIN = re.compile(r"[\w@%+=:./{}-]+", re.ASCII)
"""Words that a shell leaves as they are; placeholders among them."""

LOOKED_AT = 100
"""So many batches of other commands are asked whether they have work, and give way."""

WEIGHED_AT_ONCE = 8
"""So many batches are asked for orders one after the other, before all together are."""

NAMED_AT_MOST = 3
"""So many batches of other commands are named in a message."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user said of the orders to take."""

    batches: tuple[str, ...] = ()  # ids or names; none: those that are bound to the command, or to none
    match: str | None = None
    priority_min: int | None = None
    is_any_command: bool = False  # whatever they are bound to


def wanted(options: DeliveryOptions) -> Wanted:
    """What these options say of the orders to take."""
    return Wanted(options.batch, options.match, options.priority_min, options.any_command)


def command_line(words: Sequence[str]) -> str:
    """The words that a batch is bound to, as somebody would type them after `waiter deliver`."""
    plain, is_shell, _ = unbound_words(words)
    marks = list(words[: len(words) - len(plain)])
    if is_shell:
        return " ".join([*marks, shlex.join(plain)])
    return " ".join([*marks, *(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in plain)])


def bound_words(words: Sequence[str], *, shell: bool, literal: bool = False) -> tuple[str, ...]:
    """What batches are bound to by a command of these words, or of this line for the shell."""
    marks = (LITERAL_WORD,) if literal else ()
    return (*marks, SHELL_WORD, " ".join(words)) if shell else (*marks, *words)


def unbound_words(words: Sequence[str]) -> tuple[tuple[str, ...], bool, bool]:
    """The plain words of what a batch is bound to, whether they are a line for the shell, and whether literal."""
    plain = tuple(words)
    if is_literal := plain[:1] == (LITERAL_WORD,):
        plain = plain[1:]
    if is_shell := plain[:1] == (SHELL_WORD,):
        plain = plain[1:]
    return plain, is_shell, is_literal


def command_words(line: str) -> tuple[str, ...]:
    """The words that `command_line` shows so. Raises UsageError for quotes that do not close, and for nothing."""
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"--for {line}: {error}\nhint: close the quotes, as in --for './align.sh {{1}}'") from None
    plain, is_shell, is_literal = unbound_words(words)
    if not plain:
        raise UsageError("--for: no command given\nhint: --for './align.sh {1}'")
    return bound_words(plain, shell=is_shell, literal=is_literal)


class BatchScope:
    """The scope of one waiter's claims. Without `words` it takes every bound batch, each for its own command."""

    def __init__(self, kitchen: Kitchen, words: Sequence[str] | None, wanted: Wanted) -> None:
        self._kitchen = kitchen
        self._words = None if words is None else tuple(words)
        self._wanted = wanted
        self.left_out: dict[str, str] = {}
        """Batches whose command cannot run here, and why."""
        self.braked: dict[str, str] = {}
        """Batches whose first orders all failed, and how: this waiter takes no more of them, and waits for none."""
        self._paused_by_brake: set[str] = set()
        self._batches: dict[str, Batch] = {}
        self.has_rows_with_needs = False
        self._mine = self._all = self._claim = Scope()
        self.waiting: dict[str, Waiting] = {}
        """Batches of this waiter's that wait for others."""
        self._weights: dict[str, int] = {}
        self._taken: Counter[str] = Counter()
        self.is_stale = True  # the batches are to be read anew

    def look(self) -> None:
        """Read the batches anew."""
        self._batches = {batch.id: batch for batch in self._kitchen.batches()}
        self._forget_resumed()
        mine = [batch for batch in self._batches.values() if self._is_mine(batch)]
        self.waiting = waiting(self._kitchen, mine, self._batches)
        open_ = [batch for batch in mine if self._is_open(batch)]
        has_weights = any(batch.weight is not None for batch in open_)
        self._weights = {batch.id: batch.weight or 1 for batch in open_} if has_weights else {}
        self._mine = self._scope_of(mine)
        stuck = {id for id, one in self.waiting.items() if one.is_stuck and not one.is_by_row}.union(self.braked)
        self._all = self._scope_of([batch for batch in mine if batch.id not in stuck]) if stuck else self._mine
        self._claim = self._mine if len(open_) == len(mine) else self._scope_of(open_)
        self.has_rows_with_needs = any(batch.needs_from is not None for batch in mine)
        self.is_stale = False

    def needs_of(self, order: Order) -> Needs:
        """What the order itself says that it needs of its host."""
        batch = self._batches.get(order.batch)
        if batch is None or batch.needs_from is None:
            return NOTHING
        return needs_in(order.arguments, order.names, batch.needs_from)

    def _scope_of(self, batches: Sequence[Batch]) -> Scope:
        ids = None if len(batches) == len(self._batches) else tuple(batch.id for batch in batches)
        return Scope(ids, self._wanted.match, self._wanted.priority_min)

    def check(self) -> None:
        """Look for the first time. Raises UsageError for a batch that is asked for and not there."""
        self.look()
        self._refuse_unknown()

    def _refuse_unknown(self) -> None:
        there = {name for batch in self._batches.values() for name in (batch.id, batch.name)}
        for wanted in self._wanted.batches:
            if wanted not in there:
                raise unknown_batch(wanted, [(batch.id, batch.name) for batch in self._batches.values()])

    def _is_mine(self, batch: Batch) -> bool:
        if batch.id in self.left_out:
            return False
        if self._wanted.batches:
            return batch.id in self._wanted.batches or batch.name in self._wanted.batches
        if self._words is None:
            return batch.command is not None
        return self._wanted.is_any_command or batch.command in (None, self._words)

    def all(self) -> Scope:
        """Whatever this waiter may take sooner or later: when it is done, so is the waiter.

        Batches that are paused are part of it, and those whose turn may still come by itself.
        """
        return self._all

    @property
    def mine(self) -> Scope:
        """All batches that are this waiter's, also those of which it waits for nothing."""
        return self._mine

    @property
    def claimable(self) -> Scope:
        """What it may take now: nothing of batches that are paused, or that wait for others as a whole."""
        return self._claim

    def claims(self) -> Iterator[tuple[Scope, float]]:
        """What the next claim may take, and which part of what is wanted; the second where the first has nothing, etc.

        Where batches have weights: one batch each, first the one that has had the least of its share.
        """
        if self._weights:
            total = sum(self._weights.values())
            for batch in nsmallest(WEIGHED_AT_ONCE, self._weights, key=self._share):
                scope = Scope((batch,), self._wanted.match, self._wanted.priority_min)
                yield scope, self._weights[batch] / total
                # Nothing came of it, else nobody would ask on: it is not to be the first to be asked again.
                self._taken[batch] += self._weights[batch]
        yield self._claim, 1.0

    def _share(self, batch: str) -> float:
        return self._taken[batch] / self._weights[batch]

    def pauses(self) -> dict[str, str]:
        """The paused batches that this waiter would take, and why they are paused."""
        mine = (batch for batch in self._batches.values() if self._is_mine(batch))
        return {batch.name or batch.id: batch.pause_reason for batch in mine if batch.pause_reason is not None}

    @property
    def expects_rows(self) -> bool:
        """Whether orders of this waiter's are held that may still be let go by the work of whomever."""
        return any(one.is_by_row and not one.is_stuck for one in self.waiting.values())

    @property
    def misses_rows(self) -> frozenset[str]:
        """The batches of this waiter's of which orders are held, and nothing comes of those that they wait for."""
        return frozenset(id for id, one in self.waiting.items() if one.is_by_row and one.is_stuck)

    def blockers(self) -> dict[str, str]:
        """The batches with work that this waiter would take but for others, and the first of those others."""
        found = {}
        for id, one in self.waiting.items():
            if not one.is_empty and one.blockers:
                batch, first = self._batches[id], one.blockers[0]
                row = "rows of " if one.is_by_row else ""
                found[batch.name or batch.id] = f"{row}batch {first.name or first.id}"
        return found

    @property
    def has_others(self) -> bool:
        """Whether there are batches that this waiter does not take."""
        return self._mine.batches is not None

    def waiting_batches(self) -> dict[str, bool]:
        """The batches with work that this waiter would take but for others that come before, and whether in vain."""
        return {id: one.is_stuck for id, one in self.waiting.items() if not one.is_empty}

    def why_waiting(self, batch_id: str) -> tuple[str, str | None]:
        """For what the batch waits, in a sentence, and what to do if that is in vain."""
        batch, one = self._batches[batch_id], self.waiting[batch_id]
        name = batch.name or batch.id
        sentence = f"Batch {name} {why_waiting(self._kitchen, batch, one)}"
        if not one.is_stuck:
            return sentence, None
        blocker = shlex.quote(next((other.name or other.id for other in one.blockers), ""))
        mend = f"do again what failed: waiter reset --batch {blocker}"
        if lacks_rows(self._kitchen, one):
            mend = f"load the rest of the input of {blocker}"
        elif any(not other.is_complete for other in one.blockers):
            mend = f"repeat the load of {blocker}"
        return (
            f"{sentence}; its turn does not come by itself",
            f"{mend}; or go on without: waiter batch release {shlex.quote(name)}",
        )

    def command_of(self, order: Order) -> tuple[str, ...] | None:
        """The words that the order's batch is bound to."""
        batch = self._batches.get(order.batch)
        return None if batch is None else batch.command

    def stages_before(self, order: Order, words: Sequence[str] | None) -> tuple[Batch, ...]:
        """The stages whose arguments or results the order's command asks for; `words` are those of this waiter's."""
        if order.batch not in self._batches:  # loaded since the last look
            self.look()
        batch = self._batches.get(order.batch)
        return () if batch is None else stages_named(words or batch.command, batch, self._batches)

    def leave_out(self, batch_id: str, why: str) -> None:
        """Take no more orders of this batch."""
        self.left_out[batch_id] = why
        self.is_stale = True

    def brake(self, batch_id: str, why: str, *, is_paused: bool) -> None:
        """Take no more orders of this batch; one that is paused for all waiters again when somebody resumes it."""
        self.braked[batch_id] = why
        if is_paused:
            self._paused_by_brake.add(batch_id)
        self.is_stale = True

    def _forget_resumed(self) -> None:
        for batch_id in list(self._paused_by_brake):
            batch = self._batches.get(batch_id)
            if batch is None or batch.pause_reason is None:
                self._paused_by_brake.remove(batch_id)
                del self.braked[batch_id]

    def name_of(self, batch_id: str) -> str:
        """What its user calls it, as a word of a command line."""
        batch = self._batches.get(batch_id)
        return shlex.quote((batch.name if batch else None) or batch_id)

    def admit(self, orders: Sequence[Order]) -> tuple[list[Order], list[Order]]:
        """Of orders just claimed, those to run and those to give back. Binds their batches to the command first."""
        verdicts = {batch_id: self._admits(batch_id) for batch_id in dict.fromkeys(order.batch for order in orders)}
        run = [order for order in orders if verdicts[order.batch]]
        self._taken.update(order.batch for order in run)
        return run, [order for order in orders if not verdicts[order.batch]]

    def takes(self, batch_id: str) -> bool:
        """Whether orders of this batch are for this waiter, as far as is known before it is bound."""
        if batch_id not in self._batches:  # loaded since the last look
            self.look()
        batch = self._batches.get(batch_id)
        return batch is not None and self._is_open(batch) and self._is_mine(batch)

    def _is_open(self, batch: Batch) -> bool:
        """Whether nothing keeps its orders back: no pause, no brake, no stage before it."""
        return batch.pause_reason is None and batch.id not in self.braked and not self._is_shut(batch)

    def _is_shut(self, batch: Batch) -> bool:
        """Whether all of it waits for others."""
        return batch.id in self.waiting and not self.waiting[batch.id].is_by_row

    def _admits(self, batch_id: str) -> bool:
        if not self.takes(batch_id):
            return False
        batch = self._batches[batch_id]
        if self._words is None or batch.command == self._words or self._wanted.is_any_command:
            return True
        # Named by the user, it goes over to this command; else only from none to this one.
        before = batch.command if self._wanted.batches else None
        if self._kitchen.bind_batch(batch_id, self._words, before) != self._words:
            self.is_stale = True  # another command was faster
            return False
        self._batches[batch_id] = replace(batch, command=self._words)
        return True

    def refuse_if_all_are_others(self) -> None:
        """Raise UsageError if there is nothing to do but orders of batches that are bound to other commands."""
        if self._words is None and not any(self._is_mine(batch) for batch in self._batches.values()):
            raise UsageError(_no_command(list(self._batches.values())))
        if self._kitchen.backlog(self._mine).is_done:
            for batch in self._others_with_work():
                if self._gives_way(batch):
                    self._take_over(batch)
            others = self._others_with_work()
            if others and self._kitchen.backlog(self._mine).is_done:
                raise UsageError(_refusal(others, self._words))

    def _others_with_work(self) -> list[Batch]:
        """The first of the other batches whose orders are not all done."""
        if self._wanted.batches or self._wanted.is_any_command:
            return []
        others = [batch for batch in self._batches.values() if not self._is_mine(batch)]
        if not others or self._kitchen.backlog(Scope(tuple(batch.id for batch in others))).is_done:
            return []
        busy = (batch for batch in others if not self._kitchen.backlog(Scope((batch.id,))).is_done)
        return list(islice(busy, LOOKED_AT))

    def _gives_way(self, batch: Batch) -> bool:
        """Whether nothing of it was delivered, or runs, by the command that took it first."""
        if batch.is_reserved or self._words is None or batch.command is None:
            return False
        counts = self._kitchen.counts(Selector(batch=batch.id))
        return not counts[Status.DONE] and not counts[Status.RUNNING]

    def _take_over(self, batch: Batch) -> None:
        if self._words is not None and batch.command is not None:
            self._kitchen.bind_batch(batch.id, self._words, batch.command)
            self.look()


def _no_command(batches: Sequence[Batch]) -> str:
    there = ", and no batch here is bound to one" if batches else ""
    return (
        f"no command given{there}\n"
        "hint: waiter deliver ./crunch.sh, or give a batch its own: waiter batch bind BATCH CMD"
    )


def _refusal(others: Sequence[Batch], words: tuple[str, ...] | None) -> str:
    named = "; ".join(
        f"batch {batch.name or batch.id} is for {command_line(batch.command) if batch.command else 'no command yet'}"
        for batch in others[:NAMED_AT_MOST]
    )
    more = f"; and {len(others) - NAMED_AT_MOST} more" if len(others) > NAMED_AT_MOST else ""
    first = shlex.quote(others[0].name or others[0].id)
    for_whom = f" for {command_line(words)}" if words else ""
    return (
        f"nothing to deliver{for_whom}: {named}{more}\n"
        f"hint: to run it over their orders all the same: --batch {first}, or --any-command"
    )
