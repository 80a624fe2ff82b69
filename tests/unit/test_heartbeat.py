"""Who may reclaim orders of others: a waiter whose own lease was renewed just now, and not straight after a lapse."""

from __future__ import annotations

import time

import pytest

from tests.conftest import check_in, eventually
from waiter.delivery.heartbeat import Heartbeat
from waiter.errors import KitchenUnreachable
from waiter.kitchen.contract import sweep_s
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Vitals
from waiter.processes import boottime

LEASE_S = 2.0


class Faraway(SqliteKitchen):
    """A kitchen that can be out of reach."""

    is_away = False

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
