"""What was no text in a row is text for commands, and in Python what it was. On both kitchens."""

from __future__ import annotations

import json

import pytest

from tests.conftest import check_in
from waiter.loading import load, load_rows
from waiter.orders import Selector
from waiter.report.columns import typed_record

VALUES = ["text", "1", 1, -2.5, 1e22, 10**30, True, None, [1, "x", (2, None)], {"k": [True]}, {1}, ()]


def test_rows_of_python_come_back_as_they_were(kitchen):
    load_rows(kitchen, [VALUES, ["a", "b"], {"n": 7, "none": None}, {"n": "7", "none": ""}])

    orders = list(kitchen.find(Selector()))
    assert orders[0].arguments == tuple(map(str, VALUES))
    assert list(map(repr, orders[0].typed_arguments)) == list(map(repr, VALUES))  # True is not 1
    assert (orders[1].typed_arguments, orders[1].kinds) == (("a", "b"), None)
    assert [order.named for order in orders[2:]] == [{"n": "7", "none": "None"}, {"n": "7", "none": ""}]
    assert [order.typed_named for order in orders[2:]] == [{"n": 7, "none": None}, {"n": "7", "none": ""}]
    claimed = kitchen.claim(check_in(kitchen), 9)
    assert [order.typed_arguments for order in claimed] == [order.typed_arguments for order in orders]


def test_rows_of_json_lines_come_back_as_they_were_and_their_text_as_it_was_written(kitchen, tmp_path):
    lines = ['{"n": 1.10, "ok": true, "of": [1, "ü"], "s": "1.10"}', "[null, 12345678901234567890]"]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))

    load(kitchen, tmp_path / "rows.jsonl")

    named, listed = kitchen.find(Selector())
    assert named.arguments == ("1.10", "true", '[1,"ü"]', "1.10")
    assert named.typed_named == json.loads(lines[0])
    assert typed_record(named, ["n", "of", "arguments.2", "s"]) == {
        "n": 1.1,
        "of": [1, "ü"],
        "arguments.2": True,
        "s": "1.10",
    }
    assert listed.typed_arguments == (None, 12345678901234567890)


def test_what_is_no_json_and_no_literal_is_text_as_csv_is(kitchen, tmp_path):
    (tmp_path / "rows.csv").write_text("1,true\n")

    load(kitchen, tmp_path / "rows.csv")
    load_rows(kitchen, [[b"\xff", float("nan"), tmp_path]])

    assert [order.kinds for order in kitchen.find(Selector())] == [None, None]


@pytest.mark.parametrize("same", [[[1, None]], [["1", "None"]]])
def test_a_row_is_the_same_whatever_its_text_was(kitchen, same):
    load_rows(kitchen, [[1, None]])

    assert load_rows(kitchen, same).new == 0
