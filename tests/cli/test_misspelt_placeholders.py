"""A placeholder that no order can fill is refused with the nearest name, and no order is spent on it."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("verb", [("deliver",), ("pilot", "-n", "1")])
@pytest.mark.parametrize("command", [("echo", "{sampleid}"), ("--shell", "echo {sampleid}")])
def test_a_misspelt_name_costs_no_order(waiter_cli, kitchen_url, tmp_path, verb, command):
    (tmp_path / "in.csv").write_text("sample_id,n\na,1\nb,2\n")
    assert waiter_cli("-k", kitchen_url, "load", "--header", "in.csv").returncode == 0

    told = waiter_cli("-k", kitchen_url, *verb, *command)

    assert told.returncode == 2
    assert "Did you mean {sample_id}, which is {1}?" in told.stderr
    assert told.stdout == ""
    orders = json.loads(waiter_cli("-k", kitchen_url, "orders", "--json").stdout)["orders"]
    assert [(order["status"], order["attempt"], order["failures"]) for order in orders] == [("READY", 0, 0)] * 2
    (batch,) = json.loads(waiter_cli("-k", kitchen_url, "batches", "--json").stdout)["batches"]
    assert batch["command"] is None
