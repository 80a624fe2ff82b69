"""Who may have how much of a host: what is granted, what is left, and who is next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from waiter.light_dataclass import dataclass
from waiter.needs import Needs


@dataclass(frozen=True, slots=True)
class Grant:
    """What one order has of the host until it ends."""

    cpus: float
    memory: int
    gpus: tuple[str, ...]  # their ids
    at: float  # `boottime()`


@dataclass(frozen=True, slots=True)
class Reservation:
    """Somebody waits for so much, and has waited for so long that others leave it alone."""

    needs: Needs
    at: float  # on `boottime()`: who came first is first


def room(total: Needs, grants: Iterable[Grant], ahead: Iterable[Reservation]) -> Needs:
    """What may be granted now to somebody who comes after the reservations `ahead`.

    Orders that were granted something before a reservation may end in their own time; what is granted after it must
    leave room for it beside them, or it would wait for ever behind a stream of small ones.
    """
    grants = list(grants)
    left = _less(total, grants)
    for first in ahead:
        beside = _less(total, [grant for grant in grants if grant.at >= first.at])
        left = _smaller(left, _without(beside, first.needs))
    return left


def _less(total: Needs, grants: Sequence[Grant]) -> Needs:
    return Needs(
        (total.cpus or 0.0) - sum(grant.cpus for grant in grants),
        (total.memory or 0) - sum(grant.memory for grant in grants),
        (total.gpus or 0) - sum(len(grant.gpus) for grant in grants),
    )


def _without(room: Needs, needs: Needs) -> Needs:
    return Needs(
        (room.cpus or 0.0) - (needs.cpus or 0.0),
        (room.memory or 0) - (needs.memory or 0),
        (room.gpus or 0) - (needs.gpus or 0),
    )


def _smaller(one: Needs, other: Needs) -> Needs:
    return Needs(
        min(one.cpus or 0.0, other.cpus or 0.0),
        min(one.memory or 0, other.memory or 0),
        min(one.gpus or 0, other.gpus or 0),
    )


def free_gpus(gpus: Sequence[str], grants: Iterable[Grant], count: int) -> tuple[str, ...] | None:
    """The first so many that nobody has; None if there are not so many."""
    taken = {gpu for grant in grants for gpu in grant.gpus}
    free = [gpu for gpu in gpus if gpu not in taken]
    return tuple(free[:count]) if len(free) >= count else None


def how_many(needs: Needs, room: Needs) -> int:
    """So many orders that all need the same have room beside each other; a million where nothing is needed."""
    counts = [1_000_000]
    if needs.cpus:
        counts.append(int(((room.cpus or 0.0) + 1e-6) / needs.cpus))
    if needs.memory:
        counts.append((room.memory or 0) // needs.memory)
    if needs.gpus:
        counts.append((room.gpus or 0) // needs.gpus)
    return max(0, min(counts))
