"""As many machines as a deadline and a budget ask for, by what the kitchen knows of orders that were delivered."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import eventually, fill, outcome
from tests.fleet.cloud_of_hosts import CloudOfHosts
from tests.fleet.environment import Laptop, SharedKitchen
from tests.fleet.test_launch import base as base
from tests.fleet.test_launch import settled, waiter
from tests.fleet.test_ledger_and_ec2 import PLAN
from tests.fleet.test_ledger_and_ec2 import account as account
from tests.fleet.test_ledger_and_ec2 import aws as aws
from waiter.cli.fleet.scale import watch_ends
from waiter.errors import ExitCode, FleetError
from waiter.fleet.life.ending import NEVER_CAME
from waiter.fleet.life.launching import Account, grow
from waiter.fleet.life.policy import Wish
from waiter.fleet.life.scaling import Scaler
from waiter.fleet.life.turns import Holder, keep_turn, take_over, take_turn
from waiter.kitchen.contract import Kitchen
from waiter.machines import SCALED_DOWN, Ledger
from waiter.orders import Selector, Status, Vitals


def delivered(kitchen: Kitchen, done: int, left: int) -> None:
    """A kitchen in which a waiter with two slots has delivered so many orders, and so many are left."""
    fill(kitchen, [[str(row)] for row in range(done + left)])
    shift = kitchen.check_in("ann", "laptop", 1, Vitals(slots=2))
    for _ in range(done):
        (order,) = kitchen.claim(shift, 1)
        kitchen.finish(shift, [outcome(order)])
    eventually(lambda: kitchen.now() - shift.since > 1.5)
    kitchen.check_out(shift)
    kitchen.check_out(kitchen.check_in("ann", "laptop", 1, Vitals(slots=2)))  # the same host again is no other slots


def test_a_deadline_takes_more_machines_a_budget_allows_fewer_and_both_may_contradict_each_other(
    aws: CloudOfHosts, account: Account
) -> None:
    delivered(account.ledger.kitchen, done=60, left=20_000)

    def scaler(prices: float | None = 0.5, **wish: float) -> Scaler:
        listed = {} if prices is None else dict.fromkeys(PLAN.kinds, prices)
        return Scaler(account, PLAN, Wish(idle_s=20.0, **wish), listed)  # type: ignore[arg-type]

    spent = scaler(budget=0.001)
    assert watch_ends(spent.look(), spent.wish) is ExitCode.LIMIT
    grow(account, PLAN, 1)
    assert watch_ends(spent.look(), spent.wish) is None  # it lives, and is to be drained first
    pace = scaler(most=1).look().scene.pace
    assert pace is not None
    assert pace.slots == 2
    by = account.now + 180 + 20_000 / pace.slow / 6

    hurried = scaler(by=by).look()
    assert 6 <= hurried.decision.target <= 8, hurried
    assert scaler(by=by, most=3).look().decision.target == 3
    assert "too late" in scaler(by=by, most=1).look().decision.warnings[0]

    cost = hurried.decision.costs
    assert cost is not None
    poor = scaler(by=by, budget=cost / 3).look()
    assert poor.decision.is_contradiction
    assert poor.decision.target < hurried.decision.target
    assert "pays for about" in poor.decision.warnings[0]
    with pytest.raises(FleetError, match=r"needs the price of m7a.large, on-demand.*\n.*\"m7a.large\" = 0.12"):
        scaler(None, by=by, budget=cost).look()

    scaler(by=by).launch(hurried)
    assert len(aws.living()) == hurried.decision.target
    assert scaler(by=by).look().decision.target == hurried.decision.target  # they boot: nothing more is launched
    rich = scaler(budget=1000.0)
    rich.launch(replace(rich.look(), decision=replace(hurried.decision, target=hurried.decision.target + 1)))
    limits = [call.max_life_s for call in account.ledger.calls()]
    assert limits == [PLAN.max_life_s] * 3  # the budget lasts longer than that
    tight = scaler(budget=cost + 1)
    tight.launch(replace(tight.look(), decision=replace(hurried.decision, target=hurried.decision.target + 4)))
    assert account.ledger.calls()[-1].max_life_s < PLAN.max_life_s  # type: ignore[operator] # … and here the machines end before it

    assert not hurried.scene.is_hopeless
    account.ledger.note_ended(dict.fromkeys(aws.living(), NEVER_CAME), account.now)
    assert watch_ends(scaler(by=by).look(), Wish(by=by)) is ExitCode.FAILED


def test_who_scales_has_the_fleet_alone_and_a_dry_run_launches_nothing(
    aws: CloudOfHosts, account: Account, tmp_path: Path, waiter_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    grow(account, PLAN, 1)
    delivered(account.ledger.kitchen, done=30, left=1000)
    assert take_turn(account.ledger, Holder("ann@laptop (process 1)"), 60) is None
    words = ("fleet", "scale", "crunch", "-k", str(tmp_path / "kitchen.sqlite"), "--db", "x")

    def scale(*more: str) -> subprocess.CompletedProcess[str]:
        return waiter_cli(*words, *more, **aws.ec2.env)

    soon = datetime.fromtimestamp(time.time() + 7200).strftime("%Y-%m-%dT%H:%M")
    planned = scale("--by", soon, "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    facts = json.loads(planned.stdout)
    assert (facts["target"], facts["starting"], facts["orders_left"], facts["spent"]) == (1, 1, 1000, None)
    (tmp_path / "waiter.toml").write_text("[fleet.launch]\ncount = 6\n")  # of `launch`
    said = scale("--by", "18:00", "--dry-run").stderr
    (tmp_path / "waiter.toml").unlink()
    assert "crunch: 0 machines at work, 1 starting; 1,000 orders left; wanted: 1 machine (" in said
    assert "18:00)" in said
    refused = scale("--budget", "40", "--dry-run").stderr
    assert 'hint: put it into waiter.toml, in dollars an hour: [prices] "m7a.large" = 0.12' in refused
    assert "ann@laptop (process 1) scales crunch already; nothing was done" in scale("--max", "9", "--yes").stderr
    take_over(account.ledger, Holder("bob@desk (process 2)"))
    assert keep_turn(account.ledger, Holder("ann@laptop (process 1)"), 60) == "bob@desk (process 2)"  # she stops
    assert take_turn(account.ledger, Holder("eve@train (process 3)"), 60) is None  # and others may begin
    assert "hint: leave --count out" in scale("--max", "9", "--count", "1").stderr
    assert "or --by 18:00" in scale().stderr
    assert "not a time" in scale("--by", "25:00").stderr
    assert len(aws.living()) == 1


@contextmanager
def watching(laptop: Laptop, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A `scale --watch` by Fabric's task, and the file of what it says."""
    log = laptop.folder / f"watch-{secrets.token_hex(2)}.log"
    fab = str(Path(sys.executable).with_name("fab"))
    with log.open("w") as file:
        process = subprocess.Popen([fab, "fleet.scale", *words], cwd=laptop.folder, env=laptop.env, stderr=file)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.long
