"""The README's Python example, as it stands there, and the API's other names."""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from waiter import (
    DeliveryOptions,
    KitchenMissing,
    LoadOptions,
    Selector,
    Status,
    Summary,
    Waiter,
    deliver,
    deliver_many,
    deliver_with,
    iter_orders,
    load,
    load_rows,
    open_kitchen,
)
from waiter.delivery.options import Until
from waiter.errors import UsageError
from waiter.kitchen import open_kitchen as open_named
from waiter.limits import RESULT_BYTES
from waiter.testing import Recorder

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_example_runs(tmp_path, home):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(code)

    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=home, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "('1', '2') 3\n('3', '4') 7\n"


def test_a_function_delivers_in_several_threads_and_may_fail(tmp_path):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [[str(n)] for n in range(5)])

    def inverse(order):
        return str(1 / int(order.arguments[0]))

    summary = deliver_with(inverse, url, DeliveryOptions(jobs="3"), state=tmp_path)

    assert (summary.delivered, summary.failed, summary.exit_code) == (4, 1, 1)
    with open_kitchen(url) as kitchen:
        done = {order.arguments[0]: order for order in iter_orders(kitchen)}
        assert done["4"].result == "0.25"
        assert done["0"].error == "ZeroDivisionError: division by zero"
        assert "Traceback" in done["0"].tail


class _Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError


async def _later(order):
    await asyncio.sleep(0)
    return order.arguments[0]


def _raiser(error):
    def deliver(order):
        raise error

    return deliver


OUTCOMES = [
    (_raiser(SystemExit), Status.DONE, None, None, 0),
    (_raiser(SystemExit(0)), Status.DONE, None, None, 0),
    (_raiser(SystemExit(3)), Status.ERROR, None, "exit code 3", 3),
    (_raiser(SystemExit("no tile")), Status.ERROR, None, "no tile", 1),
    (_raiser(KeyboardInterrupt), Status.ERROR, None, "KeyboardInterrupt", 1),
    (_raiser(GeneratorExit), Status.ERROR, None, "GeneratorExit", 1),
    (_raiser(_Unspeakable()), Status.ERROR, None, "_Unspeakable", 1),
    (lambda _: _Unspeakable(), Status.ERROR, None, "RuntimeError", 1),
    (lambda _: (yield), Status.ERROR, None, "TypeError: a generator was returned", 1),
    (_later, Status.DONE, "x", None, 0),
    (lambda _: None, Status.DONE, None, None, 0),
    (lambda _: "é", Status.DONE, "é", None, 0),
    (lambda _: {"n": 7, "when": datetime.date(2026, 1, 2)}, Status.DONE, '{"n": 7, "when": "2026-01-02"}', None, 0),
    (lambda _: ["a", None], Status.DONE, '["a", null]', None, 0),
    (lambda _: {(1, 2): 3}, Status.DONE, "{(1, 2): 3}", None, 0),
    (lambda _: b"caf\xc3\xa9", Status.DONE, "café", None, 0),
    (lambda _: 2.5, Status.DONE, "2.5", None, 0),
]


@pytest.mark.parametrize(("function", "status", "result", "error", "code"), OUTCOMES)
def test_whatever_a_function_raises_or_returns_is_an_outcome(tmp_path, function, status, result, error, code):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["x"]])

        deliver_with(function, url, state=tmp_path)

        (order,) = iter_orders(kitchen)
    assert (order.status, order.result, order.exit_code) == (status, result, code)
    assert (order.error or "").startswith(error or "")
    assert bool(order.error) == bool(error)


def test_a_result_that_is_too_long_is_cut_and_told_of(tmp_path):
    recorder = Recorder()
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["x"]])

        deliver_with(lambda _: "é" * RESULT_BYTES, url, listener=recorder, state=tmp_path)

        (order,) = iter_orders(kitchen)
    assert order.result == "é" * (RESULT_BYTES // 2)
    assert f"of {2 * RESULT_BYTES:,} bytes" in recorder.notes[0]


def test_an_async_def_has_many_calls_in_one_loop_and_a_timeout_ends_one(tmp_path):
    here: list[tuple[object, int]] = []

    class Later(Waiter):
        async def deliver(self, order):
            here.append((asyncio.get_running_loop(), threading.get_ident()))
            while len(here) < 9:  # all of them are under way at the same time
                await asyncio.sleep(0.01)
            if order.arguments[0] == "8":
                await asyncio.sleep(600)
            return {"n": int(order.arguments[0])}

    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [[str(n)] for n in range(9)])

        Later(url, DeliveryOptions(jobs=9, timeout=2)).run()

        *others, last = iter_orders(kitchen)
        assert [order.value for order in others] == [{"n": n} for n in range(8)]
        assert (last.status, last.reason) == ("ERROR", "timeout")
    assert len(set(here)) == 1


