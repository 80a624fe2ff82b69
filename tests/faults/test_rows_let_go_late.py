"""Stages joined row by row on MongoDB, where an order is DONE a moment before the one of its row is let go."""

from __future__ import annotations

import time

import pytest

from waiter import DeliveryOptions, LoadOptions, load_rows
from waiter.delivery.together import Part, deliver_together
from waiter.kitchen import open_kitchen
from waiter.kitchen.mongo import held
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Status
from waiter.testing import Recorder


def late(function, by_s: float):
    def call(*arguments):
        time.sleep(by_s)
        return function(*arguments)

    return call


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_no_stage_leaves_when_its_rows_are_let_go_while_it_looks(kitchen, kitchen_url, monkeypatch):
    """The second stage sees that the first is DONE and its own rows are held; before it does anything of it, they are
    let go by who ended the first."""
    load_rows(kitchen, [["1"]], LoadOptions(batch="first"))
    load_rows(kitchen, [["1"]], LoadOptions(batch="second", after_row="first"))
    monkeypatch.setattr(held, "let_go", late(held.let_go, 1.0))
    monkeypatch.setattr(MongoKitchen, "release_rows", late(MongoKitchen.release_rows, 2.0))

    parts = [Part(["sleep"], DeliveryOptions(batch=(batch,), idle_timeout_s=30)) for batch in ("first", "second")]
    deliver_together(lambda: open_kitchen(kitchen_url), parts, Recorder())

    assert kitchen.counts()[Status.DONE] == 2
