"""The policies in the docs, beside what EC2 is asked for: nothing that a verb calls is missing, and none too many."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from tests.fleet.cloud_of_hosts import CloudOfHosts
from tests.fleet.environment import ROOT
from tests.fleet.test_ledger_and_ec2 import PLAN
from tests.fleet.test_ledger_and_ec2 import account as account
from tests.fleet.test_ledger_and_ec2 import aws as aws
from waiter.cli.fleet.leftovers_view import asked_clouds
from waiter.cli.fleet.options import RunnerOptions
from waiter.fleet.inventory import Host, HostSelection, select_hosts
from waiter.fleet.life import cloud, ending
from waiter.fleet.life.launching import Account, grow, look
from waiter.fleet.life.prices import find_prices, offers
from waiter.machines import Market

BY_CREATE_FLEET = {"ec2:RunInstances", "ec2:CreateTags"}
"""What EC2 wants of whoever calls CreateFleet."""


def policy(page: str) -> list[dict[str, Any]]:
    """The statements of a page's policy."""
    (text,) = re.findall(r"```json\n(\{\n  \"Version\".*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def actions(statements: list[dict[str, Any]]) -> set[str]:
    return {
        action
        for each in statements
        for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    }


def called(aws: CloudOfHosts) -> set[str]:
    """What was called, as IAM names it."""
    names = {call["action"] for call in aws.asked()["calls"]}
    return {f"pricing:{name}" if name == "GetProducts" else f"ec2:{name}" for name in names}


def in_source() -> set[str]:
    """All that the program may ask of EC2, by the words of its source."""
    text = "".join(path.read_text() for path in sorted((ROOT / "waiter").rglob("*.py")))
    words = re.findall(r"\.ask\(\s*\"(\w+)\"|get_paginator\(\"(\w+)\"\)|_ask\(client, \"(\w+)\"", text)
    names = {"".join(part.title() for part in "".join(each).split("_")) for each in words}
    return {f"pricing:{name}" if name == "GetProducts" else f"ec2:{name}" for name in names}


def test_the_policy_of_launching_holds_what_a_fleets_life_calls_and_nothing_else(
    aws: CloudOfHosts, account: Account
) -> None:
    aws.make(prices={"m7a.large": 0.12}, spot_prices={"m7a.large": {"eu-west-1a": 0.04}})
    aws.ec2.client.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData={"ImageId": "ami-12345678"})
    aws.make(reset=True)
    aws.make(prices={"m7a.large": 0.12}, spot_prices={"m7a.large": {"eu-west-1a": 0.04}})
    plan = replace(PLAN, ami=None, template="mine", market=Market.SPOT_THEN_ON_DEMAND)

    grow(account, plan, 1)
    (machine,) = look(account).machines
    find_prices(account.ec2, {}, offers(plan))
    cloud.host_keys(account.ec2, machine)
    asked_clouds(RunnerOptions(HostSelection(), False, 1, 1.0, 1.0, False, False))
    ending.end(account, [Host(machine, "", instance_id=machine)], "test")
    cloud.remove_templates(account.ec2, "crunch")

    assert called(aws) == in_source()
    assert called(aws) | BY_CREATE_FLEET == actions(policy("launch.md"))
    (ends,) = [each for each in policy("launch.md") if "ec2:TerminateInstances" in each["Action"]]
    assert ends["Condition"] == {"Null": {"aws:ResourceTag/waiter:fleet": "false"}}
    (tags,) = [each for each in policy("launch.md") if each["Action"] == "ec2:CreateTags"]
    assert set(tags["Condition"]["StringEquals"]["ec2:CreateAction"]) <= {
        action.partition(":")[2] for action in actions(policy("launch.md"))
    }


def test_the_policy_of_a_fleet_that_somebody_else_made_is_what_selecting_calls(aws: CloudOfHosts) -> None:
    aws.ec2.launch(Name="web")
    aws.make(reset=True)

    select_hosts(HostSelection(tags=("web",)))

    assert called(aws) == actions(policy("fleet.md"))
