"""How far each batch is: what `waiter batches` shows, and prints as JSON."""

from __future__ import annotations

from waiter.durations import format_duration
from waiter.orders import Batch, BatchProgress, Counts, Status
from waiter.report.columns import timestamp
from waiter.report.formatting import per_second
from waiter.report.waiting import WaitingBatch, counts_by_word

RECENT_S = 300.0
"""The window of a batch's rate, in seconds."""


def rate(progress: BatchProgress) -> float:
    """Orders of the batch finished per second lately."""
    return (progress.recent.done + progress.recent.failed) / progress.recent.window_s


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
