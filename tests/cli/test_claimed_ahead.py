"""RUNNING is what really runs; what a waiter has claimed ahead is shown apart, everywhere."""

from __future__ import annotations

import json

import pytest

from tests.conftest import check_in, fill
from waiter.orders import Vitals
from waiter.report.dashboard import frame
from waiter.report.poller import Poller


@pytest.fixture
def ahead(kitchen):
    """A waiter that runs an order of each of two batches, and has claimed three more, two of the first."""
    fill(kitchen, [["1"], ["2"], ["3"]], batch="b")
    fill(kitchen, [["1"], ["2"], ["3"]], batch="c")
    shift = check_in(kitchen, "ada")
    claimed = [order.id for order in kitchen.claim(shift, 5)]
    assert claimed == ["b-1", "b-2", "b-3", "c-1", "c-2"]
    kitchen.heartbeat(shift, Vitals(slots=2, busy=2, running=("b-1", "c-1"), claimed=3))


def table(text):
    return [line.split() for line in text.splitlines()]


def test_every_view_counts_as_running_what_has_begun_and_shows_the_rest_as_claimed(ahead, ask, begin, kitchen):
    status = table(ask("status").stdout)
    assert ["RUNNING", "2", "33.3", "%"] in status
    assert ["claimed", "3", "50.0", "%"] in status

    header, *rows = table(ask("batches").stdout)
    assert header[2:5] == ["READY", "RUNNING", "claimed"]
    assert [row[2:5] for row in rows] == [["0", "1", "2"], ["1", "1", "1"]]

    header, ada = table(ask("waiters").stdout)[:2]
    assert (header[2:4], ada[2:4]) == (["BUSY", "CLAIMED"], ["2/2", "3"])

    assert "1 READY, 2 RUNNING, 3 claimed; " in begin("watch").stdout.readline()
    drawn = frame(Poller(kitchen, 1).look(), 80, 24)
    assert "READY 1  RUNNING 2  claimed 3  DONE 0" in "".join(text for text, _ in drawn[2])


def test_json_says_both_and_keeps_the_counts_by_status(ahead, ask, begin):
    status = ask.json("status")
    assert (status["counts"]["RUNNING"], status["running"], status["claimed"]) == (5, 2, 3)
    of_b = ask.json("status", "--batch", "b")
    assert (of_b["counts"]["RUNNING"], of_b["running"], of_b["claimed"]) == (3, 1, 2)

    batches = ask.json("batches")["batches"]
    assert [(b["counts"]["RUNNING"], b["running"], b["claimed"]) for b in batches] == [(3, 1, 2), (2, 1, 1)]

    watched = json.loads(begin("watch", "--json").stdout.readline())
    assert (watched["counts"]["RUNNING"], watched["running"], watched["claimed"]) == (5, 2, 3)

    ask("status", "--fail-if", "running>2")
    assert "running>1: 2" in ask("status", "--fail-if", "running>1", code=1).stdout
