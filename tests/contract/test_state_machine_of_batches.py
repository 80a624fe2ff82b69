"""Several commands in one kitchen, at random: whatever is bound, named, weighed, paused, loaded and claimed in whatever
order, no order goes to a command that its batch is not for, and none is passed over.

The model knows of each batch the command, whether it was reserved, its weight, and what is left of its orders. What
leases and retries do to orders is in test_state_machine.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import outcome
from waiter.delivery.batch_scope import BatchScope, Wanted
from waiter.kitchen.contract import Kitchen
from waiter.loading import LoadOptions, load_rows
from waiter.orders import Order, Selector, Shift, Status

COMMANDS = [("./a.sh",), ("./b.sh", "{1}")]
NAMES = ["one", "two", "three", "four"]
EXAMPLES = 20
STEPS = 30

Words = tuple[str, ...] | None


@dataclass
class Pile:
    """What the model knows of a batch."""

    id: str
    command: Words = None
    is_reserved: bool = False
    weight: int | None = None
    is_paused: bool = False
    ready: set[int] = field(default_factory=set)  # rows
    running: dict[int, Order] = field(default_factory=dict)  # by row, as it was claimed
    done: int = 0


@dataclass
class Taker:
    """A waiter: its shift, the command that it came with, and the batches that its user named."""

    shift: Shift
    words: Words
    named: tuple[str, ...]
    scope: BatchScope
    looked_at: int  # how often somebody had changed a batch when it looked last

    def may_take(self, name: str, pile: Pile) -> bool:
        if self.named:
            return name in self.named
        return pile.command is not None if self.words is None else pile.command in (None, self.words)


class Jobs(RuleBasedStateMachine):
    """One kitchen with piles of several commands, and waiters that come with a command or with none."""

    takers = Bundle("takers")
    held = Bundle("held")
    names = st.sampled_from(NAMES)
    commands = st.sampled_from(COMMANDS)

    def __init__(self, kitchen: Kitchen) -> None:
        super().__init__()
        self.kitchen = kitchen
        kitchen.clean()
        self.piles: dict[str, Pile] = {}
        self.opened: list[Shift] = []
        self.changes = 0

    def teardown(self) -> None:
        total = Counter(self.kitchen.counts(Selector()).by_status)
        assert total.total() == sum(len(pile.ready) + len(pile.running) + pile.done for pile in self.piles.values())
        for shift in self.opened:
            self.kitchen.check_out(shift)

    @initialize(target=takers)
    def begin(self) -> object:
        self.load("one", 3, None, None)
        self.load("two", 1, COMMANDS[0], 3)
        return multiple(self.come(COMMANDS[0], ()), self.come(COMMANDS[1], ()), self.come(None, ()))

    # Batches

    @rule(name=names, rows=st.integers(1, 3), command=st.none() | commands, weight=st.none() | st.integers(1, 4))
    def load(self, name: str, rows: int, command: Words, weight: int | None) -> None:
        """New, or grown: a pile that was there keeps its rows."""
        pile = self.piles.get(name)
        before = 0 if pile is None else len(pile.ready) + len(pile.running) + pile.done
        options = LoadOptions(batch=name, command=command, weight=weight)
        loaded = load_rows(
            self.kitchen, [[name, str(row)] for row in range(1, before + rows + 1)], options, source=name
        )
        assert loaded.new == rows
        assert loaded.batch is not None
        pile = self.piles.setdefault(name, Pile(loaded.batch))
        assert pile.id == loaded.batch
        pile.ready |= set(range(before + 1, before + rows + 1))
        if command is not None:
            pile.command, pile.is_reserved = command, True
            self.changes += 1
        pile.weight = weight if weight is not None else pile.weight

    @rule(name=names, change=st.sampled_from(["bind a", "bind b", "unbind", "weigh", "even", "pause", "resume"]))
    def amend(self, name: str, change: str) -> None:
        if (pile := self.piles.get(name)) is None:
            return
        self.changes += 1
        if change.startswith("bind"):
            pile.command, pile.is_reserved = COMMANDS[change == "bind b"], True
            self.kitchen.amend_batch(pile.id, command=pile.command)
        elif change == "unbind":
            pile.command, pile.is_reserved = None, False
            self.kitchen.amend_batch(pile.id, command=None)
        elif change in ("weigh", "even"):
            pile.weight = 5 if change == "weigh" else None
            self.kitchen.amend_batch(pile.id, weight=pile.weight)
        else:
            pile.is_paused = change == "pause"
            self.kitchen.amend_batch(pile.id, pause_reason="said so" if pile.is_paused else None)

    # Waiters

    @rule(target=takers, words=st.none() | commands, named=st.none() | names)
    def come_by(self, words: Words, named: str | None) -> object:
        is_there = words is not None and named in self.piles
        return self.come(words, (named,) if is_there and named else ())

    def come(self, words: Words, named: tuple[str, ...]) -> Taker:
        shift = self.kitchen.check_in(f"w{len(self.opened)}", "host", 1)
        self.opened.append(shift)
        scope = BatchScope(self.kitchen, words, Wanted(batches=named))
        scope.check()
        return Taker(shift, words, named, scope, self.changes)

    @rule(target=held, taker=takers, limit=st.integers(1, 3), is_stale=st.booleans())
    def claim(self, taker: Taker, limit: int, is_stale: bool) -> object:
        """As a waiter does: it looks again when it hears of a change, and not when another binds what it takes."""
        if not is_stale or taker.looked_at != self.changes:
            taker.scope.look()
            taker.looked_at, is_stale = self.changes, False
        able = {
            name
            for name, pile in self.piles.items()
            if pile.ready and not pile.is_paused and taker.may_take(name, pile)
        }
        run: list[Order] = []
        for scope, _ in taker.scope.claims():
            claimed = self.kitchen.claim(taker.shift, limit - len(run), scope=scope)
            admitted, others = taker.scope.admit(claimed)
            assert not others or is_stale
            assert not others or self.kitchen.release(taker.shift, others) == len(others)
            run += admitted
            if len(run) == limit:
                break
        for order in run:
            self._take(taker, order)
        wanted = min(limit, sum(len(self.piles[name].ready) for name in able) + len(run))
        assert is_stale or len(run) >= min(wanted, 1)
        return multiple(*((taker, order) for order in run))

    def _take(self, taker: Taker, order: Order) -> None:
        name, pile = next((name, pile) for name, pile in self.piles.items() if pile.id == order.batch)
        assert taker.may_take(name, pile)
        if taker.words is not None and (taker.named or pile.command is None) and pile.command != taker.words:
            pile.command, pile.is_reserved = taker.words, False
        pile.ready.remove(order.row)
        pile.running[order.row] = order

    @rule(one=held, is_kept=st.booleans())
    def end(self, one: tuple[Taker, Order], is_kept: bool) -> None:
        taker, order = one
        pile = next(pile for pile in self.piles.values() if pile.id == order.batch)
        if pile.running.get(order.row) is not order:  # it ended, and was perhaps claimed again
            return
        del pile.running[order.row]
        if is_kept:
            self.kitchen.finish(taker.shift, [outcome(order)])
            pile.done += 1
        else:
            assert self.kitchen.release(taker.shift, [order]) == 1
            pile.ready.add(order.row)

    # What holds after every step

    @invariant()
    def the_batches_are_as_the_model_says(self) -> None:
        stored = {batch.id: batch for batch in self.kitchen.batches()}
        progress = self.kitchen.batch_progress(60.0)
        assert set(stored) == {pile.id for pile in self.piles.values()}
        for name, pile in self.piles.items():
            batch = stored[pile.id]
            assert (batch.name, batch.command, batch.weight) == (name, pile.command, pile.weight)
            assert (batch.pause_reason is not None) == pile.is_paused
            assert batch.is_reserved == pile.is_reserved
            counts = {Status.READY: len(pile.ready), Status.RUNNING: len(pile.running), Status.DONE: pile.done}
            assert {status: progress[pile.id].counts[status] for status in counts} == counts


@pytest.mark.timeout(600)
def test_no_order_goes_to_a_command_that_its_batch_is_not_for(kitchen):
    run_state_machine_as_test(
        lambda: Jobs(kitchen),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # a failure is told as it was found: to shrink it takes too long
            suppress_health_check=list(HealthCheck),
        ),
    )
