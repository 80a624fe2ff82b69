"""What machines cost an hour: [prices] of waiter.toml, else what EC2 says of spot, else Amazon's price list.

Prices are those of Linux, in dollars. What nobody says is unknown, with the reason; there is no table here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from waiter.errors import FleetError
from waiter.fleet.aws import Ec2
from waiter.fleet.life.cloud import zone_of
from waiter.fleet.life.launching import Account, FleetState, markets
from waiter.fleet.life.plan import LaunchPlan
from waiter.machines import Machine, Market
from waiter.report.cost import listed_price

Offer = tuple[str, Market]
"""An instance type, and how it is bought."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars an hour."""

    listed: Mapping[str, float]  # of waiter.toml
    spot: Mapping[tuple[str, str], float] = field(default_factory=dict)  # by type and zone
    on_demand: Mapping[str, float] = field(default_factory=dict)
    unknown: Mapping[Offer, str] = field(default_factory=dict)  # why

    def of(self, kind: str, market: Market, zone: str | None) -> float | None:
        """The price of such a machine; in an unknown zone, that of the dearest."""
        if (listed := listed_price(self.listed, kind, market)) is not None:
            return listed
        if market is Market.ON_DEMAND:
            return self.on_demand.get(kind)
        if (in_zone := self.spot.get((kind, zone or ""))) is not None:
            return in_zone
        return max((price for (named, _), price in self.spot.items() if named == kind), default=None)


def find_prices(ec2: Ec2, listed: Mapping[str, float], wanted: Iterable[Offer]) -> Prices:
    """The prices of these machines, as far as somebody says them. Asks AWS only for what waiter.toml lacks."""
    asked = sorted({(kind, market) for kind, market in wanted if listed_price(listed, kind, market) is None})
    unknown: dict[Offer, str] = {}
    spot: dict[tuple[str, str], float] = {}
    kinds = [kind for kind, market in asked if market is Market.SPOT]
    try:
        spot = spot_prices(ec2, kinds) if kinds else {}
    except FleetError as error:
        unknown |= {(kind, Market.SPOT): first_line(error) for kind in kinds}
    on_demand: dict[str, float] = {}
    for kind in (kind for kind, market in asked if market is Market.ON_DEMAND):
        try:
            on_demand |= on_demand_price(ec2, kind)
        except FleetError as error:
            unknown[kind, Market.ON_DEMAND] = first_line(error)
    found = {*((kind, Market.SPOT) for kind, _ in spot), *((kind, Market.ON_DEMAND) for kind in on_demand)}
    silent = {offer: "AWS names none" for offer in asked if offer not in found and offer not in unknown}
    return Prices(listed, spot, on_demand, {**unknown, **silent})


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0].removesuffix(".")


def spot_prices(ec2: Ec2, kinds: list[str]) -> dict[tuple[str, str], float]:
    """What spot machines of these types cost now, by type and zone. Raises FleetError."""
    asked = {"InstanceTypes": kinds, "ProductDescriptions": ["Linux/UNIX"], "StartTime": datetime.now(UTC)}
    answers = ec2.ask("describe_spot_price_history", **asked)["SpotPriceHistory"]  # of each pool the price that holds
    return {(each["InstanceType"], each["AvailabilityZone"]): float(each["SpotPrice"]) for each in reversed(answers)}


def on_demand_price(ec2: Ec2, kind: str) -> dict[str, float]:
    """What an on-demand machine costs, by its type; empty where the list has no such, or no price in dollars."""
    amounts = [amount for text in ec2.price_list(kind) for amount in amounts_in(json.loads(text))]
    return {kind: max(amounts)} if amounts else {}


def amounts_in(product: Mapping[str, Any]) -> list[float]:
    """The prices an hour in an entry of Amazon's price list."""
    return [
        float(dimension["pricePerUnit"]["USD"])
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term.get("priceDimensions", {}).values()
        if dimension.get("unit") == "Hrs" and float(dimension.get("pricePerUnit", {}).get("USD", 0)) > 0
    ]


# Of a fleet.


def offers(plan: LaunchPlan, machines: Iterable[Machine] = ()) -> set[Offer]:
    """What a plan may launch, and what lives already."""
    return {(kind, market) for kind in plan.kinds for market in markets(plan.market)} | {
        (machine.kind, machine.market) for machine in machines
    }


def dearest(plan: LaunchPlan, prices: Prices) -> float | None:
    """What one machine more costs an hour at most; None: unknown."""
    amounts = []
    for kind, market in offers(plan):
        amount = prices.of(kind, market, None)
        if market is Market.SPOT and plan.max_price is not None:
            amount = plan.max_price if amount is None else min(amount, plan.max_price)
        if amount is None:
            return None
        amounts.append(amount)
    return max(amounts)


def keep_prices(account: Account, state: FleetState, prices: Prices) -> None:
    """Write into the ledger what the fleet's machines cost from now on, and what those cost that have no price yet."""

    def priced(machine: Machine) -> Machine:
        zone = machine.zone or zone_of(state.instances.get(machine.id))
        price = prices.of(machine.kind, machine.market, zone)
        return machine if price is None else replace(machine.priced(price, account.now), zone=zone)

    unpriced = {machine.id for call in state.calls for machine in call.machines if machine.price is None}
    account.ledger.note({*state.machines, *unpriced}, priced)
