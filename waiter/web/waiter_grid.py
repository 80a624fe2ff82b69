"""Who is at work as a grid: hosts, their waiters, and a cell for each slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from waiter.orders import Order, Shift, Vitals
from waiter.report.capacity import busy_slots, state
from waiter.report.dashboard import Seen

WAITERS_SHOWN = 200

FEW = 24
"""Of more waiters only so many that need a look have a cell for each slot, and the others a row each."""

SLOTS_SHOWN = 64
"""So many slots of a waiter are cells."""


NEED_A_LOOK = ("lost", "late")


@dataclass(frozen=True, slots=True)
class WaiterCells:
    """A waiter as a row of the grid: a cell for each slot."""

    shift: Shift
    state: str
    running: Sequence[Order]  # in the first slots, those that run longest first
    busy: int  # slots that something else runs in
    free: int
    in_use: int  # slots that something runs in, of all that it has
    more: int  # slots that are not drawn

    @property
    def drawn(self) -> int:
        return len(self.running) + self.busy + self.free


@dataclass(frozen=True, slots=True)
class HostCells:
    """A host, with its waiters."""

    host: str
    waiters: Sequence[WaiterCells]

    @property
    def here(self) -> list[Vitals]:
        """What those say of themselves that are not lost."""
        return [one.shift.vitals for one in self.waiters if one.state != "lost"]

    @property
    def slots(self) -> int:
        return sum(vitals.slots for vitals in self.here)

    @property
    def busy(self) -> int:
        return sum(one.in_use for one in self.waiters)

    @property
    def load(self) -> float:
        return max((vitals.load for vitals in self.here), default=0.0)

    @property
    def memory(self) -> int:
        return sum(vitals.memory for vitals in self.here)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of the waiters, `WAITERS_SHOWN` at most."""

    hosts: Sequence[HostCells]  # those with a waiter that needs a look come first
    rows: Sequence[WaiterCells]  # of many, the others
    more: int  # are not shown
    is_new: bool  # which slots are busy is known as of now, and not from each waiter's last heartbeat


def grid(seen: Seen) -> Shown:
    """Hosts and slots, or rows of waiters where there are many."""
    running, ordered = running_by_shift(seen), ranked(seen.shifts, seen.now)
    cells = [_cells(shift, seen, running.get(shift.token, [])) for shift in ordered[:WAITERS_SHOWN]]
    closely = cells if len(ordered) <= FEW else [one for one in cells[:FEW] if one.state in NEED_A_LOOK]
    hosts = dict[str, list[WaiterCells]]()
    for one in closely:
        hosts.setdefault(one.shift.host, []).append(one)
    return Shown(
        [HostCells(host, waiters) for host, waiters in hosts.items()],
        cells[len(closely) :],
        len(ordered) - len(cells),
        seen.is_all_running,
    )


def _cells(shift: Shift, seen: Seen, held: Sequence[Order]) -> WaiterCells:
    its_state, slots = state(shift, seen.now), shift.vitals.slots
    drawn = min(slots, SLOTS_SHOWN)
    in_use = busy_slots(shift, len(held), is_all_known=seen.is_all_running) if its_state != "lost" else 0
    running = held[: min(drawn, in_use if its_state != "lost" else drawn)]
    busy = max(0, min(in_use, drawn) - len(running))
    return WaiterCells(shift, its_state, running, busy, drawn - len(running) - busy, in_use, slots - drawn)


def running_by_shift(seen: Seen) -> dict[str, list[Order]]:
    """The orders that each shift has, those that run longest first."""
    by_shift: dict[str, list[Order]] = {}
    for order in seen.running:
        by_shift.setdefault(order.shift or "", []).append(order)
    return by_shift


def ranked(shifts: Sequence[Shift], now: float) -> list[Shift]:
    """Who needs a look comes first."""
    rank = {"lost": 0, "late": 1, "paused": 2, "draining": 3}
    return sorted(shifts, key=lambda shift: (rank.get(state(shift, now), 4), shift.waiter))


def command_versions(seen: Seen) -> dict[str, int]:
    """How many waiters at work deliver which version (hash) of the command, most first."""
    return dict(Counter(one.vitals.command_hash for one in seen.at_work if one.vitals.command_hash).most_common())
