"""Who may reclaim orders of others: a waiter whose own lease was renewed just now, and not straight after a lapse."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from random import Random
from typing import ClassVar

import pytest

from tests.conftest import check_in, eventually
from waiter.delivery.heartbeat import Heartbeat
from waiter.delivery.pace import Pace
from waiter.errors import KitchenUnreachable
from waiter.kitchen.contract import sweep_s
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Notice, Shift, Vitals
from waiter.processes import boottime

LEASE_S = 2.0


class Faraway(SqliteKitchen):
    """A kitchen that can be out of reach, and that counts as many waiters as a test wants."""

    is_away = False
    fleet_size = 0
    leases: ClassVar[list[tuple[float, float]]] = []  # when each was asked for, and for how long

    def heartbeat(self, shift: Shift, vitals: Vitals, lease_s: float | None = None) -> Notice:
        Faraway.leases.append((boottime(), lease_s or self.lease_s))
        return replace(super().heartbeat(shift, vitals, lease_s), fleet_size=Faraway.fleet_size)

    def change_token(self) -> object:
        if Faraway.is_away:
            raise KitchenUnreachable("away")
        return super().change_token()


@pytest.fixture
def heartbeat(tmp_path):
    def open_kitchen() -> Faraway:
        return Faraway(tmp_path / "kitchen.sqlite", lease_s=LEASE_S)

    with open_kitchen() as kitchen:
        heartbeat = Heartbeat(open_kitchen, check_in(kitchen), boottime(), Vitals, LEASE_S)
        heartbeat.start()
        yield heartbeat
        heartbeat.stop()
        Faraway.is_away = False
        Faraway.fleet_size = 0
        Faraway.leases.clear()


def test_who_did_not_renew_its_lease_judges_nobody_and_after_a_lapse_not_for_one_sweep(heartbeat):
    assert heartbeat.may_reclaim
    Faraway.is_away = True

    eventually(lambda: not heartbeat.may_reclaim)
    assert boottime() < heartbeat.lease_ends, "its lease is not even over"
    eventually(lambda: boottime() > heartbeat.lease_ends + 0.2)
    lapsed = heartbeat.lease_ends
    Faraway.is_away = False
    eventually(lambda: heartbeat.lease_ends > lapsed)

    began = time.monotonic()
    assert not heartbeat.may_reclaim
    eventually(lambda: heartbeat.may_reclaim)
    assert time.monotonic() - began > sweep_s(LEASE_S) / 2


def test_leases_grow_with_the_fleet_and_none_is_ever_cut_short(heartbeat):
    eventually(lambda: Faraway.leases)
    Faraway.fleet_size = 500  # a lease of 2 s is too short for so many
    eventually(lambda: Faraway.leases[-1][1] == 10.0)
    Faraway.fleet_size = 0
    eventually(lambda: len(Faraway.leases) > 4 and Faraway.leases[-1][1] < 8.0)

    asked = list(Faraway.leases)
    for (at, lease_s), (next_at, next_lease_s) in itertools.pairwise(asked):
        assert next_at < at + lease_s, "the lease that it held was renewed in time"
        assert next_at + next_lease_s >= at + lease_s - 0.01, "were the answer lost, it would believe in more"
    assert not heartbeat.notice.is_lost


def test_what_a_fleet_asks_in_all_is_bounded_and_a_small_one_is_as_quick_as_one_waiter():
    rng = Random(1)
    small, large, huge = Pace(60.0, 250), Pace(60.0, 1000), Pace(60.0, 10_000)

    assert [small.news_s(rng), small.beat_s(60.0, 600.0), small.lease_s, small.retry_s(rng)] == [2.0, 15.0, 60.0, 1.0]
    assert [large.beat_s(60.0, 600.0), large.lease_s] == [30.0, 60.0]
    assert 4.0 < large.news_s(rng) <= 8.0
    assert huge.lease_s == 200.0
    assert huge.news_s(rng) <= 40.0
    assert huge.beat_s(60.0, 600.0) == 30.0, "a short lease that is still held is renewed in time"
    a_second = {
        "news": 10_000 / huge.news_s(rng),
        "heartbeats": 10_000 / huge.beat_s(200.0, 600.0),
        "looks": 10_000 / huge.look_s(2.0, rng),
    }
    assert max(a_second.values()) < 400
    assert len({huge.news_s(rng) for _ in range(9)}) == 9, "they do not come together"


def test_a_young_shift_of_a_large_fleet_asks_for_news_no_more_often_because_a_beat_comes_near(monkeypatch):
    now, waits = [0.0], []
    monkeypatch.setattr("waiter.delivery.heartbeat.boottime", lambda: now[0])
    shift = Shift("token", "a", "h", 1, since=0.0, lease_until=60.0, heartbeat_at=0.0)
    heartbeat = Heartbeat(lambda: pytest.fail("it is not started"), shift, 0.0, Vitals, 60.0)
    now[0] = 36.0
    heartbeat._note(Notice(fleet_size=1000), 36.0, 60.0, is_new=False)

    while not heartbeat._is_due():
        waits.append(heartbeat._next_s())
        now[0] += waits[-1]

    assert 48.0 <= now[0] < 56.0
    assert min(waits[:-1]) > 5.0
