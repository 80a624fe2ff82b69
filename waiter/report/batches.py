"""How far each batch is: what `waiter batches` shows, and prints as JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from waiter.durations import format_duration
from waiter.kitchen.contract import Timeline
from waiter.orders import Batch, BatchProgress, Counts, Shift, Status, Throughput
from waiter.report.capacity import Capacity, measure_capacity
from waiter.report.columns import timestamp
from waiter.report.eta import ENOUGH, clip_to_busy
from waiter.report.formatting import per_second
from waiter.report.waiting import WaitingBatch, counts_by_word

RECENT_S = 300.0
"""The window of a batch's rate, in seconds."""


def rate(progress: BatchProgress) -> float:
    """Orders of the batch finished per second lately."""
    return (progress.recent.done + progress.recent.failed) / progress.recent.window_s


def recent_of(progress: Mapping[str, BatchProgress], ids: Collection[str]) -> Throughput:
    """What was finished lately of these batches together."""
    recent = [progress[id].recent for id in ids if id in progress]
    window_s = max((one.window_s for one in recent if one.done + one.failed), default=RECENT_S)
    done, failed = sum(one.done for one in recent), sum(one.failed for one in recent)
    seconds = sum((one.mean_s or 0.0) * (one.done + one.failed) for one in recent)
    return Throughput(window_s, done, failed, seconds / (done + failed) if done + failed else None)


def own_pace(recent: Throughput, line: Timeline, shifts: Sequence[Shift], now: float) -> tuple[Throughput, Capacity]:
    """What was finished of a batch lately, and who was there then; where that tells too little, in all of the timeline.

    `shifts` are all, those that left included.
    """
    finished = line.done + line.failed
    if recent.done + recent.failed < min(ENOUGH, finished):
        recent = Throughput(max(1.0, now - line.since), line.done, line.failed, line.mean_s)
    capacity = measure_capacity(shifts, now, recent.window_s)
    return clip_to_busy(recent, capacity), capacity


def left_s(progress: BatchProgress) -> float | None:
    """Seconds until it is done at the rate of lately; None: nothing tells, or nothing is left."""
    left = progress.counts[Status.READY] + progress.counts[Status.RUNNING]
    return left / rate(progress) if left and rate(progress) else None


def time_left(progress: BatchProgress | None) -> tuple[str, str]:
    """Rate and time left, in words."""
    if progress is None or not rate(progress):
        return "", ""
    seconds = left_s(progress)
    return per_second(rate(progress)), "" if seconds is None else format_duration(seconds)


def batch_facts(
    batch: Batch, progress: BatchProgress | None, claimed: int = 0, waiting: WaitingBatch | None = None
) -> dict[str, object]:
    """One batch as JSON. `command` is a list of words, null where it is for any; `claimed` orders have not begun."""
    counts = counts_by_word(progress.counts if progress else Counts({}), [waiting] if waiting else [])
    return {
        "id": batch.id,
        "name": batch.name,
        "source": batch.source,
        "command": None if batch.command is None else list(batch.command),
        "is_reserved": batch.is_reserved,
        "weight": batch.weight,
        "paused": batch.pause_reason,
        "after": list(batch.after),
        "after_any": list(batch.after_any),
        "after_row": batch.after_row,
        "waiting": waiting and waiting.why,
        "loaded_at": timestamp(batch.loaded_at),
        "is_complete": batch.is_complete,
        "counts": counts,
        "running": counts[Status.RUNNING] - claimed,
        "claimed": claimed,
        "rate": rate(progress) if progress else 0.0,
        "eta": left_s(progress) if progress else None,
    }
