"""Which shifts of a MongoDB kitchen are lost: by their processes on this machine, else by their leases.

The server's clock alone decides of leases. A shift that is missed carries `missed_at` until its next heartbeat.
"""

from __future__ import annotations

from collections.abc import Sequence

from pymongo.errors import WriteConcernError

from waiter import processes
from waiter.kitchen.contract import grace_s, sweep_s
from waiter.kitchen.mongo import updates
from waiter.kitchen.mongo.connection import SAFE, Connection
from waiter.kitchen.mongo.documents import Document, ids_of
from waiter.light_dataclass import dataclass
from waiter.orders import Shift

ENDED: Document = {"is_open": updates.GONE, "is_unsettled": True}
"""What a shift is from its end on: until a sweep has seen that no order is in its hands."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the open shifts found."""

    lost: tuple[str, ...]  # names of those that this look, and no other sweep, declared lost
    missed: tuple[str, ...] = ()  # names of those whose lease ran out
    missed_s: float = 0.0  # so long from now they may say that they live


def renew(to: Connection, token: str, alive: Document) -> Document | None:
    """Note that the shift lives: its marks, and the server's clock as `now`; None if it is lost.

    As a plain command, to which the driver gives no number by which it could be repeated once: all members of a replica
    set would keep that number, and the document as it was. Who beats tries again anyway.
    """
    reply = to.db.command(
        {
            "findAndModify": to.shifts.name,
            "query": {"_id": token, "is_open": True},
            "update": [{"$set": alive}],
            "fields": {"is_paused": 1, "is_draining": 1, "has_cancelled": 1, "now": to.now},
            "writeConcern": SAFE.document,
        }
    )
    if problem := reply.get("writeConcernError"):
        raise WriteConcernError(problem.get("errmsg", ""), problem["code"], problem)
    stored: Document | None = reply["value"]
    return stored


def signs(pid: int, here: processes.Place) -> Document:
    """By what this machine tells the process of a shift."""
    return {"pid_started": processes.start_time(pid), "boot": here.boot, "namespace": here.namespace}


def declare_lost(to: Connection, here: processes.Place, lease_s: float) -> Look:
    """Look at the open shifts: declare lost who is dead here or was missed twice, mark who is missed now."""
    lost = lose_dead_here(to, here)
    missed = [(shift, _missed_for_s(shift)) for shift in _missed(to, lease_s)]
    twice = [shift for shift, for_s in missed if shift["is_over"] and for_s is not None and for_s >= _grace_s(shift)]
    # A heartbeat since takes the mark away, and the shift is left alone.
    lost |= _lose(to, [{"_id": shift["_id"], "missed_at": shift["missed_at"]} for shift in twice])
    _mark(to, [shift for shift, for_s in missed if for_s is None], lease_s)
    waiting = [(shift, for_s or 0.0) for shift, for_s in missed if shift["is_over"] and shift not in twice]
    missed_s = max((_grace_s(shift) - for_s for shift, for_s in waiting), default=0.0)
    return Look(tuple(lost.values()), tuple(shift["waiter"] for shift, _ in waiting), missed_s)


def lose_dead_here(to: Connection, here: processes.Place) -> dict[str, str]:
    """Declare lost whose process on this machine is dead: the names of the waiters, by token."""
    return _lose(to, [{"_id": shift["_id"]} for shift in _dead_here(to, here)])


def _dead_here(to: Connection, here: processes.Place) -> list[Document]:
    if not here.boot:
        return []  # a host's name alone is too little to tell machines apart
    theirs = {"is_open": True, "boot": here.boot, "namespace": here.namespace, "host": here.host}
    wanted = dict.fromkeys(("pid", "pid_started", "boot", "namespace", "host"), 1)
    return [shift for shift in to.shifts.find(theirs, wanted) if _is_dead(shift, here)]


def _is_dead(shift: Document, here: processes.Place) -> bool:
    at = processes.Place(shift["host"], shift.get("boot", ""), shift.get("namespace", ""))
    return bool(here.boot) and processes.lives(shift["pid"], shift.get("pid_started", ""), at, here) is False


def _nearly_over(to: Connection, lease_s: float) -> Document:
    soon = {"$add": [to.now, sweep_s(lease_s)]}
    return {"is_open": True, "lease_until": {"$gt": 0}, "$expr": {"$lt": ["$lease_until", soon]}}


def _missed(to: Connection, lease_s: float) -> list[Document]:
    """The shifts of which nothing was heard for long, and for how long they have been missed."""
    facts = {
        "waiter": 1,
        "missed_at": 1,
        "lease_s": {"$ifNull": ["$lease_s", lease_s]},
        "is_over": {"$lt": ["$lease_until", to.now]},
        "missed_s": {"$subtract": [to.now, "$missed_at"]},  # null for one that nobody missed yet
    }
    return list(to.shifts.aggregate([{"$match": _nearly_over(to, lease_s)}, {"$project": facts}]))


def _grace_s(shift: Document) -> float:
    """In a large fleet, whose leases are longer, it also takes longer until everybody has asked a kitchen again."""
    return grace_s(float(shift["lease_s"]))


def _missed_for_s(shift: Document) -> float | None:
    """None: nobody missed it yet, or too long ago to say that it was missed ever since."""
    missed_s = shift["missed_s"]
    return float(missed_s) if missed_s is not None and 0 <= missed_s <= shift["lease_s"] else None


def _mark(to: Connection, shifts: Sequence[Document], lease_s: float) -> None:
    if shifts:
        those = {"_id": {"$in": ids_of(shifts)}, **_nearly_over(to, lease_s)}
        to.shifts.update_many(those, [{"$set": {"missed_at": to.now}}])


def _lose(to: Connection, fences: Sequence[Document]) -> dict[str, str]:
    marks = [{"$set": {"lost_at": to.now, **ENDED}}]
    found = (to.shifts.find_one_and_update({**fence, "is_open": True}, marks) for fence in fences)
    return {shift["_id"]: shift["waiter"] for shift in found if shift is not None}


def as_it_is(shift: Shift, stored: Document, here: processes.Place) -> Shift:
    """The shift with the lease that it has by all that can be known here, whatever is stored."""
    is_open = shift.left_at is None and shift.lost_at is None
    return shift.ended() if is_open and _is_dead(stored, here) else shift
