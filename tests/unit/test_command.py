"""A template and an order make an argv: no shell, no surprise."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waiter.delivery.command import Version, command
from waiter.delivery.options import DeliveryOptions, Grouping, Keep, Until, slots
from waiter.delivery.outcomes import backoff, parse_halt
from waiter.delivery.output_names import stem
from waiter.delivery.placeholders import NoSuchArgument
from waiter.delivery.prefetch import Prefetch
from waiter.errors import CommandUnstartable, UsageError
from waiter.kitchen.contract import CLAIM_LIMIT
from waiter.orders import Order


def order(*arguments: str, names: tuple[str, ...] | None = None) -> Order:
    return Order("b-1", "b", 1, arguments, names)


def argv(words: list[str], of: Order) -> tuple[str, ...]:
    return command(words).argv(of)


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


@pytest.mark.parametrize("word", ["${1}", "echo ${name}", "{print $1}", '{"a": 1}', "a{b,c}", "{1..5}", "{ }", "{.x}"])
def test_braces_that_belong_to_others_stay_as_they_are(word):
    for program in ("sh", "awk", "perl"):
        assert argv([program, "-c", word], order("(id)", names=("name",))) == (program, "-c", word, "(id)")


def test_doubled_braces_stand_for_themselves():
    named = order("a", names=("name",))
    words = ["echo", "{{}}", "{{1}}", "{{print}}", "{{{1}}}", '{"x":{"y":{1}}}', "{{.State}}", "{{{{end}}}}"]
    expected = ("echo", "{}", "{1}", "{print}", "{a}", '{"x":{"y":a}}', "{{.State}}", "{{end}}")
    assert argv(words, named) == expected
    assert argv(["awk", "{{print}}"], named) == ("awk", "{print}", "a")


def test_a_name_goes_before_a_place():
    assert argv(["echo", "{2019}", "{2}"], order("x", "y", names=("2019", "2020"))) == ("echo", "x", "y")
    assert argv(["echo", "{1}", "{2}"], order("x", "y", names=("2", "1"))) == ("echo", "y", "x")


def test_a_value_with_braces_is_not_read_again():
    assert argv(["echo", "{1}", "{2}"], order("{2}", "b")) == ("echo", "{2}", "b")


def test_a_missing_argument_is_the_orders_fault():
    with pytest.raises(NoSuchArgument, match=r"last argument is \{1\}"):
        argv(["echo", "{3}"], order("a"))
    with pytest.raises(NoSuchArgument, match="have no names"):
        argv(["echo", "{size}"], order("a"))


@pytest.mark.parametrize(
    ("written", "names", "nearest"),
    [
        ("{szie}", ("name", "size"), "{size}, which is {2}"),
        ("{Size}", ("name", "size"), "{size}, which is {2}"),
        ("{Tile sise (mm)}", ("Tile size (mm)",), "{Tile size (mm)}, which is {1}"),
        ("{Größe}", ("Gr\udcf6\udcdfe", "x"), "{Gr\udcf6\udcdfe}, which is {1}"),  # a header in Latin-1
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(written, names, nearest):
    with pytest.raises(NoSuchArgument) as refused:
        argv(["echo", written], order(*"ab"[: len(names)], names=names))
    assert nearest in str(refused.value)


def shown(line: str, *arguments: str, names: tuple[str, ...] | None = None) -> str:
    """What a real /bin/sh makes of the line: `show` puts each word that it gets in brackets."""
    made = command([f'show() {{ printf "[%s]" "$@"; }}; {line}'], shell=True).argv(order(*arguments, names=names))
    ran = subprocess.run(made, capture_output=True, text=True)
    assert ran.stderr == ""
    return ran.stdout


@pytest.mark.parametrize(
    "line",
    [
        "show {1}", 'show "{1}"', "show '{1}'", "show ${1}", 'show "${1}"', "show $1", 'show "$1"', "show {name}",
        "show '{name}'", 'show "{name}"', 'show "$(printf %s {1})"', "show \"$(printf %s '{1}')\"", "{ show $1; }",
        "x=$1; show \"$x\"", "(show {1})", "f() { show \"$1\"; }; f {1}", "echo '}' >&3; show {1}",
        "case {1} in *) show $1;; esac",
        "true # it's a comment\nshow {1}", "show ${1%nothing}", "show ${none:-$1}", 'show "${none:-$1}"',
        "cat <<E >&3; show {1}\nit's $1\nE\n", "cat <<'E' >&3\nit's\nE\nshow {1}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("argument", ["a b", "*", "$(id)", "'", '"', "`id`", "\\", "a\nb", "{1}", "", "-n", "é\t"])
def test_an_argument_is_one_word_wherever_a_shell_line_puts_it(line, argument):
    assert shown(f"exec 3>/dev/null; {line}", argument, names=("name",)) == f"[{argument}]"


@pytest.mark.parametrize(
    "line",
    ["cat <<E\\\n; show $1", 'cat <<E"F"\nEF\nshow $1\nE', "cat <<\\\nE\nE\nshow $1", "cat <<E\nE\\\n\nshow $1\nE"],
)
def test_a_here_document_that_may_end_elsewhere_is_refused(line):
    with pytest.raises(UsageError, match="here-document"):
        shown(line, "a b")


PIECES = [
    "{1}", "$1", "${1}", '"', '"', "'", "'", '"{1}"', "'{1}'", "(", ")", "\\", "${x:-", "${1:-", "}", "{ ", "; }", "#",
    "\n", "; show ", " ", "x", "$((", "))", "$", "$$", "<<E", "\nE\n", "<<'E'", "<<-E", "case x in x) ", ";; esac",
    "{}", "$@", "$*", '"$@"', "{{1}}", "&& show ", "| cat; show ", "for i in ", "; do show ", "; done", "set -- ",
    "$'", "y=", "|", "${#1}",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=2, max_size=12))
def test_no_line_that_is_taken_lets_an_argument_come_apart_or_run(pieces):
    argument = "AA BB;`echo OWNED >&2`;$(echo OWNED >&2);echo OWNED >&2"
    try:
        made = command([f"show {''.join(pieces)}"], shell=True).argv(order(argument))
    except (UsageError, NoSuchArgument):
        return

    line = f'show() {{ printf "[%s]" "$@"; }}\n{made[2]}'
    ran = subprocess.run(
        [*made[:2], line, *made[3:]], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20
    )

    assert "AA]" not in ran.stdout
    assert "[BB" not in ran.stdout
    assert "OWNED" not in ran.stderr.splitlines()


def test_a_shell_line_takes_all_arguments_as_words_of_their_own():
    for line in ("show {}", 'show "{}"', "show '{}'", "show $@", 'show "$@"', "show $*", "show $1 {2}"):
        assert shown(line, "a b", "*") == "[a b][*]"
    assert command(["wc -l | sort"], shell=True).argv(order("a")) == ("/bin/sh", "-c", 'wc -l | sort "$@"', "sh", "a")
    assert shown("show out/{2}.x 'in {1}' \"{1}{2}\"", "a b", "*") == "[out/*.x][in a b][a b*]"


def test_what_belongs_to_a_shell_stays_its_own():
    assert (
        shown("show \\{1} {{1}} '{{name}}' ${#1} $# {name}", "a b", names=("name",)) == "[{1}][{1}][{name}][3][1][a b]"
    )
    assert shown("show $((${#1} + 1)); x=9; show ${x}", "ab") == "[3][9]"
    assert shown("for one in {}; do show $one; done", "a", "b") == "[a][b]"


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("echo `basename {1}`", "write $(…)"),
        ("echo $(( {1} + 1 ))", "check it"),
        ("cat <<E\n{1}\nE", "write $1 there"),
        ("set -- $1; echo $2", "x=$1, and then $x"),
        ("for word in $1; do echo $word; done", "x=$1, and then $x"),
        ("echo ${x:-'$1'}", "put all of it in quotes"),
        ('echo "$(case {1} in a) echo;; esac)"', "put it into a script"),
        ("echo '{1}", "close it"),
        ('echo "{1}', "close it"),
        ("echo done # all", "say where they go"),
        ("echo done;", "say where they go"),
        ("(echo done)", "say where they go"),
    ],
)
def test_a_line_in_which_an_argument_would_come_apart_is_refused(line, instead):
    with pytest.raises(UsageError) as refused:
        command([line], shell=True)
    assert instead in str(refused.value).partition("hint: ")[2]


def test_a_command_that_is_not_there_is_named(tmp_path):
    (tmp_path / "crunch.sh").write_text("")
    with pytest.raises(CommandUnstartable, match=r"chmod \+x"):
        command(["./crunch.sh"], cwd=str(tmp_path))
    with pytest.raises(CommandUnstartable, match=r"did you mean ./crunch.sh"):
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


def test_what_the_commands_write_to_makes_no_version_of_each_order(tmp_path):
    script, log, state, new = (tmp_path / name for name in ("crunch.py", "run.log", "state.json", "new.log"))
    script.write_text("one")
    log.write_text("")
    state.write_text("0")
    version = Version(["python3", *map(str, (script, log, state, new))], "/bin/sh", None)
    seen = [version.current()]

    for number in range(1, 8):  # orders
        for grows in (log, new):
            with grows.open("a") as file:
                file.write(f"order {number}\n")
        seen.append(version.current())
    assert len(set(seen)) == 1

    for number in range(1, 8):
        state.write_text(f"{number}")
        os.utime(state, (number, number))
        seen.append(version.current())
    assert len(set(seen)) <= 3

    settled = version.current()
    script.write_text("two")
    assert version.current() != settled


def test_a_script_that_grows_is_another_version(tmp_path):
    script = tmp_path / "crunch.sh"
    script.write_text("#!/bin/sh\n")
    version = Version(["sh", str(script)], "/bin/sh", None)
    first = version.current()
    script.write_text("#!/bin/sh\nexit 1\n")
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
    long, short = Prefetch(4), Prefetch(4)
    long.saw(3.0)
    for _ in range(100):
        short.saw(0.002)
    assert (long.claim_size(0), long.claim_size(3), long.claim_size(4)) == (4, 1, 0)
    assert (short.claim_size(0), short.claim_size(10_000)) == (CLAIM_LIMIT, 0)


def test_of_a_loaded_kitchen_a_waiter_of_many_slots_claims_several_ahead():
    busy, small, quick = Prefetch(32), Prefetch(4), Prefetch(32)
    for prefetch, claim_s in ((busy, 0.5), (small, 0.5), (quick, 0.005)):
        for _ in range(20):
            prefetch.claimed(claim_s)
            prefetch.saw(3.0)
    assert (busy.claim_size(32), busy.claim_size(35)) == (5, 0)  # 32 slots of 3 s: 5 come free in half a second
    assert (small.claim_size(4), small.claim_size(3)) == (0, 1)
    assert (quick.claim_size(32), quick.claim_size(31)) == (0, 1)
    for _ in range(20):
        busy.claimed(0.005)
    assert busy.claim_size(32) == 0


def test_a_timeout_may_be_a_share_of_the_median():
    prefetch = Prefetch(1)
    assert prefetch.timeout_s("200%") is None
    for duration in (1.0, 2.0, 30.0):
        prefetch.saw(duration)
    for _ in range(9):
        prefetch.saw(0.01, is_delivered=False)
    assert (prefetch.timeout_s("200%"), prefetch.timeout_s("7"), prefetch.timeout_s(None)) == (4.0, 7.0, None)


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
    assert stem("{1}/{order}", order("../../etc/passwd")).name == ".._.._etc_passwd/b-1"
    assert stem("../{row}", order("a")).name == "1"


def test_an_outputs_name_is_filled_as_a_command_is():
    named = order("x", "y", names=("1", "row"))
    assert stem("{1}-{2}-{row}-{{1}}-{}", named).name == "x-y-1-{1}-x_y"
    with pytest.raises(NoSuchArgument, match=r"--output-format asks for \{nope\}"):
        stem("{nope}", named)


def test_a_long_name_is_cut_by_bytes_and_stays_apart_from_others():
    long, other = stem("{1}", order("卵" * 120)), stem("{1}", order("卵" * 121))
    assert len({long.name, other.name, long.spare, other.spare}) == 4
    assert all(200 < len(f"{name}.out".encode()) <= 255 for name in (long.name, other.name))
    assert all(len(f"{name}~9999.out".encode()) <= 255 for name in (long.spare, other.spare))
