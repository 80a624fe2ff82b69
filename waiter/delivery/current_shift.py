"""The shift that a waiter works in: the kitchen's fence around its orders, and the heartbeat that renews it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from waiter.delivery.heartbeat import Heartbeat
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.orders import Shift, Vitals
from waiter.processes import boottime


@dataclass(frozen=True, slots=True)
class CurrentShift:
    """A shift that was checked in, and the heartbeat that keeps it alive."""

    shift: Shift
    heartbeat: Heartbeat
    clock_offset_s: float  # the kitchen's clock less `boottime()`

    def kitchen_time(self) -> float:
        """What the kitchen's clock says now, as far as this waiter knows."""
        return boottime() + self.clock_offset_s


def check_in(
    kitchen: Kitchen, open_kitchen: Callable[[], Kitchen], name: str | None, vitals: Callable[[], Vitals]
) -> CurrentShift:
    """Check in. The heartbeat, still to be started, has a kitchen of its own and asks `vitals` in its own thread.

    Raises KitchenError.
    """
    asked_at = boottime()
    host, pid = socket.gethostname(), os.getpid()
    shift = kitchen.check_in(name or f"{host}/{pid}", host, pid, vitals())
    offset_s = shift.heartbeat_at - (asked_at + boottime()) / 2  # read half way between question and answer
    beside = kitchen.beside()  # from here on: what this thread asks next may hang when the other one begins to ask
    heartbeat = Heartbeat(lambda: beside or open_kitchen(), shift, asked_at, vitals, kitchen.lease_s)
    return CurrentShift(shift, heartbeat, offset_s)
