"""A fleet's whole life: launched, at work, scaled, ended by itself or by somebody, and never a forgotten machine."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_progress_bars import on_a_terminal
from tests.conftest import eventually
from tests.fleet.cloud_of_hosts import CloudOfHosts
from tests.fleet.environment import Laptop, SharedKitchen
from tests.fleet.network import Network
from tests.fleet.test_follow import following
from waiter.machines import Ledger, living
from waiter.orders import Selector, Status


@pytest.fixture
def base(built_network: Network, tmp_path: Path, cloud_of_hosts: CloudOfHosts) -> Laptop:
    """A laptop with an account at the cloud whose instances are hosts."""
    laptop = Laptop(tmp_path / "home", tmp_path / "work", built_network)
    laptop.settle()
    laptop.known_hosts.write_text("")
    laptop.env |= cloud_of_hosts.ec2.env
    laptop.script('sleep 0.2; echo "crunched $*"')
    return laptop


def table(cloud: CloudOfHosts, shared: SharedKitchen, **launch: Any) -> str:
    """A waiter.toml."""
    facts = {"type": "m7a.large", "subnet": cloud.subnet, "ami": "ami-12345678", "idle": "5m", **launch}
    lines = [f"{key} = {json.dumps(value)}" for key, value in facts.items()]
    return (
        f'[fleet]\nkitchen = "{shared.url}"\ndb = "{shared.db}"\naddress = "private"\ncmd = "./crunch.sh"\njobs = 2\n'
        '[prices]\n"m7a.large" = 0.1\n[fleet.launch]\n' + "\n".join(lines) + "\n"
    )


def waiter(laptop: Laptop, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return laptop.type(sys.executable, "-m", "waiter", "fleet", *words, timeout=timeout)


def settled(laptop: Laptop, cloud: CloudOfHosts, shared: SharedKitchen, **launch: Any) -> None:
    (laptop.folder / "waiter.toml").write_text(table(cloud, shared, **launch))


def test_a_fleet_is_launched_delivers_and_is_terminated(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    shared.load(30)
    settled(base, cloud_of_hosts, shared)
    foreign = cloud_of_hosts.ec2.launch(1, **{"waiter:fleet": "crunch", "waiter:kitchen": shared.kitchen.id})

    planned = waiter(base, "launch", "crunch", "--count", "3", "--dry-run")
    cloud_of_hosts.never_boot = 1
    with following(base, "launch", "crunch", "--count", "3", "--yes") as (launching, told):
        (dark,) = eventually(lambda: cloud_of_hosts.dark, 60)
        cloud_of_hosts.ec2.client.terminate_instances(InstanceIds=[dark])  # EC2 takes it back before anybody is there
        code = launching.wait(240)
    launched = told.read_text()

    assert planned.returncode == 0, planned.stderr
    assert (planned.returncode, "3 of m7a.large, on-demand, ami-12345678" in planned.stderr) == (0, True)
    assert code == 0, launched
    assert launched.count(" started ") == 3
    assert f"Gone: {dark} (" in launched
    assert launched.count("Launched 1 machine of 1\n") == 1
    eventually(lambda: shared.count(Status.DONE) == 30)
    assert base.known_hosts.read_text() == ""
    ours = cloud_of_hosts.living() - set(foreign)
    tags = {tag["Key"]: tag["Value"] for tag in cloud_of_hosts.instances()[min(ours)]["Tags"]}
    assert (tags["Name"], tags["waiter:fleet"], tags["waiter:kitchen"]) == ("crunch", "crunch", shared.kitchen.id)

    left = json.loads(waiter(base, "leftovers", "--json", "--region", "eu-west-1").stdout)["machines"]
    assert {each["instance"]: each["ledger"] for each in left} == {
        **dict.fromkeys(ours, "this kitchen"),
        **dict.fromkeys(foreign, "not made by launch"),
    }
    seen = [each for each in left if each["instance"] in ours]
    assert {each["guard"] for each in seen} == {"alive"}
    assert all(each["heartbeat_age_s"] < 60 and each["cost"] > 0 for each in seen)

    again = waiter(base, "launch", "crunch", "--count", "3", "--yes")
    assert again.stdout.count(" already running ") == 3, again.stdout
    assert cloud_of_hosts.living() - set(foreign) == ours
    ended = waiter(base, "terminate", "crunch", "--yes")
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert ended.stdout.count(" ended ") == 3
    assert f"{foreign[0]} carries the fleet's tag and was not launched by it: left alone" in ended.stderr
    assert cloud_of_hosts.living() == set(foreign)
    again = waiter(base, "terminate", "crunch", "--yes")
    assert (again.returncode, "No machine of crunch lives" in again.stderr) == (0, True)


def interrupted(laptop: Laptop, cloud: CloudOfHosts, action: str, fault: str, *words: str) -> None:
    """Type this, and kill the laptop's process while EC2's answer to the action has not come."""
    cloud.make(faults=[[action, fault]])
    before = len(cloud.asked()["held"])
    typed = subprocess.Popen(
        [sys.executable, "-m", "waiter", "fleet", *words, "--yes"],
        cwd=laptop.folder,
        env=laptop.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: len(cloud.asked()["held"]) > before, 60)
    typed.kill()
    typed.wait(10)


@pytest.mark.long
def test_a_laptop_that_is_killed_around_the_call_makes_no_machine_twice_and_leaves_none_unknown(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    settled(base, cloud_of_hosts, shared)
    interrupted(base, cloud_of_hosts, "CreateFleet", "HOLD_BEFORE", "launch", "crunch", "--count", "2")
    assert not cloud_of_hosts.living()

    interrupted(base, cloud_of_hosts, "CreateFleet", "HOLD", "launch", "crunch", "--count", "2")
    made = cloud_of_hosts.living()
    launched = waiter(base, "launch", "crunch", "--count", "2", "--yes")

    assert "A launch of 2 by" in launched.stderr
    assert launched.stdout.count(" started ") == 2, launched.stderr
    assert cloud_of_hosts.living() == made
    assert len(made) == 2
    foreign = set(cloud_of_hosts.ec2.launch(1, **{"waiter:fleet": "crunch"}))
    drop(shared)
    found = json.loads(waiter(base, "leftovers", "--json").stdout)["machines"]
    assert {each["instance"]: each["ledger"] for each in found} == {
        **dict.fromkeys(made, "not this kitchen"),
        **dict.fromkeys(foreign, "not made by launch"),
    }
    assert {each["guard"] for each in found} == {"unknown"}
    settings = (base.folder / "waiter.toml").rename(base.folder / "away")
    blind = waiter(base, "leftovers", "--terminate", "--yes", "--region", "eu-west-1")
    settings.rename(base.folder / "waiter.toml")
    assert (blind.returncode, "Nothing was ended" in blind.stderr) == (1, True)
    ended = waiter(base, "leftovers", "--terminate", "--yes", "--region", "eu-west-1")
    assert "Ended 2 machines" in ended.stderr
    assert cloud_of_hosts.living() == foreign


def drop(shared: SharedKitchen) -> None:
    """Delete the kitchen."""
    import pymongo

    with pymongo.MongoClient(shared.url) as client:
        client.drop_database(shared.db)


def gated(laptop: Laptop) -> Path:
    """Orders that end when this file is there: hosts see it, too."""
    gate = laptop.network.folder / f"gate-{secrets.token_hex(4)}"
    laptop.script(f"while [ ! -e {gate} ]; do sleep 0.1; done")
    return gate


@pytest.mark.long
def test_machines_end_themselves_when_idle_or_when_nobody_came_though_the_laptop_is_gone(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    settled(base, cloud_of_hosts, shared, idle="10m")
    interrupted(base, cloud_of_hosts, "CreateFleet", "HOLD", "launch", "crunch", "--count", "1")
    eventually(lambda: cloud_of_hosts.hosts, 150)
    (lonely,) = cloud_of_hosts.living()
    cloud_of_hosts.let_pass(1150)
    assert cloud_of_hosts.living() == {lonely}
    cloud_of_hosts.let_pass(60)  # nobody comes to this one within 20 minutes
    eventually(lambda: not cloud_of_hosts.living(), 150)
    assert (cloud_of_hosts.hosts[lonely].folder / "off").read_text() == "-P now\n"

    gate = gated(base)
    shared.load(12)
    words = [sys.executable, "-m", "waiter", "fleet", "launch", "crunch", "--count", "6", "--yes"]
    typed = subprocess.Popen(words, cwd=base.folder, env=base.env, stderr=subprocess.DEVNULL)
    eventually(lambda: shared.count(Status.RUNNING) == 12, 150)
    typed.kill()
    typed.wait(10)
    for _ in range(2):  # 14 minutes, in which there are signs of life
        cloud_of_hosts.let_pass(420)
        cloud_of_hosts.see_them_work()
    assert len(cloud_of_hosts.living()) == 6
    gate.touch()
    eventually(lambda: shared.count(Status.DONE) == 12, 150)
    assert waiter(base, "scale", "crunch", "--count", "4", "--yes").returncode == 0
    assert len(cloud_of_hosts.living()) == 4
    # Guards may see the last sign of life only after the first ten minutes.
    eventually(lambda: cloud_of_hosts.let_pass(601) or not cloud_of_hosts.living(), 150)


@pytest.mark.long
def test_a_machine_that_never_comes_up_is_named_and_ended_and_a_busy_one_is_never_scaled_away(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    settled(base, cloud_of_hosts, shared)
    base.script("sleep 600")
    shared.load(2)
    cloud_of_hosts.make(empty_consoles=2)
    words = ("fleet", "launch", "crunch", "--count", "1", "--yes")
    seen = on_a_terminal(words, cwd=base.folder, env={**base.env, "TERM": "xterm"})
    assert re.search(r"i-\w+ +started ", seen), seen
    assert re.search(r"starting ━+ 0/1 +0:00:\d\d waiting: 1: host key unknown: its console ", seen), seen
    (busy,) = cloud_of_hosts.living()
    foreign = cloud_of_hosts.ec2.launch(1, **{"waiter:fleet": "crunch"})
    cloud_of_hosts.never_boot = 1

    launched = waiter(base, "launch", "crunch", "--count", "2", "--come-up", "3s", "--yes")

    assert launched.returncode == 1
    assert launched.stdout.count(" already running ") == 1, launched.stdout
    (dark,) = cloud_of_hosts.dark
    assert f"{dark}: host key unknown: not up within 3 s" in launched.stderr
    assert cloud_of_hosts.living() == {busy, *foreign}
    eventually(lambda: shared.count(Status.RUNNING) == 2, 150)
    grown = waiter(base, "scale", "crunch", "--count", "2", "--yes")
    assert grown.returncode == 0, grown.stderr
    (idle,) = cloud_of_hosts.living() - {busy, *foreign}
    # Killed before EC2 ended the machine, whose waiter has left; and before that was written down.
    interrupted(base, cloud_of_hosts, "TerminateInstances", "HOLD_BEFORE", "scale", "crunch", "--count", "1")
    assert cloud_of_hosts.living() == {busy, idle, *foreign}
    interrupted(base, cloud_of_hosts, "TerminateInstances", "HOLD", "scale", "crunch", "--count", "1")
    assert cloud_of_hosts.living() == {busy, *foreign}
    assert idle in living(Ledger(shared.kitchen, "crunch").calls())
    assert waiter(base, "scale", "crunch", "--count", "1", "--yes").returncode == 0
    assert set(living(Ledger(shared.kitchen, "crunch").calls())) == {busy}
    kept = waiter(base, "scale", "crunch", "--count", "0", "--grace", "1", "--yes")
    assert (kept.returncode, "still draining" in kept.stdout) == (1, True)
    assert cloud_of_hosts.living() == {busy, *foreign}
    assert waiter(base, "terminate", "crunch", "--now", "--yes").returncode == 0
    assert cloud_of_hosts.living() == {*foreign}


@pytest.mark.long
def test_a_machine_that_ec2_takes_back_is_replaced_and_others_deliver_its_orders(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    settled(base, cloud_of_hosts, shared)
    gate = gated(base)
    shared.load(4)
    words = ("launch", "crunch", "--count", "2", "--follow", "--yes")

    with following(base, *words) as (_, said):
        eventually(lambda: shared.count(Status.RUNNING) == 4, 150)
        lost, kept = sorted(cloud_of_hosts.living())
        cloud_of_hosts.ec2.client.terminate_instances(InstanceIds=[lost])
        eventually(lambda: f"Gone: {lost} (" in said.read_text(), 90)
        assert cloud_of_hosts.living() == {kept}  # no order waits for another machine yet
        beside = waiter(base, *words)  # as cron does, all the time
        assert (beside.returncode, "follows crunch already; nothing was done" in beside.stderr) == (0, True)
    let_lease_pass(shared, lost)  # the laptop is off
    with following(base, *words) as (process, said):
        (new,) = eventually(lambda: cloud_of_hosts.living() - {kept}, 150)
        eventually(lambda: [*shared.kitchen.find(Selector(statuses=(Status.RUNNING,), host=new))], 150)
        pid = json.loads((cloud_of_hosts.hosts[kept].state_folder / "state.json").read_text())["pid"]
        there = ("--tag", "waiter:fleet=crunch", "--limit", kept)
        assert waiter(base, "run", *there, "--", f"kill -9 {pid}").returncode == 0
        let_lease_pass(shared, kept)
        eventually(lambda: f"Taken in: {kept}" in said.read_text(), 150)
        gate.touch()
        assert process.wait(150) == 0
    assert said.read_text().endswith("All orders have ended: 4 DONE\n")
    after = waiter(base, *words)
    assert (after.returncode, after.stderr) == (0, "All orders have ended: 4 DONE\n")
    assert cloud_of_hosts.living() == {kept, new}
    delivered = list(shared.kitchen.find(Selector(), with_details=True))
    assert [order.attempt for order in delivered] == [2, 2, 2, 2]
    assert all(order.losses == order.attempt - 1 for order in delivered)
    left = json.loads(waiter(base, "leftovers", "--json", "--region", "eu-west-1").stdout)
    assert {each["instance"] for each in left["machines"]} == cloud_of_hosts.living()
    assert [(each["id"], each["fleet"], each["replaced_by"]) for each in left["gone"]] == [(lost, "crunch", new)]
    cloud_of_hosts.ec2.client.terminate_instances(InstanceIds=[kept])  # while nobody looks
    said = waiter(base, "status", "--tag", "waiter:fleet=crunch").stderr
    assert re.search(rf"{lost} of crunch is gone since [\d:]+, replaced by {new}: Client.UserInitiatedShutdown", said)
    assert re.search(rf"{kept} of crunch is gone since [\d:]+, not replaced: Client", said), said


@pytest.mark.long
def test_spot_that_is_taken_back_has_time_to_deliver_and_is_replaced(
    base: Laptop, cloud_of_hosts: CloudOfHosts, shared: SharedKitchen
) -> None:
    cloud_of_hosts.have_metadata = True
    settled(base, cloud_of_hosts, shared, spot=True)
    gate = base.network.folder / f"gate-{secrets.token_hex(4)}"
    base.script(f'while [ ! -e {gate} ] && [ ! -e "{gate}-$WAITER_ORDER" ]; do sleep 0.1; done')
    shared.load(6)

    with following(base, "launch", "crunch", "--count", "2", "--follow", "--yes") as (process, said):
        eventually(lambda: shared.count(Status.RUNNING) == 4, 150)
        lost = min(cloud_of_hosts.living())
        cloud_of_hosts.take_back(lost)
        eventually(lambda: any(shift.host == lost and shift.is_leaving for shift in shared.kitchen.shifts()), 90)
        for order in shared.kitchen.find(Selector(statuses=(Status.RUNNING,), host=lost)):
            Path(f"{gate}-{order.id}").touch()
        eventually(lambda: shared.count(Status.DONE) == 2, 60)
        cloud_of_hosts.ec2.client.terminate_instances(InstanceIds=[lost])
        eventually(lambda: "Taken in: i-" in said.read_text(), 150)
        gate.touch()
        assert process.wait(150) == 0
    assert f"Gone: {lost} (" in said.read_text()
    delivered = list(shared.kitchen.find(Selector(), with_details=True))
    assert {(order.status, order.attempt, order.losses) for order in delivered} == {(Status.DONE, 1, 0)}
    lives = [instance.get("InstanceLifecycle") for instance in cloud_of_hosts.instances("pending", "running").values()]
    assert lives == ["spot", "spot"]


def let_lease_pass(shared: SharedKitchen, host: str) -> None:
    """Let a minute pass for the kitchen, as far as it waits for this host."""
    import pymongo

    with pymongo.MongoClient(shared.url) as client:
        now = shared.kitchen.now()
        past = {"lease_until": now - 40, "missed_at": now - 30}
        client[shared.db]["shifts"].update_one({"host": host, "lost_at": None}, {"$set": past})
