"""Machines that carry our tags and still live, whoever's ledger has them, or nobody's any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from waiter.fleet.aws import Ec2
from waiter.fleet.inventory import AddressKind, host_of
from waiter.fleet.life import cloud
from waiter.fleet.life.losses import Gone
from waiter.fleet.life.plan import TAG_CALL, TAG_FLEET, TAG_KITCHEN
from waiter.fleet.status import is_called
from waiter.fleet.tables import format_age
from waiter.orders import Shift
from waiter.report.formatting import dollars

HERE, ELSEWHERE, FOREIGN, UNKNOWN = "this kitchen", "not this kitchen", "not made by launch", "unknown"

OVERDUE_S = 600.0
"""A machine that has outlived its longest life by so much has no guard any more."""


@dataclass(frozen=True, slots=True)
class KitchenKnows:
    """What a kitchen knows of launched machines; nothing where there is none any more."""

    now: float  # its clock, else this machine's
    id: str | None = None
    calls: AbstractSet[str] = frozenset()  # their tokens
    ends: Mapping[str, float] = field(default_factory=dict)  # when a machine's longest life is over, by its id
    costs: Mapping[str, float | None] = field(default_factory=dict)  # dollars so far
    shifts: Sequence[Shift] = ()
    gone: Sequence[Gone] = ()
    is_asked: bool = True  # False: none was named, or it does not answer


@dataclass(frozen=True, slots=True)
class Leftover:
    """One living machine with the tag of a fleet."""

    id: str
    fleet: str
    state: str
    kind: str
    region: str
    launched_at: float | None
    age_s: float | None
    whose: str
    cost: float | None = None  # dollars so far; None: unknown
    heartbeat_s: float | None = None  # how long ago its waiter was heard last; None: never, or nobody can say
    is_guarded: bool | None = None  # None: unknown

    @property
    def is_lost(self) -> bool:
        """Made by some launch, and in no ledger of the kitchen that was asked."""
        return self.whose == ELSEWHERE

    @property
    def guard(self) -> str:
        return {True: "alive", False: "dead", None: "unknown"}[self.is_guarded]

    def cells(self) -> list[str]:
        age, beat = ("" if each is None else format_age(each) for each in (self.age_s, self.heartbeat_s))
        cost = "" if self.cost is None else dollars(self.cost)
        return [self.id, self.fleet, self.state, self.kind, self.region, age, cost, beat, self.guard, self.whose]

    def to_json(self) -> dict[str, Any]:
        return {
            "instance": self.id,
            "fleet": self.fleet,
            "state": self.state,
            "type": self.kind,
            "region": self.region,
            "launched_at": self.launched_at,
            "age_s": self.age_s,
            "cost": self.cost,
            "heartbeat_age_s": self.heartbeat_s,
            "guard": self.guard,
            "ledger": self.whose,
        }


HEADER = ["MACHINE", "FLEET", "STATE", "TYPE", "REGION", "AGE", "COST", "BEAT", "GUARD", "LEDGER"]


def found_in(ec2: Ec2, known: KitchenKnows) -> list[Leftover]:
    """What lives in a region with our tag. Raises FleetError."""
    return [leftover(instance, ec2.region, known) for _, instance in sorted(cloud.tagged_instances(ec2).items())]


def leftover(instance: Mapping[str, Any], region: str, known: KitchenKnows) -> Leftover:
    """What is known of an instance."""
    tags, launched, id_ = cloud.tags_of(instance), instance.get("LaunchTime"), instance["InstanceId"]
    launched_at = launched.timestamp() if launched is not None else None
    shift = last_shift(instance, region, launched_at or 0.0, known.shifts)
    return Leftover(
        id=id_,
        fleet=tags.get(TAG_FLEET, ""),
        state=cloud.state_of(instance),
        kind=str(instance.get("InstanceType") or ""),
        region=region,
        launched_at=launched_at,
        age_s=max(0.0, known.now - launched_at) if launched_at is not None else None,
        whose=whose(tags, known),
        cost=known.costs.get(id_),
        heartbeat_s=max(0.0, known.now - shift.heartbeat_at) if shift else None,
        is_guarded=guarded(shift, known.ends.get(id_), known.now),
    )


def last_shift(instance: Mapping[str, Any], region: str, since: float, shifts: Sequence[Shift]) -> Shift | None:
    """The latest shift of a waiter there. Names and addresses come again: none counts from before its launch."""
    host = replace(host_of(instance, region, AddressKind.PRIVATE), name=instance["InstanceId"])
    theirs = [shift for shift in shifts if shift.heartbeat_at >= since and is_called(host, shift.host)]
    return max(theirs, key=lambda shift: shift.heartbeat_at, default=None)


def guarded(shift: Shift | None, ends_at: float | None, now: float) -> bool | None:
    """Whether the machine's guard lives: its waiter tells while it is heard, and who is overdue has none."""
    if ends_at is not None and now > ends_at + OVERDUE_S:
        return False
    is_heard = shift is not None and shift.left_at is None and shift.lost_at is None and not shift.is_late(now)
    return shift.vitals.is_guarded if shift is not None and is_heard else None


def whose(tags: Mapping[str, str], known: KitchenKnows) -> str:
    """Whether a machine is this kitchen's, another's, or one that somebody tagged by hand."""
    token, kitchen_id = tags.get(TAG_CALL, ""), tags.get(TAG_KITCHEN, "")
    if not is_id(token) or not is_id(kitchen_id):
        return FOREIGN
    if not known.is_asked:
        return UNKNOWN
    return HERE if token in known.calls and kitchen_id == known.id else ELSEWHERE


def is_id(word: str) -> bool:
    """Whether it looks like one of our random ids."""
    return len(word) == 32 and all(letter in "0123456789abcdef" for letter in word)
