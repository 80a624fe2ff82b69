"""Who waits where: what SSH sees on the hosts and what the kitchen knows, side by side, and where they disagree.

Pure: the caller has asked both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waiter.errors import LEASE_EXPIRED
from waiter.fleet.inventory import Host
from waiter.fleet.protocol import OWN_COMMANDS
from waiter.fleet.runner import Report
from waiter.orders import Shift

AT_WORK = ("running", "draining")
"""What a host says of a waiter whose process lives."""


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One waiter, or one host without one. Fields are None where nobody knows."""

    host: str
    state: str
    pid: int | None = None
    since: float | None = None
    slots: int | None = None
    busy: int | None = None
    delivered: int | None = None
    failed: int | None = None
    heartbeat_s: float | None = None  # age of the last one
    command: str | None = None
    waiter: str | None = None
    notes: tuple[str, ...] = ()  # where SSH and the kitchen disagree, or what else is odd
    is_ok: bool = True

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def fleet_status(reports: Sequence[Report], shifts: Sequence[Shift] | None, now: float) -> list[StatusRow]:
    """One row for each host, then one for each waiter that the kitchen knows elsewhere.

    `shifts` is None when the kitchen could not be asked. `now` is the kitchen's clock.
    """
    present = [shift for shift in shifts or () if shift.left_at is None]
    by_token = {shift.token: shift for shift in present}
    rows: list[StatusRow] = []
    seen: set[str | None] = {None}
    answered = {str(report.facts.get("shift")) for report in reports if report.outcome in AT_WORK}
    met: dict[tuple[object, ...], str] = {}  # a process on a machine, and by which name it was met first
    for report in reports:
        process = tuple(report.facts.get(what) for what in ("host", "pid", "since"))
        if report.outcome in AT_WORK and (first := met.setdefault(process, report.host.name)) != report.host.name:
            rows.append(
                StatusRow(report.host.name, f"same as {first}", notes=(f"another name of {first}: count it once",))
            )
            continue
        shift = by_token.get(str(report.facts.get("shift"))) if report.outcome in AT_WORK else None
        if not report.is_ok:
            shift = next((each for each in present if is_called(report.host, each.host)), None)
        rows.append(row_of(report, shift, shifts is not None, now))
        seen.add(shift.token if shift else None)
        for stale in stale_shifts(report, present, seen | answered):
            rows.append(stale_row(report, stale, now))
            seen.add(stale.token)
    elsewhere = [shift for shift in present if shift.token not in seen and shift.lost_at is None]
    return rows + [elsewhere_row(shift, now) for shift in elsewhere]


def is_called(host: Host, name: str) -> bool:
    """Whether a host that cannot be asked would call itself so."""
    known = (host.name, host.address, host.instance_id, host.dns, host.dns and host.dns.partition(".")[0])
    return name in known or name.partition(".")[0] in known


def row_of(report: Report, shift: Shift | None, is_kitchen_asked: bool, now: float) -> StatusRow:
    facts = report.facts
    if not report.is_ok:
        if shift is None or shift.lost_at is not None:
            return StatusRow(report.host.name, report.outcome, is_ok=False)
        heard = f"SSH does not reach it, but the kitchen heard from it {now - shift.heartbeat_at:.0f} s ago"
        return _of_shift(report.host.name, report.outcome, shift, now, (heard,))
    if report.outcome not in AT_WORK:
        left = facts.get("left") or {}
        return StatusRow(
            report.host.name,
            report.outcome,
            delivered=left.get("delivered"),
            failed=left.get("failed"),
            notes=parting_words(facts),
        )
    odd = disagreements(shift, now) if is_kitchen_asked else ()
    ready = ("the next waiter starts when this one's orders end",) if facts.get("is_next_ready") else ()
    vitals = shift.vitals if shift else None
    return StatusRow(
        host=report.host.name,
        state=state_of(shift) if shift and report.outcome == "running" else report.outcome,
        pid=facts.get("pid"),
        since=facts.get("since"),
        slots=vitals.slots if vitals else None,
        busy=vitals.busy if vitals else None,
        delivered=vitals.delivered if vitals else None,
        failed=vitals.failed if vitals else None,
        heartbeat_s=max(0.0, now - shift.heartbeat_at) if shift else None,
        command=" ".join(facts.get("words") or ()) or OWN_COMMANDS,
        waiter=facts.get("waiter"),
        notes=(*odd, *ready),
        is_ok=not odd,
    )