def test_exit_codes_are_plain_numbers():
    assert [(type(one), one) for one in (Summary(failed=1).exit_code, KitchenMissing("").exit_code)] == [
        (int, 1),
        (int, 3),
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_of_many_orders_ends_each_by_itself(tmp_path, is_async):
    calls: list[int] = []

    def each(orders):
        calls.append(len(orders))
        if orders[0].arguments[0] == "10":
            raise OSError("no network")
        return [ValueError("odd") if int(order.arguments[0]) % 2 else order.row for order in orders]

    async def later(orders):
        return each(orders)

    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [[str(n)] for n in range(12)])
        recorder = Recorder()

        options = DeliveryOptions(many=5)
        deliver_many(later if is_async else each, url, options, listener=recorder, state=tmp_path)

        ends = [order.error or order.value for order in iter_orders(kitchen)]
    odd = "ValueError: odd"
    assert calls == [5, 5, 2]
    assert ends == [1, odd, 3, odd, 5, odd, 7, odd, 9, odd, *2 * ["OSError: no network"]]


def test_a_waiter_that_delivers_many_is_told_when_it_returns_too_few(tmp_path):
    class Few(Waiter):
        def deliver_many(self, orders: object):
            return [orders and 1]

    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["a"], ["b"]])

        Few(url).run()

        expected = "TypeError: a list of 2 results was to be returned, one for each order, and not 1"
        assert {order.error for order in iter_orders(kitchen)} == {expected}


def test_options_are_taken_as_python_writes_them():
    options = DeliveryOptions(jobs=4, timeout=60, until="empty", retry_on=[3], max_time_s=5)

    assert options == DeliveryOptions(jobs="4", timeout="60", until=Until.EMPTY, retry_on=(3,), max_time_s=5)
    assert DeliveryOptions.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"jobs": None}, "a text"),
        ({"retries": "2"}, "a whole number"),
        ({"shell": "yes"}, "True or False"),
        ({"until": "soon"}, "'done', 'empty', 'stopped'"),
        ({"max_time_s": "5m"}, "a number or None"),
        ({"retry_on": 3}, "a tuple of numbers or texts"),
        ({"env": ["A=B"]}, "a dictionary of texts"),
        ({"nice": True}, "a whole number"),
    ],
)
def test_an_option_that_is_not_understood_says_what_to_give(wrong, hint):
    with pytest.raises(UsageError, match=rf"{next(iter(wrong))}=.*\nhint: give {hint}"):
        DeliveryOptions(**wrong)


def test_paths_and_names_are_taken_as_python_writes_them(tmp_path):
    (tmp_path / "orders.csv").write_text("1\n2\n")
    with open_kitchen(tmp_path / "kitchen.sqlite") as kitchen:
        assert load(kitchen, tmp_path / "orders.csv", LoadOptions(format="lines")).new == 2

        deliver_with(lambda _: None, tmp_path / "kitchen.sqlite", DeliveryOptions(max_orders=1), state=tmp_path)

        counts = [len(list(iter_orders(kitchen, Selector(statuses=s)))) for s in ("DONE", ["READY"], Status.ERROR)]
    assert counts == [1, 1, 0]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda _: Selector(statuses=("FINISHED",)),
        lambda _: LoadOptions(format="xml"),
        lambda url: deliver_with("./crunch.sh", url),
        lambda url: deliver(url, ["true"]),
        lambda url: deliver(lambda: open_kitchen(url), "true"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_with_what_to_write(tmp_path, mistake):
    with pytest.raises(UsageError, match=r"\nhint: "):
        mistake(str(tmp_path / "kitchen.sqlite"))


def test_a_command_delivers_too(tmp_path):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["x"], ["y"]])

    summary = deliver(lambda: open_kitchen(url), ["test", "x", "="], DeliveryOptions(), state=tmp_path)

    assert (summary.delivered, summary.failed) == (1, 1)
    with open_kitchen(url) as kitchen:
        assert [order.arguments for order in kitchen.find(Selector(statuses=(Status.ERROR,)))] == [("y",)]


@pytest.mark.parametrize("source", ["variable", "file"])
def test_the_kitchen_that_nobody_names_is_the_command_lines(tmp_path, monkeypatch, source):
    url = str(tmp_path / "orders.sqlite")
    with open_named(url) as kitchen:
        load_rows(kitchen, [["1"], ["2"], ["3"]])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WAITER_KITCHEN", raising=False)
    if source == "variable":
        monkeypatch.setenv("WAITER_KITCHEN", "./orders.sqlite")
    if source == "file":
        (tmp_path / "waiter.toml").write_text('kitchen = "./orders.sqlite"\n')

    with open_kitchen(create=False) as kitchen:
        assert kitchen.counts().total == 3
    one = DeliveryOptions(max_orders=1, any_command=True)
    deliver_with(lambda _: None, options=one, state=tmp_path)
    deliver(open_kitchen, ["true"], one, state=tmp_path)
    _Wanderer(options=one).run()

    with open_named(url) as kitchen:
        assert kitchen.counts()[Status.DONE] == 3


class _Wanderer(Waiter):
    def deliver(self, order):
        os.chdir("/")
        return order.id


def test_a_waiter_that_nobody_taught_to_deliver_costs_no_order_anything(tmp_path):
    with open_kitchen(str(tmp_path / "k.sqlite")) as kitchen:
        load_rows(kitchen, [["1"]])

        with pytest.raises(NotImplementedError, match="override deliver"):
            Waiter(str(tmp_path / "k.sqlite")).run()

        assert [order.status for order in iter_orders(kitchen)] == [Status.READY]
