"""Delivering with a Python function instead of a command: a runner whose slots are threads.

There is no containment here: a function that runs cannot be killed, so a stop or a timeout takes effect when it
returns.
"""

from __future__ import annotations

import inspect
import queue
import shlex
import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from waiter.delivery.calls import Call, Deliver, DeliverMany, called, called_async, called_many, called_many_async
from waiter.delivery.runner.client import End, Ended, Event, Job, Returned, Runner
from waiter.delivery.worker import unwrapped
from waiter.orders import Order
from waiter.processes import boottime


class FunctionRunner:
    """Calls the function for each job, or for several, as many at a time as there are slots."""

    def __init__(self, call: Callable[[list[str]], list[Call]], slots: int, many: int = 1) -> None:
        """`call` is given the ids of the jobs, `many` at most."""
        self._call = call
        self._many = many
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

    @property
    def folder(self) -> str | None:
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

    def waiting(self) -> list[str]:
        with self._jobs.mutex:
            return [job.id for job in self._jobs.queue if job is not None]

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

    def leave(self) -> None:
        """Its threads end in `close`, at once."""

    def close(self) -> Collection[str]:
        with self._lock:
            self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        return tuple(self._begun)

    def _work(self, slot: int) -> None:
        while (first := self._jobs.get()) is not None:
            jobs = [first, *self._more(first)]
            begun = [job for job in jobs if self._begins(job)]
            if returned := tuple(job.id for job in jobs if job not in begun):
                self._events.put(Returned(returned))
            for ended in self._ended(begun, slot) if begun else ():
                self._events.put(ended)

    def _more(self, first: Job) -> list[Job]:
        """What waits for the same call."""
        more: list[Job] = []
        with self._jobs.mutex:
            waiting = self._jobs.queue
            while len(more) < self._many - 1 and waiting and (job := waiting[0]) is not None:
                if first.is_alone or job.is_alone:
                    break
                more.append(job)
                waiting.popleft()
        return more

    def _begins(self, job: Job) -> bool:
        with self._lock:
            if self._is_closed or boottime() >= self._deadline or job.id in self._stopped:
                return False
            self._begun.add(job.id)
            return True

    def _ended(self, jobs: Sequence[Job], slot: int) -> list[Ended]:
        started = boottime()
        calls = self._call([job.id for job in jobs])
        is_late = self._timeout_s is not None and boottime() - started > self._timeout_s
        return ended(jobs, calls, slot, started, End.TIMEOUT if is_late else End.EXITED, self._stopped)


def ended(
    jobs: Sequence[Job], calls: Sequence[Call], slot: int, started: float, end: End, stopped: Collection[str]
) -> list[Ended]:
    """The ends of the jobs of one call, just now; those that were `stopped` ended so if they `EXITED`."""
    now = boottime()
    return [
        Ended(
            job.id,
            slot,
            started,
            now,
            exit_code=call.exit_code,
            signal=None,
            end=End.STOPPED if end is End.EXITED and job.id in stopped else end,
            tail=call.tail,
            message=call.message,
            result=call.result,
            cut_from=call.cut_from,
        )
        for job, call in zip(jobs, calls, strict=True)
    ]


class FunctionExecutor:
    """A Python function as a waiter uses it, in threads."""

    def __init__(
        self,
        function: Deliver | DeliverMany,
        *,
        slots: int,
        version: str,
        words: tuple[str, ...],
        many: int | None = None,
    ) -> None:
        """`many` None: it is given one order; else a list of so many at most."""
        self._function = function
        self._many = many
        self._calls_at_once = slots
        self.slots = slots * (many or 1)
        self._version = version
        self._orders: dict[str, Order] = {}
        self.words = words
        self.title = words[0]

    def missing(self, order: Order) -> None:
        """It is here."""

    def version(self, order: Order | None = None) -> str:  # noqa: ARG002 - one command for all
        return self._version

    def check(self, orders: Iterable[Order]) -> None:
        """A function takes whatever order there is."""

    def line(self, order: Order) -> str:
        return f"{self.title} {shlex.join(order.arguments)}"

    def start_runner(self) -> Runner:
        if is_coroutine_function(unwrapped(self._function)):
            from waiter.delivery.coroutines import CoroutineRunner  # asyncio is heavy

            return CoroutineRunner(self._call_async, self._calls_at_once, self._many or 1)
        return FunctionRunner(self._call, self._calls_at_once, self._many or 1)

    def job(self, order: Order) -> Job:
        self._orders[order.id] = order
        return Job(order.id, order.arguments, is_alone=is_to_be_alone(order))

    def _call(self, ids: list[str]) -> list[Call]:
        return calls(self._function, [self._orders.pop(order_id) for order_id in ids], is_many=self._many is not None)

    async def _call_async(self, ids: list[str]) -> list[Call]:
        orders = [self._orders.pop(order_id) for order_id in ids]
        return await calls_async(self._function, orders, is_many=self._many is not None)


def calls(function: Callable[..., object], orders: Sequence[Order], *, is_many: bool) -> list[Call]:
    """Call a function that takes a list of orders, or one that takes one; how each order ended."""
    return called_many(function, orders) if is_many else [called(function, order) for order in orders]


async def calls_async(function: Callable[..., object], orders: Sequence[Order], *, is_many: bool) -> list[Call]:
    """The same for an `async def`."""
    if is_many:
        return await called_many_async(function, orders)
    return [await called_async(function, order) for order in orders]


def is_coroutine_function(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def is_to_be_alone(order: Order) -> bool:
    """It went wrong before, so that no other order is to be in one call with it."""
    return bool(order.failures or order.losses)