def test_a_watched_fleet_loses_and_doubles_no_machine_though_the_watcher_is_killed_until_all_is_done_and_nothing_lives(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    cloud_of_hosts.make(prices={"m7a.large": 0.12})
    assert base.type(sys.executable, "-m", "waiter", "init").returncode == 0
    settled(base, cloud_of_hosts, shared)
    in_a_hurry, gate = (base.network.folder / f"{name}-{secrets.token_hex(4)}" for name in ("hurry", "gate"))
    base.script(f"while [ $1 = 1 -a ! -e {gate} ]; do sleep 0.1; done; [ -e {in_a_hurry} ] || sleep 1")
    shared.load(500)
    assert waiter(base, "launch", "crunch", "--count", "1", "--yes").returncode == 0
    eventually(lambda: shared.count(Status.DONE) >= 3, 60)
    grown = base.fab("fleet.scale", "crunch", "--max=2", "--yes")
    assert (grown.returncode, grown.stdout.count(" started ")) == (0, 1), grown.stderr

    old = cloud_of_hosts.living()
    words = ("crunch", "--max=3", "--budget=5", "--watch", "--every=1", "--yes")
    cloud_of_hosts.make(faults=[["CreateFleet", "HOLD"]])
    with watching(base, *words):
        eventually(lambda: cloud_of_hosts.asked()["held"] == ["CreateFleet"], 60)  # and here it is killed
    (taken,) = cloud_of_hosts.living() - old
    with watching(base, *words) as (_, log):
        # The new one has no orders yet, which would wait until its waiter's lease has run out.
        eventually(lambda: "A launch of 1 by" in log.read_text(), 60)
        cloud_of_hosts.ec2.client.terminate_instances(InstanceIds=[taken])
        (new,) = eventually(lambda: cloud_of_hosts.living() - old - {taken}, 120)
        eventually(lambda: f"{new}: started" in log.read_text(), 120)
        assert f"{taken}: gone: " in log.read_text()
        cloud_of_hosts.make(faults=[["TerminateInstances", "HOLD"]])
        in_a_hurry.touch()  # but for one order, which two of three machines have nothing to do with
        eventually(lambda: shared.count(Status.DONE) == 499, 60)  # before, one that holds many short ones is kept
        calm_down(Ledger(shared.kitchen, "crunch"))
        eventually(lambda: cloud_of_hosts.asked()["held"] == ["CreateFleet", "TerminateInstances"], 120)
    with watching(base, *words) as (process, log):
        (busy,) = eventually(lambda: len(alive := cloud_of_hosts.living()) == 1 and alive, 120)
        assert [*shared.kitchen.find(Selector(statuses=(Status.RUNNING,), host=busy))]
        gate.touch()
        assert process.wait(120) == 0
    assert shared.count(Status.DONE) == 500, log.read_text()
    assert not cloud_of_hosts.living(), log.read_text()
    machines = Ledger(shared.kitchen, "crunch").machines()
    assert {machine.id for machine in machines} == set(cloud_of_hosts.instances()) == {*old, taken, new}
    assert [machine.id for machine in machines if machine.why_ended != SCALED_DOWN] == [taken]
    cost = json.loads(waiter(base, "cost", "crunch", "--json").stdout)
    assert (cost["machines"], cost["ended"], cost["orders"]) == (0, 4, 500)
    assert 0 < cost["so_far"] < 0.1


def calm_down(ledger: Ledger) -> None:
    """Let it be long ago that the fleet has grown."""
    for call in ledger.calls():
        ledger.change(call.token, lambda call: replace(call, at=call.at - 3600))


def test_no_machine_outlives_its_longest_life_though_it_has_work(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    settled(base, cloud_of_hosts, shared, idle="2d", arrival="2d", max_life="6h")
    base.script("sleep 600")
    shared.load(2)
    assert waiter(base, "launch", "crunch", "--count", "1", "--yes").returncode == 0
    (machine,) = cloud_of_hosts.living()
    eventually(lambda: shared.count(Status.RUNNING) == 2, 60)

    cloud_of_hosts.let_pass(21_500)
    assert cloud_of_hosts.living() == {machine}
    cloud_of_hosts.let_pass(200)
    eventually(lambda: not cloud_of_hosts.living(), 60)
