"""Outcomes that wait on disk reach the kitchen that they are of, under whatever address, and no other."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import check_in, eventually, fill, only, outcome, unavailable
from tests.faults.floor import Floor
from waiter.api import deliver_with
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.spool import Spool
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector, Shift, Status
from waiter.testing import Recorder

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


def other_spelling(url: str, folder: Path) -> str:
    """The same kitchen, otherwise written."""
    if url.startswith("mongodb://"):
        return url.replace("127.0.0.1", "localhost")
    return f"{folder}/./{Path(url).name}"


def refuse(url: str, what: str) -> None:
    """From now on the store holds no order of which this is true (`result = 'no'`, `status = 'RUNNING'`)."""
    field, _, value = what.replace("'", "").partition(" = ")
    if url.startswith("mongodb://"):
        import pymongo

        with pymongo.MongoClient(url) as client:
            client.get_default_database().command("collMod", "orders", validator={field: {"$ne": value}})
        return
    with sqlite3.connect(url) as db:
        db.execute(f"CREATE TRIGGER no BEFORE UPDATE ON orders WHEN new.{what} BEGIN SELECT RAISE (ABORT, 'no'); END")
    db.close()


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


def test_an_outcome_on_disk_that_is_refused_is_set_aside_and_stops_nobody(kitchen, kitchen_url, tmp_path):
    state = tmp_path / "state"
    fill(kitchen, [["1"], ["2"], ["3"], ["4"]])
    shift = check_in(kitchen)
    orders = kitchen.claim(shift, 3)
    spool = Spool(kitchen.id, kitchen.url, state)
    spool.save(shift, [outcome(orders[0], result="yes"), outcome(orders[1], result="no")])
    spool.save(shift, [outcome(orders[2], result="yes")])
    refuse(kitchen_url, "result = 'no'")
    recorder = Recorder()

    summary = deliver_with(lambda _order: None, kitchen_url, OPTIONS, state=state, listener=recorder)

    assert (summary.delivered, summary.refused, summary.exit_code) == (1, 1, 1)
    ends = [(order.status, order.result, order.error) for order in kitchen.find(Selector(), with_details=True)]
    assert ends[0] == ends[2] == (Status.DONE, "yes", None)
    assert ends[1] == (Status.ERROR, None, "the kitchen refused its outcome")
    assert ends[3][0] is Status.DONE
    (aside,) = waiting(state)
    assert json.loads(aside.read_text())["outcomes"][0]["result"] == "no"
    (note,) = [note for note in recorder.notes if "refuses" in note]
    assert orders[1].id in note
    assert str(aside) in note


def test_an_outcome_that_is_refused_is_its_orders_end_and_no_others(kitchen, kitchen_url, tmp_path):
    state = tmp_path / "state"
    fill(kitchen, [[word] for word in ("yes", "no", "yes", "yes")])
    refuse(kitchen_url, "result = 'no'")

    summary = deliver_with(lambda order: order.arguments[0], kitchen_url, OPTIONS, state=state)

    assert (summary.left_because, summary.exit_code) == ("done", 1)
    ends = [(order.status, order.result) for order in kitchen.find(Selector(), with_details=True)]
    assert ends == [(Status.DONE, "yes"), (Status.ERROR, None), (Status.DONE, "yes"), (Status.DONE, "yes")]
    (aside,) = waiting(state)
    assert json.loads(aside.read_text())["outcomes"][0]["result"] == "no"


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_an_order_that_its_outcome_makes_larger_than_mongodb_takes_stops_no_other(kitchen, kitchen_url, tmp_path):
    fill(kitchen, [["x" * (2**24 - 20_000)], ["y"]])

    deliver_with(lambda _order: "z" * 30_000, kitchen_url, OPTIONS, state=tmp_path / "state")

    large, small = kitchen.find(Selector(), with_details=True)
    assert (large.status, small.status) == (Status.ERROR, Status.DONE)
    assert len(waiting(tmp_path / "state")) == 1


def test_a_kitchen_that_takes_no_orders_away_any_more_ends_its_waiter_after_the_commands(
    kitchen, kitchen_url, tmp_path, home
):
    home["XDG_STATE_HOME"] = str(tmp_path / "state")
    floor = Floor(kitchen_url, tmp_path, home)
    try:
        fill(kitchen, [["x"]])
        waiter = floor.start(work="while [ ! -e go ]; do sleep 0.02; done", jobs="2", lease_s=30)
        eventually(lambda: floor.oracle("begin"))
        refuse(kitchen_url, "status = 'RUNNING'")
        fill(kitchen, [["y"]], batch="c")
        eventually(lambda: "kitchen lost" in floor.talk(waiter))
        (tmp_path / "go").touch()

        assert waiter.wait(30) == 3, floor.talk(waiter)

        assert [order for order, _, _ in floor.oracle("end")] == ["b-1"]
        (kept,) = tmp_path.glob("state/waiter/spool/*/*.json")
        assert json.loads(kept.read_text())["outcomes"][0]["status"] == "DONE"
    finally:
        floor.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_state_folder_of_somebody_else_is_named_before_an_order_is_taken(tmp_path, home):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        fill(kitchen, [["1"]])
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 12345, 12345)
    home["XDG_STATE_HOME"] = str(state)
    as_anybody = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]  # root may look everywhere

    done = subprocess.run(
        [*as_anybody, sys.executable, "-m", "waiter", "deliver", "-k", url, "true"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=home,
        timeout=60,
    )

    assert done.returncode == 2
    assert f"hint: make it yours: sudo chown -R 0 {state}/waiter" in done.stderr
    with open_kitchen(url) as kitchen:
        assert kitchen.counts()[Status.READY] == 1


def test_outcomes_of_another_kitchen_among_ours_are_set_aside_and_said(kitchen, kitchen_url, tmp_path):
    state = tmp_path / "state"
    fill(kitchen, [["x"]])
    with open_kitchen(str(tmp_path / "another.sqlite")) as another:
        keep_an_outcome(another, state)
    (kept,) = waiting(state)
    ours = state / "spool" / kitchen.id / kept.name
    ours.parent.mkdir()
    kept.rename(ours)
    recorder = Recorder()

    summary = deliver_with(lambda _order: None, kitchen_url, OPTIONS, state=state, listener=recorder)

    assert (summary.delivered, summary.spooled, summary.exit_code) == (1, 0, 0)
    assert [file.name for file in waiting(state)] == [ours.with_suffix(".refused").name]
    assert [note for note in recorder.notes if "another kitchen" in note]
    assert only(kitchen).late == ()


def test_a_file_that_holds_no_outcomes_is_named_once_and_holds_up_nobody(kitchen, kitchen_url, tmp_path):
    state = tmp_path / "state"
    keep_an_outcome(kitchen, state)
    (kept,) = waiting(state)
    torn = kept.with_name("0.json")
    torn.write_bytes(kept.read_bytes()[:-9])
    recorder = Recorder()

    deliver_with(lambda _order: None, kitchen_url, OPTIONS, state=state, listener=recorder)

    assert only(kitchen).result == "kept"
    assert waiting(state) == [torn]
    assert len([note for note in recorder.notes if str(torn) in note]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="bind mounts")
def test_a_file_that_cannot_be_removed_holds_up_nobody(kitchen, kitchen_url, tmp_path):
    state = tmp_path / "state"
    keep_an_outcome(kitchen, state)
    fill(kitchen, [["y"]], batch="c")
    folder = state / "spool" / kitchen.id
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", folder, folder]).returncode:
        unavailable("only root may make a folder that cannot be written")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        recorder = Recorder()

        summary = deliver_with(lambda _order: None, kitchen_url, OPTIONS, state=state, listener=recorder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)

    assert (summary.delivered, summary.exit_code) == (1, 0)
    assert len([note for note in recorder.notes if "Read-only file system" in note]) == 1
    assert kitchen.counts()[Status.DONE] == 2


def test_odd_words_of_a_function_are_its_orders_end_and_not_the_waiters(kitchen, kitchen_url, tmp_path):
    fill(kitchen, [["fails"], ["returns"], ["is well"]])

    def odd(order: Order) -> str:
        if order.arguments == ("fails",):
            raise ValueError("\ud800")
        return "\ud800" if order.arguments == ("returns",) else "well"

    summary = deliver_with(odd, kitchen_url, OPTIONS, state=tmp_path / "state")

    assert (summary.delivered, summary.failed, summary.exit_code) == (2, 1, 1)
    ends = [(order.error, order.result) for order in kitchen.find(Selector(), with_details=True)]
    assert ends == [("ValueError: \ufffd", None), (None, "\ufffd"), (None, "well")]
