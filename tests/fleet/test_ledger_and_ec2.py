"""The ledger beside EC2, without hosts: what is launched, how often, from which pools, and what is ended."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.cloud_of_hosts import CloudOfHosts
from tests.fleet.network import Network
from waiter.delivery.host_metrics import is_guarded
from waiter.errors import FleetError
from waiter.fleet.actions import Payload, StartRequest
from waiter.fleet.aws import AwsRefused
from waiter.fleet.aws import Ec2 as OurEc2
from waiter.fleet.inventory import AddressKind, Host, HostSelection, select_hosts
from waiter.fleet.life import cloud, ending
from waiter.fleet.life.arrival import Arrival
from waiter.fleet.life.following import FollowedFleet
from waiter.fleet.life.guard import GuardTimes, guard_script, user_data
from waiter.fleet.life.launching import Account, give_up, grow, intended, look, settle
from waiter.fleet.life.leftovers import KitchenKnows, leftover
from waiter.fleet.life.plan import LaunchPlan
from waiter.fleet.life.turns import Holder, me, take_turn, turn_to_launch
from waiter.fleet.runner import FleetRunner
from waiter.fleet.ssh.connection import Network as SshNetwork
from waiter.fleet.ssh.connection import SshOptions
from waiter.fleet.zipapp import Zipapp
from waiter.kitchen import open_kitchen
from waiter.machines import SCALED_DOWN, CallState, Ledger, Market
from waiter.orders import Shift, Vitals
from waiter.processes import here, start_time

PLAN = LaunchPlan(
    fleet="crunch",
    region="eu-west-1",
    kinds=("m7a.large", "m7i.large"),
    subnets=(),
    market=Market.ON_DEMAND,
    idle_s=600,
    max_life_s=3600,
    ami="ami-12345678",
)


ARRIVAL = Arrival(Payload(Zipapp(Path("none"), "0")), StartRequest(None), AddressKind.PRIVATE, None, 600.0)
RUNNER = FleetRunner(SshNetwork(SshOptions()))


@pytest.fixture
def aws(faulty_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CloudOfHosts:
    """An account at EC2 with its faults; nothing in it is a host."""
    aws = CloudOfHosts(faulty_endpoint, Network(tmp_path, "none", "10.199.0"))
    aws.empty()
    for key, value in {**aws.ec2.env, "AWS_CONFIG_FILE": str(tmp_path / "c"), "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    return aws


@pytest.fixture
def account(aws: CloudOfHosts, tmp_path: Path) -> Iterator[Account]:
    with open_kitchen(str(tmp_path / "kitchen.sqlite"), "x") as kitchen:
        yield Account(OurEc2(None, "eu-west-1", print), Ledger(kitchen, "crunch"), print)


def open_call(account: Account, count: int) -> str:
    """Write a call down, as a laptop does that dies before it hears an answer."""
    call = intended(account, PLAN, cloud.ensure_template(account.ec2, PLAN), count, Market.ON_DEMAND)
    account.ledger.intend(call)
    return call.token


def test_a_call_that_was_made_before_the_laptop_died_is_not_made_again(aws: CloudOfHosts, account: Account) -> None:
    token = open_call(account, 3)
    (call,) = account.ledger.calls()
    cloud.create_fleet(account.ec2, call.request, account.now)  # and here it dies

    settle(account)
    grow(account, PLAN, 3)

    assert {each["token"] for each in aws.calls("CreateFleet")} == {token}
    assert set(look(account).machines) == aws.living()
    assert len(aws.living()) == 3


def test_terminate_finds_what_a_dead_laptop_launched_and_launches_nothing_itself(
    aws: CloudOfHosts, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waiter.fleet.life.launching.VISIBLE_S", 0.5)
    open_call(account, 2)
    give_up(account)
    assert not aws.living()
    open_call(account, 2)
    made = cloud.create_fleet(account.ec2, account.ledger.calls()[-1].request, account.now)
    give_up(account)
    assert set(look(account).machines) == {machine.id for machine in made.machines} == aws.living()
    settle(account)

    ending.end(account, [Host(id_, "", instance_id=id_) for id_ in aws.living()], "test")

    assert (aws.living(), look(account).machines) == (set(), {})
    assert len(aws.calls("CreateFleet")) == 1


def test_a_lost_answer_and_throttling_end_in_the_same_machines(aws: CloudOfHosts, account: Account) -> None:
    aws.make(faults=[["CreateFleet", "LOSE"], ["CreateFleet", "RequestLimitExceeded"]], hidden_s=2)

    (call,) = grow(account, PLAN, 2)

    assert len({each["token"] for each in aws.calls("CreateFleet")}) == 1
    assert len(call.machines) == len(look(account).machines) == 2  # though EC2 shows neither yet
    assert grow(account, PLAN, 2) == []
    with pytest.raises(AwsRefused, match="IdempotentParameterMismatch"):
        account.ec2.ask("create_fleet", **{**call.request, "Type": "request"})


def test_a_followed_fleet_is_kept_at_its_number_as_far_as_orders_wait_until_somebody_terminates_it(
    aws: CloudOfHosts, account: Account
) -> None:
    ready = 0
    fleet = FollowedFleet(account, ARRIVAL, PLAN, 2, lambda calls, _: [f"{len(calls)} call"], RUNNER)
    assert fleet.look().notes == ("1 call",)
    first, second = sorted(aws.living())
    fleet.ready = lambda: ready

    aws.ec2.client.terminate_instances(InstanceIds=[first])
    assert [each.split(" ")[0] for each in fleet.look().went] == [first]
    assert aws.living() == {second}
    ready = 1
    fleet.look()
    (third,) = aws.living() - {second}
    ending.end(account, [Host(second, "", instance_id=second)], SCALED_DOWN)
    assert not fleet.look().is_over
    assert aws.living() == {third}  # nobody replaces what was too many
    grow(account, PLAN, 2)  # on another laptop
    fleet.look()
    (fourth,) = aws.living() - {third}
    ending.end(account, [Host(id_, "", instance_id=id_) for id_ in (third, fourth)], "terminate")
    assert fleet.look().is_over
    assert not aws.living()


def test_a_turn_is_kept_from_others_while_its_process_lives(account: Account) -> None:
    ledger = account.ledger
    with subprocess.Popen(["sleep", "60"]) as process:
        ann = Holder("ann@laptop", process.pid, start_time(process.pid), here())
        assert take_turn(ledger, ann, 3600) is None
        with (
            pytest.raises(FleetError, match="ann@laptop scales crunch; nothing was launched"),
            turn_to_launch(ledger, print, within_s=0),
        ):
            raise AssertionError
        process.kill()
    with turn_to_launch(ledger, print, within_s=0):
        assert take_turn(ledger, ann, 3600) == me().name
    assert take_turn(ledger, Holder("bob@desk"), 3600) is None


def test_what_a_pool_lacks_comes_from_another_and_then_on_demand_and_each_reason_is_named(
    aws: CloudOfHosts, account: Account
) -> None:
    pools = {
        "m7a.large/spot": {"has": 1, "code": "InsufficientInstanceCapacity"},
        "m7i.large/spot": {"has": 0, "code": "MaxSpotInstanceCountExceeded"},
    }
    aws.make(pools=pools)

    calls = grow(account, replace(PLAN, market=Market.SPOT_THEN_ON_DEMAND), 4)
    again = grow(account, replace(PLAN, market=Market.SPOT), 5)

    from waiter.cli.fleet.bringing_up import call_lines

    assert [(call.market, len(call.machines)) for call in calls] == [(Market.SPOT, 1), (Market.ON_DEMAND, 3)]
    lines = call_lines(calls, 0, 4)
    assert lines[0] == "Launched 4 machines of 4"
    assert lines[1].startswith("m7a.large, spot: no capacity: ")
    assert lines[2].startswith("m7i.large, spot: this account's quota is used up: ")
    overrides = again[0].request["LaunchTemplateConfigs"][0]["Overrides"]
    assert [each["InstanceType"] for each in overrides] == ["m7i.large"]  # the sold-out pool is left alone for a while


def test_a_refused_call_leaves_nothing_open_and_names_the_permission(aws: CloudOfHosts, account: Account) -> None:
    aws.make(faults=[["CreateFleet", "UnauthorizedOperation"]])

    with pytest.raises(FleetError, match="the credentials need ec2:CreateFleet"):
        grow(account, PLAN, 1)

    assert [call.state for call in account.ledger.calls()] == [CallState.REFUSED]
    settle(account)
    assert not aws.living()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process plays EC2 here, and makes a thousand machines at once."""
    monkeypatch.setattr("waiter.fleet.aws.ANSWER_S", 120)


