"""Delivering with a Python function instead of a command: a runner whose slots are threads.

There is no containment here: a function that runs cannot be killed, so a stop or a timeout takes effect when it
returns.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Collection, Sequence

from waiter.delivery.heartbeat import boottime
from waiter.delivery.runner import End, Ended, Event, Job, Returned, Runner
from waiter.orders import RESULT_BYTES, TAIL_BYTES, Order

Deliver = Callable[[Order], str | None]
"""Delivers one order. What it returns is the order's result; an exception makes it fail."""


class FunctionRunner:
    """Calls the function for each job, as many at a time as there are slots."""

    def __init__(self, call: Callable[[str], str | None], slots: int) -> None:
        """`call` is given a job's id."""
        self._call = call
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._events: queue.Queue[Event] = queue.Queue()
        self._deadline = 0.0
        self._timeout_s: float | None = None
        self._stopped: set[str] = set()
        self._lock = threading.Lock()  # of the next three: what begins, begins before the close or never
        self._begun: set[str] = set()
        self._told: set[str] = set()  # of those, whose end was in the last `events`
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(1, slots + 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int | None:
        return None

    def submit(self, jobs: Sequence[Job]) -> None:
        ids = {job.id for job in jobs}
        with self._lock:  # whoever sends a job again has dealt with its last end
            self._begun -= ids
            self._told -= ids
            self._stopped -= ids
        for job in jobs:
            self._jobs.put(job)

    def set_deadline(self, at: float) -> None:
        self._deadline = at

    def set_timeout(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    def stop(self, ids: Sequence[str]) -> None:
        self._stopped.update(ids)

    def give_back(self) -> None:
        returned: list[str] = []
        try:
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    returned.append(job.id)
        except queue.Empty:
            if returned:
                self._events.put(Returned(tuple(returned)))

    def events(self, timeout_s: float) -> list[Event]:
        with self._lock:
            self._begun -= self._told
        events = self._heard(timeout_s)
        self._told = {event.id for event in events if isinstance(event, Ended)}
        return events

    def _heard(self, timeout_s: float) -> list[Event]:
        events: list[Event] = []
        try:
            events.append(self._events.get(timeout=timeout_s))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def close(self) -> Collection[str]:
        with self._lock:
            self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        return tuple(self._begun)

    def _work(self, slot: int) -> None:
        while (job := self._jobs.get()) is not None:
            if self._begins(job):
                self._events.put(self._ended(job, slot))
            else:
                self._events.put(Returned((job.id,)))

    def _begins(self, job: Job) -> bool:
        with self._lock:
            if self._is_closed or boottime() >= self._deadline or job.id in self._stopped:
                return False
            self._begun.add(job.id)
            return True

    def _ended(self, job: Job, slot: int) -> Ended:
        started = boottime()
        result, message, tail = None, None, b""
        try:
            result = self._call(job.id)
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises is this order's failure
            message = f"{type(error).__name__}: {error}"
            tail = traceback.format_exc().encode("utf-8", "replace")[-TAIL_BYTES:]
        stopped = boottime()
        end = End.STOPPED if job.id in self._stopped else End.EXITED
        if self._timeout_s is not None and stopped - started > self._timeout_s:
            end = End.TIMEOUT
        return Ended(
            job.id,
            slot,
            started,
            stopped,
            exit_code=0 if message is None else 1,
            signal=None,
            end=end,
            tail=tail,
            message=message,
            result=None if result is None else str(result)[:RESULT_BYTES],
        )


class FunctionWare:
    """A Python function as a waiter uses it."""

    def __init__(self, deliver: Deliver, *, slots: int, version: str) -> None:
        self._deliver = deliver
        self._slots = slots
        self._version = version
        self._orders: dict[str, Order] = {}
        self.title = getattr(deliver, "__qualname__", repr(deliver))

    def version(self) -> str:
        return self._version

    def start_runner(self) -> Runner:
        return FunctionRunner(lambda order_id: self._deliver(self._orders.pop(order_id)), self._slots)

    def job(self, order: Order) -> Job:
        self._orders[order.id] = order
        return Job(order.id, order.arguments)
