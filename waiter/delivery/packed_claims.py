"""How many orders a waiter claims where they need something of the host: no more than there is room for.

Room is granted in the host's ledger, order by order; the order that is next and finds none has its place kept once it
has waited for long (`resources.share`), so that a large one does not wait for ever behind small ones.

Where rows say what they need, only a claim tells what an order needs. One that has no room goes back at once, and is
passed over until it would have some: smaller ones behind it get their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from waiter.delivery.resources.ledger import LedgerBusy
from waiter.delivery.resources.packing import how_many
from waiter.delivery.resources.share import HostShare
from waiter.delivery.runner.client import Job
from waiter.delivery.state import Work
from waiter.kitchen.contract import CLAIM_LIMIT
from waiter.light_dataclass import dataclass
from waiter.needs import Needs
from waiter.orders import Order
from waiter.processes import boottime

ASK_AGAIN_S = 0.2
"""How soon who waits for room looks again: nobody tells it that another waiter's order has ended."""

PASSED_S = 20.0
"""After so long an order that was passed over is claimed again: somebody else may have it by now."""

PASSED_AT_MOST = 500

FRUITLESS_S = 2.0
"""So long nothing is claimed by a waiter that found no order with room, unless there is other room by then."""

Take = Callable[[int, Sequence[str]], list[Order]]
"""Claims so many orders, but none with these ids."""


@dataclass(frozen=True, slots=True)
class Passed:
    """An order that had no room when it was claimed."""

    needs: Needs
    since: float
    looked_at: float


class PackedClaims:
    """What of the host the orders of one waiter need, and have."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.waits_for: str | None = None  # what there is too little of for the order that is next
        self.too_large: dict[str, str] = {}  # orders that never have room here, and why
        self._passed: dict[str, Passed] = {}
        self._since: dict[str, float] = {}  # since when an order that is claimed again was passed over before
        self._reach = 1
        self._fruitless: tuple[Needs, float] | None = (
            None  # with which room nothing was found, and until when that counts
        )

    @property
    def is_used(self) -> bool:
        """Some orders need something."""
        return self._share.is_asked or self._work.scope.has_rows_with_needs

    @property
    def _share(self) -> HostShare:
        return self._work.share

    def claim(self, limit: int, take: Take) -> list[Order]:
        """The orders that `take` claims, as many as there is room for, as far as that can be known before."""
        self.waits_for = None
        try:
            if self._work.scope.has_rows_with_needs:
                return self._claim_by_row(limit, take)
            room = self._share.room(self._share.usual)
            if fitting := how_many(self._share.usual, room):
                self._share.note_unblocked()
                return take(min(limit, fitting), ())
            self._note_blocked(self._next(), room)
        except LedgerBusy:
            self.waits_for = "another waiter, which has the ledger of this host's resources"
        return []

    def _next(self) -> tuple[str, Needs] | None:
        """The order that would be claimed next, and what it needs."""
        kitchen, scope = self._work.kitchen, self._work.scope.claimable
        if (first := kitchen.peek(scope)) is not None:
            return first.id, self._work.needs(first)
        # What has fallen due since it failed or was lost nobody sees before a claim, which there is no room for.
        return ("", self._share.usual) if kitchen.backlog(scope).ready else None

    def _claim_by_row(self, limit: int, take: Take) -> list[Order]:
        now, room = boottime(), self._share.room(Needs(gpus=1))
        if self._fruitless is not None and (room == self._fruitless[0] and now < self._fruitless[1]):
            self._note_first_passed(room)
            return []
        again = {
            order_id: one
            for order_id, one in self._passed.items()
            if one.needs.fits(room) or now - one.looked_at > PASSED_S
        }
        self._since = {order_id: one.since for order_id, one in again.items()}
        self._passed = {order_id: one for order_id, one in self._passed.items() if order_id not in again}
        orders = take(max(limit, self._reach), (*self._passed, *self.too_large))
        if not orders:
            self._fruitless = (room, now + FRUITLESS_S)
            self._note_first_passed(room)
        return orders

    def _note_first_passed(self, room: Needs) -> None:
        first = min(self._passed, key=lambda order_id: self._passed[order_id].since, default=None)
        self._note_blocked(None if first is None else (first, self._passed[first].needs), room)

    def _note_blocked(self, first: tuple[str, Needs] | None, room: Needs) -> None:
        """Nothing can be claimed now, and this order would be next."""
        if first is None:
            self._share.note_unblocked()
            return
        self._share.note_blocked(*first)
        self.waits_for = ", ".join(first[1].lacking(room)) or "room"

    def granted(self, orders: Sequence[Order], slots: int) -> list[Order]:
        """Those of the claimed orders that have what they need, as many as there are `slots`."""
        if not self.is_used:
            return [*orders]
        granted: list[Order] = []
        now = boottime()
        for order in orders:
            needs = self._work.needs(order)
            if len(granted) >= slots:
                continue
            if self._share.grant(order.id, needs):
                granted.append(order)
            elif self._work.scope.has_rows_with_needs:
                self._pass_over(order, needs, now)
        self._reach = 1 if granted else min(CLAIM_LIMIT, 2 * self._reach)
        if granted:
            self._fruitless = None
        if self._passed:
            self._say_room()
        return granted

    def _say_room(self) -> None:
        try:
            self._note_first_passed(self._share.room(Needs(gpus=1)))
        except LedgerBusy:
            return  # the next look does it

    def _pass_over(self, order: Order, needs: Needs, now: float) -> None:
        if words := self._share.too_much(needs):
            if not self.too_large:
                self._work.listener.noted(f"{order.id} is left to other hosts: {words}, as are others like it.")
            self.too_large[order.id] = words
            return
        if len(self._passed) < PASSED_AT_MOST:
            self._passed[order.id] = Passed(needs, self._since.get(order.id, now), now)

    def with_grant(self, job: Job, order: Order) -> Job:
        """The job, told what was granted to its order."""
        told = self._share.env(order.id, self._work.needs(order)) if self.is_used else {}
        limit = self._work.memory_limit(order)
        return replace(job, env={**job.env, **told}, memory=limit) if told or limit is not None else job
