"""The README's Python example, as it stands there, and the API's other names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from waiter import (
    DeliveryOptions,
    Selector,
    Status,
    Waiter,
    deliver,
    deliver_with,
    iter_orders,
    load_rows,
    open_kitchen,
)

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


def test_a_command_delivers_too(tmp_path):
    url = str(tmp_path / "kitchen.sqlite")
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [["x"], ["y"]])

    summary = deliver(lambda: open_kitchen(url), ["test", "x", "="], DeliveryOptions(), state=tmp_path)

    assert (summary.delivered, summary.failed) == (1, 1)
    with open_kitchen(url) as kitchen:
        assert [order.arguments for order in kitchen.find(Selector(statuses=(Status.ERROR,)))] == [("y",)]


def test_a_waiter_that_nobody_taught_to_deliver_costs_no_order_anything(tmp_path):
    with open_kitchen(str(tmp_path / "k.sqlite")) as kitchen:
        load_rows(kitchen, [["1"]])

        with pytest.raises(NotImplementedError, match="override deliver"):
            Waiter(str(tmp_path / "k.sqlite")).run()

        assert [order.status for order in iter_orders(kitchen)] == [Status.READY]
