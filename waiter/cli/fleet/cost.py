"""The verb `cost`: what machines have cost, by the ledger and the prices kept in it. It asks nobody but the kitchen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from waiter.cli.console import said_if_long, say
from waiter.cli.fleet.options import KitchenNames, with_kitchen_names
from waiter.cli.fleet.toml_defaults import FleetCommand
from waiter.cli.tables import show_json, show_table
from waiter.errors import FleetError, UsageError
from waiter.kitchen import open_kitchen
from waiter.kitchen.address import shown
from waiter.machines import Ledger
from waiter.report.cost import FleetCost, fleet_cost
from waiter.report.formatting import dollars
from waiter.report.status import current_eta
from waiter.settings import settings

if TYPE_CHECKING:
    from waiter.report.eta import Eta


@click.command(cls=FleetCommand)
@click.argument("fleet_name", metavar="NAME")
@with_kitchen_names
@click.option("--json", "is_json", is_flag=True, help="One JSON value instead of a table.")
def cost(fleet_name: str, kitchen: KitchenNames, is_json: bool) -> None:
    """What the machines of fleet NAME have cost: so far, for each order, and until all is done.

    It is the time of the machines, without disks and traffic. Prices are those of [prices] in waiter.toml, or what EC2
    said when machines were launched.

    \b
    waiter fleet cost crunch
    """
    if kitchen.here is None:
        raise UsageError("which kitchen? It keeps the list of machines: --kitchen mongodb://HOST/")
    with said_if_long(f"Waiting for {shown(kitchen.here)} to answer…"):
        opened = open_kitchen(kitchen.here, kitchen.db, create=False)
    with opened:
        found, end = fleet_cost(Ledger(opened, fleet_name), settings().prices), current_eta(opened)
    if found is None:
        raise FleetError(f"{fleet_name}: no machine of it in {shown(kitchen.here)}\nhint: check NAME and --kitchen")
    if is_json:
        show_json({"verb": "cost", **found.to_json(end)})
        return
    header = ["FLEET", "MACHINES", "SO FAR", "AN HOUR", "ORDERS", "AN ORDER", "ALL DONE"]
    show_table(header, [cells(found, end)], right=(1, 2, 3, 4, 5, 6))
    for unpriced in found.unpriced:
        say(f"No price of {unpriced}\nhint: {price_line(unpriced)}")


def cells(cost: FleetCost, end: Eta | None) -> list[str]:
    span = cost.projected(end)
    amounts = [cost.so_far, cost.per_hour, cost.per_order]
    so_far, per_hour, per_order = ("?" if each is None else dollars(each) for each in amounts)
    whole = f"{dollars(span[0])} to {dollars(span[1])}" if span else ""
    return [cost.fleet, f"{cost.living}", so_far, per_hour, f"{cost.orders:,}", per_order if cost.orders else "", whole]


def price_line(unpriced: str) -> str:
    """How to make the price of `m7a.large, spot` known."""
    kind, _, market = unpriced.partition(", ")
    name = f"spot.{kind}" if market == "spot" else kind
    return f'put it into waiter.toml, in dollars an hour: [prices] "{name}" = 0.12'
