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


@pytest.mark.parametrize("first", [1, 100])
def test_a_name_that_another_batch_has_costs_the_others_no_order(waiter_cli, kitchen_url, tmp_path, first):
    (tmp_path / "one.csv").write_text("sampleid\n" + "".join(f"a{n}\n" for n in range(first)))
    (tmp_path / "two.csv").write_text("sample_id\n" + "".join(f"b{n}\n" for n in range(100)))
    for batch in ("one", "two"):
        waiter_cli("-k", kitchen_url, "load", "--header", "--batch", batch, f"{batch}.csv")

    told = waiter_cli("-k", kitchen_url, "deliver", "true", "{sampleid}")

    assert told.returncode in (2, 4)  # as both were looked at before the first order ran, or later
    assert "Did you mean {sample_id}, which is {1}?" in told.stderr
    batches = json.loads(waiter_cli("-k", kitchen_url, "batches", "--json").stdout)["batches"]
    two = next(batch for batch in batches if batch["name"] == "two")
    assert (two["command"], two["counts"]["READY"]) == (None, 100)
    assert not any(batch["counts"]["ERROR"] for batch in batches)
