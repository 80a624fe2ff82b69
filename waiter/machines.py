"""What is written down of a fleet's machines, in the kitchen: each call to EC2 before it is made, and what came of it.

An entry that was written before its call, with the call's ClientToken, is what makes a launch safe to repeat: after a
crash the same call brings the same machines. What carries our tags and stands in no entry is not ours, and never ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from waiter.errors import FleetError
from waiter.kitchen.contract import Kitchen


class Market(StrEnum):
    """What machines are bought as."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"
    SPOT_THEN_ON_DEMAND = "spot-then-on-demand"

    @property
    def may_be_taken_back(self) -> bool:
        return self is not Market.ON_DEMAND


SCALED_DOWN = "scaled down"
"""Why a machine was ended that nobody needs."""


class CallState(StrEnum):
    """How far a call to EC2 is."""

    INTENDED = "intended"  # about to be made, or made without an answer that was heard
    DONE = "done"
    REFUSED = "refused"  # EC2 made nothing of it


@dataclass(frozen=True, slots=True)
class Machine:
    """One instance that a call brought."""

    id: str
    kind: str  # the instance type
    market: Market
    launched_at: float  # the kitchen's clock
    zone: str | None = None
    price: float | None = None  # dollars an hour; None: nobody knows
    ended_at: float | None = None
    why_ended: str | None = None
    paid: float = 0.0  # dollars until `paid_until`, while its price was another
    paid_until: float | None = None
    up_at: float | None = None  # when its waiter was first seen at work
    leaving_at: float | None = None  # since when it is to end as soon as its orders have

    @property
    def is_living(self) -> bool:
        return self.ended_at is None

    def priced(self, price: float, now: float) -> Machine:
        """The same with this price from now on; what it has cost until now stays."""
        if self.price is None:
            return replace(self, price=price)
        if self.price == price or not self.is_living:
            return self
        since = self.launched_at if self.paid_until is None else self.paid_until
        paid = self.paid + self.price * max(0.0, now - since) / 3600
        return replace(self, price=price, paid=paid, paid_until=now)


@dataclass(frozen=True, slots=True)
class PoolError:
    """Why a pool, a type in a subnet, gave fewer machines than were asked of it."""

    kind: str | None
    subnet: str | None
    market: str | None
    code: str
    words: str


@dataclass(frozen=True, slots=True)
class Call:
    """One CreateFleet, and what came of it."""

    token: str  # EC2's ClientToken, and the machines' tag
    at: float  # when it was written down
    by: str  # user@machine
    count: int
    market: Market
    request: Mapping[str, Any]  # its arguments, to be repeated exactly
    state: CallState = CallState.INTENDED
    machines: tuple[Machine, ...] = ()
    errors: tuple[PoolError, ...] = ()
    max_life_s: float | None = None  # the guard lets none of its machines live longer

    def to_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Call:
        """Raises FleetError for what another version of Waiter wrote, and this one cannot read."""
        try:
            facts = json.loads(text)
            machines = tuple(Machine(**{**each, "market": Market(each["market"])}) for each in facts.pop("machines"))
            errors = tuple(PoolError(**each) for each in facts.pop("errors"))
            market, state = Market(facts.pop("market")), CallState(facts.pop("state"))
            return cls(**facts, market=market, state=state, machines=machines, errors=errors)
        except (ValueError, TypeError, KeyError) as error:
            raise FleetError(
                f"the ledger holds an entry that this version of Waiter cannot read ({error})\n"
                "hint: use the version that launched the fleet, or a newer one"
            ) from error


@dataclass(slots=True)
class Ledger:
    """The entries of one fleet."""

    kitchen: Kitchen
    fleet: str
    _texts: dict[str, str] = field(default_factory=dict)

    @property
    def _calls(self) -> str:
        return f"fleets/{self.fleet}/calls/"

    @property
    def _plan(self) -> str:
        return f"fleets/{self.fleet}/plan"

    def calls(self) -> list[Call]:
        """All calls, oldest first."""
        self._texts |= (found := self.kitchen.ledger(self._calls))
        return sorted((Call.from_text(text) for text in found.values()), key=lambda call: call.at)

    def machines(self) -> list[Machine]:
        """All machines that there ever were."""
        return [machine for call in self.calls() for machine in call.machines]

    def intend(self, call: Call) -> None:
        """Write a call down that is about to be made. Raises FleetError if its token was used."""
        if not self.kitchen.enter(f"{self._calls}{call.token}", call.to_text()):
            raise FleetError(f"the ledger has a call {call.token} already\nhint: run it again")

    def change(self, token: str, change: Callable[[Call], Call]) -> Call:
        """Set a call's entry anew, whoever else does it at the same time."""
        key = f"{self._calls}{token}"
        while True:
            before = self.kitchen.ledger(key)[key]
            changed = change(Call.from_text(before))
            if changed.to_text() == before or self.kitchen.enter(key, changed.to_text(), instead_of=before):
                return changed

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """Remember how the fleet was launched, for when it is to grow."""
        text = json.dumps(plan, sort_keys=True)
        while (before := self.kitchen.ledger(self._plan).get(self._plan)) != text:
            self.kitchen.enter(self._plan, text, instead_of=before)

    def plan(self) -> dict[str, Any] | None:
        """How the fleet was launched the last time; None for one that never was."""
        text = self.kitchen.ledger(self._plan).get(self._plan)
        return json.loads(text) if text else None

    def note_ended(self, ended: Mapping[str, str], at: float, moments: Mapping[str, float] | None = None) -> None:
        """Remember machines that are no more, and why, by their ids; an earlier end stays. `moments`: when, of those
        that did not end at `at`."""
        ends = moments or {}

        def end(machine: Machine) -> Machine:
            if not machine.is_living:
                return machine
            return replace(machine, ended_at=ends.get(machine.id, at), why_ended=ended[machine.id])

        self.note(ended, end)

    def note(self, ids: Collection[str], change: Callable[[Machine], Machine]) -> None:
        """Set machines of these ids anew."""

        def changed(call: Call) -> Call:
            machines = tuple(change(each) if each.id in ids else each for each in call.machines)
            return replace(call, machines=machines)

        for call in self.calls():
            if changed(call) != call:
                self.change(call.token, changed)


def living(calls: Sequence[Call]) -> dict[str, Machine]:
    """The machines of these calls whose end nobody has noted, by id."""
    return {machine.id: machine for call in calls for machine in call.machines if machine.is_living}


def fleets_in(kitchen: Kitchen) -> list[str]:
    """The fleets that the kitchen's ledger knows."""
    return sorted({key.split("/")[1] for key in kitchen.ledger("fleets/")})
