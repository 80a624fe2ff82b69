"""The kitchen's absence: since when it has not answered, when to ask it again, and what to ask it then."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

from waiter.errors import KitchenError

FIRST_TRY_AGAIN_S = 0.5
MAX_TRY_AGAIN_S = 5.0

WAITED_FOR_S = 5.0
"""How long a waiter that leaves waits for a kitchen that went away to take orders back."""


class KitchenAbsence:
    """Whether the kitchen answers. `clock` never goes back."""

    def __init__(self, note: Callable[[str], None], kept_in: Path, clock: Callable[[], float]) -> None:
        """`kept_in` is the folder that outcomes are kept in meanwhile, for the notes."""
        self._note = note
        self._kept_in = kept_in
        self._clock = clock
        self.since: float | None = None  # None: it answered when it was last asked
        self.lost_by: KitchenError | None = None  # an error that waiting does not fix
        self.heard_at = 0.0  # when that was asked which the heartbeat was answered last
        self._failed_at = 0.0
        self._try_again_s = FIRST_TRY_AGAIN_S
        self._try_again_at = 0.0

    @property
    def is_final(self) -> bool:
        """The kitchen is asked nothing more."""
        return self._try_again_at == inf

    @property
    def is_waited_for(self) -> bool:
        """It is worth a moment's wait before this waiter leaves."""
        is_short = self.since is None or self._clock() - self.since < WAITED_FOR_S
        return is_short and not self.is_final

    @property
    def may_ask(self) -> bool:
        """The kitchen was there when it was last asked, or it is time to try again.

        The heartbeat finds out beside the loop whether a kitchen that is away is back: each question to one that is not
        would keep the loop from commands and signals for as long as the driver is patient.
        """
        return self.since is None or (self.heard_at > self._failed_at and self._clock() >= self._try_again_at)

    def went_away(self, error: KitchenError) -> None:
        """Remember that the kitchen does not answer; the wait before the next try doubles."""
        if self.since is None:
            self.since = self._clock()
            self._note(f"{error.sentence} Commands go on; their outcomes are kept in {self._kept_in} until it is back.")
        self._failed_at = self._clock()
        self._try_again_at = self._failed_at + self._try_again_s
        self._try_again_s = min(MAX_TRY_AGAIN_S, 2 * self._try_again_s)

    def lose(self, error: KitchenError) -> None:
        """Ask this kitchen nothing more: waiting will not fix it."""
        self.lost_by = error
        self.since = self._clock() if self.since is None else self.since
        self._try_again_at = inf
        self._note(f"{error.sentence} What runs may end; outcomes are kept in {self._kept_in}.")

    def came_back(self) -> None:
        if self.since is not None:
            self._note(f"The kitchen is back after {self._clock() - self.since:.0f} s.")
        self.since = None
        self._try_again_s = FIRST_TRY_AGAIN_S


class UnansweredClaims:
    """Claims whose answer never came: the shift may hold orders that its waiter does not know of."""

    def __init__(self) -> None:
        self.is_question_open = False
        self._has_been_one = False

    def note(self) -> None:
        """A claim was not answered: ask what the shift holds before anything of it runs."""
        self.is_question_open = self._has_been_one = True

    def answered(self) -> None:
        self.is_question_open = False

    def ask_again(self) -> None:
        """It may take effect later still: a server that was frozen finds it in its buffers."""
        self.is_question_open = self._has_been_one
