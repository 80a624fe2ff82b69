"""What users of GNU parallel and xargs type by habit does what they mean, or says what to type instead."""

from __future__ import annotations

import json
import subprocess

import pytest


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ([":::", "a", "b c"], ["a", "b c"]),
        ([":::", "a", "b", ":::", "1", "2"], ["a 1", "a 2", "b 1", "b 2"]),
        ([":::", "a", "b", ":::+", "1", "2", "3"], ["a 1", "b 2"]),
        (["::::", "list.txt"], ["x", "y"]),
        (["::::", "list.txt", ":::", "1"], ["x 1", "y 1"]),
        ([":::", "1", "2", "::::+", "list.txt"], ["1 x", "2 y"]),
        ([":::", "\udcff", "-n"], ["\udcff", "-n"]),
    ],
)
def test_inputs_may_stand_behind_the_command(waiter_cli, tmp_path, words, rows):
    (tmp_path / "list.txt").write_text("x\n\ny\n")

    told = waiter_cli("run", "printf", "%s %s\\n", *words)

    assert told.returncode == 0, told.stderr
    assert [line.rstrip(" ") for line in told.stdout.splitlines()] == rows


def test_placeholders_take_typed_inputs(waiter_cli):
    assert waiter_cli("run", "echo", "{2}-{1}", ":::", "a", ":::", "b").stdout == "b-a\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["run", "echo", ":::"], "::: with nothing behind it"),
        (["run", "--input", "x.csv", "echo", ":::", "a"], "--input x.csv: the inputs stand behind ::: already"),
        (["run", "-k", "echo", "hi"], "-k echo: -k names the kitchen here, and echo is a command"),
        (["deliver", "-k", "echo", "hi"], "-k echo: -k names the kitchen here, and echo is a command"),
        (["deliver", "--job", "4", "./x"], "no such option --job; did you mean --jobs?"),
        (["run", "--retrys=3", "./x"], "no such option --retrys; did you mean --retries?"),
        (["pilot", "--ordrs", "3", "./x"], "no such option --ordrs; did you mean --orders?"),
        (["status", "--jsn"], "no such option --jsn; did you mean --json?"),
        (["priority", "-1", "--macth", "x"], "no such option --macth; did you mean --match?"),
        (["priority", "-1", "-m"], "no such option -m. See"),
        (["-j4", "echo"], "no such option -j before the verb. A verb's options stand behind it: run -j4"),
        (["echo", ":::", "a"], "no such verb: echo. To run echo over inputs: waiter run echo"),
        ([":::", "a"], "no such verb: :::. To run a command over inputs: waiter run CMD :::"),
        (["run", "--results", "out", "echo"], "no such option --results\nhint: --output FOLDER keeps"),
        (["run", "-I%", "echo", "%"], "no such option -I\nhint: leave it out: {} stands for the arguments anyway"),
        (["run", "-a", "x", "echo"], "no such option -a\nhint: --input FILE"),
        (["run", "--eta", "echo"], "no such option --eta\nhint: leave it out: a terminal shows a bar"),
        (["deliver", "--gres", "gpu:1", "echo"], "no such option --gres\nhint: --needs gpu=1"),
        (["status", "--eta"], "no such option --eta"),
        (["run", "--output-format", "{1}", "echo", ":::", "a"], "--output-format: no output goes to files\nhint: add"),
        (["run", ":::", "a"], "run: no command given\nhint: add one, for example: seq 100 | waiter run ./crunch.sh"),
        (["run", "-n", "eve", "echo"], "Invalid value for '-n' / '--rows-each': eve: not a number of rows"),
        (["run", "-n", "0", "echo"], "Invalid value for '-n' / '--rows-each': 0: not a number of rows"),
        (["run", "-0", "--format", "csv", "echo"], "--format csv and --null are two ways to read"),
        (["run", "--keep-order", "--line-buffer", "echo"], "--keep-order shows each order's output as a whole"),
        (["run", "--dry-run=2", "echo"], "Option '--dry-run' does not take a value."),
        (["deliver", "-x", "./x"], "no such option -x. A command that begins with a dash stands after --."),
    ],
)
def test_what_is_meant_otherwise_is_refused_with_what_to_write(waiter_cli, words, what):
    told = waiter_cli(*words)

    assert told.returncode == 2
    assert told.stderr.startswith(f"waiter: {what}")


