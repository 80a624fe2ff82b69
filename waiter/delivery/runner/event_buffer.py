"""Where events and output gather on their way from the runner to the waiter."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

GROUP_BYTES = 1 << 20
"""How much of a job's output is kept back to be shown as one piece. A job with more goes live, one at a time."""

SEND_BYTES = 1 << 20
"""How much output is made ready for sending at a time: that takes it twice."""


class EventBuffer:
    """Events to be sent, and which job's output goes live."""

    def __init__(self, capture: str) -> None:
        self.capture = capture
        self.events: list[tuple[Any, ...]] = []
        self.output_bytes = 0  # of the output among them
        self.live: object = None  # the slot that may send at once, though output is grouped

    def output(self, job_id: str, stream: int, chunk: bytes | bytearray) -> None:
        if chunk:
            self.output_bytes += len(chunk)
            self.events.append(("output", job_id, stream, bytes(chunk)))

    def unstartable(self, job_id: str, at: float, why: str) -> None:
        """The job ended without having begun, by its own fault."""
        self.events.append(("ended", job_id, 0, at, at, None, None, "unstartable", b"", None, why, None, None))

    def take(self) -> list[tuple[Any, ...]]:
        """The oldest events, with about SEND_BYTES of output among them."""
        taken: list[tuple[Any, ...]] = []
        size = 0
        while len(taken) < len(self.events) and size < SEND_BYTES:
            event = self.events[len(taken)]
            taken.append(event)
            size += len(event[3]) if event[0] == "output" else 0
        del self.events[: len(taken)]
        self.output_bytes -= size
        return taken
