"""How a waiter gets orders and parts with them, without its loop: a real kitchen, a runner that only notes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.conftest import fill, only, outcome
from waiter.delivery.absence import KitchenAbsence
from waiter.delivery.batch_scope import BatchScope, Wanted
from waiter.delivery.brake import Brake
from waiter.delivery.claims import Claims
from waiter.delivery.current_shift import check_in
from waiter.delivery.endings import MAX_RUNNER_DEATHS, Endings
from waiter.delivery.hooks import Hooks
from waiter.delivery.listener import Listener
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.outbox import Outbox
from waiter.delivery.outcomes import parse_halt
from waiter.delivery.prefetch import FIRST_OF_MANY, Prefetch
from waiter.delivery.runner.client import End, Ended, Event, Job, RunnerDied
from waiter.delivery.shutdown import Shutdown, Stop
from waiter.delivery.spool import Spool
from waiter.delivery.state import Work
from waiter.delivery.sweep import Sweep
from waiter.errors import UsageError
from waiter.kitchen.contract import ALL, Kitchen
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Order, Scope, Shift, Status, Vitals
from waiter.processes import boottime


@dataclass
class NotingRunner:
    """Runs nothing."""

    submitted: list[str] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    queue: list[str] = field(default_factory=list)
    given_back: int = 0
    pid: int | None = None

    def submit(self, jobs: Sequence[Job]) -> None:
        self.submitted += [job.id for job in jobs]
        self.calls.append(len(jobs))

    def set_deadline(self, at: float) -> None: ...

    def set_timeout(self, timeout_s: float | None) -> None: ...

    def stop(self, ids: Sequence[str]) -> None: ...

    def leave(self) -> None: ...

    def give_back(self) -> None:
        self.given_back += 1

    def waiting(self) -> list[str]:
        return self.queue

    def events(self, timeout_s: float) -> list[Event]:  # noqa: ARG002 - the protocol has it
        return []

    def close(self) -> Sequence[str]:
        return ()


class FirstArgument:
    """Starts what has an argument."""

    title = "first"

    def check(self, orders: Iterable[Order]) -> None:
        if not any(order.arguments for order in orders):
            raise UsageError("no order has an argument")

    def job(self, order: Order) -> Job:
        if not order.arguments:
            raise ValueError("no argument")
        return Job(order.id, ("true", order.arguments[0]))

    def start_runner(self) -> NotingRunner:
        return NotingRunner()

    words = ("first",)

    def missing(self, order: Order) -> None:
        """It is here."""

    def version(self, order: Order | None = None) -> str:  # noqa: ARG002 - one for all
        return "1"


@dataclass
class Scene:
    work: Work
    claims: Claims
    endings: Endings

    @property
    def runner(self) -> NotingRunner:
        assert isinstance(self.work.runner, NotingRunner)
        return self.work.runner

    def end(self, order_id: str, *, exit_code: int | None = 0, number: int | None = None) -> None:
        now = boottime()
        self.endings.ended(Ended(order_id, 1, now, now, exit_code, number, End.EXITED))

    def status(self, order_id: str) -> Status:
        self.work.outbox.hand_in()
        return only(self.work.kitchen, order_id).status


def scene_of(kitchen: Kitchen, spool: Spool, *, slots: int = 2, **options: object) -> Scene:
    chosen = DeliveryOptions(**options)  # type: ignore[arg-type]
    listener, now = Listener(), boottime()
    absence = KitchenAbsence(listener.noted, spool.folder, boottime)
    work = Work(
        options=chosen,
        executor=FirstArgument(),
        kitchen=kitchen,
        runner=NotingRunner(),
        listener=listener,
        shutdown=Shutdown(),
        absence=absence,
        outbox=Outbox(kitchen, spool, absence, listener.noted),
        prefetch=Prefetch(slots),
        halt=parse_halt(chosen.halt) if chosen.halt else None,
        scope=BatchScope(kitchen, FirstArgument.words, Wanted()),
        brake=Brake(0),
        began_at=now,
        idle_since=now,
        rng=Random(0),
    )
    # Its heartbeat is not started: nothing here lasts as long as a lease.
    work.checked_in = check_in(kitchen, lambda: kitchen, "a", Vitals)
    endings = Endings(work, Hooks(chosen, listener.noted))
    return Scene(work, Claims(work, endings, Sweep(kitchen, chosen.max_losses, listener.noted, now)), endings)


@pytest.fixture
def kitchen(tmp_path) -> Iterator[SqliteKitchen]:
    with SqliteKitchen(tmp_path / "kitchen.sqlite") as kitchen:
        yield kitchen


@pytest.fixture
def spool(kitchen, tmp_path) -> Spool:
    return Spool(kitchen.id, kitchen.url, tmp_path / "state")


def test_as_many_orders_are_claimed_as_there_are_free_slots(kitchen, spool):
    first, second, _ = fill(kitchen, [["x"], ["y"], ["z"]])
    scene = scene_of(kitchen, spool)

    scene.claims.top_up()
    scene.claims.top_up()

    assert scene.runner.submitted == [first, second]
    assert scene.work.counters.claimed == 2


def test_slots_with_nothing_to_do_get_some_of_many_short_orders_at_once_and_then_the_rest(kitchen, spool):
    orders = fill(kitchen, [[str(n)] for n in range(200)])
    scene = scene_of(kitchen, spool)
    scene.work.prefetch.saw(0.001)

    scene.claims.top_up()

    assert scene.runner.calls == [2 * FIRST_OF_MANY, 200 - 2 * FIRST_OF_MANY]
    assert scene.runner.submitted == list(orders)
    assert scene.work.counters.claimed == 200


@pytest.mark.parametrize("options", [{"max_orders": 1}, {"halt": "soon,done=1", "slots": 1}])
def test_no_more_orders_are_claimed_than_may_be_delivered(kitchen, spool, options):
    fill(kitchen, [["x"], ["y"], ["z"]])
    scene = scene_of(kitchen, spool, **options)

    scene.claims.top_up()

    assert len(scene.runner.submitted) == 1


def test_who_is_told_to_stop_claims_nothing(kitchen, spool):
    fill(kitchen, [["x"]])
    scene = scene_of(kitchen, spool)
    scene.work.shutdown.request(Stop.DRAIN)

    scene.claims.top_up()

    assert scene.runner.submitted == []


def test_a_waiter_goes_home_when_nothing_is_left(kitchen, spool):
    scene = scene_of(kitchen, spool)
    scene.claims.top_up()
    assert scene.work.shutdown.are_all_over
    assert scene.claims.done() == "done"


class Asked(SqliteKitchen):
    """Notes what it is asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []

    def claim(self, shift: Shift, limit: int, exclude: Sequence[str] = (), scope: Scope = ALL) -> list[Order]:
        self.asked.append("claim")
        return super().claim(shift, limit, exclude, scope)

    def is_only_running(self, scope: Scope = ALL) -> bool:
        self.asked.append("is_only_running")
        return super().is_only_running(scope)


