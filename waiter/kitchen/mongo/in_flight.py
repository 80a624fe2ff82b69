"""Steps that the server carries out while the next ones are prepared: so neither of the two waits for the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")

AT_ONCE = 2
"""So many steps: while the server waits for its disk with one, it works at the other."""


def in_flight(things: Iterable[_Thing], work: Callable[[_Thing], _Result]) -> Iterator[_Result]:
    """What `work` makes of each thing, in their order; it works in threads of its own, at `AT_ONCE` things.

    What fails, or cannot be had, ends it, once what is in flight has come to an end.
    """
    flying: deque[_Step[_Result]] = deque()
    try:
        for thing in things:
            flying.append(_Step(work, thing))
            if len(flying) == AT_ONCE:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
    except (Exception, GeneratorExit):  # who interrupts the program is not kept waiting
        for step in flying:
            step.join()
        raise


class _Step(threading.Thread, Generic[_Result]):
    """One step, which has begun."""

    def __init__(self, work: Callable[[_Thing], _Result], thing: _Thing) -> None:
        super().__init__(daemon=True, name="waiter-step")
        self._work: Callable[[], _Result] = lambda: work(thing)
        self._problem: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._made = self._work()
        except BaseException as problem:  # noqa: BLE001 - whoever waits for the step raises it
            self._problem = problem

    def result(self) -> _Result:
        self.join()
        if self._problem is not None:
            raise self._problem
        return self._made
