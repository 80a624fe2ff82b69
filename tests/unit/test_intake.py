"""What a row is, and what it is not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from waiter.errors import BadRow, InputUnreadable, UsageError
from waiter.intake import Format, Input, OnBad, Row, Seen, format_of, opened, read
from waiter.intake import rows as rows_
from waiter.limits import ARGUMENTS_BYTES


def raise_it(row: BadRow) -> None:
    raise row


def every(input: Input, on_bad: OnBad, seen: Seen) -> Iterator[Row]:
    return chain.from_iterable(read(input, on_bad=on_bad, seen=seen))


def rows_of(path: Path | str, **how) -> list[tuple[int, list[str], tuple[str, ...] | None]]:
    with opened(str(path), **how) as input:
        return [(number, list(cells), names) for number, cells, names in every(input, raise_it, Seen())]


def skipping(path: Path, **how) -> tuple[list[list[str]], list[BadRow], Seen]:
    bad: list[BadRow] = []
    seen = Seen()
    with opened(str(path), **how) as input:
        return [list(cells) for _, cells, _ in every(input, bad.append, seen)], bad, seen


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("orders.csv", Format.CSV),
        ("Orders.CSV.gz", Format.CSV),
        ("orders.tsv", Format.TSV),
        ("orders.jsonl", Format.JSONL),
        ("orders.ndjson.gz", Format.JSONL),
        ("orders.txt", Format.LINES),
        ("orders", Format.LINES),
    ],
)
def test_a_files_ending_says_its_format(name, format):
    assert format_of(name) is format


def test_csv_cells_are_arguments_numbered_as_in_a_spreadsheet(write):
    path = write("a.csv", b'a,"b, c"\n\n"two\nlines",""\n')

    assert rows_of(path) == [(1, ["a", "b, c"], None), (3, ["two\nlines", ""], None)]


def test_tabs_part_the_cells_of_tsv(write):
    assert rows_of(write("a.tsv", b"a b\tc,d\n")) == [(1, ["a b", "c,d"], None)]


def test_a_line_of_tsv_is_a_row_whatever_quotes_it_holds(write):
    content = b'"\tx\ny\t"z\r\n\n\t\n"q"\t5" pipe\r7\n'
    assert rows_of(write("a.tsv", content)) == [
        (1, ['"', "x"], None),
        (2, ["y", '"z'], None),
        (5, ['"q"', '5" pipe\r7'], None),
    ]
    assert rows_of(write("b.tsv", b'\nname\t"size"\n"a\t1\n'), header=True) == [(3, ['"a', "1"], ("name", '"size"'))]


def test_a_header_names_the_arguments_and_is_row_one(write):
    path = write("a.csv", b"size, colour\n3,red\n")

    assert rows_of(path, header=True) == [(2, ["3", "red"], ("size", "colour"))]


def test_json_lines_are_lists_or_objects(write):
    path = write("a.jsonl", b'["a", 1.10, true, null, {"b": [1e400, "\xc3\xa9"]}]\n\n{"x": "1", "y": -0}\n[]\n')

    assert rows_of(path) == [
        (1, ["a", "1.10", "true", "null", '{"b":[1e400,"é"]}'], None),
        (3, ["1", "-0"], ("x", "y")),
        (4, [], None),
    ]


def test_escapes_of_bytes_are_the_argument_that_these_bytes_are(write):
    path = write("a.jsonl", rb'["\udcc3\udca9", "\udcff"]' + b"\n")

    assert rows_of(path) == [(1, ["é", "\udcff"], None)]


@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_a_byte_order_mark_is_not_part_of_the_first_cell(write, name):
    assert rows_of(write(name, b"\xef\xbb\xbfa\r\nb\r\n")) == [(1, ["a"], None), (2, ["b"], None)]


def test_blank_rows_are_skipped_and_counted(write):
    cells, _, seen = skipping(write("a.txt", b"a\n\n  \t\nb\n\n"))

    assert cells == [["a"], ["b"]]
    assert (seen.rows, seen.blank, seen.orders) == (5, 3, 2)


def test_a_quoted_empty_cell_is_an_argument_and_an_empty_line_is_not(write):
    cells, _, seen = skipping(write("a.csv", b'""\n\n" "\n   \n'))

    assert cells == [[""], [" "]]
    assert seen.blank == 2


def test_a_carriage_return_inside_a_line_stays(write):
    assert rows_of(write("a.txt", b"a\rb\r\nc\r")) == [(1, ["a\rb"], None), (2, ["c\r"], None)]


def test_bytes_that_are_no_utf8_come_through(write):
    ((_, (value,), _),) = rows_of(write("a.txt", b"caf\xe9\n"))

    assert os.fsencode(value) == b"caf\xe9"


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv"])
def test_gzip_is_unzipped_whatever_its_name(write, name):
    assert rows_of(write(name, gzip.compress(b"a,b\n"))) == [(1, ["a", "b"], None)]


def test_stdin_is_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\nc\n")))

    assert rows_of("-") == [(1, ["a,b"], None), (2, ["c"], None)]


def test_stdin_is_csv_when_that_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n")))

    assert rows_of("-", format=Format.CSV) == [(1, ["a", "b"], None)]


def test_a_pipe_can_be_read_twice(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a,b\n",))
    writer.start()

    with opened(str(pipe)) as input:
        first = list(every(input, raise_it, Seen()))
        second = list(every(input, raise_it, Seen()))

    writer.join()
    assert first == second == [(1, ["a", "b"], None)]


BAD = [
    ("nul.csv", b"a\nb\0c\n", 2, "a NUL byte cannot be passed to a command"),
    ("nul.txt", b"a\0b\n", 1, "a NUL byte cannot be passed to a command"),
    ("nul.jsonl", b'["\\u0000"]\n', 1, "a NUL byte cannot be passed to a command"),
    ("open.csv", b'a\n\n"b\nc\n', 3, "the quote that opens here is never closed"),
    ("text.csv", b'"a"b\n', 1, "text follows a closing quote"),
    ("half.jsonl", b'["a"]\n["\\ud800"]\n', 2, "invalid "),
    ("broken.jsonl", b'["a"\n', 1, "not JSON"),
    ("nan.jsonl", b"[NaN]\n", 1, "NaN is not JSON"),
    ("twice.jsonl", b'{"a": 1, "a": 2}\n', 1, "a key comes twice"),
    ("unnamed.jsonl", b'{"": 1}\n', 1, "a key is empty"),
    ("deep.jsonl", b"[" * 100_000 + b"\n", 1, "not JSON"),
    ("word.jsonl", b'"a"\n', 1, "neither a list nor an object"),
    ("large.txt", b"x" * (ARGUMENTS_BYTES + 1) + b"\n", 1, "more than the 8 MiB"),
    ("large.csv", b'"' + b"xy\n" * (ARGUMENTS_BYTES // 2) + b'"\n', 1, "never closed"),
    ("wide.csv", b"xy,z\n" + b"xy," * (ARGUMENTS_BYTES // 3 + 1) + b"\n", 2, "more than the 8 MiB"),
    ("large.jsonl", b'["' + b"x" * (ARGUMENTS_BYTES + 1) + b'"]\n', 1, "more than the 8 MiB"),
]


@pytest.mark.parametrize(("name", "content", "row", "words"), BAD, ids=[name for name, *_ in BAD])
def test_a_bad_row_is_named_with_its_file_and_number(write, name, content, row, words):
    path = write(name, content)

    with pytest.raises(BadRow, match=words) as caught:
        rows_of(path)

    assert (caught.value.source, caught.value.row) == (str(path), row)
    assert str(caught.value).startswith(f"{path}, row {row}: ")
    assert str(caught.value).count("\n") == str(caught.value).count("\nhint: ") == 1


@pytest.mark.parametrize(
    ("content", "row", "words"),
    [
        (b"a,a\n1,2\n", 1, "its own name"),
        (b"a,\n1,2\n", 1, "its own name"),
        (b"a,b\0\n1,2\n", 1, "NUL"),
        (b"a,b\n1\n", 2, "1 cell, but the header names 2"),
        (b"a,b\n1,2\n1,2,3\n", 3, "3 cells, but the header names 2"),
    ],
)
def test_rows_must_fit_their_header(write, content, row, words):
    with pytest.raises(BadRow, match=words) as caught:
        rows_of(write("a.csv", content), header=True)

    assert caught.value.row == row


def test_a_header_is_for_csv(write):
    with pytest.raises(UsageError, match="--header is for CSV"):
        rows_of(write("a.txt", b"a\n"), header=True)


def test_bad_rows_can_be_skipped_and_the_rest_keeps_its_numbers(write):
    cells, bad, seen = skipping(write("a.csv", b'a\n"b"b\nc\0\nd\n'))

    assert cells == [["a"], ["d"]]
    assert [row.row for row in bad] == [2, 3]
    assert (seen.rows, seen.orders) == (4, 2)


def test_a_quote_that_is_never_closed_costs_one_row(write):
    cells, bad, _ = skipping(write("a.csv", b'a\n"b,c\nd,"e\nf"\n\ng\n'))

    assert cells == [["a"], ["d", "e\nf"], ["g"]]
    assert [row.row for row in bad] == [2]


def test_a_quote_that_is_never_closed_costs_one_row_of_a_long_file(write, monkeypatch):
    monkeypatch.setattr(rows_, "QUOTED_LINES", 100)

    cells, bad, seen = skipping(write("a.csv", b'"a\n' + b"b\n" * 1000))

    assert cells == [["b"]] * 1000
    assert [row.row for row in bad] == [1]
    assert seen.rows == 1001


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_a_line_without_end_takes_no_more_memory_than_an_order_may(write, name):
    path = write(name, b"x" * 64_000_000 + b'\n["b"]\n')
    tracemalloc.start()

    _, bad, seen = skipping(path)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen.rows == 2
    assert "more than the 8 MiB" in bad[0].why
    assert peak < 50_000_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv.gz", b"a,b\n", "not a whole gzip file"),
        ("cut.csv.gz", gzip.compress(os.urandom(1000).hex().encode())[:-20], "not a whole gzip file"),
        ("a.csv", "a,b\n".encode("utf-16"), "UTF-16"),
        ("a.csv", b"PK\3\4\x14\0\6\0", "not a complete Excel workbook"),
        (
            "a.json",
            b'[\n{"a": 1},\n{"a": 2}\n]\n',
            "json says nothing of rows\nhint: --format jsonl for one value a line",
        ),
        ("a.csv.xz", lzma.compress(b"a,b\n"), "xzcat"),
        ("a.csv.bz2", bz2.compress(b"a,b\n"), "bzcat"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_refused(write, name, content, words):
    with pytest.raises(InputUnreadable, match=words):
        rows_of(write(name, content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputUnreadable, match=r"absent.csv: cannot be read: No such file"):
        rows_of(tmp_path / "absent.csv")


def test_a_directory_is_refused_with_the_line_to_type(tmp_path):
    with pytest.raises(InputUnreadable, match=r"a directory\nhint: name a file, or list it: ls .* \| waiter load -"):
        rows_of(tmp_path)


def test_closed_stdin_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)

    with pytest.raises(InputUnreadable, match="stdin is closed"):
        rows_of("-")
