"""Where events and output gather on their way from the runner to the waiter."""

from __future__ import annotations

from typing import Any

GROUP_BYTES = 1 << 20
"""How much of a job's output is kept back to be shown as one piece. A job with more goes live, one at a time."""


class Outlet:
    """Events to be sent, and which job's output goes live."""

    def __init__(self, capture: str) -> None:
        self.capture = capture
        self.events: list[tuple[Any, ...]] = []
        self.output_bytes = 0  # of the output among them
        self.live: object = None  # the slot that may send at once, though output is grouped

    def output(self, job_id: str, stream: int, chunk: bytes | bytearray) -> None:
        if chunk:
            self.output_bytes += len(chunk)
            self.events.append(("output", job_id, stream, chunk.decode("latin-1")))

    def take(self) -> list[tuple[Any, ...]]:
        """All that has gathered."""
        events, self.events, self.output_bytes = self.events, [], 0
        return events
