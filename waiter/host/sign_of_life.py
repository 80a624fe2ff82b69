"""A file that changes while this host's waiter has orders: what the guard of a launched machine goes by.

The guard makes the folder; on hosts without one nothing is written. What the file holds differs from one word to the
next, and means nothing else: the guard counts the time since it last changed by the machine's own uptime.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from waiter.delivery.host_metrics import GUARD_FOLDER

EVERY_S = 5.0


class SignOfLife:
    """Writes the file now, and every few seconds while an order is held. Each user has one."""

    def __init__(self, folder: Path = GUARD_FOLDER, every_s: float = EVERY_S) -> None:
        self._file, self._every_s = folder / f"alive-{os.getuid()}", every_s
        self._written_at = 0.0
        self._held: set[str] = set()
        self._holding = threading.Lock()
        if folder.is_dir():
            self._write()
            threading.Thread(target=self._go_on, daemon=True).start()

    def took(self, order_ids: Iterable[str]) -> None:
        with self._holding:
            self._held.update(order_ids)

    def ended(self, order_id: str) -> None:
        with self._holding:
            self._held.discard(order_id)
        if not self._held and time.monotonic() - self._written_at > 1:
            self._write()  # what was short counts, too

    def lost_all(self) -> None:
        """Another shift has begun: it holds nothing yet."""
        with self._holding:
            self._held.clear()

    def _go_on(self) -> None:
        while True:
            time.sleep(self._every_s)
            if self._held:
                self._write()

    def _write(self) -> None:
        with suppress(OSError):  # no folder, no guard; a full disk is the guard's business as well
            self._file.write_text(f"{time.monotonic_ns()}\n")
            self._written_at = time.monotonic()
