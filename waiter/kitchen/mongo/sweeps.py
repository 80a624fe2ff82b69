"""How a MongoDB kitchen takes orders back from the dead, at a cost that grows with the dead and not with the living.

A fleet's sweeps are one for all of it: the document `news` of `state` says when the last one began, and an update that
asks for its age gives the next turn to one waiter. A shift that ended stays marked (`leases.ENDED`) until a sweep that
came well after its end has looked for orders in its hands: what a claim took that was still on its way, or a sweep
left that died half way. What has a token that no shift ever had is a stray, looked for seldom: it costs a look at all
that runs. A sweep also looks at some of the orders that wait for others of their row (`held`): who ended those may have
died before it said so.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from waiter.errors import KitchenError
from waiter.kitchen.contract import Reclaimed
from waiter.kitchen.intervals import STRAYS_S, turn_s
from waiter.kitchen.mongo import held, tally, updates
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import Document
from waiter.kitchen.mongo.leases import declare_lost, lose_dead_here
from waiter.kitchen.mongo.updates import Expression
from waiter.orders import Status
from waiter.processes import Place

SETTLED_AFTER_S = 60.0
"""So long after a shift's end no claim of it is on its way any more: the driver gives up long before."""

LEARN_S = 30.0
"""How often a sweep of the fleet counts what has come to its end."""

_TURN: Document = {"_id": "news"}
_SWEPT, _LOOKED_FOR_STRAYS, _LEARNED = "swept_at", "strays_at", "learned_at"
_ROWS_AT = "rows_at"
"""How far the last sweep has looked through the orders that wait for those of the same row in another batch."""


def reclaim(to: Connection, here: Place, lease_s: float, max_losses: int) -> Reclaimed:
    """A whole sweep, whoever else does one."""
    look = declare_lost(to, here, lease_s)
    ready, failed = _take_back(to, dead_tokens(to), max_losses)
    return Reclaimed(ready, failed, look.lost, look.missed, look.missed_s)


def sweep(to: Connection, here: Place, lease_s: float, max_losses: int) -> Reclaimed:
    """A sweep, if it is time for the fleet's next one; else what only this machine can know."""
    next_s = _until_turn_s(to, turn_s(lease_s))
    turn = None if next_s else _take_turn(to, turn_s(lease_s))
    if turn is None:
        lost = lose_dead_here(to, here)
        ready, failed = _take_back(to, [*lost], max_losses)
        return Reclaimed(ready, failed, tuple(lost.values()), next_s=next_s or turn_s(lease_s))
    look = declare_lost(to, here, lease_s)
    ended = [shift["_id"] for shift in to.shifts.find({"is_unsettled": True}, {"_id": 1})]
    are_strays_due = bool(turn["are_strays_due"])
    ready, failed = _take_back(to, dead_tokens(to) if are_strays_due else ended, max_losses)
    _settle(to, ended)
    noted: Document = {_ROWS_AT: {"$literal": held.repair_some(to, turn.get(_ROWS_AT))}}
    if are_strays_due:
        noted[_LOOKED_FOR_STRAYS] = to.now
    if is_tally_due := bool(turn["is_tally_due"]):
        noted[_LEARNED] = to.now
    # For each waiter to hear with what it asks anyway. It may be one sweep old, and no lease depends on its being true.
    to.state.update_one(_TURN, [{"$set": {**noted, "shifts": fleet_size(to)}}])
    if is_tally_due:
        with suppress(KitchenError):  # it spares others some work, later
            tally.learn_some(to)
    return Reclaimed(ready, failed, look.lost, look.missed, look.missed_s)


def is_overdue(to: Connection, now: float, lease_s: float) -> bool:
    """Whether the fleet's next sweep is, by what the last question for news was answered."""
    return to.swept_at is not None and now - to.swept_at > 2 * turn_s(lease_s)


def fleet_size(to: Connection) -> int:
    """How many shifts are open."""
    return to.shifts.count_documents({"is_open": True, "lease_until": {"$gt": 0}})


def _until_turn_s(to: Connection, every_s: float) -> float:
    """How long until the next sweep; 0: it is time. A read: most who ask are told to come again."""
    told = to.state.find_one(_TURN, {"for_s": _age(to, _SWEPT)})
    if told is None:
        raise to.gone()
    for_s = told["for_s"]
    return every_s - float(for_s) if for_s is not None and 0 <= for_s < every_s else 0.0


def _take_turn(to: Connection, every_s: float) -> Document | None:
    """The turn, for one of all who ask at once. It is over as it begins: who has it and dies is in nobody's way."""
    return to.state.find_one_and_update(
        {**_TURN, "$expr": _is_due(to, _SWEPT, every_s)},
        [{"$set": {_SWEPT: to.now}}],
        {
            "are_strays_due": _is_due(to, _LOOKED_FOR_STRAYS, STRAYS_S),
            "is_tally_due": _is_due(to, _LEARNED, LEARN_S),
            _ROWS_AT: 1,
        },
    )


def _age(to: Connection, field: str) -> Expression:
    return {"$subtract": [to.now, f"${field}"]}


def _is_due(to: Connection, field: str, every_s: float) -> Expression:
    """It never was (null is less than any number), was long ago, or the server's clock was set back since."""
    return {"$or": [{"$lt": [_age(to, field), 0]}, {"$gte": [_age(to, field), every_s]}]}


def _take_back(to: Connection, dead: Sequence[str], max_losses: int) -> tuple[int, int]:
    """Take the orders of these shifts back. How many are READY again, and how many ended in ERROR."""
    theirs = {"status": "RUNNING", "shift": {"$in": list(dead)}}
    if not dead or to.orders.find_one(theirs, {"_id": 1}) is None:
        return 0, 0

    def take(those: Document, status: Status) -> int:
        return to.orders.update_many({**theirs, **those}, updates.lost(status, to.now)).modified_count

    take({"is_cancel_asked": True}, Status.CANCELLED)
    failed = take({"losses": {"$gte": max_losses - 1}}, Status.ERROR)
    return take({}, Status.READY), failed


def _settle(to: Connection, ended: Sequence[str]) -> None:
    """Nothing of these shifts is RUNNING: forget those that ended long enough ago."""
    if ended:
        ended_at = {"$ifNull": ["$lost_at", {"$ifNull": ["$left_at", 0]}]}
        long_ago = {"$lt": [ended_at, {"$subtract": [to.now, SETTLED_AFTER_S]}]}
        to.shifts.update_many({"_id": {"$in": list(ended)}, "$expr": long_ago}, {"$unset": {"is_unsettled": 1}})


def dead_tokens(to: Connection) -> list[str]:
    """Tokens on RUNNING orders that no open shift has.

    The orders are read first: a shift that checks in and claims in between is then not among them, and one that
    is among them had checked in before the shifts are read.
    """
    tokens = to.orders.distinct("shift", {"shift": {"$gt": ""}})
    if not tokens:
        return []
    living = to.shifts.find({"_id": {"$in": tokens}, "is_open": True}, {"_id": 1})
    return sorted(set(tokens) - {shift["_id"] for shift in living})
