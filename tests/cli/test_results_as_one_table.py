"""Names of arguments and keys of results are columns of one table: in `extract`, and in Python."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from datetime import datetime

import pytest

from tests.conftest import fill
from waiter import LoadOptions, UsageError, deliver_with, iter_orders, iter_rows, load, load_rows, open_kitchen
from waiter.delivery.calls import result_text
from waiter.report.survey import OrderFinder, find_columns
from waiter.report.writers import FORMATS, write_orders


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def samples(ask, tmp_path):
    """Three samples by name, the first two of them delivered; the second result is no object."""
    (tmp_path / "samples.csv").write_text("sample_id,path,status\nNA1,/a b,=new\nNA2,/b,old\nNA3,/c,old\n")
    ask("load", "--header", "samples.csv")
    (tmp_path / "measure").write_text('#!/bin/sh\n[ $1 = NA2 ] && r=7 || r=\'{"mapped": 0.5, "ok": true}\'\n'
                                      'printf "%s" "$r" > $WAITER_RESULT\n')  # fmt: skip
    (tmp_path / "measure").chmod(0o755)
    ask("deliver", "--max-orders", "2", "./measure", code=124)


def test_a_name_of_an_argument_is_a_column_beside_those_of_results(ask, samples):
    text = ask("extract", "--columns", "sample_id,result.mapped").stdout
    assert text == "sample_id,result.mapped\nNA1,0.5\nNA2,\nNA3,\n"


def test_a_star_is_all_arguments_and_all_keys_of_results(ask, samples):
    rows = table(ask("extract", "--columns", "status,*").stdout)

    first = {"sample_id": "NA1", "path": "/a b", "arguments.status": "'=new", "result.mapped": "0.5"}
    assert rows[0] == {"status": "DONE", **first, "result.ok": "true", "result": '{"mapped": 0.5, "ok": true}'}
    assert [row["result"] for row in rows[1:]] == ["7", ""]


def test_arguments_without_names_are_columns_by_their_position(ask, tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\nc,d\n")
    ask("load", "rows.csv")
    assert ask("extract", "--columns", "*").stdout == "1,2\na,b\nc,d\n"
    assert ask("extract", "--columns", "2,status").stdout == "2,status\nb,READY\nd,READY\n"


def test_keys_of_json_rows_are_columns_whichever_each_row_has(ask, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"x": 1.10, "tags": ["a"]}\n{"y": null, "x": "1"}\n')
    ask("load", "rows.jsonl")

    text = ask("extract", "--columns", "arguments.*", "--format", "jsonl").stdout

    assert [json.loads(line) for line in text.splitlines()] == [
        {"x": "1.10", "tags": '["a"]', "y": None},
        {"x": "1", "tags": None, "y": "null"},
    ]


def test_an_argument_in_the_way_of_a_column_has_its_long_name(ask, samples):
    assert table(ask("extract", "--columns", "status,arguments.status", "--raw").stdout)[0] == {
        "status": "DONE",
        "arguments.status": "=new",
    }


def test_a_key_that_no_result_has_is_refused_with_the_nearest(ask, samples, tmp_path):
    said = ask("extract", "--columns", "sample_id,result.maped", "-o", "out.csv", code=2).stderr
    ask("extract", "--status", "READY", "--columns", "result.mapped")

    assert (
        "--columns: unknown column result.maped: no result has such a key\nhint: did you mean result.mapped? " in said
    )
    assert "Known are result.mapped, result.ok" in said
    assert not (tmp_path / "out.csv").exists()


def test_a_key_may_be_asked_for_before_there_are_results(ask):
    ask("load", "-", input="a\n")
    assert ask("extract", "--columns", "1,result.mapped").stdout == "1,result.mapped\na,\n"


@pytest.mark.parametrize(("wrong", "near"), [("smaple_id", "sample_id"), ("stauts", "status"), ("4", None)])
def test_a_column_that_no_order_has_is_refused_with_the_nearest_name(ask, samples, tmp_path, wrong, near):
    said = ask("extract", "--columns", f"_id,{wrong}", "-o", "out.csv", code=2).stderr
    assert f"--columns: unknown column {wrong}: no order has such an argument\nhint: " in said
    assert (f"did you mean {near}?" in said) if near else ("did you mean" not in said)
    assert not (tmp_path / "out.csv").exists()


def test_a_name_that_only_orders_have_that_were_not_asked_for_is_a_column_all_the_same(ask, samples):
    assert ask("extract", "--columns", "sample_id", "--status", "ERROR").stdout == "sample_id\n"


def test_a_name_is_looked_for_no_further_than_it_must(kitchen):
    fill(kitchen, [[str(number)] for number in range(50)])
    read = []

    class Counting(OrderFinder):
        def find(self, names):
            for order in super().find(names):
                read.append(order.id)
                yield order

    assert find_columns("1,status", Counting(kitchen)) == {"1": "string", "status": "string"}
    assert len(read) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_python_writes_the_same_file_as_the_command(ask, samples, kitchen, tmp_path, format):
    ask("extract", "--columns", "*", "--format", format, "-o", "by-command")
    write_orders(kitchen, str(tmp_path / "by-python"), columns="*", format=format)
    assert (tmp_path / "by-python").read_bytes() == (tmp_path / "by-command").read_bytes()
    assert (tmp_path / "by-python").stat().st_size > 50


def test_a_format_that_does_not_exist_is_refused(kitchen, tmp_path):
    with pytest.raises(UsageError, match=r"no such format\nhint: known are csv, jsonl, parquet"):
        write_orders(kitchen, str(tmp_path / "x"), format="xml")
    assert list(tmp_path.glob("x*")) == []


def test_what_a_function_returns_comes_back_typed(kitchen_url):
    returned = {"a": {"n": 1, "nested": [True, None]}, "b": [1, 2.5], "c": 3, "d": None, "e": "text", "f": False}
    with open_kitchen(kitchen_url) as kitchen:
        load_rows(kitchen, [{"key": key} for key in returned])

    deliver_with(lambda order: returned[order.arguments[0]], kitchen_url)

    with open_kitchen(kitchen_url) as kitchen:
        assert {order.named["key"]: order.value for order in iter_orders(kitchen)} == returned
        rows = list(iter_rows(kitchen, "key,start,result,result.n"))
    assert {row["key"]: row["result"] for row in rows} == returned
    assert rows[0]["result.n"] == 1
    assert isinstance(rows[0]["start"], datetime)


@dataclass
class Point:
    x: float


class Array:
    """What NumPy's arrays and numbers do."""

    def tolist(self):
        return [1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1.5, "1.5"),
        ({"nan": float("nan"), "in": [float("inf"), 1.0]}, '{"nan": null, "in": [null, 1.0]}'),
        (float("nan"), "nan"),
        (Point(1.0), '{"x": 1.0}'),
        (Array(), "[1, 2]"),
        ({"at": Array(), "p": Point(2)}, '{"at": [1, 2], "p": {"x": 2}}'),
    ],
)
def test_what_a_function_returns_is_json(value, text):
    assert result_text(value) == text


def test_orders_cuts_nothing_where_no_terminal_reads_it(ask, kitchen, kitchen_url):
    fill(kitchen, [["x" * 300, "the end"]])
    name = "a-waiter-with-a-name-that-is-long"
    ask("deliver", "--name", name, "true")

    said = ask("orders").stdout

    assert "x" * 300 + ' "the end"' in said
    assert name in said


def test_rows_for_programs_have_the_names_of_arguments_unless_told(kitchen, tmp_path):
    (tmp_path / "more.jsonl").write_text('{"n": 3}\n')
    load(kitchen, str(tmp_path / "more.jsonl"), LoadOptions(batch="more"))
    assert list(iter_rows(kitchen)) == [{"_id": next(iter_orders(kitchen)).id, "status": "READY", "n": 3}]
