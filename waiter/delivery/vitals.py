"""What a waiter tells of itself: with each heartbeat, and at its end."""

from __future__ import annotations

from waiter.delivery.host_metrics import host_load, is_guarded, resident_bytes
from waiter.delivery.listener import Summary
from waiter.delivery.remaining import Remaining
from waiter.delivery.shutdown import Stop
from waiter.delivery.state import Work
from waiter.orders import Vitals
from waiter.processes import boottime

TOLD_ORDERS = 64
TOLD_CHARACTERS = 200


def vitals(work: Work) -> Vitals:
    """How it is doing now. The heartbeat asks in a thread of its own."""
    running, others = work.held.running(work.prefetch.slots)
    return Vitals(
        slots=work.prefetch.slots,
        busy=len(running),
        delivered=work.counters.delivered,
        failed=work.counters.failed,
        memory=resident_bytes(work.runner.pid),
        load=host_load(),
        running=tuple(running[:TOLD_ORDERS]),
        claimed=others,
        command=work.executor.title[:TOLD_CHARACTERS],
        command_hash=work.executor.version(),
        waits_for=work.waits_for,
        is_draining=work.shutdown.level > Stop.NO,
        is_guarded=is_guarded(),
    )


def summary(work: Work, remaining: Remaining | None) -> Summary:
    """What came of its whole stay, and what remains; None: the kitchen did not tell."""
    counters = work.counters
    return Summary(
        delivered=counters.delivered,
        failed=counters.failed,
        retried=counters.retried,
        cancelled=counters.cancelled,
        late=counters.late,
        spooled=work.outbox.spooled,
        refused=work.outbox.refused,
        seconds=boottime() - work.began_at,
        left_because=work.why_left,
        is_joblog_lost=work.joblog is not None and work.joblog.is_lost,
        signal=work.shutdown.first,
        left=None if remaining is None else remaining.left,
        in_error=0 if remaining is None else remaining.in_error,
    )