def test_an_input_that_cannot_be_read_is_named(waiter_cli):
    told = waiter_cli("run", "echo", "::::", "nowhere.txt")

    assert told.returncode != 0
    assert "nowhere.txt: cannot be read: No such file or directory" in told.stderr


@pytest.mark.parametrize("line", ["echo {} | wc -c", "echo hi", "./crunch.sh --size 3"])
def test_a_line_in_quotes_hints_at_the_shell(waiter_cli, line):
    told = waiter_cli("run", line, input="1\n")

    assert told.returncode == 4
    assert told.stderr.endswith("hint: drop the quotes, or add --shell\n")


def test_slots_are_counted_by_a_capital_p_too(waiter_cli):
    told = waiter_cli("run", "-P2", "sh", "-c", "echo slot $WAITER_SLOT", ":::", *"abcdefgh")

    assert set(told.stdout.splitlines()) == {"slot 1", "slot 2"}


def test_a_command_that_begins_with_a_dash_stands_after_two(waiter_cli):
    told = waiter_cli("deliver", "--", "--weird")

    assert told.returncode == 4
    assert "--weird: command not found" in told.stderr


def test_so_many_rows_go_to_one_command(waiter_cli, kitchen_url):
    told = waiter_cli("-k", kitchen_url, "run", "-n", "2", "echo", "x", input="1\n\n2\n3\n4\n5\n")
    again = waiter_cli("-k", kitchen_url, "run", "-n", "2", "echo", "x", input="1\n\n2\n3\n4\n5\n")

    assert told.stdout == "x 1 2\nx 3 4\nx 5\n"
    assert "Loaded 3 orders from stdin" in told.stderr
    assert again.stdout == ""


@pytest.mark.parametrize(
    ("words", "input", "lines"),
    [
        (["-n3", "echo", "{3}-{1}", ":::", "a", "b", "c"], None, "c-a\n"),
        (["-n2", "--input", "in.csv", "--header", "echo"], None, "1 2 3 4\n5 6\n"),
        (["-n", "2", "--format", "jsonl", "echo"], '["a", "b"]\n{"x": "c"}\n', "a b c\n"),
        (["-n", "2", "-0", "echo"], "a\0b", "a b\n"),
    ],
)
def test_rows_of_any_kind_go_together(waiter_cli, tmp_path, words, input, lines):
    (tmp_path / "in.csv").write_text("p,q\n1,2\n3,4\n5,6\n")

    told = waiter_cli("run", *words, input=input)

    assert told.stdout == lines, told.stderr


def test_a_pile_that_grows_is_gone_on_with_by_as_many_rows(waiter_cli, kitchen_url, tmp_path):
    (tmp_path / "in.txt").write_text("1\n2\n")
    assert "Loaded 1 order" in waiter_cli("-k", kitchen_url, "load", "-n", "2", "in.txt").stderr
    (tmp_path / "in.txt").write_text("1\n2\n3\n4\n")

    grown = waiter_cli("-k", kitchen_url, "load", "-n2", "in.txt")

    assert "Loaded 1 order from in.txt" in grown.stderr
    assert "1 known already" in grown.stderr


