"""For the tests of programs that use Waiter: a temporary kitchen, and a listener that records what it is told.

from waiter.testing import Recorder, temporary_kitchen

def test_sums():
    with temporary_kitchen([["1", "2"]]) as kitchen:
        recorder = Recorder()
        deliver_with(add, kitchen.url, listener=recorder)
        assert recorder.results == {("1", "2"): "3"}

For pytest, `kitchen` and `recorder` are fixtures: `from waiter.testing import kitchen, recorder` in conftest.py gives
them to all tests. Nothing here imports pytest before one of the two is asked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waiter.delivery.listener import Listener
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.loading import load_rows
from waiter.orders import Order, Outcome, Shift, Status
from waiter.user_dirs import Kind

__all__ = ["Recorder", "kitchen", "recorder", "temporary_kitchen"]

_NOT_NAMED = ("WAITER_DB", "WAITER_KITCHEN_FILE")
"""Variables that would say something else about the kitchen."""


@contextmanager
def temporary_kitchen(rows: Iterable[Sequence[object] | Mapping[str, object]] = ()) -> Iterator[Kitchen]:
    """A kitchen in a folder of its own, with these rows as orders; when the block ends, both are deleted.

    Inside, it is also the one that `open_kitchen()`, `deliver_with(function)` and commands take that name none, and
    outcomes that wait on disk lie in its folder: code under test reaches nothing of the user's own.
    """
    with tempfile.TemporaryDirectory(prefix="waiter-test-") as folder:
        path = Path(folder).resolve() / "kitchen.sqlite"
        state, *_ = Kind.STATE.value
        with _environment({"WAITER_KITCHEN": str(path), state: folder}), open_kitchen(str(path)) as kitchen:
            load_rows(kitchen, rows, source="temporary_kitchen")
            yield kitchen


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables instead of what stands in the environment, until the block ends."""
    before = {name: os.environ.get(name) for name in (*variables, *_NOT_NAMED)}
    for name in _NOT_NAMED:
        os.environ.pop(name, None)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Recorder(Listener):
    """A listener that keeps what it is told, in the order in which it was told.

    Orders are as they were claimed; what became of them is in `outcomes`, and in the kitchen.
    """

    def __init__(self) -> None:
        self.shifts: list[Shift] = []
        self.orders: list[Order] = []
        """Every order that was claimed; one that was tried again stands here once for each time."""
        self.returned: list[Order] = []
        """Orders that were claimed and given back without having begun."""
        self.outcomes: list[tuple[Order, Outcome]] = []
        self.too_late: list[tuple[Order, Outcome]] = []
        """Outcomes of orders that belonged to somebody else by then."""
        self.reasons_to_leave: list[str] = []
        self.notes: list[str] = []
        self._chunks: list[tuple[str, int, bytes]] = []

    def checked_in(self, shift: Shift) -> None:
        self.shifts.append(shift)

    def claimed(self, orders: Sequence[Order]) -> None:
        self.orders.extend(orders)

    def given_back(self, order: Order) -> None:
        self.returned.append(order)

    def output(self, order: Order, stream: int, chunk: bytes) -> None:
        self._chunks.append((order.id, stream, chunk))

    def finished(self, order: Order, outcome: Outcome) -> None:
        self.outcomes.append((order, outcome))

    def late(self, order: Order, outcome: Outcome) -> None:
        self.too_late.append((order, outcome))

    def draining(self, why: str) -> None:
        self.reasons_to_leave.append(why)

    def noted(self, message: str) -> None:
        self.notes.append(message)

    @property
    def delivered(self) -> list[Order]:
        """The orders that ended well."""
        return self._ended(Status.DONE)

    @property
    def failed(self) -> list[Order]:
        """The orders that ended in ERROR."""
        return self._ended(Status.ERROR)

    @property
    def retried(self) -> list[Order]:
        """The orders whose attempt failed and that will be tried again, once for each such attempt."""
        return self._ended(Status.READY)

    @property
    def results(self) -> dict[tuple[str, ...], str | None]:
        """Arguments → result of the orders that ended well."""
        return {order.arguments: outcome.result for order, outcome in self.outcomes if outcome.status is Status.DONE}

    @property
    def errors(self) -> dict[tuple[str, ...], str | None]:
        """Arguments → error of the orders that ended in ERROR."""
        return {order.arguments: outcome.error for order, outcome in self.outcomes if outcome.status is Status.ERROR}

    def output_of(self, order: Order | str, stream: int | None = None) -> bytes:
        """What the command of this order (or of the order of this id) wrote: to stdout (1), to stderr (2), to both.

        Functions write to this process's own stdout: their output is not told to a listener.
        """
        order_id = order if isinstance(order, str) else order.id
        return b"".join(chunk for id, number, chunk in self._chunks if id == order_id and stream in (None, number))

    def _ended(self, status: Status) -> list[Order]:
        return [order for order, outcome in self.outcomes if outcome.status is status]


if TYPE_CHECKING:
    kitchen: Any
    recorder: Any
else:

    def __getattr__(name: str) -> object:
        """The fixtures, made when they are asked for: pytest may not be there."""
        if name not in ("kitchen", "recorder"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import pytest

        def kitchen() -> Iterator[Kitchen]:
            """A kitchen of the test's own, empty and temporary."""
            with temporary_kitchen() as temporary:
                yield temporary

        def recorder() -> Recorder:
            """A listener that records what it is told."""
            return Recorder()

        return pytest.fixture({"kitchen": kitchen, "recorder": recorder}[name])
