"""What users of GNU parallel and xargs type by habit does what they mean, or says what to type instead."""

from __future__ import annotations

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