def state_of(shift: Shift) -> str:
    """The kitchen's word for a waiter that runs."""
    if shift.lost_at is not None:
        return "lost"
    if shift.is_leaving:
        return "draining"
    return "paused" if shift.is_paused else "running"


def disagreements(shift: Shift | None, now: float) -> tuple[str, ...]:
    """What is odd about a process that SSH sees, given the shift that the kitchen has for it."""
    if shift is None:
        return ("SSH sees it run, but this kitchen does not know it: another kitchen or --db, or it is just starting",)
    if shift.lost_at is not None:
        return (f"SSH sees it run, but {LEASE_EXPIRED}. Can it reach the kitchen?",)
    if shift.is_late(now):
        return (f"SSH sees it run, but its last heartbeat came {now - shift.heartbeat_at:.0f} s ago",)
    return ()


PARTINGS = {
    "done": "nothing was left to do (--until stopped stays)",
    "drained": "it was told to: waiter fleet stop, waiter drain, or a signal",
    "stopped": "it was told to: waiter fleet stop --now",
    "interrupted": "two signals stopped it and its orders",
    "max orders": "--max-orders is reached",
    "max time": "--max-time is over",
    "idle": "no order came for --idle-timeout",
    "halted": "--halt is reached",
}
"""Why waiters leave, in words for whoever wonders where they are; other reasons are sentences already."""


def parting_words(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Why the last waiter of a host ended, as far as the host knows."""
    left = facts.get("left") or {}
    if left.get("error"):
        return (f"the last one ended: {left['error']}".replace("\nhint: ", "; "),)
    if why := left.get("left_because"):
        return (f"the last one left: {PARTINGS.get(why, why)}",)
    if not facts.get("pid") or left:
        return ()
    if facts.get("is_rebooted"):
        return ("the host was rebooted while the last one worked (start --boot lets it come back)",)
    last = next(iter((facts.get("log") or [])[-1:]), "")
    return (
        "the last one was killed, or its container was restarted" + (f"; its log ends with: {last}" if last else ""),
    )


def stale_shifts(report: Report, present: Sequence[Shift], seen: set[Any]) -> list[Shift]:
    """Shifts that the kitchen takes for alive on a host where SSH sees no such process."""
    if not report.is_ok or not report.facts.get("host"):
        return []
    return [
        shift
        for shift in present
        if shift.host == report.facts["host"]
        and shift.lost_at is None
        and shift.token not in seen
        # Somebody's own `waiter deliver` on that host is no daemon, and beats.
        and shift.waiter == report.facts.get("waiter")
    ]


def stale_row(report: Report, shift: Shift, now: float) -> StatusRow:
    note = f"the kitchen waits for it for {max(0.0, shift.lease_until - now):.0f} s more, but SSH sees no such process"
    return _of_shift(report.host.name, "gone", shift, now, (note,))


def elsewhere_row(shift: Shift, now: float) -> StatusRow:
    return _of_shift(shift.host, "elsewhere", shift, now, ())


def _of_shift(host: str, state: str, shift: Shift, now: float, notes: tuple[str, ...]) -> StatusRow:
    return StatusRow(
        host=host,
        state=state,
        pid=shift.pid,
        since=shift.since,
        slots=shift.vitals.slots,
        busy=shift.vitals.busy,
        delivered=shift.vitals.delivered,
        failed=shift.vitals.failed,
        heartbeat_s=max(0.0, now - shift.heartbeat_at),
        command=shift.vitals.command,
        waiter=shift.waiter,
        notes=notes,
        is_ok=not notes,
    )
