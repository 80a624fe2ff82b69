"""The orders that a waiter holds, from the claim until their outcome is on its way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from waiter.light_dataclass import dataclass
from waiter.orders import Order, Shift

ALONE_FROM_LOSSES = 2
"""From that many losses on, an order runs alone in its waiter: whatever it kills then, no neighbour dies with it."""


@dataclass(frozen=True, slots=True)
class HeldOrder:
    """An order that this waiter has, from the claim until its outcome is on its way."""

    order: Order
    shift: Shift
    argv: Sequence[str | bytes] | None  # None: it waits until nothing else runs
    claimed_at: float  # on `boottime()`

    @property
    def is_poison(self) -> bool:
        """It was lost so often that it may take its neighbours down with it."""
        return may_be_poison(self.order)


def may_be_poison(order: Order) -> bool:
    return order.losses >= ALONE_FROM_LOSSES


class HeldOrders:
    """All of them by id, the oldest first. One thread changes it; `running` may be asked by another."""

    def __init__(self) -> None:
        self._orders: dict[str, HeldOrder] = {}
        # Asked for with every few orders: not looked for among all that are held.
        self._poison: set[str] = set()
        self._alone: dict[str, None] = {}  # wait until nothing else runs
        self._queued: frozenset[str] = frozenset()  # of those, what has not begun
        self._cancelled: set[str] = set()  # stop asked for by the kitchen

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[str]:
        return iter(self._orders)

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._orders

    def __getitem__(self, order_id: str) -> HeldOrder:
        return self._orders[order_id]

    def get(self, order_id: str) -> HeldOrder | None:
        return self._orders.get(order_id)

    def values(self) -> Collection[HeldOrder]:
        return self._orders.values()

    def add(self, held: HeldOrder) -> None:
        order_id = held.order.id
        self._orders[order_id] = held
        (self._poison.add if held.is_poison else self._poison.discard)(order_id)
        self._alone.pop(order_id, None)
        if held.argv is None:
            self._alone[order_id] = None

    def remove(self, order_id: str) -> HeldOrder | None:
        """Forget it, and that it was cancelled: should it come back, that was not asked of the new claim."""
        self._cancelled.discard(order_id)
        self._poison.discard(order_id)
        self._alone.pop(order_id, None)
        return self._orders.pop(order_id, None)

    def cancel(self, order_ids: Iterable[str]) -> list[str]:
        """Remember that these are to be stopped. Returns those that are held, and for which this is news."""
        asked = [one for one in order_ids if one in self._orders and one not in self._cancelled]
        self._cancelled.update(asked)
        return asked

    def is_cancelled(self, order_id: str) -> bool:
        return order_id in self._cancelled

    def holds_poison_order(self) -> bool:
        return bool(self._poison)

    def waiting_alone(self) -> list[str]:
        """Those that wait until nothing else runs."""
        return list(self._alone)

    def next_alone(self) -> Order | None:
        """The first that waits until nothing else runs, if nothing else does."""
        waiting = self.waiting_alone()
        if not waiting or len(waiting) < len(self._orders):
            return None
        return self._orders[waiting[0]].order

    def note_queue(self, queue: Iterable[str]) -> None:
        """`queue` is what the runner has not begun."""
        self._queued = frozenset([*queue, *self.waiting_alone()])

    def running(self, slots: int) -> tuple[list[str], int]:
        """What is in the slots, and how many more are held."""
        held, queued = list(self._orders), self._queued  # a copy each: the heartbeat asks in its own thread
        running = [order_id for order_id in held if order_id not in queued][:slots]
        return running, len(held) - len(running)
