"""How far, how fast, and when it ends: the facts of `status`, from the kitchen alone."""

from __future__ import annotations

from typing import Any

from waiter.kitchen.contract import Kitchen
from waiter.orders import Counts, Selector, Shift, Status, Throughput
from waiter.report.capacity import at_work, measure_capacity
from waiter.report.eta import Eta, clip_to_busy, eta, rate

RECENT_S = 60.0
"""The window of the rate that `status` shows."""

WINDOWS_S = (300.0, 3600.0, 86_400.0)
"""The end is reckoned from the shortest of them that tells enough."""

ENOUGH = 20
"""So many finished orders tell enough; where they take long, it takes long until there are as many."""


def choose_window(kitchen: Kitchen) -> Throughput:
    """What was finished in the shortest window that tells enough; the longest that tells anything, if none does."""
    seen = kitchen.throughput(WINDOWS_S[0])
    for window_s in WINDOWS_S[1:]:
        if seen.done + seen.failed >= ENOUGH:
            break
        wider = kitchen.throughput(window_s)
        seen = wider if wider.done + wider.failed > seen.done + seen.failed else seen
    return seen


def status_facts(kitchen: Kitchen, batch: str | None, more_hosts: int | None) -> dict[str, Any]:
    """What `status --json` prints, of all or one batch. A batch has no ETA while others take part of the work."""
    selector = Selector(batch=batch) if batch else None
    counts = kitchen.counts(selector)
    is_all = batch is None or _left(counts) == _left(kitchen.counts())
    oldest = next(kitchen.find(Selector(statuses=(Status.RUNNING,), batch=batch), sort="start", limit=1), None)
    now, shifts = kitchen.now(), kitchen.shifts(include_left=True)
    oldest_s = max(0.0, now - (oldest.start or now)) if oldest else 0.0
    recent = clip_to_busy(kitchen.throughput(RECENT_S), measure_capacity(shifts, now, RECENT_S))
    lately = choose_window(kitchen)
    capacity = measure_capacity(shifts, now, lately.window_s)
    ends = [
        eta(counts, lately, capacity, oldest_s=oldest_s, more_hosts=more) if is_all else None
        for more in (0, more_hosts or 0)
    ]
    facts = {
        "kitchen": kitchen.url,
        "total": counts.total,
        "counts": {status.value: counts[status] for status in Status},
        "oldest_running": oldest and {"_id": oldest.id, "waiter": oldest.waiter, "seconds": oldest_s},
        "claimed": min(counts[Status.RUNNING], sum(shift.vitals.claimed for shift in at_work(shifts, now))),
        "waiters": len(at_work(shifts, now)),
        "rate": rate(recent),
        **_eta_facts(ends[0]),
        "commands": kitchen.commands(selector),
        "latest_command": latest_command(shifts),
    }
    return {**facts, "with_more_hosts": {"hosts": more_hosts, **_eta_facts(ends[1])}} if more_hosts else facts


def _left(counts: Counts) -> int:
    return counts.total - counts.finished


def _eta_facts(end: Eta | None) -> dict[str, Any]:
    return {"eta": end and [end.soonest_s, end.latest_s], "eta_words": str(end) if end else None}


def latest_command(shifts: list[Shift]) -> str | None:
    """The version of the command that the waiter delivers, or delivered, who came last."""
    shifts = [shift for shift in shifts if shift.vitals.command_hash]
    return max(shifts, key=lambda shift: shift.since).vitals.command_hash if shifts else None
