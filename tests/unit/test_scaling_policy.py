"""The scaling policy, driven through hours in a moment: noisy rates, slow boots, spot taken back, long tails."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from waiter.fleet.life.policy import MOST, Decision, Pace, Scene, Wish, decide, hosts_for, pace_of

ROUND_S = 20.0
WINDOWS_S = (300.0, 3600.0, 86_400.0)


@dataclass
class Host:
    """A simulated machine. Its slots hold when their orders end."""

    launched_at: float
    up_at: float
    speed: float
    slots: list[tuple[float, float]] = field(default_factory=list)  # began, ends
    is_leaving: bool = False


@dataclass(frozen=True)
class World:
    """What the policy does not know."""

    orders: int
    mean_s: float  # of an order
    spread: float  # sigma of its logarithm: 0 all alike, 1.2 a long tail
    boot_s: tuple[float, float]
    slots: int
    price: float
    losses_per_hour: float  # of each host, as spot is taken back
    seed: int
    longest_s: float = 600.0

    def duration(self, rng: Random) -> float:
        drawn = self.mean_s * rng.lognormvariate(-(self.spread**2) / 2, self.spread)
        return min(drawn, self.longest_s)


@dataclass
class Simulation:
    """A fleet under the policy, in steps of a round."""

    world: World
    wish: Wish
    now: float = 0.0
    spent: float = 0.0
    ready: int = 0
    done_at: float | None = None
    hosts: list[Host] = field(default_factory=list)
    gone: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)  # when, and how long it took
    moves: list[tuple[float, int, int]] = field(default_factory=list)  # when, from, to
    losses: int = 0
    decisions: list[Decision] = field(default_factory=list)
    rng: Random = field(default_factory=Random)
    grown_at: float = -math.inf
    shrunk_at: float = -math.inf

    def run(self, until_s: float) -> Simulation:
        self.rng, self.ready = Random(self.world.seed), self.world.orders
        empty = 0
        while self.now < until_s and empty < 30:  # ten minutes without a machine: nothing more comes
            self.decide()
            self.step()
            empty = empty + 1 if not self.hosts else 0
        return self

    @property
    def left(self) -> int:
        return self.ready + sum(len(host.slots) for host in self.hosts)

    @property
    def working(self) -> list[Host]:
        return [host for host in self.hosts if not host.is_leaving]

    def step(self) -> None:
        """A round: orders end and begin, hosts boot, are taken back, or end."""
        until = self.now + ROUND_S
        for host in list(self.hosts):
            while True:
                ended = min((slot for slot in host.slots if slot[1] <= until), key=lambda slot: slot[1], default=None)
                if ended:
                    host.slots.remove(ended)
                    self.ends.append((ended[1], ended[1] - ended[0]))
                free_at = max(host.up_at, ended[1] if ended else self.now)
                while not host.is_leaving and self.ready and free_at <= until and len(host.slots) < self.world.slots:
                    self.ready -= 1
                    host.slots.append((free_at, free_at + self.world.duration(self.rng) / host.speed))
                if not ended:
                    break
            is_lost = self.rng.random() < self.world.losses_per_hour * ROUND_S / 3600
            if is_lost:
                self.losses += 1
                self.ready += len(host.slots)
            self.spent += self.world.price * ROUND_S / 3600
            if is_lost or (host.is_leaving and not host.slots):
                self.hosts.remove(host)
                self.gone.append((host.up_at, until))
        self.now = until
        if not self.left and self.done_at is None:
            self.done_at = max((end for end, _ in self.ends), default=0.0)

    def decide(self) -> None:
        decision = decide(self.scene(), self.wish)
        self.decisions.append(decision)
        here = len(self.working)
        if decision.target != here:
            self.moves.append((self.now, here, decision.target))
        if decision.target > here:
            self.grown_at = self.now
            for _ in range(decision.target - here):
                up_at = self.now + self.rng.uniform(*self.world.boot_s)
                self.hosts.append(Host(self.now, up_at, self.rng.uniform(0.8, 1.2)))
        elif decision.target < here:
            self.shrunk_at = self.now
            for host in sorted(self.working, key=lambda host: len(host.slots))[: here - decision.target]:
                host.is_leaving = True

    def scene(self) -> Scene:
        boots = [host.up_at - host.launched_at for host in self.hosts if host.up_at <= self.now]
        booting = [host for host in self.working if host.up_at > self.now]
        boot_s = max(boots, default=180.0)
        running = [self.now - began for host in self.hosts for began, _ in host.slots]
        pace, mean_s = self.pace()
        return Scene(
            now=self.now,
            left=self.left,
            ready=self.ready,
            pace=pace,
            up=len(self.working) - len(booting),
            booting=len(booting),
            leaving=len(self.hosts) - len(self.working),
            boot_s=boot_s,
            boot_left_s=max((boot_s - (self.now - host.launched_at) for host in booting), default=0.0),
            tail_s=max([*running, 3 * mean_s]),
            spent=self.spent,
            per_hour=self.world.price * len(self.hosts),
            price=self.world.price,
            since_grown_s=self.now - self.grown_at,
            since_shrunk_s=self.now - self.shrunk_at,
        )

    def pace(self) -> tuple[Pace | None, float]:
        for window_s in WINDOWS_S:
            since = self.now - window_s
            ends = [took for end, took in self.ends if end > since]
            if len(ends) >= 100:
                break
        stays = [(host.up_at, self.now) for host in self.hosts if host.up_at < self.now] + self.gone
        slot_s = sum(max(0.0, until - max(began, since)) for began, until in stays) * self.world.slots
        if not slot_s:
            return None, 0.0
        mean_s = sum(ends) / len(ends) if ends else 0.0
        slots = self.world.slots * max(1, len(self.hosts))
        return pace_of(len(ends), slot_s, self.world.slots, mean_s or None, slots), mean_s

    @property
    def turns(self) -> int:
        """How often it went the other way."""
        ways = [to > come for _, come, to in self.moves]
        return sum(one != other for one, other in itertools.pairwise(ways))


worlds = st.builds(
    World,
    orders=st.integers(200, 4000),
    mean_s=st.floats(5, 120),
    spread=st.sampled_from([0.0, 0.5, 1.2]),
    boot_s=st.sampled_from([(60.0, 90.0), (100.0, 400.0)]),
    slots=st.sampled_from([1, 2, 8]),
    price=st.just(0.10),
    losses_per_hour=st.sampled_from([0.0, 0.0, 0.2]),
    seed=st.integers(0, 10_000),
)


def work_s(world: World) -> float:
    """Seconds that one host takes for everything."""
    return world.orders * world.mean_s / world.slots


@settings(max_examples=25, deadline=None, derandomize=True)
@given(world=worlds, room=st.floats(2.0, 6.0))
def test_a_deadline_is_met_whenever_it_can_be_and_machines_do_not_flap(world: World, room: float) -> None:
    most = 20
    learning_s = 900 + 2 * world.boot_s[1] + 20 * world.mean_s
    by = learning_s + room * work_s(world) / most

    fleet = Simulation(world, Wish(by=by, most=most, idle_s=ROUND_S)).run(3 * by)

    assert fleet.done_at is not None
    assert fleet.done_at <= by
    assert fleet.turns <= 2 + fleet.losses, fleet.moves
    assert max(count for _, _, count in fleet.moves) <= most
    assert not any(decision.is_contradiction for decision in fleet.decisions)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    world=worlds,
    share=st.sampled_from([0.3, 0.7, 1.0, 2.0, 4.0]),
    more=st.sampled_from([0.0, 0.2, 1.0]),
    within=st.sampled_from([None, 1000.0, 20_000.0]),
)
def test_a_budget_is_never_exceeded_and_is_well_spent(
    world: World, share: float, more: float, within: float | None
) -> None:
    whole = world.price * work_s(world) / 3600
    budget = share * whole + more
    wish = Wish(by=within, budget=budget, most=20, idle_s=ROUND_S, grace_s=800.0)  # no order takes longer

    fleet = Simulation(world, wish).run(200_000.0)

    assert fleet.spent <= budget
    done = len(fleet.ends) / world.orders
    if budget > 0.3 and not fleet.losses:
        assert done >= 0.6 * min(1.0, budget / whole), (done, budget, whole)
    if share >= 2 and more >= 1.0 and not fleet.losses:
        assert done == 1.0
    assert fleet.turns <= 3 + 2 * fleet.losses, fleet.moves


FIVE_HOSTS = Scene(
    now=0.0,
    left=10_000,
    ready=9_980,
    pace=Pace(mean=0.1, slow=0.08, slots=4, finished=400),
    up=5,
    booting=0,
    spent=1.0,
    per_hour=0.5,
    price=0.1,
)


def test_a_deadline_and_a_budget_that_contradict_each_other_are_named_with_how_far_the_money_goes() -> None:
    alone = decide(FIVE_HOSTS, Wish(by=7200.0))
    both = decide(FIVE_HOSTS, Wish(by=7200.0, budget=2.0))
    rich = decide(FIVE_HOSTS, Wish(by=7200.0, budget=10.0))

    assert (alone.target, alone.is_contradiction, alone.warnings) == (20, False, ())
    assert (rich.target, rich.is_contradiction) == (20, False)
    assert (both.target, both.is_contradiction) == (10, True)  # no more than a fifth of the rest goes into booting
    short, late = both.warnings
    assert short.startswith("the budget of $2.00 pays for about 2,910 ")
    assert short.endswith("of 10,000 orders that are left; all of them take about $3.97")
    assert late == "with 10 machines all is done 48 min 10 s too late"


def test_without_figures_one_machine_comes_to_make_them_and_paused_waiters_make_none() -> None:
    new = replace(FIVE_HOSTS, pace=None, up=0, per_hour=0.0, spent=0.0)

    assert decide(new, Wish(by=7200.0)).target == 1
    assert decide(new, Wish(budget=0.01)).target == 0
    assert decide(replace(FIVE_HOSTS, is_paused=True), Wish(by=7200.0)).target == 5
    assert decide(replace(FIVE_HOSTS, is_refused=True), Wish(by=7200.0)).target == 5  # EC2 had no more a moment ago
    hopeless = decide(replace(FIVE_HOSTS, is_hopeless=True), Wish(by=7200.0))
    assert (hopeless.target, "came up" in hopeless.warnings[0]) == (5, True)
    assert decide(replace(new, is_hopeless=True), Wish(by=7200.0)).target == 0
    assert decide(replace(FIVE_HOSTS, left=0, ready=0), Wish(by=7200.0)).target == 0
    assert decide(FIVE_HOSTS, Wish()).target == MOST
    assert decide(FIVE_HOSTS, Wish(most=3)).target == 3


def test_machines_that_boot_count_only_from_when_they_are_up() -> None:
    booting = replace(FIVE_HOSTS, up=0, booting=5, boot_s=600.0, boot_left_s=300.0)

    assert hosts_for(booting, 700.0, rate=5.0) == 5
    assert hosts_for(booting, 650.0, rate=5.0) == 10  # 8,750 by five, the rest in 50 s by five more
    assert hosts_for(booting, 500.0, rate=5.0) is None  # new ones would come too late
