"""Several waiters in one process, one for each stage of a pipeline: all at once, and all told to leave together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import Any

from waiter.delivery.executors import deliver
from waiter.delivery.listener import BRAKED, DRAINED, HALTED, INTERRUPTED, KITCHEN_LOST, LIMITS, Listener, Summary
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.shutdown import Shutdown, Stop
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.orders import Order, Outcome, Shift

_WORST_FIRST = (KITCHEN_LOST, INTERRUPTED, BRAKED, DRAINED, HALTED, *LIMITS)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the waiters."""

    words: Sequence[str]
    options: DeliveryOptions


def deliver_together(open_kitchen: Callable[[], Kitchen], parts: Sequence[Part], listener: Listener) -> Summary:
    """Deliver all parts at once, and say what came of them together.

    One whose work is done stays while others have some: somebody may reset what it delivered, and they would wait for
    it. Where one leaves before its work is done, all do. Raises what one of them raises, when all have ended.
    """
    shutdown, shared = Shutdown(), OneAtATime(listener)
    summaries: list[Summary] = []
    errors: list[BaseException] = []

    def work(part: Part, own: Shutdown) -> None:
        try:
            summary = deliver(open_kitchen, part.words, part.options, listener=shared, shutdown=own)
            summaries.append(summary)
            if summary.left_because != "done":
                shutdown.request(Stop.DRAIN, summary.left_because)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
            errors.append(error)
            shutdown.request(Stop.DRAIN, "error")
        finally:
            own.is_over = True  # whatever ended it, it keeps nobody here

    threads = [Thread(target=work, args=(part, shutdown.follower())) for part in parts]
    with shutdown.by_signals():
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)  # not for ever: Python's signal handlers run between two waits
    if errors:
        raise errors[0]
    return _sum(summaries, shutdown)


def _sum(summaries: Sequence[Summary], shutdown: Shutdown) -> Summary:
    counted = ("delivered", "failed", "retried", "cancelled", "late", "refused", "spooled", "in_error")
    totals: dict[str, Any] = {name: sum(getattr(one, name) for one in summaries) for name in counted}
    reasons = {one.left_because for one in summaries}
    left = None if any(one.left is None for one in summaries) else sum(one.left or 0 for one in summaries)
    return Summary(
        **totals,
        seconds=max((one.seconds for one in summaries), default=0.0),
        left_because=next((why for why in _WORST_FIRST if why in reasons), "done"),
        is_joblog_lost=any(one.is_joblog_lost for one in summaries),
        signal=shutdown.first,
        left=left,
    )


class OneAtATime(Listener):
    """Passes on what several waiters say, one after the other; what one of them has said the others need not."""

    def __init__(self, to: Listener) -> None:
        self._to = to
        self._lock = Lock()
        self._last_note = ""

    def checked_in(self, shift: Shift) -> None:
        with self._lock:
            self._to.checked_in(shift)

    def claimed(self, orders: Sequence[Order]) -> None:
        with self._lock:
            self._to.claimed(orders)

    def given_back(self, order: Order) -> None:
        with self._lock:
            self._to.given_back(order)

    def output(self, order: Order, stream: int, chunk: bytes) -> None:
        with self._lock:
            self._to.output(order, stream, chunk)

    def finished(self, order: Order, outcome: Outcome) -> None:
        with self._lock:
            self._to.finished(order, outcome)

    def late(self, order: Order, outcome: Outcome) -> None:
        with self._lock:
            self._to.late(order, outcome)

    def draining(self, why: str) -> None:
        with self._lock:
            self._to.draining(why)

    def noted(self, message: str) -> None:
        with self._lock:
            if message != self._last_note:
                self._last_note = message
                self._to.noted(message)

    def waits(self, sentence: str, hint: str | None) -> None:
        """Who starts all stages knows."""
