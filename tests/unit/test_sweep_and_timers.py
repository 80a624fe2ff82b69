"""When a waiter looks for the dead, when it asks for orders, and when it decides who sent a signal."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from waiter.delivery.claim_timer import ASK_AGAIN_S, LOOK_AGAIN_S, SOONEST_S, ClaimTimer, wait_s
from waiter.delivery.runner.client import End, Ended
from waiter.delivery.suspects import SHARED_SIGNAL_S, Suspects
from waiter.delivery.sweep import Sweep
from waiter.errors import KitchenDamaged, KitchenError, KitchenUnreachable
from waiter.kitchen.contract import BEATS_PER_LEASE, Backlog, Reclaimed
from waiter.orders import Notice


@dataclass
class Reclaiming:
    """A kitchen that answers the sweep with what it is given, one after the other."""

    answers: list[Reclaimed | Exception]
    lease_s: float = 10.0 * BEATS_PER_LEASE
    asked: list[int] = field(default_factory=list)

    def sweep(self, max_losses: int) -> Reclaimed:
        self.asked.append(max_losses)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_sweep_is_due_with_every_heartbeat():
    sweep = Sweep(Reclaiming([Reclaimed()]), 5, print, now=100.0)
    assert [sweep.is_due(now) for now in (100.0, 109.9, 110.0)] == [False, False, True]

    sweep.run(112.0)

    assert [sweep.is_due(now) for now in (121.9, 122.0)] == [False, True]


def test_whose_turn_it_is_not_comes_again_when_the_next_one_is_due():
    sweep = Sweep(Reclaiming([Reclaimed(next_s=4.0), Reclaimed()]), 5, print, now=100.0)

    sweep.run(110.0)

    assert [sweep.is_due(now) for now in (113.9, 114.0)] == [False, True]


def test_a_sweep_that_is_brought_forward_is_due_at_once():
    sweep = Sweep(Reclaiming([]), 5, print, now=100.0)
    sweep.bring_forward(101.0)
    assert sweep.is_due(101.0)


def test_in_a_large_fleet_one_that_waits_does_not_sweep_with_each_of_its_looks():
    sweep = Sweep(Reclaiming([Reclaimed()]), 5, print, now=100.0)
    sweep.run(110.0)

    sweep.bring_forward(112.0, least_s=5.0)

    assert [sweep.is_due(now) for now in (114.9, 115.0)] == [False, True]


def test_who_hears_that_the_fleet_is_late_sweeps_at_once_and_once():
    """It would have asked an hour later: but most of its large fleet died at the same moment."""
    sweep = Sweep(Reclaiming([Reclaimed(next_s=4.0), Reclaimed()]), 5, print, now=100.0)
    sweep.run(110.0, later_s=3600.0)
    late = Notice(is_sweep_overdue=True)

    sweep.hear(Notice(), 120.0)
    assert not sweep.is_due(120.0)
    sweep.hear(late, 121.0)
    assert sweep.is_due(121.0)
    sweep.run(121.0)
    sweep.hear(late, 122.0)
    assert not sweep.is_due(122.0)


def test_a_sweep_says_whose_orders_it_took_back():
    notes: list[str] = []
    kitchen = Reclaiming([Reclaimed(ready=2, failed=1, shifts=("a", "b")), Reclaimed(ready=1), Reclaimed()])
    sweep = Sweep(kitchen, 5, notes.append, now=0.0)

    assert [bool(sweep.run(now)) for now in (10.0, 20.0, 30.0)] == [True, True, False]

    assert notes == ["Reclaimed orders of a, b: 3.", "Reclaimed orders of a waiter that is gone: 1."]
    assert kitchen.asked == [5, 5, 5]


def test_a_refusal_is_said_once_and_stops_nobody():
    notes: list[str] = []
    refusals = [KitchenError("too large"), KitchenError("too large"), KitchenError("another")]
    sweep = Sweep(Reclaiming([*refusals]), 5, notes.append, now=0.0)

    assert [sweep.run(now) for now in (10.0, 20.0, 30.0)] == [None, None, None]

    why = "Cannot reclaim orders of dead waiters: "
    assert notes == [f"{why}too large", f"{why}another"]


@pytest.mark.parametrize("error", [KitchenUnreachable("away"), KitchenDamaged("torn")])
def test_what_concerns_the_whole_kitchen_is_raised(error):
    with pytest.raises(type(error)):
        Sweep(Reclaiming([error]), 5, print, now=0.0).run(10.0)


@pytest.mark.parametrize(
    ("backlog", "expected"),
    [
        (Backlog(ready=0, next_due_s=None, running=0), LOOK_AGAIN_S),
        (Backlog(ready=0, next_due_s=None, running=1), ASK_AGAIN_S),
        (Backlog(ready=1, next_due_s=None, running=0), ASK_AGAIN_S),
        (Backlog(ready=0, next_due_s=30.0, running=0), 30.0),
        (Backlog(ready=0, next_due_s=30.0, running=1), ASK_AGAIN_S),
        (Backlog(ready=0, next_due_s=0.0, running=0), SOONEST_S),
    ],
)
def test_how_long_to_wait_for_orders(backlog, expected):
    assert wait_s(backlog) == expected


def test_orders_are_asked_for_when_it_is_time_or_when_there_is_news():
    timer = ClaimTimer()
    assert timer.is_due(0.0, changes=0)  # the first look

    timer.ask_at(60.0)
    assert not timer.is_due(59.0, changes=0)
    assert timer.is_due(59.0, changes=1)
    assert not timer.is_due(59.0, changes=1)

    timer.ask_by(58.0)
    timer.ask_by(90.0)
    assert timer.is_due(58.0, changes=1)

    timer.ask_at(60.0)
    timer.ask_at_once()
    assert timer.is_due(1.0, changes=1)


def died(name: str) -> Ended:
    return Ended(name, 1, 0.0, 1.0, None, 15, End.EXITED)


def test_who_died_of_a_signal_is_decided_on_a_moment_later():
    suspects = Suspects()
    suspects.add(died("a"), now=10.0)
    suspects.add(died("b"), now=10.2)

    assert suspects.take(10.4, is_clear=False) == []
    assert suspects.take(10.0 + SHARED_SIGNAL_S, is_clear=False) == [died("a")]
    assert suspects.ids == ["b"]
    assert suspects.take(10.6, is_clear=True) == [died("b")]
    assert not suspects
