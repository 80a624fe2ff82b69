"""Commands that died of a signal which their waiter may have been sent, too: who sent it is known a moment later."""

from __future__ import annotations

from waiter.delivery.runner.client import Ended

SHARED_SIGNAL_S = 0.5
"""How long after a command's death by a signal the waiter may hear the same one: it was sent to all, one by one."""


class Suspects:
    """Ends that wait for it. Times are those of one clock that never goes back."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Ended]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def ids(self) -> list[str]:
        return [ended.id for _, ended in self._waiting]

    def add(self, ended: Ended, now: float) -> None:
        self._waiting.append((now + SHARED_SIGNAL_S, ended))

    def take(self, now: float, *, is_clear: bool) -> list[Ended]:
        """Those that have waited long enough; all of them if it is clear who sent the signal."""
        due = [ended for until, ended in self._waiting if is_clear or now >= until]
        self._waiting = [(until, ended) for until, ended in self._waiting if not (is_clear or now >= until)]
        return due
