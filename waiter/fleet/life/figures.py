"""What kitchen and ledger say of a fleet, as the scaling policy takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from waiter.fleet.life.ending import NEVER_CAME
from waiter.fleet.life.policy import USUAL_BOOT_S, Pace, Scene, pace_of
from waiter.kitchen.contract import Kitchen
from waiter.machines import Call, CallState, Ledger, Machine
from waiter.orders import Selector, Shift, Status, Throughput
from waiter.report.capacity import Capacity, at_work, measure_capacity
from waiter.report.cost import cost_of, price_of, total

WINDOWS_S = (300.0, 3600.0, 86_400.0)
"""Rates are taken from the shortest of them that holds enough orders."""

ENOUGH = 100
"""So many finished orders make a rate that is steady enough to count machines by."""

TAIL = 3.0
"""Orders may take so many times their mean, if none runs longer already."""

LATEST_BOOTS = 20
"""So many machines, the last that came up, tell how long it takes."""

HOPELESS = 3
"""So many machines, one after the other, that never came up, are enough."""

REFUSED_S = 300.0
"""For so long EC2 is not asked for more after it had fewer than it was asked for."""


def scene_of(ledger: Ledger, calls: Sequence[Call], price: float | None, listed: Mapping[str, float]) -> Scene:
    """The fleet as it is. `price`: of one machine more, in dollars an hour."""
    kitchen = ledger.kitchen
    now, counts, shifts = kitchen.now(), kitchen.counts(), kitchen.shifts(include_left=True)
    machines = [machine for call in calls for machine in call.machines]
    working = [machine for machine in machines if machine.is_living and machine.leaving_at is None]
    booting = [machine for machine in working if machine.up_at is None]
    boot_s = usual_boot_s(machines)
    seen, capacity = recent_work(kitchen, shifts, now)
    leaving_at = max((machine.leaving_at for machine in machines if machine.leaving_at), default=-math.inf)
    living = [machine for machine in machines if machine.is_living]
    return Scene(
        now=now,
        left=counts[Status.READY] + counts[Status.RUNNING],
        ready=counts[Status.READY],
        pace=pace_in(seen, capacity, shifts, now, up=len(working) - len(booting)),
        up=len(working) - len(booting),
        booting=len(booting),
        leaving=len(living) - len(working),
        boot_s=boot_s,
        boot_left_s=max((boot_s - (now - machine.launched_at) for machine in booting), default=0.0),
        tail_s=max(oldest_running_s(kitchen, now), TAIL * (seen.mean_s or 0.0)),
        spent=total([cost_of(machine, call, now, listed) for call in calls for machine in call.machines]),
        per_hour=total([price_of(machine, listed) for machine in living]) or 0.0,
        price=price,
        since_grown_s=now - max((call.at for call in calls if call.machines), default=-math.inf),
        since_shrunk_s=now - leaving_at,
        is_refused=is_refused(calls, now),
        is_hopeless=is_hopeless(machines),
        is_paused=bool(here := at_work(shifts, now)) and all(shift.is_paused for shift in here),
    )


def recent_work(kitchen: Kitchen, shifts: Sequence[Shift], now: float) -> tuple[Throughput, Capacity]:
    """What was finished in the shortest window that tells enough, else in the longest, and who was there."""
    for window_s in WINDOWS_S:
        seen = kitchen.throughput(window_s)
        if seen.done + seen.failed >= ENOUGH:
            break
    return seen, measure_capacity(shifts, now, seen.window_s)


def pace_in(seen: Throughput, capacity: Capacity, shifts: Sequence[Shift], now: float, up: int = 0) -> Pace | None:
    """What one host does; None while nobody has worked here in the last day. `up` machines are so many hosts at least,
    also where all of them call themselves alike."""
    there = [shift for shift in shifts if (shift.left_at or shift.heartbeat_at) > now - seen.window_s]
    if not there:
        return None
    if capacity.hosts:
        slots = capacity.slots / max(capacity.hosts, up)
    else:  # they have left, each host perhaps several times
        slots_of = {shift.host: shift.vitals.slots for shift in sorted(there, key=lambda shift: shift.since)}
        slots = sum(slots_of.values()) / len(slots_of)
    slots = max(1.0, slots)
    all_slots = max(capacity.slots, slots)
    return pace_of(seen.done + seen.failed, capacity.slot_s, slots, seen.mean_s, all_slots)


def usual_boot_s(machines: Sequence[Machine]) -> float:
    """From the launch of a machine to its waiter at work: the longest of the last ones."""
    boots = [(machine.up_at, machine.up_at - machine.launched_at) for machine in machines if machine.up_at is not None]
    return max(1.0, max((boot_s for _, boot_s in sorted(boots)[-LATEST_BOOTS:]), default=USUAL_BOOT_S))


def oldest_running_s(kitchen: Kitchen, now: float) -> float:
    """For how long the order has been running that has longest."""
    oldest = next(kitchen.find(Selector(statuses=(Status.RUNNING,)), sort="start", limit=1), None)
    return max(0.0, now - (oldest.start or now)) if oldest else 0.0


def is_refused(calls: Sequence[Call], now: float) -> bool:
    """Whether EC2 had fewer machines than it was asked for, a short while ago."""
    lately = [call for call in calls if call.state is not CallState.INTENDED and now - call.at < REFUSED_S]
    return bool(lately) and len(lately[-1].machines) < lately[-1].count


def is_hopeless(machines: Sequence[Machine]) -> bool:
    """Whether none of the last machines came up: an image without Python, say, would cost for ever."""
    known = [each for each in machines if each.up_at is not None or not each.is_living]
    last = sorted(known, key=lambda machine: machine.launched_at)[-HOPELESS:]
    return len(last) == HOPELESS and all(machine.why_ended == NEVER_CAME for machine in last)
