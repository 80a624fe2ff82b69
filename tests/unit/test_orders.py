"""The values that all rooms exchange: statuses, counts, named arguments, and which failures are of one kind."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waiter import errors, orders
from waiter.failure_groups import error_group, normalised
from waiter.kitchen.contract import Backlog, Reclaimed, loss_delay_s
from waiter.orders import Counts, Order, Outcome, Reason, Status


def test_the_statuses_are_those_of_the_original_and_cancelled():
    assert list(Status) == ["READY", "RUNNING", "DONE", "ERROR", "CANCELLED"]


def test_only_what_found_its_end_is_final():
    assert [status for status in Status if status.is_final] == [Status.DONE, Status.ERROR, Status.CANCELLED]


def test_counts_know_the_total_what_is_finished_and_zeros():
    counts = Counts({Status.READY: 3, Status.DONE: 4, Status.ERROR: 2, Status.CANCELLED: 1})

    assert (counts.total, counts.finished, counts[Status.DONE], counts[Status.RUNNING]) == (10, 7, 4, 0)


def test_arguments_have_the_names_of_their_header_or_none():
    order = Order("b-1", "b", 1, ("7", "red"), ("size", "colour"))

    assert order.named == {"size": "7", "colour": "red"}
    assert dataclasses.replace(order, names=None).named == {}


def test_an_outcome_knows_how_long_it_took():
    assert Outcome("b-1", 1, Status.DONE, 100.0, 102.5).duration_s == 2.5


@pytest.mark.parametrize("value", [v for v in vars(orders).values() if dataclasses.is_dataclass(v)])
def test_values_cannot_be_changed(value):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value.__new__(value), dataclasses.fields(value)[0].name, 1)
    assert hasattr(value, "__slots__"), "a wrong field's name should fail"


def test_a_backlog_is_empty_without_ready_orders_and_done_without_running_ones():
    assert Backlog(0, None, 0).is_done
    assert (Backlog(0, None, 1).is_empty, Backlog(0, None, 1).is_done) == (True, False)
    assert not Backlog(0, 9.0, 0).is_empty
    assert not Backlog(1, None, 0).is_empty


def test_a_reclaim_that_found_nothing_is_false():
    assert not Reclaimed()
    assert Reclaimed(shifts=("a",))
    assert Reclaimed(ready=1)
    assert Reclaimed(failed=1)


# Which failures are of one kind


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("cannot open /data/in/17.tif", "cannot open /data/in/18.tif"),
        ("line 12: bad value 3.5", "line 9041: bad value 77.25"),
        ("2026-11-24T10:00:01Z timed out", "2025-01-02 23:59:59,123 timed out"),
        ("no such user 6f9619ff-8b86-d011-b42d-00c04fc964ff", "no such user 00000000-0000-4000-8000-123456789abc"),
        ("segfault at 0x7ffdeadbeef0", "segfault at 0x7f0012345678"),
        ("job deadbeef01 is gone", "job 0123abcd99 is gone"),
        ("two   blanks", "two blanks"),
        (" ends with a newline\n", "ends with a newline"),
        ("~/work/a.csv: empty", "~/play/b.csv: empty"),
        ("out/berlin/1.tif: empty", "../out/paris.tif: empty"),
        ("No such file: '/data/my tiles/x.tif'", 'No such file: "C:\\\\y.tif"'),
        ("10.0.3.7:5432: timeout after 30 s", "10.0.3.17:80: timeout after 2.5 s"),
        ("loss is -1.5e-07, not 3", "loss is 2026.25, not 12345678"),
        ("table_1d001 and 0xff", "table_25b348 and 0x7ffd0123"),
        ("RequestId: 4442587FB7D0A2F9", "RequestId: vk3Kp0Qz81aTT9"),
        ("GET https://a.example/t/9?q=a: 503", "GET https://b.example/: 503"),
        ("Nov 25 01:02:03 host app: boom", "Wed, Dec  1 11:02:03 host app: boom"),
        ("KeyError: 'berlin'", "KeyError: 'paris'"),
        ("cannot access 'berlin': No such file", "cannot access \u2018paris\u2019: No such file"),
        ('column "a" does not exist', 'column "b" does not exist'),
        ("can't open 'x', don't know why", "can't open 'y', don't know why"),
    ],
)
def test_times_ids_paths_numbers_and_quoted_names_make_no_difference(one, another):
    assert normalised(one) == normalised(another)
    assert error_group(one, Reason.EXIT, 1, None) == error_group(another, Reason.EXIT, 1, None)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("connection refused", "connection reset"),
        ("cannot read /data/a", "cannot write /data/a"),
        ("deadline", "defaced"),  # words that could be hexadecimal ids
        ("n/a", "a/n"),
        ("read/write error", "input/output error"),
        ('{"error": "denied", "id": 17}', '{"error": "gone", "id": 17}'),
        ('level=error msg="denied"', 'level=error msg="gone"'),
        ("{'error': 'denied'}", "{'error': 'gone'}"),
        ("don't retry", "won't retry"),
    ],
)
def test_different_words_are_different_kinds(one, another):
    assert error_group(one, Reason.EXIT, 1, None) != error_group(another, Reason.EXIT, 1, None)


@pytest.mark.parametrize(
    ("message", "arguments", "kind"),
    [
        ("cat: berlin: No such file", ["berlin"], "cat: <argument>: No such file"),
        ("berlin.tif is empty", ["--fast", "tiles/berlin.tif"], "<argument> is empty"),
        ("no tile called berlin", ["tiles/berlin.tif"], "no tile called <argument>"),
        ("berliner is no tile", ["berlin"], "berliner is no tile"),
        ("tile 17 is not 18", ["17"], "tile <n> is not <n>"),
        ("it is no tile", ["it"], "it is no tile"),
    ],
)
def test_what_an_orders_own_arguments_name_makes_no_difference(message, arguments, kind):
    assert normalised(message, arguments) == kind


@pytest.mark.parametrize("piece", ["a+", "a.", "a-", "....x", "a/", "'/a ", "x/y.", "\u2018a", "0x", "1,"])
def test_a_long_message_is_sorted_in_no_time(piece):
    began = time.process_time()

    normalised((piece * 80_000)[:80_000], looked_at=80_000)

    assert time.process_time() - began < 1  # it was 5 s and more


def test_what_a_very_long_message_ends_with_is_no_kind_of_its_own():
    said = "cannot read /data/{}/x: bad line " + "boom " * 4_000
    one, another = (error_group(said.format(folder) + folder, Reason.EXIT, 1, None) for folder in ("a" * 200, "b"))
    assert one == another


def test_how_it_ended_is_part_of_the_kind():
    kinds = {
        error_group("boom", Reason.EXIT, 1, None),
        error_group("boom", Reason.EXIT, 2, None),
        error_group("boom", Reason.SIGNAL, None, 9),
        error_group("boom", Reason.SIGNAL, None, 11),
        error_group("boom", Reason.TIMEOUT, None, None),
        error_group("boom", None, None, None),
    }

    assert len(kinds) == 6


def test_a_message_stays_readable():
    assert normalised("tile 17 of /data/x.tif failed at 2026-11-24 10:00:01") == "tile <n> of <path> failed at <time>"


@given(st.text(), st.sampled_from([None, *Reason]))
def test_any_message_has_a_group_of_eight_digits_that_it_keeps(message, reason):
    message += "\udcff"  # as the output of a command may be

    group = error_group(message, reason, None, None)

    assert len(group) == 8
    assert int(group, 16) >= 0
    assert error_group(message, reason, None, None) == group


@pytest.mark.parametrize("piece", ["=", "a-", "a.", "/a", "a/", "1.", "a1", "'a ", "Jan ", "C:\\"])
def test_no_message_takes_long_to_group(piece):
    began = time.process_time()
    normalised(piece * (2048 // len(piece)), ["some argument"] * 1000)
    assert time.process_time() - began < 0.5


@given(st.text())
@example("0/\u00b9")
def test_what_was_normalised_stays_as_it_is(message):
    assert normalised(normalised(message)) == normalised(message)


# Backoff after a loss


@given(st.integers(1, 60), st.integers(0, 1000))
def test_a_lost_order_waits_no_longer_than_ten_minutes_and_twice_as_long_each_time(losses, seed):
    assert 0 <= loss_delay_s(losses, random.Random(seed)) <= min(600, 5 * 2**losses)


def test_waiters_that_died_together_do_not_come_back_together():
    rng = random.Random(1)
    delays = [loss_delay_s(5, rng) for _ in range(200)]

    assert len(set(delays)) == len(delays)
    assert min(delays) < 40
    assert max(delays) > 120


# Errors


def family() -> list[type[errors.WaiterError]]:
    return [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.WaiterError)]


@pytest.mark.parametrize("error", family())
def test_every_error_says_who_can_act_on_it_and_has_an_exit_code(error):
    assert error.__doc__
    assert error.exit_code in (1, 2, 3, 4, 5)


def test_errors_of_the_kitchen_can_be_told_from_those_that_may_pass():
    assert issubclass(errors.KitchenUnreachable, errors.KitchenError)
    assert issubclass(errors.ShiftLost, errors.KitchenError)
    assert not issubclass(errors.UsageError, errors.KitchenError)


def test_a_bad_row_names_its_file_and_its_row():
    error = errors.BadRow("orders.csv", 17, "a NUL byte cannot be passed to a command.")

    assert str(error) == "orders.csv, row 17: a NUL byte cannot be passed to a command."
    assert (error.source, error.row) == ("orders.csv", 17)


@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1), min_size=1).map(" ".join))
def test_words_of_letters_alone_are_taken_as_they_are_as_if_they_had_been_looked_through(message):
    assert normalised(message) == normalised(message, ["0"])  # with arguments it is looked through


def test_a_process_that_meets_no_failure_does_not_pay_for_telling_their_kinds():
    """To compile the patterns takes a tenth of a waiter's start."""
    script = "from waiter import failure_groups as kinds; kinds._without = None; import waiter.kitchen.{}.kitchen"
    for kitchen in ("sqlite", "mongo"):
        subprocess.run([sys.executable, "-c", script.format(kitchen)], check=True, timeout=60)
