"""Delivering with a Python function instead of a command: a runner whose slots are threads.

There is no containment here: a function that runs cannot be killed, so a stop or a timeout takes effect when it
returns.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from math import isfinite

from waiter.delivery.runner.client import End, Ended, Event, Job, Returned, Runner
from waiter.limits import RESULT_BYTES, TAIL_BYTES
from waiter.orders import Order
from waiter.processes import boottime

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")

Deliver = Callable[[Order], object]
"""Delivers one order. What it returns is the order's result, see `result_text`; whatever it raises makes it fail, but
for the SystemExit of a program that ends well."""


class FunctionRunner:
    """Calls the function for each job, as many at a time as there are slots."""

    def __init__(self, call: Callable[[str], object], slots: int) -> None:
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
        called = _called(self._call, job.id)
        stopped = boottime()
        end = End.STOPPED if job.id in self._stopped else End.EXITED
        if self._timeout_s is not None and stopped - started > self._timeout_s:
            end = End.TIMEOUT
        return Ended(
            job.id,
            slot,
            started,
            stopped,
            exit_code=called.exit_code,
            signal=None,
            end=end,
            tail=called.tail,
            message=_storable(called.message),
            result=_storable(called.result),
            cut_from=called.cut_from,
        )


@dataclass(frozen=True, slots=True)
class _Call:
    """How a call of the user's function ended."""

    exit_code: int = 0
    result: str | None = None
    message: str | None = None
    tail: bytes = b""
    cut_from: int | None = None  # bytes of the result, if that was more than is kept


def _called(call: Callable[[str], object], job_id: str) -> _Call:
    """Call it. Nothing gets out of here: a thread that ended with it would leave its order RUNNING for good."""
    try:
        return _of_result(result_text(_awaited(call(job_id))))
    except SystemExit as end:
        return _of_exit(end)
    except BaseException as error:  # noqa: BLE001 - whatever a user's function raises is this order's failure
        return _Call(1, message=_words(error), tail=_traceback(error))


def _storable(text: str | None) -> str | None:
    """The text without surrogates that stand for no byte: no kitchen, file or environment takes them."""
    return text if text is None else _NO_BYTES.sub("\ufffd", text)


def _of_result(text: str | None) -> _Call:
    whole = b"" if text is None else text.encode("utf-8", "surrogatepass")
    if len(whole) <= RESULT_BYTES:
        return _Call(result=text)
    return _Call(result=whole[:RESULT_BYTES].decode("utf-8", "ignore"), cut_from=len(whole))


def _of_exit(end: SystemExit) -> _Call:
    """What a program would end with that raised it: 0 without a word, 1 with a text, the text on stderr."""
    if end.code is None or isinstance(end.code, int):
        code = end.code or 0
        return _Call(code & 0xFF, message=f"exit code {code}" if code else None)
    return _Call(1, message=str(end.code), tail=_traceback(end))


def _words(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception:  # noqa: BLE001 - a user's class may not know how to be a text
        return kind


def _traceback(error: BaseException) -> bytes:
    try:
        lines = traceback.format_exception(error)
    except Exception:  # noqa: BLE001 - as above
        lines = traceback.format_tb(error.__traceback__)
    return "".join(lines).encode("utf-8", "replace")[-TAIL_BYTES:]


def _awaited(returned: object) -> object:
    """What was returned, or what comes of it in the end. Raises TypeError for a generator, of which nothing has run."""
    if isinstance(returned, Generator | AsyncGenerator):
        raise TypeError("a generator was returned: nothing of it has run. Return a value, and do not yield")
    if not isinstance(returned, Awaitable):
        return returned
    import asyncio  # heavy, and most functions are none of its kind

    async def wait() -> object:
        return await returned

    return asyncio.run(wait())


def result_text(value: object) -> str | None:
    """A result as text: texts as they are, bytes as UTF-8, everything else as JSON; None is no result.

    `Order.value` reads it back. Within lists and dictionaries NaN, which JSON does not have, is null, and what no JSON
    can hold is what `str` makes of it.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    try:
        return _json(value)
    except (TypeError, ValueError, RecursionError):  # a key that is no text, something that holds itself, a bare NaN
        return str(value)


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        if not isinstance(value, dict | list | tuple):
            raise
        return json.dumps(_without_nan(value), ensure_ascii=False, default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    """Something that JSON does not know, as what it knows: data classes, NumPy's numbers and arrays; else its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else str(value)


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


class FunctionExecutor:
    """A Python function as a waiter uses it."""

    def __init__(self, deliver: Deliver, *, slots: int, version: str) -> None:
        self._deliver = deliver
        self._slots = slots
        self._version = version
        self._orders: dict[str, Order] = {}
        self.title = getattr(deliver, "__qualname__", repr(deliver))
        self.words = (f"python:{getattr(deliver, '__module__', None)}:{self.title}",)

    def missing(self, order: Order) -> None:
        """It is here."""

    def version(self, order: Order | None = None) -> str:  # noqa: ARG002 - one command for all
        return self._version

    def check(self, orders: Iterable[Order]) -> None:
        """A function takes whatever order there is."""

    def start_runner(self) -> Runner:
        return FunctionRunner(lambda order_id: self._deliver(self._orders.pop(order_id)), self._slots)

    def job(self, order: Order) -> Job:
        self._orders[order.id] = order
        return Job(order.id, order.arguments)
