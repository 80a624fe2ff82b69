"""Outcomes that wait on disk reach the kitchen that they are of, under whatever address, and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import check_in, fill, outcome
from waiter.api import deliver_with
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.spool import Spool
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector, Shift, Status

OPTIONS = DeliveryOptions(name="next")


@pytest.fixture
def deliver(tmp_path) -> Callable[[str], list[str]]:
    """Delivers all that a kitchen has, with outcomes on disk in the test's folder; returns the orders that it ran."""

    def run(url: str) -> list[str]:
        ran: list[str] = []
        deliver_with(lambda order: ran.append(order.id), url, OPTIONS, state=tmp_path / "state")
        return ran

    return run


def keep_an_outcome(kitchen: Kitchen, state: Path, result: str = "kept") -> tuple[Shift, Order]:
    """An order was delivered, and its outcome is on this machine's disk; who did it is dead."""
    fill(kitchen, [["x"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, 1)
    Spool(kitchen.id, kitchen.url, state).save(shift, [outcome(order, result=result)])
    return shift, order


def only(kitchen: Kitchen) -> Order:
    (order,) = kitchen.find(Selector(), is_whole=True)
    return order


def other_spelling(url: str, folder: Path) -> str:
    """The same kitchen, otherwise written."""
    if url.startswith("mongodb://"):
        return url.replace("127.0.0.1", "localhost")
    return f"{folder}/./{Path(url).name}"


def waiting(state: Path) -> list[Path]:
    return sorted(state.glob("spool/*/*"))


def test_an_outcome_reaches_its_kitchen_under_another_spelling(kitchen, kitchen_url, tmp_path, deliver):
    keep_an_outcome(kitchen, tmp_path / "state")
    spelt = other_spelling(kitchen_url, tmp_path)
    assert spelt != kitchen_url

    assert deliver(spelt) == []

    assert (only(kitchen).status, only(kitchen).result) == (Status.DONE, "kept")
    assert waiting(tmp_path / "state") == []


def test_the_same_words_in_another_folder_are_another_kitchen(tmp_path, deliver, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with open_kitchen("orders.sqlite") as kitchen:
            if name == "a":
                keep_an_outcome(kitchen, tmp_path / "state")
            else:
                fill(kitchen, [["y"]])
    (kept,) = waiting(tmp_path / "state")

    assert deliver("orders.sqlite") == ["b-1"]  # in b

    assert waiting(tmp_path / "state") == [kept]
    monkeypatch.chdir(tmp_path / "a")
    assert deliver("orders.sqlite") == []
    assert waiting(tmp_path / "state") == []


def test_an_outcome_that_an_earlier_version_kept_reaches_the_kitchen_that_knows_its_shift(
    kitchen, kitchen_url, tmp_path, deliver
):
    keep_an_outcome(kitchen, tmp_path / "state")
    (kept,) = waiting(tmp_path / "state")
    old = tmp_path / "state" / "spool" / "0123456789abcdef" / kept.name
    old.parent.mkdir()
    saved = json.loads(kept.read_text())
    old.write_text(json.dumps({"shift": saved["shift"], "outcomes": saved["outcomes"]}))
    kept.unlink()
    strangers = old.with_name("stranger.json")
    strangers.write_text(old.read_text().replace(saved["shift"]["token"], "f" * 32))

    assert deliver(kitchen_url) == []

    assert (only(kitchen).status, only(kitchen).result) == (Status.DONE, "kept")
    assert waiting(tmp_path / "state") == [strangers]


def test_a_function_that_goes_to_another_folder_leaves_its_waiter_where_it_was(tmp_path, home):
    (tmp_path / "else").mkdir()
    program = """
import os, time
from tests.conftest import fill
from waiter import DeliveryOptions, Waiter, open_kitchen

class Mover(Waiter):
    def deliver(self, order):
        os.chdir("else")
        time.sleep(3)  # longer than the pulse takes to open a kitchen of its own

with open_kitchen("orders.sqlite") as kitchen:
    fill(kitchen, [["x"]])
print(Mover("orders.sqlite").run().left_because)
"""

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=home, capture_output=True, text=True, timeout=60
    )

    assert (done.stdout, done.stderr) == ("done\n", "")
    assert os.listdir(tmp_path / "else") == []
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        assert only(kitchen).status is Status.DONE
