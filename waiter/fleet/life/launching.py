"""Having as many machines as somebody wants: never twice as many, and none that nobody knows.

Each call is written down with its ClientToken before it is made. What is found without an answer is asked again, word
for word: EC2 then names the machines of the first time. What carries our tags and no entry names is taken in.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from waiter.errors import FleetError
from waiter.fleet.aws import AwsRefused, Ec2
from waiter.fleet.life import cloud
from waiter.fleet.life.plan import TAG_CALL, LaunchPlan, fleet_request, pools_to_ask, tags
from waiter.machines import SCALED_DOWN, Call, CallState, Ledger, Machine, Market, PoolError, living

MOST_AT_ONCE = 1000
"""Machines that one CreateFleet of type instant may bring."""

TOKEN_LIVES_S = 86_400.0
"""How long EC2 is trusted to know a ClientToken again."""

VISIBLE_S = 20.0
"""How long after a call its machines are to be found by their tag, at the latest."""

UNSEEN_S = 300.0
"""How long a machine may be missing from DescribeInstances before it counts as gone."""


@dataclass(frozen=True, slots=True)
class FleetState:
    """The ledger and EC2, side by side."""

    calls: tuple[Call, ...]
    machines: Mapping[str, Machine]  # the living ones
    instances: Mapping[str, Mapping[str, Any]]  # what EC2 says of them; those that it does not show yet are missing
    foreign: tuple[str, ...]  # ids of living instances that carry the fleet's tag and are not ours


@dataclass(frozen=True, slots=True)
class Account:
    """A fleet's ledger and its region of EC2."""

    ec2: Ec2
    ledger: Ledger
    note: Callable[[str], None]

    @property
    def now(self) -> float:
        return self.ledger.kitchen.now()


def settle(account: Account) -> None:
    """Find out what became of calls whose answer nobody heard. Raises FleetError where EC2 does not say."""
    for call in account.ledger.calls():
        if call.state is not CallState.INTENDED:
            continue
        account.note(f"A launch of {call.count} by {call.by} was interrupted; asking EC2 what became of it.")
        if account.now - call.at < TOKEN_LIVES_S:
            carry_out(account, call)
        else:
            account.ledger.change(call.token, lambda call: replace(call, state=CallState.DONE))


def give_up(account: Account) -> None:
    """Have no call under way any more, without making one: what it made is found by its tag. Raises FleetError."""
    for call in account.ledger.calls():
        if call.state is CallState.INTENDED:
            account.note(f"A launch of {call.count} by {call.by} was interrupted; waiting to see what came of it.")
            while (age := account.now - call.at) < VISIBLE_S:
                time.sleep(min(1.0, VISIBLE_S - age))
            look(account)
            account.ledger.change(call.token, lambda call: replace(call, state=CallState.DONE))


def carry_out(account: Account, call: Call) -> Call:
    """Make the call that was written down, and write down what it brought. Raises FleetError."""
    ledger = account.ledger
    try:
        brought = cloud.create_fleet(account.ec2, call.request, account.now)
    except AwsRefused as error:
        if error.code == "IdempotentParameterMismatch":  # made, with other words: its machines carry its tag
            return ledger.change(call.token, lambda call: replace(call, state=CallState.DONE))
        refusal = PoolError(None, None, call.market, error.code, str(error))
        ledger.change(call.token, lambda call: replace(call, state=CallState.REFUSED, errors=(refusal,)))
        raise
    except FleetError as error:
        raise FleetError(
            f"{error}\nWhether machines were made is not known yet: the kitchen's ledger has the call\n"
            "hint: run the same line again"
        ) from error

    def with_answer(call: Call) -> Call:
        known = {machine.id: machine for machine in call.machines}
        machines = tuple(known.get(machine.id, machine) for machine in brought.machines)
        others = tuple(each for each in call.machines if each.id not in {machine.id for machine in machines})
        return replace(call, state=CallState.DONE, machines=machines + others, errors=brought.errors)

    return ledger.change(call.token, with_answer)


def look(account: Account) -> FleetState:
    """Compare the ledger with EC2, and write down what has ended and what is found to be ours. Raises FleetError."""
    ledger, now = account.ledger, account.now
    calls = ledger.calls()
    tokens = {call.token for call in calls}
    seen = cloud.instances_of(account.ec2, ledger.fleet)
    kitchen_id = ledger.kitchen.id
    ours = {id_: each for id_, each in seen.items() if cloud.is_made_by(each, kitchen_id, ledger.fleet, tokens)}
    named = {machine.id for call in calls for machine in call.machines}
    for id_, instance in ours.items():
        if id_ not in named:
            machine = cloud.adopted(instance, now)
            ledger.change(
                cloud.tags_of(instance)[TAG_CALL],
                lambda call, machine=machine: replace(call, machines=(*call.machines, machine)),  # type: ignore[misc]
            )
    gone = {}
    for id_, machine in living(calls).items():
        shown = ours.get(id_)
        if shown is None and now - machine.launched_at < UNSEEN_S:
            continue
        if shown is None or cloud.state_of(shown) not in cloud.LIVING_STATES:
            gone[id_] = SCALED_DOWN if machine.leaving_at is not None else cloud.why_gone(shown)
    if gone:
        ledger.note_ended(gone, now, {id_: cloud.ended_at(ours.get(id_), now) for id_ in gone})
    after = tuple(ledger.calls())
    alive = living(after)
    foreign = [id_ for id_, each in seen.items() if id_ not in ours and cloud.state_of(each) in cloud.LIVING_STATES]
    return FleetState(after, alive, {id_: ours[id_] for id_ in alive if id_ in ours}, tuple(sorted(foreign)))


def grow(account: Account, plan: LaunchPlan, count: int) -> list[Call]:
    """Launch machines until there are so many, as far as EC2 has them; what each call brought. Raises FleetError."""
    missing = count - len(look(account).machines)
    if missing <= 0:
        return []
    account.ledger.keep_plan(plan.to_json())
    template = cloud.ensure_template(account.ec2, plan)
    made: list[Call] = []
    for market in markets(plan.market):
        for size in portions(missing):
            call = intended(account, plan, template, size, market)
            account.ledger.intend(call)
            made.append(carry_out(account, call))
            missing -= len(made[-1].machines)
        if missing <= 0:
            break
    return made


def markets(market: Market) -> list[Market]:
    """What to buy, in turn."""
    return [Market.SPOT, Market.ON_DEMAND] if market is Market.SPOT_THEN_ON_DEMAND else [market]


def portions(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, MOST_AT_ONCE)
        count -= MOST_AT_ONCE


def intended(account: Account, plan: LaunchPlan, template: str, count: int, market: Market) -> Call:
    """A call that nobody has made yet, under a token of its own."""
    token, now = os.urandom(16).hex(), account.now
    pools = pools_to_ask(plan, account.ledger.calls(), now, market)
    tagged = tags(plan, account.ledger.kitchen.id, token)
    request = fleet_request(plan, template, pools, count, market, tagged, token)
    who = "somebody"
    with suppress(OSError, KeyError):
        who = getpass.getuser()
    by = f"{who}@{socket.gethostname()}"
    return Call(token, now, by, count, market, request, max_life_s=plan.max_life_s)


def wait_until_seen(account: Account, within_s: float = 60.0) -> FleetState:
    """Look again until EC2 shows all living machines: a fresh one may be missing for a moment."""
    until = time.monotonic() + within_s
    while True:
        state = look(account)
        if len(state.instances) == len(state.machines) or time.monotonic() > until:
            return state
        time.sleep(1)
