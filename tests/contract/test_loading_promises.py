"""Every row is one order, once, however often and however brokenly it is loaded [1]. On both kitchens."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import check_in, outcome
from waiter.errors import BadRow, InputUnreadable, UsageError
from waiter.intake import rows as rows_
from waiter.known import BEAT_S
from waiter.loading import LoadOptions, load, load_rows
from waiter.matching import LISTED_BAD_ROWS
from waiter.orders import Order, Selector, Status

AGAIN = LoadOptions(again=True)
UNIQUE = LoadOptions(unique=True)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Ten of the rows that `write` makes are loaded at once."""
    monkeypatch.setattr(rows_, "PIECE", 65)


@pytest.fixture
def orders_csv(tmp_path) -> Path:
    path = tmp_path / "orders.csv"
    write(path, 1, 25)
    return path


def write(path: Path, first: int, last: int) -> None:
    path.write_text("".join(f"row {n:02}\n" for n in range(first, last + 1)))


def wide(first: int, last: int) -> str:
    """Rows so wide that reading is never far ahead of what was loaded."""
    return "".join(f"row {n}{' ' * 20_000}\n" for n in range(first, last + 1))


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def orders(kitchen) -> list[Order]:
    return list(kitchen.find(Selector()))


def arguments(kitchen) -> list[str]:
    return [order.arguments[0] for order in orders(kitchen)]


def numbered(first: int, last: int) -> list[str]:
    return [f"row {n:02}" for n in range(first, last + 1)]


def interrupt(kitchen, path: Path, options: LoadOptions | None = None, after: int = 10) -> int:
    """Load until `after` rows are in the kitchen, and press Ctrl-C. Returns how many are: others may be on the way."""

    def press(what: str, done: int, _total: int | None) -> None:
        if what == "loading" and done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(kitchen, str(path), options, press)
    there = sum(1 for _ in kitchen.find(Selector(batch=kitchen.batches()[-1].id)))
    assert after <= there <= after + 10
    return there


def test_every_row_is_one_ready_order(kitchen, orders_csv):
    loaded = load(kitchen, str(orders_csv))

    assert (loaded.rows, loaded.new, loaded.known, loaded.blank) == (25, 25, 0, 0)
    assert arguments(kitchen) == numbered(1, 25)
    assert [order.id for order in orders(kitchen)] == [f"{loaded.batch}-{n}" for n in range(1, 26)]
    assert {order.status for order in orders(kitchen)} == {Status.READY}


def test_the_batch_is_on_record(kitchen, orders_csv):
    loaded = load(kitchen, str(orders_csv), LoadOptions(batch="monday", priority=7))

    (batch,) = kitchen.batches()
    assert (batch.id, batch.name, batch.source) == (loaded.batch, "monday", str(orders_csv))
    assert (batch.rows, batch.orders, batch.priority, batch.is_complete) == (25, 25, 7, True)
    assert {order.priority for order in orders(kitchen)} == {7}


def test_names_and_bytes_of_a_row_reach_its_order(kitchen, tmp_path):
    path = tmp_path / "orders.csv"
    path.write_bytes(b'file,size\n"caf\xe9, \xc3\xa9\n--x",\xff\n')

    load(kitchen, str(path), LoadOptions(header=True))

    (order,) = orders(kitchen)
    assert order.row == 2
    assert order.names == ("file", "size")
    assert [os.fsencode(argument) for argument in order.arguments] == [b"caf\xe9, \xc3\xa9\n--x", b"\xff"]


def test_the_same_file_again_adds_nothing(kitchen, orders_csv):
    first = load(kitchen, str(orders_csv))

    again = load(kitchen, str(orders_csv))

    assert (again.batch, again.new, again.known) == (first.batch, 0, 25)
    assert again.is_unchanged
    assert len(orders(kitchen)) == 25


def test_the_same_rows_under_another_name_and_in_another_format_add_nothing(kitchen, orders_csv, tmp_path):
    load(kitchen, str(orders_csv))
    other = tmp_path / "other.jsonl"
    other.write_text("".join(f'["row {n:02}"]\n' for n in range(1, 26)))

    assert load(kitchen, str(other)).is_unchanged


