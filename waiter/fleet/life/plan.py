"""How a fleet is to be launched, and what EC2 is asked for: values in, values out."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from waiter.errors import UsageError
from waiter.fleet.life.guard import GuardTimes, user_data
from waiter.machines import Call, Market

TAG_FLEET, TAG_KITCHEN, TAG_CALL = "waiter:fleet", "waiter:kitchen", "waiter:call"
"""What each machine carries from its first moment: the fleet's name, the kitchen's id, the ClientToken of its call."""

SHUNNED_S = 600.0
"""How long a pool that had no machines is not asked again."""

CAPACITY = {"InsufficientInstanceCapacity", "InsufficientCapacity", "UnfulfillableCapacity", "SpotCapacityNotAvailable"}
PRICE = {"SpotMaxPriceTooLow"}
QUOTA = {
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "MaxSpotFleetRequestCountExceeded",
    "MaxInstanceCountExceeded",
}
OFFERED_NOT = {"Unsupported", "InvalidParameterValue", "InvalidParameterCombination", "UnsupportedOperation"}

Pool = tuple[str, str | None]
"""An instance type in a subnet; None: in whichever EC2 takes by default."""


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What machines a fleet is made of."""

    fleet: str
    region: str
    kinds: tuple[str, ...]
    subnets: tuple[str, ...]
    market: Market
    idle_s: float
    max_life_s: float
    ami: str | None = None
    template: str | None = None  # the user's own launch template, by name or id
    key: str | None = None
    groups: tuple[str, ...] = ()
    profile_arn: str | None = None
    max_price: float | None = None
    arrival_s: float = 1200.0

    @property
    def pools(self) -> list[Pool]:
        return [(kind, subnet) for kind in self.kinds for subnet in self.subnets or (None,)]

    @property
    def guard(self) -> GuardTimes:
        return GuardTimes(self.idle_s, self.max_life_s, self.arrival_s)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> LaunchPlan:
        lists = {key: tuple(facts[key]) for key in ("kinds", "subnets", "groups")}
        return cls(**{**facts, **lists, "market": Market(facts["market"])})


def check(plan: LaunchPlan) -> LaunchPlan:
    """The plan. Raises UsageError for what lacks something, or says nonsense."""
    if not plan.kinds:
        raise UsageError("which instance types? Give --type m7a.large,m7i.large, or type under [fleet.launch]")
    if not plan.ami and not plan.template:
        raise UsageError("which image? Give --ami ami-…, or --launch-template NAME with one in it")
    if plan.idle_s < 1 or plan.max_life_s < 1:
        raise UsageError("--idle and --max-life: at least one second")
    if not plan.fleet.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(plan.fleet) > 100:
        raise UsageError(f"{plan.fleet}: not a name for a fleet. Use letters, digits, hyphens and dots")
    return plan


def template_data(plan: LaunchPlan, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What our launch template says: theirs, if there is one, with what was typed and the guard put in."""
    own = base64.b64decode(theirs.get("UserData") or "")
    typed: dict[str, Any] = {
        "ImageId": plan.ami,
        "KeyName": plan.key,
        "SecurityGroupIds": list(plan.groups),
        "IamInstanceProfile": {"Arn": plan.profile_arn} if plan.profile_arn else None,
    }
    kept = {key: value for key, value in theirs.items() if key != "InstanceMarketOptions" and value not in (None, [])}
    return {
        **kept,
        **{key: value for key, value in typed.items() if value},
        "InstanceInitiatedShutdownBehavior": "terminate",  # with it, the guard's shutdown ends the instance
        "UserData": base64.b64encode(user_data(plan.guard, own)).decode(),
    }


def template_name(plan: LaunchPlan, content: Mapping[str, Any]) -> str:
    """A name for this very content: what exists under it need not be looked at."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"waiter-{plan.fleet}-{digest[:16]}"


def tags(plan: LaunchPlan, kitchen_id: str, token: str) -> list[dict[str, str]]:
    facts = {"Name": plan.fleet, TAG_FLEET: plan.fleet, TAG_KITCHEN: kitchen_id, TAG_CALL: token}
    return [{"Key": key, "Value": value} for key, value in facts.items()]


def fleet_request(
    plan: LaunchPlan,
    template: str,
    pools: Sequence[Pool],
    count: int,
    market: Market,
    tagged: Sequence[Any],
    token: str,
) -> dict[str, Any]:
    """The arguments of CreateFleet, which are written down, and repeated exactly if need be."""
    is_spot = market is Market.SPOT
    price = {"MaxPrice": f"{plan.max_price:g}"} if plan.max_price and is_spot else {}
    overrides = [{"InstanceType": kind, **({"SubnetId": subnet} if subnet else {}), **price} for kind, subnet in pools]
    options: dict[str, Any] = (
        {"SpotOptions": {"AllocationStrategy": "price-capacity-optimized"}}
        if is_spot
        else {"OnDemandOptions": {"AllocationStrategy": "lowest-price"}}
    )
    return {
        "ClientToken": token,
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": template, "Version": "1"},
                "Overrides": overrides,
            }
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": market.value,
            ("SpotTargetCapacity" if is_spot else "OnDemandTargetCapacity"): count,
        },
        **options,
        "TagSpecifications": [{"ResourceType": kind, "Tags": list(tagged)} for kind in ("instance", "fleet")],
    }


def shunned(calls: Sequence[Call], now: float, market: Market) -> AbstractSet[Pool]:
    """The pools that had no machines of this market a short while ago."""
    return {
        (error.kind, error.subnet)
        for call in calls
        for error in call.errors
        if error.kind and error.code in CAPACITY and call.market is market and now - call.at < SHUNNED_S
    }


def pools_to_ask(plan: LaunchPlan, calls: Sequence[Call], now: float, market: Market) -> list[Pool]:
    """Those that had machines, or all where none had."""
    without = shunned(calls, now, market)
    return [pool for pool in plan.pools if pool not in without] or plan.pools


def reason(code: str) -> str:
    """What a pool's error means: capacity is not quota."""
    if code in CAPACITY:
        return "no capacity"
    if code in QUOTA:
        return "this account's quota is used up"
    if code in PRICE:
        return "costs more than --max-price"
    return "not offered" if code in OFFERED_NOT else code