def test_a_thousand_machines_are_launched_listed_and_ended_in_portions_and_foreign_ones_survive(
    patience: None, aws: CloudOfHosts, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waiter.fleet.life.cloud.AT_ONCE", 25)
    kitchen_id = account.ledger.kitchen.id
    foreign = {
        *aws.ec2.launch(1, **{"waiter:fleet": "crunch"}),
        *aws.ec2.launch(1, **{"waiter:fleet": "crunch", "waiter:kitchen": kitchen_id, "waiter:call": "0" * 32}),
        *aws.ec2.launch(1, **{"waiter:fleet": "crunch-2", "waiter:kitchen": kitchen_id}),
    }
    assert len(look(account).foreign) == 2
    with pytest.raises(FleetError, match="was not launched by this fleet, and is left alone"):
        ending.end(account, [Host(id_, "", instance_id=id_) for id_ in foreign], "test")

    calls = grow(account, PLAN, 1041)  # EC2 lists 1,000 on a page, and makes no more at a time

    assert [len(call.machines) for call in calls] == [1000, 41]
    made = sorted(machine.id for call in calls for machine in call.machines)
    aws.ec2.client.delete_tags(Resources=made[-1:], Tags=[{"Key": "waiter:call"}])  # somebody has taken it over
    with pytest.raises(FleetError, match="was not launched by this fleet, and is left alone"):
        ending.end(account, [Host(made[-1], "", instance_id=made[-1])], "test")
    ending.end(account, [Host(id_, "", instance_id=id_) for id_ in made[:40]], "test")
    listed = select_hosts(HostSelection(tags=("waiter:fleet=crunch",), address=AddressKind.PRIVATE))
    ids = {str(host.instance_id) for host in listed}
    assert (len(ids & foreign), sorted(ids - foreign)) == (2, made[40:])
    assert len({host.name for host in listed}) == len({host.address for host in listed}) == len(listed) == 1003
    assert len(aws.calls("TerminateInstances")) == 2
    ends = [machine.why_ended for call in account.ledger.calls() for machine in call.machines]
    assert (ends.count("test"), ends.count(None)) == (40, 1001)


def test_the_guard_is_short_and_a_templates_own_user_data_stays(aws: CloudOfHosts, account: Account) -> None:
    own = "#cloud-config\npackages: [git]\n"
    facts = {"ImageId": "ami-87654321", "UserData": base64.b64encode(own.encode()).decode(), "EbsOptimized": True}
    aws.ec2.client.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData=facts)

    name = cloud.ensure_template(account.ec2, replace(PLAN, ami=None, template="mine"))

    assert cloud.ensure_template(account.ec2, replace(PLAN, ami=None, template="mine")) == name
    for unknown in ("yours", "lt-0123456789abcdef0"):
        with pytest.raises(FleetError, match=f"no launch template {unknown} in eu-west-1\nhint: "):
            cloud.ensure_template(account.ec2, replace(PLAN, template=unknown))
    made = aws.ec2.client.describe_launch_template_versions(LaunchTemplateName=name)
    content = made["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert (content["ImageId"], content["EbsOptimized"]) == ("ami-87654321", True)
    assert content["InstanceInitiatedShutdownBehavior"] == "terminate"
    parts = message_from_bytes(base64.b64decode(content["UserData"])).get_payload()
    assert [part.get_content_type() for part in parts] == ["text/cloud-config", "text/x-shellscript"]
    assert parts[0].get_payload(decode=True).decode() == own
    assert len(guard_script(GuardTimes(43_200, 432_000))) < 1024
    with pytest.raises(FleetError, match="EC2 takes 16,384"):
        user_data(PLAN.guard, b"#!/bin/sh\n" + b"#" * 16_384)
    cloud.remove_templates(account.ec2, "crunch")
    left = aws.ec2.client.describe_launch_templates()["LaunchTemplates"]
    assert [each["LaunchTemplateName"] for each in left] == ["mine"]


def test_whether_a_guard_lives_is_known_from_its_waiter_and_from_the_time_that_is_over(tmp_path: Path) -> None:
    shift = Shift("t", "w", "ip-10-0-0-5", 1, 0.0, 1060.0, 1000.0, vitals=Vitals(is_guarded=True))
    instance = {
        "InstanceId": "i-1",
        "State": {"Name": "running"},
        "PrivateDnsName": "ip-10-0-0-5.eu-west-1.compute.internal",
        "LaunchTime": datetime.fromtimestamp(500, UTC),
    }

    def seen(now: float, **knows: Any) -> tuple[float | None, str]:
        found = leftover(instance, "eu-west-1", KitchenKnows(now, shifts=[shift], **knows))
        return found.heartbeat_s, found.guard

    assert seen(1010) == (10, "alive")
    assert seen(1500) == (500, "unknown")  # nobody has heard from it for long
    assert seen(5000, ends={"i-1": 4000}) == (4000, "dead")
    instance["LaunchTime"] = datetime.fromtimestamp(1005, UTC)
    assert seen(1010) == (None, "unknown")  # another machine had this name before
    assert is_guarded(tmp_path) is None
    with subprocess.Popen(["sleep", "60"]) as guard:
        (tmp_path / "guard").write_text(f"{guard.pid}\n")
        assert is_guarded(tmp_path) is True
        guard.kill()
    assert is_guarded(tmp_path) is False
