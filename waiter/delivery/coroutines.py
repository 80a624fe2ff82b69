"""Delivering with an `async def`: a runner whose slots are tasks of one event loop, in a thread of its own.

A task can be cancelled, so that a timeout and a stop end the call, wherever it awaits something.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from waiter.delivery.calls import Call
from waiter.delivery.functions import FunctionRunner, ended
from waiter.delivery.runner.client import End, Entangled, Job, Returned
from waiter.processes import boottime

FAREWELL_S = 5.0
"""How long whoever closes the runner waits for what was cancelled to clear up."""


@dataclass(slots=True)
class _Running:
    """A call, and when it is to end."""

    ids: frozenset[str]
    task: asyncio.Task[None]
    began_at: float  # on the loop's clock
    limit: asyncio.Timeout | None = None  # it has not begun


class CoroutineRunner(FunctionRunner):
    """Calls the function for each job, as many at a time as there are slots.

    Methods that begin with `_on` run in the loop.
    """

    def __init__(self, call: Callable[[list[str]], Awaitable[list[Call]]], slots: int, many: int = 1) -> None:
        """`call` is given the ids of the jobs, `many` at most."""
        self._calls: Callable[[list[str]], Awaitable[list[Call]]] = call
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._closed = asyncio.Event()
        self._free = list(range(slots, 0, -1))
        self._running: dict[int, _Running] = {}  # by slot
        super().__init__(lambda _: [], 0, many)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        super().submit(jobs)
        self._tell(self._on_jobs)

    def set_timeout(self, timeout_s: float | None) -> None:
        if timeout_s != self._timeout_s:
            super().set_timeout(timeout_s)
            self._tell(self._on_timeout)

    def stop(self, ids: Sequence[str]) -> None:
        super().stop(ids)
        self._tell(self._on_stop)

    def close(self) -> Collection[str]:
        begun = super().close()
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(FAREWELL_S)
        return begun

    def _tell(self, what: Callable[[], None]) -> None:
        if not self._is_closed:
            self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        with self._runner:  # whose end cancels what still runs
            self._runner.run(self._closed.wait())

    def _on_jobs(self) -> None:
        while self._free and (jobs := self._taken()):
            begun = [job for job in jobs if self._begins(job)]
            if returned := tuple(job.id for job in jobs if job not in begun):
                self._events.put(Returned(returned))
            if begun:
                self._on_call(begun, self._free.pop())

    def _taken(self) -> list[Job]:
        with self._jobs.mutex:
            first = self._jobs.queue.popleft() if self._jobs.queue else None
        return [] if first is None else [first, *self._more(first)]

    def _on_call(self, jobs: list[Job], slot: int) -> None:
        task = self._loop.create_task(self._one(jobs, slot))
        self._running[slot] = _Running(frozenset(job.id for job in jobs), task, self._loop.time())

    async def _one(self, jobs: list[Job], slot: int) -> None:
        ids, began_at, running = [job.id for job in jobs], boottime(), self._running[slot]
        calls, end = [Call(1)] * len(jobs), End.STOPPED
        try:
            async with asyncio.timeout(self._timeout_s) as running.limit:
                calls = await self._calls(ids)
                end = End.EXITED
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if not self._stopped.issuperset(ids):
                raise  # the runner is closed, which says itself what had begun
        if running.limit is not None and running.limit.expired():
            end = End.TIMEOUT
        del self._running[slot]
        self._free.append(slot)
        if end is End.TIMEOUT and len(ids) > 1:
            self._events.put(Entangled(tuple(ids), f"a call of {len(ids)} orders took too long"))
        else:
            for one in ended(jobs, calls, slot, began_at, end, self._stopped):
                self._events.put(one)
        self._on_jobs()

    def _on_timeout(self) -> None:
        for running in self._running.values():
            at = None if self._timeout_s is None else running.began_at + self._timeout_s
            if running.limit is not None and not running.limit.expired():
                running.limit.reschedule(at)

    def _on_stop(self) -> None:
        for running in self._running.values():
            if self._stopped.issuperset(running.ids):
                running.task.cancel()