def test_who_waits_for_the_orders_of_others_asks_little_and_takes_over_at_once(tmp_path):
    with Asked(tmp_path / "kitchen.sqlite") as kitchen:
        (id,) = fill(kitchen, [["x"]])
        other = kitchen.check_in("other", "h", 1)
        (order,) = kitchen.claim(other, 1)
        scene = scene_of(kitchen, Spool(kitchen.id, kitchen.url, tmp_path / "state"))
        scene.claims.top_up()
        kitchen.asked.clear()

        for _ in range(3):
            scene.work.timer.ask_at_once()
            scene.claims.top_up()

        assert kitchen.asked == ["is_only_running"] * 3
        kitchen.release(other, [order])
        scene.work.timer.ask_at_once()
        scene.claims.top_up()
        assert scene.runner.submitted == [id]


def test_who_waited_for_others_leaves_when_they_are_done(tmp_path):
    with Asked(tmp_path / "kitchen.sqlite") as kitchen:
        fill(kitchen, [["x"]])
        other = kitchen.check_in("other", "h", 1)
        (order,) = kitchen.claim(other, 1)
        scene = scene_of(kitchen, Spool(kitchen.id, kitchen.url, tmp_path / "state"))
        scene.claims.top_up()
        assert not scene.work.shutdown.is_over

        kitchen.finish(other, [outcome(order)])
        scene.work.timer.ask_at_once()
        scene.claims.top_up()

        assert scene.work.shutdown.is_over


