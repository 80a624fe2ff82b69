"""A template and an order make an argv: no shell, no surprise."""

from __future__ import annotations

import pytest

from waiter.delivery.command import NoSuchArgument, Version, command, named, shell_line
from waiter.delivery.judging import backoff, parse_halt
from waiter.delivery.options import DeliveryOptions, Grouping, Keep, Until, slots
from waiter.delivery.pace import Pace
from waiter.delivery.ware import file_stem
from waiter.errors import CommandUnstartable, UsageError
from waiter.kitchen.contract import CLAIM_LIMIT
from waiter.orders import Order


def order(*arguments: str, names: tuple[str, ...] | None = None) -> Order:
    return Order("b-1", "b", 1, arguments, names)


def argv(words: list[str], of: Order) -> tuple[str, ...]:
    return named(command(words), of.names).argv(of)


def test_arguments_are_appended_or_go_where_placeholders_stand():
    assert argv(["echo", "-n"], order("a b", "$(c)")) == ("echo", "-n", "a b", "$(c)")
    assert argv(["echo", "{2}", "x-{1}.txt"], order("a", "b")) == ("echo", "b", "x-a.txt")
    assert argv(["echo", "{}", "end"], order("a", "b")) == ("echo", "a", "b", "end")
    assert argv(["echo", "<{}>"], order("a", "b")) == ("echo", "<a b>")


def test_names_are_placeholders_for_orders_that_have_them():
    sized = order("7", "x", names=("size", "name"))
    assert argv(["echo", "--size={size}"], sized) == ("echo", "--size=7")
    spaced = order("7", "x", names=("Tile size (mm)", "2nd"))
    assert argv(["echo", "{Tile size (mm)}", "{2nd}"], spaced) == ("echo", "7", "x")
    assert argv(["awk", "{print $1}", "{size}"], sized) == ("awk", "{print $1}", "7")
    assert argv(["awk", "{print}"], sized) == ("awk", "{print}", "7", "x")
    assert argv(["echo", "{size}"], order("a")) == ("echo", "{size}", "a")


def test_a_value_with_braces_is_not_read_again():
    assert argv(["echo", "{1}", "{2}"], order("{2}", "b")) == ("echo", "{2}", "b")


def test_a_missing_argument_is_the_orders_fault():
    with pytest.raises(NoSuchArgument, match=r"last argument is \{1\}"):
        argv(["echo", "{3}"], order("a"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gzip -k", 'gzip -k "$@"'),
        ("gzip {} | wc", 'gzip "$@" | wc'),
        ("cp {1} out/{2}", 'cp "${1}" out/"${2}"'),
        ('echo "$1"', 'echo "$1"'),
    ],
)
def test_a_shell_line_takes_arguments_as_parameters_only(line, expected):
    assert shell_line(line) == expected


def test_a_command_that_is_not_there_is_named(tmp_path):
    (tmp_path / "crunch.sh").write_text("")
    with pytest.raises(CommandUnstartable, match=r"chmod \+x"):
        command(["./crunch.sh"], cwd=str(tmp_path))
    with pytest.raises(CommandUnstartable, match=r"Did you mean ./crunch.sh"):
        command(["crunch.sh"], cwd=str(tmp_path))
    with pytest.raises(CommandUnstartable, match="a directory"):
        command([str(tmp_path)])


def test_another_script_is_another_version(tmp_path):
    script = tmp_path / "crunch.sh"
    script.write_text("one")
    version = Version(["./crunch.sh", "-x"], str(script), str(tmp_path))
    first = version.current()
    assert version.current() == first
    script.write_text("two!")
    assert version.current() != first


def test_options_travel_as_json():
    options = DeliveryOptions(
        name="n", until=Until.EMPTY, grouping=Grouping.LINE, keep_output=Keep.ALL, retry_on=(3,), env={"A": "1"}
    )
    assert DeliveryOptions.from_json(options.to_json()) == options
    with pytest.raises(UsageError, match="warp"):
        DeliveryOptions.from_json('{"warp": 9}')


def test_slots_are_a_number_all_or_a_share():
    assert [slots(jobs, 8) for jobs in ("3", "auto", "50%", "1%")] == [3, 8, 4, 1]
    for jobs in ("0", "many", "-1", ""):
        with pytest.raises(UsageError):
            slots(jobs, 8)


def test_long_orders_are_claimed_one_for_each_free_slot_and_short_ones_by_the_pile():
    long, short = Pace(4), Pace(4)
    long.saw(3.0)
    for _ in range(100):
        short.saw(0.002)
    assert (long.appetite(0), long.appetite(3), long.appetite(4)) == (4, 1, 0)
    assert (short.appetite(0), short.appetite(10_000)) == (CLAIM_LIMIT, 0)


def test_a_timeout_may_be_a_share_of_the_median():
    pace = Pace(1)
    assert pace.timeout_s("200%") is None
    for duration in (1.0, 2.0, 30.0):
        pace.saw(duration)
    for _ in range(9):
        pace.saw(0.01, is_delivered=False)
    assert (pace.timeout_s("200%"), pace.timeout_s("7"), pace.timeout_s(None)) == (4.0, 7.0, None)


def test_halting_counts_as_gnu_parallel_does():
    soon = parse_halt("soon,fail=20%")
    assert [soon.is_reached(d, f) for d, f in ((0, 2), (2, 1), (9, 1))] == [False, True, False]
    assert parse_halt("now,success=2").is_reached(2, 0)
    assert (soon.left(5, 3), parse_halt("now,fail=10").left(5, 3), parse_halt("now,done=10").left(5, 3)) == (None, 7, 2)


def test_backoff_grows_and_is_bounded():
    class Highest:
        def uniform(self, _low: float, high: float) -> float:
            return high

    assert [backoff(n, 5, Highest()) for n in (1, 2, 3, 60)] == [5, 10, 20, 600]  # type: ignore[arg-type]


def test_output_never_leaves_its_folder():
    assert file_stem("{1}/{order}", order("../../etc/passwd")) == ".._.._etc_passwd/b-1"
    assert file_stem("../{row}", order("a")) == "1"