def test_delivered_orders_are_not_loaded_again(kitchen, orders_csv):
    load(kitchen, str(orders_csv))
    kitchen.cancel(Selector())

    load(kitchen, str(orders_csv))

    assert kitchen.counts()[Status.CANCELLED] == kitchen.counts().total == 25


def test_a_file_whose_orders_were_cleaned_is_loaded_again(kitchen, orders_csv):
    batch = load(kitchen, str(orders_csv)).batch
    kitchen.clean(Selector(batch=batch))

    assert load(kitchen, str(orders_csv)).new == 25


def test_an_interrupted_load_is_completed_by_the_same_load(kitchen, orders_csv):
    there = interrupt(kitchen, orders_csv)
    assert not kitchen.batches()[0].is_complete

    loaded = load(kitchen, str(orders_csv))

    assert (loaded.new, loaded.known, loaded.is_grown) == (25 - there, there, False)
    assert arguments(kitchen) == numbered(1, 25)
    assert [batch.is_complete for batch in kitchen.batches()] == [True]


def test_a_load_that_was_killed_is_completed_by_the_same_load(kitchen, orders_csv):
    script = f"""if True:
        import os, signal, sys
        from waiter import loading
        from waiter.intake import rows
        from waiter.kitchen import open_kitchen
        rows.PIECE = 65
        def die(what, done, total):
            if what == "loading":
                os.kill(os.getpid(), signal.SIGKILL)
        loading.load(open_kitchen({kitchen.url!r}), {str(orders_csv)!r}, None, die)
    """
    died = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    there = len(orders(kitchen))
    assert there in (10, 20)  # one more step may have been on its way

    loaded = load(kitchen, str(orders_csv))

    assert (loaded.new, loaded.known) == (25 - there, there)
    assert arguments(kitchen) == numbered(1, 25)


def test_orders_of_an_interrupted_load_can_be_delivered(kitchen, orders_csv):
    interrupt(kitchen, orders_csv)

    shift = kitchen.check_in("a", "host", os.getpid())

    assert len(kitchen.claim(shift, limit=5)) == 5


def test_a_file_that_has_grown_adds_the_new_rows(kitchen, orders_csv):
    first = load(kitchen, str(orders_csv))
    append(orders_csv, "\nrow 27\nrow 28\n")

    grown = load(kitchen, str(orders_csv))

    assert (grown.batch, grown.new, grown.known, grown.is_grown) == (first.batch, 2, 25, True)
    assert [order.row for order in orders(kitchen)] == [*range(1, 26), 27, 28]
    assert load(kitchen, str(orders_csv)).is_unchanged


def test_a_load_of_a_grown_file_can_be_interrupted_too(kitchen, orders_csv):
    load(kitchen, str(orders_csv))
    append(orders_csv, "".join(f"row {n:02}\n" for n in range(26, 61)))
    there = interrupt(kitchen, orders_csv, after=40)

    loaded = load(kitchen, str(orders_csv))

    assert (loaded.new, loaded.known) == (60 - there, there)
    assert arguments(kitchen) == numbered(1, 60)


def test_a_file_that_grew_after_an_interruption_is_completed(kitchen, orders_csv):
    there = interrupt(kitchen, orders_csv)
    append(orders_csv, "row 26\n")

    loaded = load(kitchen, str(orders_csv))

    assert (loaded.new, loaded.known, loaded.is_grown) == (26 - there, there, True)
    assert arguments(kitchen) == numbered(1, 26)


def test_what_a_file_was_before_it_grew_adds_nothing(kitchen, orders_csv):
    load(kitchen, str(orders_csv))
    append(orders_csv, "row 26\n")
    load(kitchen, str(orders_csv))
    write(orders_csv, 1, 25)

    loaded = load(kitchen, str(orders_csv))

    assert loaded.is_unchanged
    assert len(orders(kitchen)) == 26


