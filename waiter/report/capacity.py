"""Waiters: how one is doing, seen from the kitchen."""

from __future__ import annotations

from collections.abc import Iterable

from waiter.light_dataclass import dataclass
from waiter.orders import Shift
from waiter.report.columns import timestamp


def state(shift: Shift, now: float) -> str:
    """left, lost, late, draining, paused or alive. `now` is the kitchen's clock."""
    if shift.left_at is not None:
        return "left"
    if shift.lost_at is not None or shift.lease_until <= now:
        return "lost"
    if shift.is_late(now):
        return "late"
    if shift.is_leaving:
        return "draining"
    return "paused" if shift.is_paused else "alive"


def busy_slots(shift: Shift, held: int, *, is_all_known: bool) -> int:
    """In how many of its slots something runs, of a waiter that has `held` orders.

    That is known as of now. What it said of itself with its last heartbeat counts where not all RUNNING orders were
    looked at, and where some in its hands wait for room.
    """
    vitals = shift.vitals
    if not is_all_known:
        held = max(held, vitals.busy)
    elif vitals.waits_for:
        held = max(0, held - vitals.claimed)
    return min(held, vitals.slots)


def at_work(shifts: Iterable[Shift], now: float) -> list[Shift]:
    """Those that can be counted on: not gone, not lost."""
    return [shift for shift in shifts if state(shift, now) not in ("lost", "left")]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Who was there in the last seconds, and who takes orders now."""

    worked_s: float  # for so long somebody was; the whole time if nobody was
    slot_s: float  # slots, each for the time that it was there
    slots: int  # now, of those who are neither paused nor leaving
    hosts: int  # that they are on


def measure_capacity(shifts: Iterable[Shift], now: float, window_s: float) -> Capacity:
    """The capacity of the last `window_s` seconds; `shifts` are all, those that left included."""
    shifts, begin = list(shifts), now - window_s
    stays = sorted((max(begin, s.since), _until(s, now), s.vitals.slots) for s in shifts if _until(s, now) > begin)
    covered_s, covered_until = 0.0, begin
    for since, until, _ in stays:
        covered_s += max(0.0, until - max(since, covered_until))
        covered_until = max(covered_until, until)
    here = [shift for shift in at_work(shifts, now) if not (shift.is_paused or shift.is_leaving)]
    return Capacity(
        worked_s=min(window_s, max(1.0, covered_s)) if stays else window_s,
        slot_s=max(1.0, sum((until - since) * slots for since, until, slots in stays)),
        slots=sum(shift.vitals.slots for shift in here),
        hosts=len({shift.host for shift in here}),
    )


def _until(shift: Shift, now: float) -> float:
    """When the shift ended, or now."""
    if state(shift, now) == "lost":
        return shift.lost_at or shift.heartbeat_at
    return now if shift.left_at is None else shift.left_at


def average_rate(shift: Shift, now: float) -> float:
    """Orders per second since the shift began, up to its last heartbeat."""
    seconds = (shift.left_at or shift.heartbeat_at) - shift.since
    if seconds < 1:
        seconds = max(1.0, (shift.left_at or now) - shift.since)
    return (shift.vitals.delivered + shift.vitals.failed) / seconds


def waiter_facts(shift: Shift, now: float) -> dict[str, object]:
    """What `waiters --json` says of one."""
    vitals = shift.vitals
    return {
        "waiter": shift.waiter,
        "host": shift.host,
        "pid": shift.pid,
        "state": state(shift, now),
        "pause_reason": shift.pause_reason,
        "since": timestamp(shift.since),
        "heartbeat": timestamp(shift.heartbeat_at),
        "heartbeat_age_s": round(max(0.0, now - shift.heartbeat_at), 1),
        "slots": vitals.slots,
        "busy": vitals.busy,
        "claimed": vitals.claimed,
        "rate": round(average_rate(shift, now), 4),
        "delivered": vitals.delivered,
        "failed": vitals.failed,
        "memory": vitals.memory,
        "load": vitals.load,
        "waits_for": vitals.waits_for,
        "running": list(vitals.running),
        "command": vitals.command,
        "command_hash": vitals.command_hash,
        "version": vitals.version,
    }