def test_an_order_that_the_command_cannot_take_fails_and_the_others_run(kitchen, spool):
    bare, sound = fill(kitchen, [[], ["x"]])
    scene = scene_of(kitchen, spool)

    scene.claims.top_up()

    assert scene.runner.submitted == [sound]
    assert scene.status(bare) is Status.ERROR


def test_a_command_that_no_order_fits_costs_none(kitchen, spool):
    bare, _ = fill(kitchen, [[], []])
    scene = scene_of(kitchen, spool)

    with pytest.raises(UsageError):
        scene.claims.top_up()

    assert scene.status(bare) is Status.RUNNING  # the check-out releases it


def test_orders_of_a_claim_without_an_answer_are_found(kitchen, spool):
    (order_id,) = fill(kitchen, [["x"]])
    scene = scene_of(kitchen, spool)
    kitchen.claim(scene.work.current.shift, 1)
    scene.work.unanswered.note()

    scene.claims.ask_what_is_held()
    scene.claims.ask_what_is_held()

    assert scene.runner.submitted == [order_id]


def test_an_order_that_succeeds_is_done_and_one_that_fails_is_not(kitchen, spool):
    good, bad = fill(kitchen, [["x"], ["y"]])
    scene = scene_of(kitchen, spool, retries=0)
    scene.claims.top_up()

    scene.end(good)
    scene.end(bad, exit_code=1)

    assert (scene.status(good), scene.status(bad)) == (Status.DONE, Status.ERROR)
    assert (scene.work.counters.delivered, scene.work.counters.failed) == (1, 1)
    assert not scene.work.held


def test_a_signal_that_the_waiter_heard_too_is_no_failure(kitchen, spool):
    (order_id,) = fill(kitchen, [["x"]])
    scene = scene_of(kitchen, spool, retries=0)
    scene.claims.top_up()
    scene.end(order_id, exit_code=None, number=signal.SIGTERM)
    assert order_id in scene.work.held  # until it is clear who sent it

    scene.work.shutdown.heard.add(signal.SIGTERM)
    scene.endings.settle_suspects()

    assert scene.status(order_id) is Status.READY
    assert scene.work.counters.failed == 0


def test_what_has_not_begun_goes_back_uncounted(kitchen, spool):
    (order_id,) = fill(kitchen, [["x"]])
    scene = scene_of(kitchen, spool)
    scene.claims.top_up()

    scene.endings.give_back([order_id, order_id])

    assert scene.status(order_id) is Status.READY
    assert only(kitchen).attempt == 0
    assert scene.work.counters.claimed == 0


def test_what_a_dead_runner_ran_is_lost_and_the_rest_goes_back(kitchen, spool):
    ran, waited = fill(kitchen, [["x"], ["y"]])
    scene = scene_of(kitchen, spool)
    scene.claims.top_up()
    dead = scene.runner

    scene.endings.runner_died(RunnerDied((ran,)))

    assert (scene.status(ran), scene.status(waited)) == (Status.READY, Status.READY)
    assert (only(kitchen, ran).losses, only(kitchen, waited).losses) == (1, 0)
    assert scene.runner is not dead


def test_runners_that_die_again_and_again_send_the_waiter_home(kitchen, spool):
    scene = scene_of(kitchen, spool)
    for _ in range(MAX_RUNNER_DEATHS):
        assert not scene.work.shutdown.level
        scene.endings.runner_died(RunnerDied(()))
    assert scene.work.shutdown.level is Stop.DRAIN
    assert scene.work.unstartable == f"the runner process died {MAX_RUNNER_DEATHS} times in a row"


def test_enough_failures_stop_the_waiter(kitchen, spool):
    (order_id,) = fill(kitchen, [["x"]])
    scene = scene_of(kitchen, spool, halt="now,fail=1")
    scene.claims.top_up()

    scene.end(order_id, exit_code=1)

    assert (scene.work.shutdown.level, scene.work.shutdown.why) == (Stop.NOW, "halted")


def test_an_error_in_the_waiter_loses_what_runs_and_gives_back_the_rest(kitchen, spool):
    ran, waited = fill(kitchen, [["x"], ["y"]])
    scene = scene_of(kitchen, spool)
    scene.claims.top_up()

    scene.endings.let_go([ran])

    assert (scene.status(ran), scene.status(waited)) == (Status.READY, Status.READY)
    assert (only(kitchen, ran).losses, only(kitchen, waited).losses) == (1, 0)