def test_the_longest_beginning_grows(kitchen, orders_csv, tmp_path):
    load(kitchen, str(orders_csv))
    (tmp_path / "more").mkdir()
    longer = tmp_path / "more" / "orders.csv"
    write(longer, 1, 30)
    grown = load(kitchen, str(longer), AGAIN)
    append(longer, "row 31\n")

    loaded = load(kitchen, str(longer))

    assert (loaded.batch, loaded.new) == (grown.batch, 1)


def test_another_file_that_begins_alike_is_loaded_whole(kitchen, orders_csv, tmp_path):
    load(kitchen, str(orders_csv))
    other = tmp_path / "other.csv"
    write(other, 1, 30)

    loaded = load(kitchen, str(other))

    assert (loaded.new, loaded.known, loaded.is_grown, loaded.changed) == (30, 0, False, None)


def test_another_content_of_the_same_file_is_a_new_batch_and_said(kitchen, orders_csv):
    first = load(kitchen, str(orders_csv))
    write(orders_csv, 2, 25)

    loaded = load(kitchen, str(orders_csv))

    assert (loaded.new, loaded.changed) == (24, first.batch)
    assert loaded.batch != first.batch


def test_two_pipes_with_one_name_are_not_taken_for_a_file_that_changed(kitchen):
    loaded = []
    number = os.open(os.devnull, os.O_RDONLY)  # kept for both: a driver's threads take what is free
    for rows in (b"1\n2\n", b"3\n4\n"):
        reads, writes = os.pipe()
        os.write(writes, rows)
        os.close(writes)
        os.dup2(reads, number)
        os.close(reads)
        loaded.append(load(kitchen, f"/dev/fd/{number}"))
    os.close(number)

    assert [one.changed for one in loaded] == [None, None]
    assert loaded[0].source == loaded[1].source


def test_blank_rows_at_the_end_are_no_growth(kitchen, orders_csv):
    load(kitchen, str(orders_csv))
    append(orders_csv, "\n\n")
    assert load(kitchen, str(orders_csv)).is_unchanged

    write(orders_csv, 1, 26)

    assert load(kitchen, str(orders_csv)).new == 1


def test_other_row_numbers_never_complete_an_interrupted_load(kitchen, tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(numbered(1, 10)) + "\n\nrow 11\n")
    interrupt(kitchen, path)
    write(path, 1, 11)

    loaded = load(kitchen, str(path))

    assert loaded.new == 11
    assert loaded.changed is not None


def test_every_length_that_a_file_had_is_known_again(kitchen, orders_csv):
    for last in (3, 5, 7):
        write(orders_csv, 1, last)
        load(kitchen, str(orders_csv))

    for last in (5, 3, 7, 5):
        write(orders_csv, 1, last)
        again = load(kitchen, str(orders_csv))
        assert (again.new, again.known) == (0, last)

    assert arguments(kitchen) == numbered(1, 7)


def test_a_file_that_shrank_and_grew_again_adds_only_what_is_new(kitchen, orders_csv):
    for last in (3, 5, 3, 6):
        write(orders_csv, 1, last)
        load(kitchen, str(orders_csv))

    assert arguments(kitchen) == numbered(1, 6)


def deliver_all(kitchen) -> None:
    shift = check_in(kitchen)
    while claimed := kitchen.claim(shift, limit=64):
        kitchen.finish(shift, [outcome(order) for order in claimed])
    kitchen.check_out(shift)


def test_again_loads_it_once_more(kitchen, orders_csv):
    first = load(kitchen, str(orders_csv))
    later = []
    for _ in range(2):
        deliver_all(kitchen)
        later.append(load(kitchen, str(orders_csv), AGAIN))

    assert [loaded.new for loaded in later] == [25, 25]
    assert all(loaded.batch.startswith(f"{first.batch}.") for loaded in later)
    assert len({loaded.batch for loaded in later}) == 2
    assert later[0].changed is None
    assert load(kitchen, str(orders_csv)).is_unchanged