def test_names_of_files_may_hold_anything(waiter_cli, kitchen_url, tmp_path):
    names = ["a b", "line\nend", " ", "quo'te"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    found = subprocess.run(
        ["find", "in", "-type", "f", "-print0"], cwd=tmp_path, capture_output=True, check=True
    ).stdout

    told = waiter_cli("-k", kitchen_url, "run", "-0", "printf", "%s\\0", "{/}", input=found.decode() + "\0\0")

    assert told.returncode == 0, told.stderr
    assert sorted(told.stdout.split("\0")) == sorted(["", *names])
    assert "2 blank rows skipped" in told.stderr


def test_one_name_that_is_too_long_is_refused_by_its_row(waiter_cli):
    told = waiter_cli("run", "-0", "echo", input="a\0" + "x" * 9_000_000 + "\0b")

    assert told.returncode == 1
    assert told.stderr.startswith("waiter: stdin, row 2: more than the 8 MiB that an order may hold")


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_output_may_keep_the_order_of_the_input(waiter_cli, kitchen_url, jobs):
    line = "sleep 0.$((8 - $1)); echo out $1 $WAITER_ATTEMPT; echo err $1 >&2; test $1 != 3 || test $WAITER_ATTEMPT = 2"
    words = ["--keep-order", "--retries", "1", "--backoff", "0.1", "-j", jobs, "--shell", line]

    told = waiter_cli("-k", kitchen_url, "run", *words, ":::", *"1234567")

    assert told.returncode == 0, told.stderr
    attempts = ["out 1 1", "out 2 1", "out 3 1", "out 3 2", *(f"out {n} 1" for n in range(4, 8))]
    assert told.stdout.splitlines() == attempts
    assert [line for line in told.stderr.splitlines() if line.startswith("err")] == [
        f"err {line.split()[1]}" for line in attempts
    ]


def test_output_that_waits_for_an_order_that_ends_elsewhere_is_shown_at_the_end(waiter_cli):
    line = "test $1 != 1 || { echo first; exit 1; }; echo $1"

    told = waiter_cli(
        "run",
        "--keep-order",
        "--retries",
        "1",
        "--backoff",
        "1000s",
        "--max-orders",
        "3",
        "--shell",
        line,
        ":::",
        *"123",
    )

    assert told.stdout == "first\n2\n3\n"


def test_a_dry_run_prints_the_first_lines_and_does_nothing(waiter_cli, tmp_path):
    rows = "".join(f"dir/{n} x.txt\n" for n in range(12))

    some = waiter_cli("run", "--dry-run", "touch", "{/.}", "{%}", input=rows)
    all_ = waiter_cli("run", "-j2", "--dry-run=all", "touch", "--dry-run=all", "{/.}", input=rows)
    line = waiter_cli("run", "--dry-run", "--shell", "printf %s {/.} > {#}", input=rows)

    assert some.stdout.splitlines() == [f"touch '{n} x' 1" for n in range(10)]
    assert some.stderr == "And 2 more orders. Nothing was run.\nhint: --dry-run=all prints all of them\n"
    assert all_.stdout.splitlines() == [f"touch --dry-run=all '{n} x'" for n in range(12)]
    assert sorted(path.name for path in tmp_path.rglob("*.sqlite")) == []
    subprocess.run(line.stdout.splitlines()[3], shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "4").read_text() == "3 x"


def test_a_dry_run_says_what_would_be_refused(waiter_cli, tmp_path):
    (tmp_path / "in.csv").write_text("a,b\nc\n")
    misspelt = waiter_cli("run", "--input", "in.csv", "--dry-run", "echo", "{3}")
    lacking = waiter_cli("run", "--input", "in.csv", "--dry-run", "echo", "{2}")

    assert misspelt.returncode == 2
    assert lacking.returncode == 1
    assert lacking.stdout == "echo b\n"
    assert lacking.stderr.startswith("row 2: the command asks for {2}, and this order's last argument is {1}\n")


def test_a_dry_run_of_a_kitchen_shows_what_the_command_would_take(waiter_cli, kitchen_url):
    waiter_cli("-k", kitchen_url, "load", "--batch", "mine", "-", input="a\nb c\n")
    waiter_cli("-k", kitchen_url, "load", "--batch", "other", "--for", "wc -c {}", "-", input="z\n")

    mine = waiter_cli("-k", kitchen_url, "deliver", "--dry-run", "echo")
    bound = waiter_cli("-k", kitchen_url, "deliver", "--dry-run")
    counts = json.loads(waiter_cli("-k", kitchen_url, "status", "--json").stdout)["counts"]

    assert mine.stdout == "echo a\necho 'b c'\n"
    assert bound.stdout == "wc -c z\n"
    assert counts["READY"] == 3
    batches = json.loads(waiter_cli("-k", kitchen_url, "batches", "--json").stdout)["batches"]
    assert [batch["command"] for batch in batches] == [None, ["wc", "-c", "{}"]]


def test_what_no_row_has_is_said_before_anything_is_loaded(waiter_cli, kitchen_url):
    waiter_cli("-k", kitchen_url, "load", "-", input="x\n")

    told = waiter_cli("-k", kitchen_url, "run", "echo", "{2}", input="a\nb\n")

    assert told.returncode == 2
    assert told.stderr.startswith("waiter: the command asks for {2}, and this order's last argument is {1}")
    assert json.loads(waiter_cli("-k", kitchen_url, "status", "--json").stdout)["counts"]["READY"] == 1
