"""What the machines of fleets cost: so far, an hour, for each order, and until all is done.

All of it from the ledger in the kitchen and the prices that are kept there; nobody is asked. It is the time of the
machines alone: EC2 bills disks and traffic besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from waiter.errors import FleetError
from waiter.kitchen.contract import Kitchen
from waiter.machines import Call, Ledger, Machine, Market, fleets_in
from waiter.report.eta import Eta
from waiter.report.formatting import dollars, plural

LEAST_S = 60.0
"""EC2 bills a machine for a minute at least, and by the second from then on."""

NO_PRICES: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class FleetCost:
    """What a fleet costs. Dollars; None where the price of some machine is unknown."""

    fleet: str
    living: int  # machines
    ended: int
    so_far: float | None
    per_hour: float | None  # of the living
    orders: int  # that have ended since its first machine was launched, whoever delivered them
    idle_s: float  # how long machines live after their last order
    unpriced: tuple[str, ...]  # the types without a price: `m7a.large, spot`

    @property
    def per_order(self) -> float | None:
        return self.so_far / self.orders if self.so_far is not None and self.orders else None

    def projected(self, end: Eta | None) -> tuple[float, float] | None:
        """From how much to how much it costs until all is done, if its machines stay as they are."""
        if self.so_far is None or self.per_hour is None or end is None or not self.living:
            return None
        least, most = end.soonest_s, end.latest_s + self.idle_s
        return self.so_far + self.per_hour * least / 3600, self.so_far + self.per_hour * most / 3600

    def words(self, end: Eta | None) -> str:
        """All of it in one line."""
        if self.so_far is None or self.per_hour is None:
            return f"{self.fleet}: {plural(self.living, 'machine')}, cost unknown: no price of {self.unpriced[0]}"
        parts = [f"{dollars(self.so_far)} so far"]
        if self.living:
            parts.append(f"{dollars(self.per_hour)} an hour for {plural(self.living, 'machine')}")
        if self.per_order is not None:
            parts.append(f"{dollars(self.per_order)} an order")
        if span := self.projected(end):
            least, most = map(dollars, span)
            parts.append(f"{least if least == most else f'{least} to {most}'} when all is done")
        return f"{self.fleet}: {', '.join(parts)}"

    def to_json(self, end: Eta | None) -> dict[str, Any]:
        return {
            "fleet": self.fleet,
            "machines": self.living,
            "ended": self.ended,
            "so_far": self.so_far,
            "per_hour": self.per_hour,
            "orders": self.orders,
            "per_order": self.per_order,
            "projected": (span := self.projected(end)) and list(span),
            "unpriced": list(self.unpriced),
        }


def fleet_costs(kitchen: Kitchen, prices: Mapping[str, float] = NO_PRICES) -> list[FleetCost]:
    """What each fleet of the kitchen's ledger costs. `prices`, those of waiter.toml, come first.

    A fleet whose entries another version of Waiter wrote is left out: whoever asks wants to see much besides.
    """
    costs = []
    for name in fleets_in(kitchen):
        with suppress(FleetError):
            costs.append(fleet_cost(Ledger(kitchen, name), prices))
    return [cost for cost in costs if cost is not None]


def fleet_cost(ledger: Ledger, prices: Mapping[str, float] = NO_PRICES) -> FleetCost | None:
    """What a fleet costs; None for one that never had a machine. Raises FleetError for entries that are strange."""
    calls, now = ledger.calls(), ledger.kitchen.now()
    machines = [machine for _, machine in all_machines(calls)]
    if not machines:
        return None
    costs = [cost_of(machine, call, now, prices) for call, machine in all_machines(calls)]
    rates = [price_of(machine, prices) for machine in machines if machine.is_living]
    since = min(machine.launched_at for machine in machines)
    seen = ledger.kitchen.throughput(max(1.0, now - since))
    return FleetCost(
        fleet=ledger.fleet,
        living=len(rates),
        ended=len(machines) - len(rates),
        so_far=total(costs),
        per_hour=total(rates),
        orders=seen.done + seen.failed,
        idle_s=float((ledger.plan() or {}).get("idle_s", 0.0)),
        unpriced=tuple(sorted({f"{m.kind}, {m.market}" for m in machines if price_of(m, prices) is None})),
    )


def all_machines(calls: list[Call]) -> Iterator[tuple[Call, Machine]]:
    return ((call, machine) for call in calls for machine in call.machines)


def total(amounts: list[float | None]) -> float | None:
    """Their sum; None if one of them is unknown."""
    known = [each for each in amounts if each is not None]
    return sum(known) if len(known) == len(amounts) else None


def listed_price(prices: Mapping[str, float], kind: str, market: Market) -> float | None:
    """What waiter.toml says that a machine costs an hour: `spot.m7a.large`, or `m7a.large` however it is bought."""
    return prices.get(f"{market}.{kind}", prices.get(kind))


def price_of(machine: Machine, prices: Mapping[str, float]) -> float | None:
    """What it costs an hour now."""
    listed = listed_price(prices, machine.kind, machine.market)
    return machine.price if listed is None else listed


def cost_of(machine: Machine, call: Call, now: float, prices: Mapping[str, float] = NO_PRICES) -> float | None:
    """What it has cost.

    A machine that ended by itself while nobody looked counts until its end is seen, or until its longest life is over.
    """
    price = price_of(machine, prices)
    if price is None:
        return None
    until = now if machine.ended_at is None else machine.ended_at
    if call.max_life_s is not None:
        until = min(until, machine.launched_at + call.max_life_s + LEAST_S)
    if price != machine.price or machine.paid_until is None:
        return price * max(LEAST_S, until - machine.launched_at) / 3600
    return machine.paid + price * max(0.0, until - machine.paid_until) / 3600
