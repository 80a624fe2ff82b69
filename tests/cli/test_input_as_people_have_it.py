"""Files as spreadsheets write them: semicolons, tabs, workbooks, blank rows, a header that nobody mentioned."""

from __future__ import annotations

import datetime
import json
import zipfile

import pytest

from tests.conftest import unavailable


def arguments(ask, *more):
    """What the kitchen's orders hold, in the order of the rows."""
    said = ask("extract", "--format", "jsonl", *more).stdout
    return [order["arguments"] for order in map(json.loads, said.splitlines())]


@pytest.mark.parametrize(("name", "separator", "said"), [("a.csv", ";", "';'"), ("b.csv", "\t", "tabs")])
def test_semicolons_and_tabs_that_certainly_separate_columns_are_taken_and_said(ask, tmp_path, name, separator, said):
    (tmp_path / name).write_text("S1;2,5\nS2;3\n".replace(";", separator))

    loaded = ask("load", name)

    assert f"{name}: columns are separated by {said}\n" in loaded.stderr
    assert arguments(ask) == [["S1", "2,5"], ["S2", "3"]]


def test_a_delimiter_that_is_not_certain_is_asked_for_and_not_guessed(ask, tmp_path):
    (tmp_path / "one.csv").write_text("S1;2\n")

    loaded = ask("load", "one.csv")

    assert "one.csv: each row is one argument, although all hold ';'\n" in loaded.stderr
    assert "hint: if that separates columns: --delimiter ';'\n" in loaded.stderr
    assert arguments(ask) == [["S1;2"]]
    ask("load", "--delimiter", ";", "one.csv")
    assert arguments(ask)[-1] == ["S1", "2"]


def test_stdin_with_a_delimiter_is_csv(ask):
    ask("load", "--delimiter", "|", "-", input='a|"b|c"\n')

    assert arguments(ask) == [["a", "b|c"]]


def test_run_reads_as_load_does(ask, tmp_path):
    (tmp_path / "a.csv").write_text("id;size\nS1;2,5\nS2;3\n")

    ran = ask("run", "--input", "a.csv", "--header", "echo", "{size}", "{id}")

    assert ran.stdout == "2,5 S1\n3 S2\n"
    assert "a.csv: columns are separated by ';'" in ran.stderr


@pytest.mark.parametrize(
    ("content", "options", "row"),
    [
        ("a;b\n1;2,5\n", ("--delimiter", ",", "--header"), 2),
        ('"a";"b"\n', (), 1),
        ("a|b\n1|2,5\n", ("--header",), 2),
    ],
)
def test_rows_with_another_delimiter_are_told_that_and_not_to_be_skipped(ask, tmp_path, content, options, row):
    (tmp_path / "a.csv").write_text(content)

    refused = ask("load", *options, "a.csv", code=1)

    separator = "|" if "|" in content else ";"
    assert f"a.csv, row {row}: " in refused.stderr
    assert f"; columns look separated by '{separator}'\nhint: --delimiter '{separator}'\n" in refused.stderr
    assert "skip" not in refused.stderr


def test_a_ragged_row_of_a_table_may_be_skipped(ask, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n")

    refused = ask("load", "--header", "a.csv", code=1)

    assert refused.stderr == (
        "waiter: a.csv, row 3: 1 cell, but the header names 2\nhint: fix it, or skip such rows with --skip-bad\n"
    )


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_excels_blank_rows_are_skipped_and_counted(ask, tmp_path, name):
    rows = 'S1,1\n,\n"",""\nS2,2\n,,,,\n\n,\n' if name == "a.csv" else "S1\t1\n\t\nS2\t2\n\t\t\t\n"
    (tmp_path / name).write_text(rows)

    loaded = ask("load", name)

    blank = 4 if name == "a.csv" else 2
    assert f"({blank} blank rows skipped)" in loaded.stderr
    assert [cells for cells in arguments(ask) if any(cells)] == [["S1", "1"], ["S2", "2"]]


def test_blank_rows_far_down_are_skipped_too(ask, tmp_path):
    (tmp_path / "a.csv").write_text("".join(f"{n},x\n" for n in range(50_000)) + ",\n" * 1000)

    loaded = ask.json("load", "a.csv")

    assert (loaded["rows"], loaded["new"], loaded["blank"]) == (51_000, 50_000, 1000)


def test_a_first_row_that_looks_like_a_header_is_said_once_and_loaded_all_the_same(ask, tmp_path):
    (tmp_path / "a.csv").write_text("sample_id,path\nS1,/d/1\nS2,/d/2\n")

    first, again = ask("load", "a.csv"), ask("load", "a.csv")

    assert "a.csv: the first row looks like a header (sample_id, path) and is an order.\nhint: --header" in first.stderr
    assert "header" not in again.stderr
    assert arguments(ask)[0] == ["sample_id", "path"]
    assert "looks like" not in ask("load", "--header", "a.csv").stderr


def test_an_option_for_another_kind_of_input_is_refused(ask, tmp_path):
    (tmp_path / "a.jsonl").write_text("[]\n")
    (tmp_path / "a.csv").write_text("a\n")

    assert "--delimiter is for CSV" in ask("load", "--delimiter", ";", "a.jsonl", code=2).stderr
    assert "--sheet is for Excel's workbooks" in ask("load", "--sheet", "A", "a.csv", code=2).stderr


@pytest.fixture
def workbook(tmp_path):
    """Makes a workbook of sheets, each a list of rows."""
    try:
        import openpyxl
    except ImportError:
        unavailable("no openpyxl: install the test dependencies")

    def make(name, **sheets):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / name)

    return make


