"""`extract --format parquet`: what pandas, DuckDB or Spark get."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow.parquet
import pytest

from tests.conftest import check_in, fill, outcome
from waiter.orders import Order, Reason, Status
from waiter.report.survey import column_types, survey
from waiter.report.writers.parquet import OrdersChanged, fitted


def delivered(kitchen, results, **facts):
    """Orders, each DONE with one of these results."""
    fill(kitchen, [[f"tile-{n}", b"\xff".decode("utf-8", "surrogateescape")] for n in range(len(results))])
    shift = check_in(kitchen)
    for result in results:
        (order,) = kitchen.claim(shift, limit=1)
        kitchen.finish(shift, [outcome(order, result=result, exit_code=0, **facts)])


@pytest.fixture
def table(ask, tmp_path):
    """Extracts into a file and reads it with pyarrow."""

    def read(*arguments):
        ask("extract", "--format", "parquet", "-o", "orders.parquet", *arguments)
        return pyarrow.parquet.read_table(tmp_path / "orders.parquet")

    return read


def test_times_numbers_and_lists_are_themselves(table, kitchen):
    fill(kitchen, [["tile", b"\xff".decode("utf-8", "surrogateescape"), "é"]])
    shift = check_in(kitchen)
    (order,) = kitchen.claim(shift, limit=1)
    failure = {"reason": Reason.EXIT, "exit_code": 3, "error": "=boom", "error_group": "0123abcd"}
    kitchen.finish(shift, [outcome(order, Status.ERROR, start=1e9, stop=1e9 + 1.5, **failure)])

    (row,) = table("--columns", "_id,status,arguments,start,stop,duration,exit_code,signal,error,result").to_pylist()

    assert row == {
        "_id": "b-1",
        "status": "ERROR",
        "arguments": ["tile", "\\xff", "é"],
        "start": datetime.fromtimestamp(1e9, UTC),
        "stop": datetime.fromtimestamp(1e9 + 1.5, UTC),
        "duration": 1.5,
        "exit_code": 3,
        "signal": None,
        "error": "=boom",
        "result": None,
    }


def test_results_become_columns_of_the_type_that_takes_all_their_values(table, kitchen):
    first = {"n": 1, "half": 2, "mixed": 1, "flag": True, "list": [1], "huge": 2**70, "nothing": None}
    second = {"n": 2, "half": 1.5, "mixed": "text", "flag": False, "huge": 1, "odd": "\ud800"}
    delivered(kitchen, [json.dumps(first), json.dumps(second), "plain", None])

    read = table("--columns", "result.*")

    types = {field.name: str(field.type) for field in read.schema}
    assert (types["result.n"], types["result.half"], types["result.flag"]) == ("int64", "double", "bool")
    assert {types[f"result.{key}"] for key in ("mixed", "list", "huge", "nothing", "odd")} == {"string"}
    assert read["result.n"].to_pylist() == [1, 2, None, None]
    assert read["result.half"].to_pylist() == [2.0, 1.5, None, None]
    assert read["result.mixed"].to_pylist() == ["1", "text", None, None]
    assert read["result.list"].to_pylist()[0] == "[1]"
    assert read["result.huge"].to_pylist()[:2] == [str(2**70), "1"]
    assert read["result.odd"].to_pylist()[1] == "\\ud800"


def test_some_keys_and_no_orders_are_fine(table, kitchen):
    delivered(kitchen, ['{"a": 1, "b": 2}'])
    assert table("--columns", "result.b").to_pylist() == [{"result.b": 2}]
    assert table("--columns", "result.b", "--status", "READY").num_rows == 0
    assert table("--columns", "_id,result.*", "--status", "ERROR").num_rows == 0


def test_a_pipe_gets_the_same(kitchen, kitchen_url, home):
    delivered(kitchen, ['{"a": 1}'])
    command = [sys.executable, "-m", "waiter", "-k", kitchen_url, "extract", "--format", "parquet"]
    done = subprocess.run(command, capture_output=True, env=home, timeout=60)
    assert done.returncode == 0
    assert pyarrow.parquet.read_table(io.BytesIO(done.stdout)).num_rows == 1


def test_without_pyarrow_one_line_says_what_to_install(ask, kitchen, tmp_path, home):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "pyarrow.py").write_text("raise ImportError('no such module')\n")
    path = f"{tmp_path / 'without'}:{home['PYTHONPATH']}"
    said = ask("extract", "--format", "parquet", "-o", "x.parquet", code=2, PYTHONPATH=path).stderr
    assert said == "waiter: --format parquet needs pyarrow\nhint: install it: pip install 'simple-waiter[parquet]'\n"
    assert not (tmp_path / "x.parquet").exists()


def an_order(result):
    return Order("b-1", "b", 1, ("x",), result=result)


def test_a_result_of_another_type_that_comes_meanwhile_is_named():
    names = ["result.a"]
    kinds = column_types(names, survey(names, [an_order('{"a": 1}')], has_types=True))
    assert fitted(an_order(None), kinds) == [None]
    with pytest.raises(OrdersChanged, match=r"b-1 brought a result\.a of another type"):
        fitted(an_order('{"a": "text"}'), kinds)


@pytest.mark.timeout(300)
def test_a_hundred_thousand_orders_stream_in_flat_memory(kitchen, tmp_path, home):
    count = 100_000
    fill(kitchen, [[f"tile-{n}", "x" * 200] for n in range(count)])

    def peak(limit):
        arguments = ["-k", kitchen.url, "extract", "--format", "parquet", "-o", "all.parquet", "--limit", str(limit)]
        process = subprocess.Popen([sys.executable, "-m", "waiter", *arguments], env=home, cwd=tmp_path)
        _, process.returncode, usage = os.wait4(process.pid, 0)
        assert process.returncode == 0
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    some, all_ = peak(25_000), peak(count)

    assert pyarrow.parquet.read_metadata(tmp_path / "all.parquet").num_rows == count
    assert all_ - some < 40 << 20
