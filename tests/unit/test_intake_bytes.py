"""Whatever bytes a row holds, they arrive; and two inputs have one digest only if their rows are the same."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Sequence
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from waiter.errors import BadRow
from waiter.intake import Format, Input, RunningDigest, Seen, read

byte_strings = st.binary(max_size=20).map(lambda value: value.replace(b"\0", b""))
rows_of_bytes = st.lists(st.lists(byte_strings, min_size=1, max_size=3), max_size=6)
texts = byte_strings.map(os.fsdecode)
rows_of_text = st.lists(st.lists(texts, max_size=3), max_size=4)


def arrived(content: bytes, format: Format) -> list[list[bytes]]:
    def raise_it(row: BadRow) -> None:
        raise row

    with tempfile.TemporaryFile() as file:
        file.write(content)
        input = Input("x", file, format)
        rows = chain.from_iterable(read(input, on_bad=raise_it, seen=Seen()))
        return [list(map(os.fsencode, cells)) for _, cells, _ in rows]


@given(rows_of_bytes)
def test_every_byte_of_csv_arrives(rows):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([list(map(os.fsdecode, row)) for row in rows])

    assert arrived(file.getvalue().encode("utf-8", "surrogateescape"), Format.CSV) == rows


@given(st.lists(byte_strings.map(lambda line: line.replace(b"\n", b"")), max_size=6))
def test_every_byte_of_a_line_arrives(lines):
    kept = [line for line in lines if not os.fsdecode(line).isspace() and line and not line.endswith(b"\r")]
    kept[:1] = [line for line in kept[:1] if not line.startswith(b"\xef\xbb\xbf")]

    assert arrived(b"".join(line + b"\n" for line in kept), Format.LINES) == [[line] for line in kept]


@given(rows_of_bytes, st.booleans())
def test_every_byte_of_json_arrives(rows, is_escaped):
    lines = "".join(json.dumps(list(map(os.fsdecode, row)), ensure_ascii=is_escaped) + "\n" for row in rows)

    assert arrived(lines.encode("utf-8", "surrogateescape"), Format.JSONL) == rows


def digest(rows: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> str:
    running = RunningDigest()
    running.add([(number, row, names) for number, row in enumerate(rows, 1)])
    return running.hexdigest()


@given(rows_of_text, rows_of_text)
def test_rows_share_a_digest_only_if_they_are_the_same(some, others):
    assert (digest(some) == digest(others)) == (some == others)


@given(st.lists(st.lists(texts, min_size=2, max_size=2), min_size=1, max_size=3))
def test_names_are_part_of_the_digest(rows):
    assert len({digest(rows), digest(rows, ("a", "b")), digest(rows, ("a", "c"))}) == 3


def test_an_argument_that_looks_like_the_next_row_has_its_own_digest():
    assert digest([["a", "\nb"]]) != digest([["a"], ["b"]])
    assert digest([[]]) != digest([[""]])
    assert digest([["a", "1", "b"]]) != digest([["a"], ["b"]])


def test_rows_left_out_are_part_of_the_digest():
    gap, whole = RunningDigest(), RunningDigest()
    for running, numbers in ((gap, (1, 3)), (whole, (1, 2))):
        running.add([(number, ["a"], None) for number in numbers])

    assert gap.hexdigest() != whole.hexdigest()


@given(rows_of_text, rows_of_text)
def test_what_has_grown_begins_with_the_digest_it_had(before, more):
    rows = [(number, row, None) for number, row in enumerate(before + more, 1)]
    running = RunningDigest()

    running.add(rows[: len(before)])
    assert running.hexdigest() == digest(before)
    running.add(rows[len(before) :])
    assert running.hexdigest() == digest(before + more)
