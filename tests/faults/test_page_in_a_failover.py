"""Somebody watches the page while the replica set under it loses its primary, and then its majority."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import check_in, eventually, fill, needed_binary, outcome, with_database
from tests.mongod import ReplicaSet
from tests.serving import Site, serving
from waiter.errors import KitchenUnreachable
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import FinishResult, Order, Shift


@pytest.fixture
def replicas() -> Iterator[ReplicaSet]:
    replica_set = ReplicaSet(needed_binary())
    try:
        replica_set.start()
        yield replica_set
    finally:
        replica_set.remove()


class Watcher:
    """Who has a page open: all that was pushed into it, and when."""

    def __init__(self, site: Site) -> None:
        self.parts: list[tuple[float, str]] = []
        self._site = site
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        for part in self._site.looks(within_s=600):
            self.parts.append((time.monotonic(), part))

    def sees(self, words: str, since: float, *, within_s: float = 60.0) -> float:
        """How long after that time the page first had these words."""

        def when() -> float:
            return next((at for at, part in [*self.parts] if at >= since and re.search(words, part, re.DOTALL)), 0.0)

        return eventually(when, within_s) - since


def up(site: Site) -> float | None:
    found = re.search(r"^waiter_kitchen_up (\S+)", site.ask("/metrics")[2], re.MULTILINE)
    return found and float(found[1])


def finish(kitchen: Kitchen, shift: Shift, *orders: Order) -> None:
    """As waiters do it: again, until the kitchen has said that it knows."""

    def is_known() -> bool:
        try:
            return FinishResult.LATE not in kitchen.finish(shift, [outcome(order) for order in orders])
        except KitchenUnreachable:
            return False

    assert eventually(is_known)


@pytest.mark.long
def test_who_watches_through_a_failover_is_told_and_sees_what_comes(replicas, home):
    url = with_database(replicas.url, f"waiter_test_{secrets.token_hex(6)}")
    with MongoKitchen(url, timeout_s=20) as kitchen:
        fill(kitchen, [["x"], ["y"], ["z"]])
        shift = check_in(kitchen)
        one, two, three = kitchen.claim(shift, limit=3)
        with serving(url, home) as site:  # which says nothing but how it is ended: no traceback
            watcher = Watcher(site)
            assert watcher.sees("RUNNING</a> <b>3</b>", 0.0)
            assert eventually(lambda: up(site) == 1.0)

            primary, gone_at = replicas.primary(), time.monotonic()
            primary.kill()
            finish(kitchen, shift, one)
            assert watcher.sees("DONE</a> <b>1</b>", gone_at)
            assert eventually(lambda: up(site) == 1.0)

            second, away_at = replicas.primary(), time.monotonic()
            second.kill()  # one of three is left, which elects nobody
            assert watcher.sees('role="alert"', away_at)
            assert watcher.sees("no primary at the moment.*it elects another one", away_at)
            assert eventually(lambda: up(site) == 0.0)
            status, _, said = site.ask("/orders")
            assert (status, "no primary at the moment" in said) == (503, True)

            primary.start()
            second.start()
            finish(kitchen, shift, two, three)
            back_at = time.monotonic()
            assert watcher.sees("DONE</a> <b>3</b>", away_at)
            print(f"shown {max(0.0, watcher.parts[-1][0] - back_at):.1f} s after the kitchen took it")
            assert 'role="alert"' not in watcher.parts[-1][1]
            assert eventually(lambda: up(site) == 1.0)
            assert site.ask("/orders")[0] == 200
