"""Where a waiter looks for claimable orders: at their head, and further down while others claim there, too.

Waiters that look at the same moment see the same orders, and each goes to one of them. So who lost some to others leaps
ahead, and goes on after the orders that it took. Every `HEAD_S` it sees, with what it asks anyway, where the head is,
and goes back there if that has a higher priority, or is too far behind. This spares the server work, too: what was
claimed lately stays in its index for up to a minute, before the first order that is claimable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic

from waiter.kitchen.mongo.documents import Document

COMPETING_S = 5.0
"""How long a waiter that lost orders to others goes on looking further down."""

HEAD_S = 1.0
"""How soon a waiter that competes looks at the head again: what comes to stand there waits for so long."""

REACH, MOST_REACH = 128.0, 512.0
"""How far a waiter leaps, and may be ahead of the head: in rows, for each order that it wants at a time."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a look begins: at the head, or with a `seq` among the orders of one priority."""

    priority: int | None = None
    seq: int = 0


HEAD = Place()


class Places:
    """The places of one waiter."""

    def __init__(self, rng: Random, clock: Callable[[], float] = monotonic) -> None:
        self._rng = rng
        self._clock = clock
        self._competes_until = self._head_due_at = -1.0
        self._next, self._reach = HEAD, REACH

    def choose(self) -> tuple[Place, bool]:
        """Where to look next, and whether to look at the head, too."""
        now = self._clock()
        if now >= self._competes_until:
            self._next, self._reach = HEAD, REACH
        if self._next != HEAD:
            return self._next, now >= self._head_due_at
        self._head_due_at = now + HEAD_S
        return HEAD, True

    def goes_back(self, place: Place, head: Document, limit: int) -> bool:
        """Note where the head is. Whether it is where to look, rather than at this place."""
        self._head_due_at = self._clock() + HEAD_S
        if head["priority"] == place.priority and head["seq"] >= place.seq - MOST_REACH * limit:
            return False
        self._next = Place(head["priority"], head["seq"])
        return True

    def took(self, seen: Sequence[Document], limit: int, *, is_all: bool) -> None:
        """What the last look showed was claimed: all of it, or what others had left."""
        if is_all:
            self._next = Place(seen[-1]["priority"], seen[-1]["seq"] + 1)
            self._reach = max(2.0, 0.97 * self._reach)
            return
        self._competes_until = self._clock() + COMPETING_S
        leap = self._rng.randrange(int(self._reach * limit))
        self._next = Place(seen[0]["priority"], seen[0]["seq"] + leap)
        self._reach = min(MOST_REACH, 2 * self._reach)

    def at_end(self) -> None:
        """There are fewer orders from the last place on than were wanted: the rest are at the head."""
        self._next, self._reach = HEAD, max(2.0, self._reach / 4)
