"""The brake: a command whose first orders all fail is stopped before it has spoilt the rest."""

from __future__ import annotations

from waiter.delivery.options import DeliveryOptions
from waiter.light_dataclass import dataclass
from waiter.orders import Order, Outcome, Reason, Status

BRAKE_AFTER = 20
"""So many failures at the beginning stop a command, unless the user says another number, or when to halt."""

_NO_FAULT = (Reason.INTERRUPTED, Reason.CANCELLED, Reason.LOST)
"""Reasons for which the command is not to blame."""


def brake_after(options: DeliveryOptions) -> int:
    """After how many failures a command is stopped; 0: never."""
    if options.brake is not None:
        return options.brake
    return 0 if options.halt else BRAKE_AFTER


@dataclass(frozen=True, slots=True)
class Braked:
    """Why a command is stopped."""

    orders: int  # so many, all that ended, failed
    first: Order
    error: str  # of the first
    batches: tuple[str, ...]  # ids of those that the orders are of

    @property
    def sentence(self) -> str:
        return f"the first {self.orders} orders all failed, {self.first.id} with: {self.error}"


class Brake:
    """Counts the orders of each command that failed before one went well. `after` 0: never stops any."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._failed: dict[object, dict[str, Order]] = {}
        self._errors: dict[object, str] = {}
        self._is_decided: set[object] = set()

    def left(self) -> int | None:
        """How many more failures would stop the first command; None: it is decided on already."""
        if not self._after or self._is_decided:
            return None
        return self._after - max(map(len, self._failed.values()), default=0)

    def rearm(self, command: object) -> None:
        """Count anew: the command may go on when somebody has looked at it."""
        self._is_decided.discard(command)
        self._failed.pop(command, None)
        self._errors.pop(command, None)

    def saw(self, command: object, order: Order, outcome: Outcome) -> Braked | None:
        """An attempt ended. Returns why its command is to be stopped, once, when it is."""
        if not self._after or command in self._is_decided or outcome.reason in _NO_FAULT:
            return None
        if outcome.status is Status.DONE:
            self._is_decided.add(command)
            return None
        failed = self._failed.setdefault(command, {})
        failed.setdefault(order.id, order)
        self._errors.setdefault(command, outcome.error or "")
        if len(failed) < self._after:
            return None
        self._is_decided.add(command)
        first = next(iter(failed.values()))
        batches = tuple(dict.fromkeys(one.batch for one in failed.values()))
        return Braked(len(failed), first, self._errors[command], batches)
