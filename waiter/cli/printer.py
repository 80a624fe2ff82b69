"""What a waiter at work shows: the commands' output on stdout, failures and notes on stderr, a bar on a terminal.

Where stderr is to be JSON, what commands write there is, too: an object for each line.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

from waiter.cli.console import end_line, say
from waiter.cli.in_order import InOrder
from waiter.cli.log_lines import is_json, is_text
from waiter.cli.stdio import give_up
from waiter.delivery.listener import BRAKED, Listener, Summary
from waiter.durations import format_duration
from waiter.orders import Order, Outcome, Status
from waiter.report.formatting import escape_control, plural, truncate

if TYPE_CHECKING:  # see `bar`
    from waiter.cli.progress import OrdersBar

SHOWN_FAILURES = 5


class Printer(Listener):
    """Shows one waiter's work. `total` orders are expected; None: nobody knows.

    `names_orders`: lines on stderr begin with their order's id, unless they have a tag. `keeps_order`: output comes in
    the order of the input; `keeps_order_of`: that of each of these batches does, whatever comes of others meanwhile.
    """

    def __init__(
        self,
        *,
        is_telling_each: bool,
        tag: bool,
        names_orders: bool = False,
        keeps_order: bool = False,
        keeps_order_of: Collection[str] = (),
        total: int | None = None,
        done: int = 0,
    ) -> None:
        self._is_telling_each = is_telling_each
        self._in_order = InOrder(self._show_output) if keeps_order else None
        self._by_batch = {batch: InOrder(self._show_output) for batch in keeps_order_of}
        self._tag = tag
        self._names_orders = names_orders
        self._total = total
        self._to_come: dict[str, Order] = {}  # claimed ahead, in the order in which they begin
        self._turn: str | None = None  # whose turn it is, where each is told of
        self._failures: list[tuple[Order, Outcome]] = []
        self._counts = {"done": done, "failed": 0}
        self._bar: OrdersBar | None = None
        self.is_output_lost = False  # other than by a reader that had enough
        self._open_lines: dict[int, tuple[str, int, int]] = {}  # by stream (a terminal is one): who left it open

        self._errors = LineBuffer()
        self._is_line_open = False  # what an order wrote last on stderr has no line end yet

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Inside, a bar with the time left is drawn on stderr, if that is a terminal."""
        if self._total is None or is_json():
            yield
            return
        from waiter.cli.progress import OrdersBar, is_drawable  # only `run` has a bar

        if not is_drawable():
            yield
            return
        self._bar = OrdersBar(self._total, self._counts["done"])
        try:
            yield
        finally:
            self._bar.close()
            self._bar = None

    def _aside(self, written: bytes = b"\n") -> AbstractContextManager[None]:
        """The bar away from the terminal while this is written there."""
        return self._bar.aside(written) if self._bar else nullcontext()

    def claimed(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if queue := self._queue(order):
                queue.claimed([order])
        if self._is_telling_each:
            self._to_come.update((order.id, order) for order in orders)
            self._tell_next()

    def given_back(self, order: Order) -> None:
        if queue := self._queue(order):
            queue.ended(order)
        self._to_come.pop(order.id, None)
        self._end_turn(order)

    def _tell_next(self) -> None:
        """Orders are claimed ahead, and told of when the one before has ended: its output comes first."""
        if self._turn is None and self._to_come:
            order = self._to_come.pop(next(iter(self._to_come)))
            self._turn = order.id
            what = f"Delivering {order.id}: {' '.join(order.arguments)}"
            self._begin_line()
            say(what, kind="delivering", order=order.id, attempt=order.attempt, arguments=list(order.arguments))

    def _end_turn(self, order: Order) -> None:
        if self._turn == order.id:
            self._turn = None
            self._tell_next()

    def output(self, order: Order, stream: int, chunk: bytes) -> None:
        queue = self._queue(order)
        (queue.output if queue else self._show_output)(order, stream, chunk)

    def _queue(self, order: Order) -> InOrder | None:
        """What holds its output back until its turn."""
        return self._in_order or self._by_batch.get(order.batch)

    def _show_output(self, order: Order, stream: int, chunk: bytes) -> None:
        if stream == 2 and is_json():
            self._say_lines(order, self._errors.lines(order.id, chunk))
            return
        to: BinaryIO = sys.stdout.buffer if stream == 1 else sys.stderr.buffer
        is_shown, tag = to.isatty(), self._tag_of(order, stream)
        text = self._tagged(order, stream, chunk, tag, is_shown=is_shown) if tag else chunk
        self._is_line_open = not text.endswith(b"\n") if stream == 2 else self._is_line_open
        with self._aside(text) if is_shown else nullcontext():
            try:
                to.write(text)
                to.flush()
            except OSError as error:
                give_up(to)
                self._lost(error)

    def _lost(self, error: OSError) -> None:
        """Output cannot be shown any more. The work is worth more than its output: it goes on."""
        if isinstance(error, BrokenPipeError):
            say("The reader of the output is gone. The work goes on; Ctrl-C ends it.")
            return
        self.is_output_lost = True
        say(f"Output cannot be written: {error.strerror}. The work goes on.")

    def _say_lines(self, order: Order, lines: Iterable[bytes]) -> None:
        for line in lines:
            say(line.decode("utf-8", "replace"), kind="stderr", order=order.id, attempt=order.attempt)

    def _tag_of(self, order: Order, stream: int) -> str:
        """What the order's lines on this stream begin with; nothing, if they stay as they are."""
        if self._tag:
            return f"{order.arguments[0] if order.arguments else order.id}\t"
        return f"{order.id}: " if self._names_orders and stream == 2 else ""

    def _tagged(self, order: Order, stream: int, chunk: bytes, word: str, *, is_shown: bool) -> bytes:
        """Each line behind its order's tag; what an order left without a line end gets one before another's line."""
        shown = escape_control(word).replace("\n", "\\n") if is_shown else word
        tag = shown.encode("utf-8", "surrogateescape")
        text = chunk.replace(b"\n", b"\n" + tag)
        writer, screen = (order.id, order.attempt, stream), 0 if is_shown else stream
        owner = self._open_lines.pop(screen, None)
        if owner != writer:
            text = (b"" if owner is None else b"\n") + tag + text
        if chunk.endswith(b"\n"):
            return text.removesuffix(tag)
        self._open_lines[screen] = writer
        return text

    def finished(self, order: Order, outcome: Outcome) -> None:
        if outcome.status is not Status.READY and (queue := self._queue(order)):
            queue.ended(order)
        if outcome.status is Status.DONE:
            self._counts["done"] += 1
        elif outcome.status is not Status.READY:
            self._counts["failed"] += 1
            if len(self._failures) < SHOWN_FAILURES:
                self._failures.append((order, outcome))
        if is_json():
            self._say_lines(order, self._errors.rest(order.id))
        if is_json() or (outcome.status is not Status.DONE and self._is_telling_each):
            with self._aside():
                self._begin_line()
                _say_ended(order, outcome)
        if self._bar:
            last = truncate(escape_control(" ".join(order.arguments)), 24)
            self._bar.show(self._counts["done"], self._counts["failed"], last)
        self._to_come.pop(order.id, None)
        self._end_turn(order)

    def late(self, order: Order, outcome: Outcome) -> None:
        self.noted(f"{order.id} ended too late: its lease had expired and another waiter has it.")

    def noted(self, message: str) -> None:
        with self._aside():
            self._begin_line()
            say(message)

    def _begin_line(self) -> None:
        """Where each line of stderr begins with a time or an order's id, ours are no exception."""
        if self._is_line_open and (is_text() or self._names_orders):
            end_line()
            self._open_lines.pop(0, None)
            self._open_lines.pop(2, None)
        self._is_line_open = False

    def summary(self, summary: Summary, hint: str) -> None:
        """The closing lines: counts, the first failures, and where to look."""
        for queue in (*([self._in_order] if self._in_order else ()), *self._by_batch.values()):
            queue.close()
        parts = [f"{plural(summary.delivered, 'order')} delivered"]
        for count, word in (
            (summary.failed, "failed"),
            (summary.retried, "tried again"),
            (summary.cancelled, "cancelled"),
        ):
            parts += [f"{count:,} {word}"] if count else []
        self._begin_line()
        say(f"{', '.join(parts)} in {format_duration(summary.seconds)}.", kind="summary", **asdict(summary))
        for order, outcome in [] if self._is_telling_each or is_json() else self._failures:
            arguments = truncate(" ".join(order.arguments), 40)
            say(f"  {order.id} ({arguments}): {truncate(outcome.error or '', 120)}")
        if summary.failed:
            say(f"See what failed, and why: {hint}")
        if summary.spooled:
            say(f"{plural(summary.spooled, 'outcome')} are kept on this machine's disk; its next waiter hands them in.")


def left_words(left: int, left_because: str) -> str:
    """What an end before the last order says of the rest."""
    how = "." if left_because == BRAKED else "; the same command goes on."
    return f"{plural(left, 'order')} left{how}"


class LineBuffer:
    """Makes whole lines of what each order writes, in bounded memory."""

    LONGEST = 1 << 16

    def __init__(self) -> None:
        self._begun: dict[str, bytes] = {}

    def lines(self, order_id: str, chunk: bytes) -> list[bytes]:
        """The lines that are whole now, or longer than LONGEST."""
        *whole, begun = (self._begun.pop(order_id, b"") + chunk).split(b"\n")
        if len(begun) > self.LONGEST:
            return [*whole, begun]
        if begun:
            self._begun[order_id] = begun
        return whole

    def rest(self, order_id: str) -> list[bytes]:
        """What was left without a line end."""
        return [begun] if (begun := self._begun.pop(order_id, b"")) else []


def _say_ended(order: Order, outcome: Outcome) -> None:
    """Tell how an attempt ended."""
    is_done = outcome.status is Status.DONE
    error = f": {truncate(outcome.error or '', 200)}" if not is_done else ""
    say(
        f"{_ending(outcome)} {order.id}{error}",
        "info" if is_done else "error",
        "ended",
        order=order.id,
        attempt=order.attempt,
        status=outcome.status.value,
        duration_s=round(outcome.duration_s, 3),
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        error=outcome.error,
    )


def _ending(outcome: Outcome) -> str:
    if outcome.status is Status.READY:
        return f"Failed, to be tried again in {format_duration(outcome.delay_s)}:"
    if outcome.status is Status.DONE:
        return "Delivered"
    return "Cancelled" if outcome.status is Status.CANCELLED else "Failed"
