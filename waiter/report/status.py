"""How far, how fast, and when it ends: the facts of `status`, from the kitchen alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from waiter.kitchen.contract import Kitchen, Timeline
from waiter.orders import Counts, Selector, Shift, Status, Throughput
from waiter.report.batches import RECENT_S as BATCH_S
from waiter.report.batches import own_pace, recent_of
from waiter.report.capacity import Capacity, at_work, measure_capacity
from waiter.report.claimed import claimed_ahead
from waiter.report.cost import NO_PRICES, fleet_costs
from waiter.report.eta import ENOUGH, Eta, clip_to_busy, eta, rate
from waiter.report.waiting import counts_by_word, is_all_waiting, waiting_batches, waiting_facts

RECENT_S = 60.0
"""The window of the rate that `status` shows."""

WINDOWS_S = (300.0, 3600.0, 86_400.0)
"""The end is estimated from the shortest of them that tells enough."""

HOUR_S, MINUTE_S = 3600.0, 60.0


def choose_window(kitchen: Kitchen) -> Throughput:
    """What was finished in the shortest window that tells enough; the longest that tells anything, if none does."""
    seen = kitchen.throughput(WINDOWS_S[0])
    for window_s in WINDOWS_S[1:]:
        if seen.done + seen.failed >= ENOUGH:
            break
        wider = kitchen.throughput(window_s)
        seen = wider if wider.done + wider.failed > seen.done + seen.failed else seen
    return seen


def last_hour(kitchen: Kitchen, batch: str | None = None) -> Timeline:
    """The last hour, minute by minute."""
    return kitchen.timeline(kitchen.now() - HOUR_S, MINUTE_S, batch)


def hour_facts(hour: Timeline) -> dict[str, Any]:
    """What was finished in that time, as JSON."""
    return {"done": hour.done, "failed": hour.failed, "mean": hour.mean_s}


def status_facts(
    kitchen: Kitchen, batch: str | None, more_hosts: int | None, prices: Mapping[str, float] = NO_PRICES
) -> dict[str, Any]:
    """What `status --json` prints, of all or one batch. A batch has no ETA while others take part of the work."""
    selector = Selector(batch=batch) if batch else None
    counts, waiting = kitchen.counts(selector), waiting_batches(kitchen, batch)
    of_batches, is_alone = _named(kitchen, batch)
    has_end = not is_all_waiting(counts, waiting) and (is_alone or _left(counts) == _left(kitchen.counts()))
    oldest = next(kitchen.find(Selector(statuses=(Status.RUNNING,), batch=batch), sort="start", limit=1), None)
    now, shifts = kitchen.now(), kitchen.shifts(include_left=True)
    oldest_s = max(0.0, now - (oldest.start or now)) if oldest else 0.0
    hour = last_hour(kitchen, batch)
    recent, lately, capacity = _paces(kitchen, of_batches, hour, shifts, now)
    ends = [
        eta(counts, lately, capacity, oldest_s=oldest_s, more_hosts=more) if has_end else None
        for more in (0, more_hosts or 0)
    ]
    claimed = claimed_ahead(counts[Status.RUNNING], shifts, now, of_batches)
    facts = {
        "kitchen": kitchen.url,
        "total": counts.total,
        "counts": counts_by_word(counts, waiting),
        "oldest_running": oldest and {"_id": oldest.id, "waiter": oldest.waiter, "seconds": oldest_s},
        "running": counts[Status.RUNNING] - claimed,
        "claimed": claimed,
        "waiters": len(at_work(shifts, now)),
        "rate": rate(recent),
        **_eta_facts(ends[0]),
        "commands": kitchen.commands(selector),
        "last_hour": hour_facts(hour),
        "latest_command": latest_command(shifts),
    }
    if batch is None and (costs := fleet_costs(kitchen, prices)):
        facts["cost"] = [cost.to_json(ends[0]) | {"words": cost.words(ends[0])} for cost in costs]
    if waiting:
        facts["waiting"] = waiting_facts(waiting)
    if paused := _paused(kitchen, batch):
        facts["paused"] = paused
    return {**facts, "with_more_hosts": {"hosts": more_hosts, **_eta_facts(ends[1])}} if more_hosts else facts


def _paces(
    kitchen: Kitchen, ids: list[str] | None, hour: Timeline, shifts: Sequence[Shift], now: float
) -> tuple[Throughput, Throughput, Capacity]:
    """What was finished lately, of the batches alone if there are ids; what the end is told from, and who was there."""
    if ids is None:
        recent = clip_to_busy(kitchen.throughput(RECENT_S), measure_capacity(shifts, now, RECENT_S))
    else:
        recent = recent_of(kitchen.batch_progress(BATCH_S), ids)
        if max(recent.done + recent.failed, hour.done + hour.failed) >= ENOUGH:
            return recent, *own_pace(recent, hour, shifts, now)
    lately = choose_window(kitchen)
    return recent, lately, measure_capacity(shifts, now, lately.window_s)


def _named(kitchen: Kitchen, batch: str | None) -> tuple[list[str] | None, bool]:
    """The ids of the batches of that id or name, None if none is asked for; whether there are no others."""
    if batch is None:
        return None, True
    batches = kitchen.batches()
    named = [one.id for one in batches if batch in (one.id, one.name)]
    return named, len(named) == len(batches)


def _paused(kitchen: Kitchen, batch: str | None) -> list[dict[str, Any]]:
    """The batches whose orders nobody takes, and why."""
    paused = [one for one in kitchen.batches() if one.pause_reason is not None and batch in (None, one.id, one.name)]
    return [{"batch": one.id, "name": one.name, "why": one.pause_reason} for one in paused]


def current_eta(kitchen: Kitchen) -> Eta | None:
    """When all is done, as `status` says it."""
    now, shifts, lately = kitchen.now(), kitchen.shifts(include_left=True), choose_window(kitchen)
    capacity = measure_capacity(shifts, now, lately.window_s)
    return eta(kitchen.counts(), lately, capacity, oldest_s=oldest_running_s(kitchen, now))


def oldest_running_s(kitchen: Kitchen, now: float) -> float:
    """For how long the order has been running that has longest."""
    oldest = next(kitchen.find(Selector(statuses=(Status.RUNNING,)), sort="start", limit=1), None)
    return max(0.0, now - (oldest.start or now)) if oldest else 0.0


def _left(counts: Counts) -> int:
    return counts.total - counts.finished


def _eta_facts(end: Eta | None) -> dict[str, Any]:
    return {"eta": end and [end.soonest_s, end.latest_s], "eta_words": str(end) if end else None}


def latest_command(shifts: list[Shift]) -> str | None:
    """The version of the command that the waiter delivers, or delivered, who came last."""
    shifts = [shift for shift in shifts if shift.vitals.command_hash]
    return max(shifts, key=lambda shift: shift.since).vitals.command_hash if shifts else None
