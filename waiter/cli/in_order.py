"""`--keep-order`: what orders wrote is shown in the order of the input, as if one ran after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from waiter.orders import Order

Show = Callable[[Order, int, bytes], None]
"""Shows a piece of an order's output; 1 is stdout, 2 stderr."""


class InOrder:
    """Holds back what orders wrote until all that were claimed before them have ended for good.

    Claims come in the order of the input. What is held back lies in a file without a name: memory stays flat.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._open: dict[str, Order] = {}  # claimed and not yet ended for good, or ended behind such a one
        self._ended: set[str] = set()
        self._held: dict[str, list[tuple[int, int, int]]] = {}  # by order: stream, where in the file, how long
        import tempfile  # it knows compression, and few waiters keep the order

        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the waiter works

    def claimed(self, orders: Sequence[Order]) -> None:
        for order in orders:
            self._open.setdefault(order.id, order)

    def output(self, order: Order, stream: int, chunk: bytes) -> None:
        if next(iter(self._open), None) == order.id:
            self._show(order, stream, chunk)
        else:
            self._held.setdefault(order.id, []).append((stream, self._file.seek(0, 2), len(chunk)))
            self._file.write(chunk)

    def ended(self, order: Order) -> None:
        """The order ended, and is not tried again here; or it was given back."""
        self._ended.add(order.id)
        while self._open and (first := next(iter(self._open))) in self._ended:
            self._ended.discard(first)
            self._release(self._open.pop(first))
            if self._open:  # what the next has written so far; the rest is shown as it comes
                self._release(next(iter(self._open.values())))

    def close(self) -> None:
        """Show all that is held back: what its order still waits for happens elsewhere, or never."""
        for order in self._open.values():
            self._release(order)
        self._open.clear()

    def _release(self, order: Order) -> None:
        for stream, start, length in self._held.pop(order.id, ()):
            self._file.seek(start)
            self._show(order, stream, self._file.read(length))
        if not self._held:
            self._file.seek(0)
            self._file.truncate()