def test_again_leaves_out_what_is_ready_still(kitchen, orders_csv):
    load(kitchen, str(orders_csv))
    done = kitchen.claim(check_in(kitchen), limit=3)

    again = load(kitchen, str(orders_csv), AGAIN)
    once_more = load(kitchen, str(orders_csv), AGAIN)

    assert (again.new, again.known, again.waiting) == (3, 22, 22)
    assert (once_more.new, once_more.waiting) == (0, 25)
    ready = [o.arguments for o in kitchen.find(Selector(statuses=(Status.READY,)))]
    assert sorted(ready) == sorted([(name,) for name in numbered(1, 25)])
    assert {order.row for order in kitchen.find(Selector(batch=again.batch))} == {order.row for order in done}


def test_two_loads_on_purpose_at_once_are_two(kitchen, open_again, orders_csv):
    """The second begins when the first is half way."""
    load(kitchen, str(orders_csv))
    deliver_all(kitchen)
    half, begun = threading.Event(), threading.Event()

    def pause(what: str, done: int, _total: int | None) -> None:
        if what == "loading" and done == 10:
            half.set()
            begun.wait(20)
            time.sleep(BEAT_S + 0.1)  # a slow disk

    first = threading.Thread(target=load, args=(open_again(), str(orders_csv), AGAIN, pause))
    first.start()
    half.wait(20)
    second = load(kitchen, str(orders_csv), AGAIN, lambda *_: begun.set())
    first.join()

    assert second.new == 25
    assert kitchen.counts()[Status.READY] == 50
    assert [batch.is_complete for batch in kitchen.batches()] == [True] * 3


def test_again_completes_an_interrupted_one_rather_than_beginning_a_third(kitchen, orders_csv):
    load(kitchen, str(orders_csv))
    deliver_all(kitchen)
    there = interrupt(kitchen, orders_csv, AGAIN)

    loaded = load(kitchen, str(orders_csv), AGAIN)

    assert (loaded.new, loaded.known) == (25 - there, there)
    assert len(kitchen.batches()) == 2
    assert len(orders(kitchen)) == 50


def test_unique_leaves_out_arguments_that_are_orders_already(kitchen, orders_csv, tmp_path):
    load(kitchen, str(orders_csv))
    other = tmp_path / "other.csv"
    write(other, 20, 40)
    append(other, "row 40\nrow 41\n")

    loaded = load(kitchen, str(other), UNIQUE)

    assert (loaded.rows, loaded.new, loaded.known) == (23, 16, 7)
    assert sorted(arguments(kitchen)) == sorted(numbered(1, 41))


def test_unique_completes_what_was_interrupted(kitchen, orders_csv):
    there = interrupt(kitchen, orders_csv, UNIQUE)

    loaded = load(kitchen, str(orders_csv), UNIQUE)

    assert (loaded.new, loaded.known) == (25 - there, there)
    assert arguments(kitchen) == numbered(1, 25)


def test_unique_tells_arguments_apart_by_their_bounds(kitchen):
    load_rows(kitchen, [["a b"], [], [""]])

    loaded = load_rows(kitchen, [["a", "b"], ["a b"], ["", ""]], UNIQUE)

    assert (loaded.new, loaded.known) == (2, 1)


def test_unique_and_again_contradict_each_other(kitchen, orders_csv):
    with pytest.raises(UsageError, match="give one of them"):
        load(kitchen, str(orders_csv), LoadOptions(unique=True, again=True))


def test_a_bad_row_leaves_nothing_behind(kitchen, orders_csv):
    append(orders_csv, "bad\0row\n")

    with pytest.raises(BadRow, match="row 26"):
        load(kitchen, str(orders_csv))

    assert not orders(kitchen)
    assert not kitchen.batches()


def test_bad_rows_can_be_skipped_and_are_counted_and_listed(kitchen, orders_csv):
    append(orders_csv, "bad\0row\n" * 50 + "row 76\n")

    loaded = load(kitchen, str(orders_csv), LoadOptions(skip_bad=True))

    assert (loaded.rows, loaded.new, loaded.bad) == (76, 26, 50)
    assert [row.row for row in loaded.bad_rows] == list(range(26, 26 + LISTED_BAD_ROWS))
    assert orders(kitchen)[-1].row == 76