def test_a_workbooks_cells_are_the_text_that_people_see(ask, workbook):
    day, minute = datetime.date(2024, 5, 1), datetime.datetime(2024, 5, 1, 12, 30)
    rows = [["S 1", 3, 2.0, 0.1 + 0.2, day, minute, True, "é,\n;"], [], ["S2", 4.5], [None, "x"]]
    workbook("t.xlsx", Tiles=rows)

    loaded = ask("load", "t.xlsx")

    assert "(1 blank row skipped)" in loaded.stderr
    assert arguments(ask) == [
        ["S 1", "3", "2", "0.3", "2024-05-01", "2024-05-01T12:30:00", "TRUE", "é,\n;"],
        ["S2", "4.5", *[""] * 6],
        ["", "x", *[""] * 6],
    ]


def test_the_first_sheet_is_read_or_the_one_that_is_named(ask, workbook):
    workbook("t.xlsx", Tiles=[["n"], [1]], Rest=[["m"], [2]])

    first = ask("load", "--header", "t.xlsx")

    assert "t.xlsx: sheet 'Tiles' is read, and not 'Rest'\nhint: --sheet" in first.stderr
    ask("load", "--header", "--sheet", "Rest", "t.xlsx")
    assert arguments(ask) == [["1"], ["2"]]
    refused = ask("load", "--sheet", "Absent", "t.xlsx", code=2)
    assert "no such sheet\nhint: there is 'Tiles', 'Rest'" in refused.stderr


def test_a_workbook_is_known_by_what_it_holds(ask, workbook, tmp_path):
    workbook("t.xlsx", Tiles=[["a", 1]])
    (tmp_path / "t.xlsx").rename(tmp_path / "orders")

    ask("run", "--input", "orders", "echo")

    assert arguments(ask) == [["a", "1"]]


def test_a_formula_that_was_never_computed_is_no_empty_argument(ask, workbook):
    workbook("t.xlsx", Tiles=[["a", "=1+1"]])

    refused = ask("load", "t.xlsx", code=1)

    assert "sheet 'Tiles', cell B1: a formula whose value was never computed" in refused.stderr


def test_a_workbook_without_openpyxl_names_the_package_and_the_line_that_converts(ask, tmp_path):
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as packed:
        packed.writestr("xl/workbook.xml", "")
    (tmp_path / "openpyxl.py").write_text("raise ImportError\n")

    refused = ask("load", "t.xlsx", code=1, PYTHONPATH=f"{tmp_path}:{__file__.partition('/tests/')[0]}")

    assert (
        "t.xlsx: an Excel workbook, which needs one package more: pip install 'simple-waiter[xlsx]'\n" in refused.stderr
    )
    assert "hint: or convert it: libreoffice --headless --convert-to csv t.xlsx\n" in refused.stderr


@pytest.mark.parametrize("content", [b"PK\3\4 broken", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_what_is_no_workbook_that_can_be_read_is_said(ask, tmp_path, content):
    (tmp_path / "t.xlsx").write_bytes(content)

    assert "save the sheet as CSV" in ask("load", "t.xlsx", code=1).stderr
