"""What machines cost: waiter.toml, spot's history, Amazon's price list, and what nobody says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fleet.cloud_of_hosts import CloudOfHosts
from tests.fleet.test_ledger_and_ec2 import PLAN
from tests.fleet.test_ledger_and_ec2 import account as account
from tests.fleet.test_ledger_and_ec2 import aws as aws
from waiter.fleet.life.launching import Account, grow, look
from waiter.fleet.life.prices import dearest, find_prices, keep_prices, offers
from waiter.machines import Market
from waiter.report.cost import fleet_costs

BOTH = replace(PLAN, market=Market.SPOT_THEN_ON_DEMAND)


def test_prices_come_from_waiter_toml_then_from_spots_history_and_the_price_list(
    aws: CloudOfHosts, account: Account
) -> None:
    zones = {"eu-west-1a": 0.04, "eu-west-1b": 0.05}
    aws.make(prices={"m7a.large": 0.12}, spot_prices={"m7a.large": zones, "m7i.large": {"eu-west-1a": 0.06}})

    prices = find_prices(account.ec2, {"m7i.large": 0.2}, offers(BOTH))

    assert prices.of("m7a.large", Market.SPOT, "eu-west-1a") == 0.04
    assert prices.of("m7a.large", Market.SPOT, None) == 0.05  # the dearest zone
    assert prices.of("m7a.large", Market.ON_DEMAND, "eu-west-1a") == 0.12
    assert prices.of("m7i.large", Market.SPOT, "eu-west-1a") == 0.2  # waiter.toml's
    assert dearest(BOTH, prices) == 0.2
    assert dearest(replace(PLAN, market=Market.SPOT, kinds=("m7a.large",), max_price=0.03), prices) == 0.03
    asked = len(aws.asked()["calls"])
    assert find_prices(account.ec2, {"m7a.large": 0.1, "m7i.large": 0.2}, offers(BOTH)).unknown == {}
    assert len(aws.asked()["calls"]) == asked  # who has all prices asks nobody


def test_what_nobody_may_ask_for_is_unknown_and_why_is_said(aws: CloudOfHosts, account: Account) -> None:
    prices = find_prices(account.ec2, {}, {("m7a.large", Market.SPOT), ("m7a.large", Market.ON_DEMAND)})

    assert prices.unknown == {
        ("m7a.large", Market.SPOT): "AWS in eu-west-1 refuses: the credentials need ec2:DescribeSpotPriceHistory",
        ("m7a.large", Market.ON_DEMAND): "AWS refuses: the credentials need pricing:GetProducts",
    }
    assert dearest(PLAN, prices) is None
    aws.make(prices={"c7a.large": 0.1})
    prices = find_prices(account.ec2, {}, {("m7a.large", Market.ON_DEMAND)})
    assert prices.unknown == {("m7a.large", Market.ON_DEMAND): "AWS names none"}


def test_launched_machines_keep_their_prices_and_each_change_counts_from_when_it_is_seen(
    aws: CloudOfHosts, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    spot = replace(PLAN, market=Market.SPOT, kinds=("m7a.large",), max_life_s=43_200.0)
    grow(account, spot, 2)
    (unknown,) = fleet_costs(account.ledger.kitchen)
    assert (unknown.living, unknown.so_far) == (2, None)

    def priced(price: float) -> float:
        aws.make(spot_prices={"m7a.large": {"eu-west-1a": price}})
        keep_prices(account, look(account), find_prices(account.ec2, {}, offers(spot)))
        (cost,) = fleet_costs(account.ledger.kitchen)
        assert cost.per_hour == pytest.approx(2 * price)
        assert cost.so_far is not None
        return cost.so_far

    moved = [0.0]
    kitchen = type(account.ledger.kitchen)
    now = kitchen.now
    monkeypatch.setattr(kitchen, "now", lambda self: now(self) + moved[0])
    moved[0] = 3600.0
    assert priced(0.04) == pytest.approx(0.08, abs=0.002)
    moved[0] = 7200.0
    assert priced(0.10) == pytest.approx(0.16, abs=0.002)
    moved[0] = 10_800.0
    assert priced(0.10) == pytest.approx(0.36, abs=0.002)