@pytest.mark.parametrize(
    ("first", "last"),
    [(2, 40), (1, 24), (1, 40), (1, 10), (1, 5)],
    ids=["other rows", "shorter", "longer", "cut where rows were loaded", "cut before"],
)
def test_a_file_that_changes_while_it_is_loaded_is_refused_and_leaves_nothing(kitchen, orders_csv, first, last):
    orders_csv.write_text(wide(1, 25))

    def meddle(what: str, done: int, _total: int | None) -> None:
        if what == "loading" and done == 10:
            assert 10 <= len(orders(kitchen)) < 25
            orders_csv.write_text(wide(first, last))

    with pytest.raises(InputUnreadable, match="changed while it was loaded"):
        load(kitchen, str(orders_csv), None, meddle)

    assert not orders(kitchen)
    assert not kitchen.batches()


def test_a_grown_file_that_changes_while_it_is_loaded_leaves_its_batch_as_it_was(kitchen, orders_csv):
    orders_csv.write_text(wide(1, 25))
    load(kitchen, str(orders_csv))
    before = kitchen.batches()
    append(orders_csv, wide(26, 60))

    def cut(what: str, done: int, _total: int | None) -> None:
        if what == "loading" and done == 40:
            assert 40 <= len(orders(kitchen)) < 60
            orders_csv.write_text(wide(1, 45))

    with pytest.raises(InputUnreadable, match="changed while it was loaded"):
        load(kitchen, str(orders_csv), None, cut)

    assert [order.row for order in orders(kitchen)] == list(range(1, 26))
    assert kitchen.batches() == before


def test_a_header_that_changes_while_it_is_loaded_is_refused(kitchen, orders_csv):
    def spoil(what: str, done: int, _total: int | None) -> None:
        if what == "checking" and done == 20:
            orders_csv.write_text("a,a\n" + orders_csv.read_text())

    with pytest.raises(InputUnreadable, match="changed while it was loaded"):
        load(kitchen, str(orders_csv), LoadOptions(header=True), spoil)

    assert not orders(kitchen)


def test_stdin_is_loaded_once_too(kitchen, monkeypatch):
    for expected in (2, 0):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b\nc\n")))
        loaded = load(kitchen, "-")
        assert (loaded.source, loaded.new) == ("stdin", expected)

    assert arguments(kitchen) == ["a b", "c"]


@pytest.mark.parametrize("content", ["", "\n\n", "name\n"])
def test_an_input_without_orders_begins_no_batch(kitchen, tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)

    loaded = load(kitchen, str(path), LoadOptions(header=content == "name\n"))

    assert (loaded.batch, loaded.new) == (None, 0)
    assert not kitchen.batches()


def test_progress_is_told_in_both_passes(kitchen, orders_csv):
    told: list[tuple[str, int, int | None]] = []

    load(kitchen, str(orders_csv), None, lambda *step: told.append(step))

    assert told == [
        ("checking", 10, None),
        ("checking", 20, None),
        ("checking", 25, None),
        ("loading", 10, 25),
        ("loading", 20, 25),
        ("loading", 25, 25),
    ]


def test_rows_of_python_become_orders(kitchen):
    loaded = load_rows(kitchen, ([Path("a"), 1, b"\xff"] for _ in range(1)), LoadOptions(batch="mine"))

    (order,) = orders(kitchen)
    assert order.arguments == ("a", "1", "\udcff")
    assert loaded.new == 1
    assert load_rows(kitchen, [["a", "1", b"\xff"]]).is_unchanged


def test_mappings_of_python_become_named_arguments(kitchen):
    load_rows(kitchen, [{"file": "a", "size": 3}])

    (order,) = orders(kitchen)
    assert order.named == {"file": "a", "size": "3"}


def test_a_string_is_no_row_of_python(kitchen):
    with pytest.raises(UsageError, match=r"python, row 2: 'ab' is not a list of arguments\nhint: write \['ab'\]"):
        load_rows(kitchen, [["a"], "ab"])

    assert not orders(kitchen)
