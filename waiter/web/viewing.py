"""What all viewers of a server look at: one poller in one thread, and one thread for what pages ask besides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from waiter.errors import KitchenError, KitchenUnreachable, NoSuchBatch
from waiter.kitchen.contract import Kitchen
from waiter.report.cost import NO_PRICES
from waiter.report.dashboard import Seen
from waiter.report.poller import Poller
from waiter.report.run_view import WHOLE, Aspect, RunPoller, RunView

EVERY_S = 1.0
"""The kitchen is asked no more often; a slow one less, as `waiter watch` does."""

FORGOTTEN_S = 30.0
"""What nobody has looked at for so long is asked about no more."""

ASPECTS_AT_ONCE = 8
"""So many are looked at besides the whole."""

Answer = TypeVar("Answer")


class KitchenThread:
    """A kitchen with the one thread that may use it; opened by the first question, and anew after an error."""

    def __init__(self, open_kitchen: Callable[[], Kitchen], name: str) -> None:
        self._open = open_kitchen
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._kitchen: Kitchen | None = None
        self._silent, self._silent_at, self._said = 0, 0.0, ""  # questions in a row without an answer, and the last one

    async def ask(self, question: Callable[[Kitchen], Answer]) -> Answer:
        """What the kitchen answers. Raises what `question` does.

        While the kitchen is away, those who came while others waited in vain are told so, too: each for itself would
        wait in its turn, the tenth one for minutes.
        """
        asked_at = time.monotonic()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question, asked_at)

    def _ask(self, question: Callable[[Kitchen], Answer], asked_at: float) -> Answer:
        # One that is silent may have been asked too much; two in a row tell that nobody is there.
        if self._silent > 1 and asked_at < self._silent_at:
            raise KitchenUnreachable(self._said)
        try:
            if self._kitchen is None:
                self._kitchen = self._open()
            answer = question(self._kitchen)
        except KitchenError as error:
            is_silent = isinstance(error, KitchenUnreachable)
            self._silent = self._silent + 1 if is_silent else 0
            self._silent_at, self._said = time.monotonic(), str(error)
            self._close()
            raise
        self._silent = 0
        return answer

    def close(self) -> None:
        """Close the kitchen, if it can be done soon."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False, cancel_futures=False)

    def _close(self) -> None:
        kitchen, self._kitchen = self._kitchen, None
        if kitchen is not None:
            kitchen.close()


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of an aspect."""

    seen: Seen
    run: RunView


class Viewing:
    """The latest look at the kitchen, told to all who wait for the next."""

    def __init__(self, open_kitchen: Callable[[], Kitchen], prices: Mapping[str, float] = NO_PRICES) -> None:
        self.looks: Mapping[Aspect, Look] = {}
        self.trouble: str | None = None
        self.number = 0  # of looks
        self.is_ending = False  # the server is about to end: nobody waits for news any more
        self._prices = prices
        self._kitchen = KitchenThread(open_kitchen, "poller")
        self._poller: tuple[Kitchen, Poller] | None = None
        self._runs: dict[Aspect, RunPoller] = {}
        self._wanted: dict[Aspect, float] = {}  # what somebody looks at besides the whole, and when that was last said
        self._texts: dict[tuple[str, Aspect], tuple[object, str]] = {}
        self._news = asyncio.Condition()
        self._hurry = asyncio.Event()
        self._changes = self._shown = 0  # what somebody changed here, and how much of it the latest look shows

    def want(self, aspect: Aspect) -> None:
        """Look at this, too, for a while; of much that is wanted at once, at the latest."""
        if aspect == WHOLE:
            return
        now, before = time.monotonic(), self._wanted.pop(aspect, -FORGOTTEN_S)
        self._wanted[aspect] = now
        for other in [*self._wanted][:-ASPECTS_AT_ONCE]:
            del self._wanted[other]
        if now - before >= FORGOTTEN_S:
            self._hurry.set()

    async def show_change(self, within_s: float) -> None:
        """Look at once, since somebody has changed something, and wait for that look, so long at most."""
        self._changes = mine = self._changes + 1
        self._hurry.set()
        await self._wait(lambda: self._shown >= mine, within_s)

    def text(self, name: str, aspect: Aspect, of: object, make: Callable[[], str]) -> str:
        """What `make` writes of this; the same for all who ask, as long as it is the same that is written of."""
        kept = self._texts.get((name, aspect))
        if kept is None or kept[0] != of:
            kept = self._texts[name, aspect] = of, make()
        return kept[1]

    def _look(self, kitchen: Kitchen, *, is_changed: bool) -> Mapping[Aspect, Look]:
        if self._poller is None or self._poller[0] is not kitchen:  # it was opened anew
            self._poller, self._runs = (kitchen, Poller(kitchen, EVERY_S, prices=self._prices)), {}
        if is_changed:
            self._poller[1].forget()
            for run in self._runs.values():
                run.forget()
        seen, wanted = self._poller[1].look(), self._wanted.copy()
        looks: dict[Aspect, Look] = {}
        for aspect in (WHOLE, *(aspect for aspect, at in wanted.items() if time.monotonic() - at < FORGOTTEN_S)):
            run = self._runs.setdefault(aspect, RunPoller(kitchen, aspect))
            with suppress(NoSuchBatch):  # it was deleted
                looks[aspect] = Look(run.seen(seen), run.view(seen.waiting))
        self._runs = {aspect: run for aspect, run in self._runs.items() if aspect in looks}
        return looks

    async def look_for_ever(self) -> None:
        """Look at the kitchen again and again; one that is away is waited for."""
        while True:
            self._hurry.clear()
            changes, look = self._changes, partial(self._look, is_changed=self._changes > self._shown)
            try:
                self.looks, self.trouble = await self._kitchen.ask(look), None
                self._shown = changes
                self._texts = {of: text for of, text in self._texts.items() if of[1] in self.looks}
            except KitchenError as error:
                self.trouble = str(error)
            async with self._news:
                self.number += 1
                self._news.notify_all()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), EVERY_S)

    async def next_look(self, after: int, within_s: float) -> int:
        """Wait for a look later than `after`, so long at most. Returns the number of the latest."""
        await self._wait(lambda: self.number > after, within_s)
        return self.number

    async def look_at(self, aspect: Aspect, within_s: float) -> None:
        """Wait until this was looked at, or it is said why not; so long at most."""
        if aspect not in self.looks:
            await self._wait(lambda: aspect in self.looks or self.trouble is not None, within_s)

    async def _wait(self, is_so: Callable[[], bool], within_s: float) -> None:
        async def later() -> None:
            async with self._news:
                await self._news.wait_for(is_so)

        with suppress(TimeoutError):
            await asyncio.wait_for(later(), within_s)

    def close(self) -> None:
        self._kitchen.close()
