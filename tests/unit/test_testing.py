"""What `waiter.testing` gives to the tests of users."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from waiter import DeliveryOptions, Status, deliver, deliver_with, iter_orders, load_rows, open_kitchen
from waiter.testing import Recorder, temporary_kitchen
from waiter.testing import kitchen as empty_kitchen  # noqa: F401 (a fixture)
from waiter.testing import recorder as new_recorder  # noqa: F401 (a fixture)


def square(order):
    return int(order.arguments[0]) ** 2


def test_a_temporary_kitchen_has_its_rows_and_is_gone_afterwards():
    with temporary_kitchen([["1", "2"], {"x": 3}]) as kitchen:
        path = Path(kitchen.url)
        assert [order.arguments for order in iter_orders(kitchen)] == [("1", "2"), ("3",)]
        assert path.exists()

    assert not path.parent.exists()


def test_inside_whatever_names_no_kitchen_takes_the_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "address").write_text("mongodb://127.0.0.1:1/")
    monkeypatch.setenv("WAITER_KITCHEN_FILE", str(tmp_path / "address"))
    monkeypatch.setenv("WAITER_DB", "users")
    monkeypatch.delenv("WAITER_KITCHEN", raising=False)
    before = dict(os.environ)

    with temporary_kitchen([["3"]]) as kitchen:
        deliver_with(square)
        with open_kitchen() as again:
            assert again.id == kitchen.id
        assert kitchen.counts()[Status.DONE] == 1

    assert dict(os.environ) == before


def test_an_error_inside_is_not_hidden_and_leaves_nothing():
    before = dict(os.environ)

    with pytest.raises(ZeroDivisionError), temporary_kitchen() as kitchen:
        1 / 0  # noqa: B018

    assert dict(os.environ) == before
    assert not Path(kitchen.url).parent.exists()


def test_a_recorder_knows_what_became_of_each_order():
    with temporary_kitchen([["3"], ["x"]]) as kitchen:
        recorder = Recorder()
        deliver_with(square, options=DeliveryOptions(name="ada", retries=1, backoff_s=0.01), listener=recorder)
        ids = {order.arguments: order.id for order in iter_orders(kitchen)}

    error = "ValueError: invalid literal for int() with base 10: 'x'"
    assert [shift.waiter for shift in recorder.shifts] == ["ada"]
    assert recorder.results == {("3",): "9"}
    assert recorder.errors == {("x",): error}
    assert [order.id for order in recorder.delivered] == [ids["3",]]
    assert [(order.id, order.attempt) for order in recorder.retried] == [(ids["x",], 1)]
    assert [(order.id, order.attempt) for order in recorder.failed] == [(ids["x",], 2)]
    assert len(recorder.orders) == len(recorder.outcomes) == 3
    assert (recorder.returned, recorder.too_late) == ([], [])


def test_a_recorder_keeps_the_output_of_commands_apart():
    with temporary_kitchen([["a"], ["b"]]):
        recorder = Recorder()
        options = DeliveryOptions(jobs="2", grouping="group")
        deliver(open_kitchen, ["sh", "-c", "echo $1; echo oh >&2", "sh"], options, listener=recorder)

    first, second = sorted(recorder.delivered, key=lambda order: order.arguments)
    assert recorder.output_of(first, 1) == b"a\n"
    assert recorder.output_of(second.id, 2) == b"oh\n"
    assert sorted(recorder.output_of(first).split()) == [b"a", b"oh"]


def test_a_recorder_hears_why_a_waiter_leaves():
    with temporary_kitchen([[str(n)] for n in range(3)]) as kitchen:
        recorder = Recorder()
        deliver_with(lambda _: drain_all(kitchen.url), listener=recorder)

    assert recorder.reasons_to_leave != []
    assert len(recorder.delivered) == 1


def drain_all(url: str) -> None:
    """Ask every waiter of the kitchen to leave."""
    with open_kitchen(url) as kitchen:
        for shift in kitchen.shifts():
            kitchen.drain(shift.waiter)


def test_the_fixtures_are_an_empty_kitchen_and_a_recorder(empty_kitchen, new_recorder):  # noqa: F811
    assert empty_kitchen.counts().total == 0
    load_rows(empty_kitchen, [["4"]])

    deliver_with(square, listener=new_recorder)

    assert new_recorder.results == {("4",): "16"}


def test_nobody_needs_pytest_who_asks_for_no_fixture():
    code = "import sys; import waiter.testing; print('pytest' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout == "False\n"
