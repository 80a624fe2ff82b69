"""Arguments are the words that the row holds, whatever the command puts around them; outputs never meet."""

from __future__ import annotations

import os

import pytest

from tests.conftest import fill
from waiter.kitchen import open_kitchen
from waiter.orders import Selector, Status


@pytest.mark.parametrize(
    "where", ['"${1}"', '"{1}"', "'{1}'", "{1}", '"{}"', "'{}'", "{}", "$1", "${1}", '"{file}"', ""]
)
def test_a_shell_line_removes_the_file_that_was_named_and_no_other(waiter_cli, tmp_path, where):
    for name in ("a b", "a", "b", "*"):
        (tmp_path / name).write_text("")
    (tmp_path / "list.csv").write_text('file\na b\n"*"\n')

    done = waiter_cli("run", "--header", "--input", "list.csv", "--shell", f"rm -v {where}")

    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "home", "list.csv"]


@pytest.mark.parametrize("interpreter", [("sh", "-c"), ("bash", "-c"), ("/bin/sh", "-c"), ("env", "sh", "-c")])
def test_what_belongs_to_an_interpreter_is_never_filled(waiter_cli, interpreter):
    done = waiter_cli("run", *interpreter, 'echo "got ${1}"', "sh", input="(echo pwned >&2)\n")

    assert (done.stdout, "pwned" in done.stderr.replace("(echo pwned", "")) == ("got (echo pwned >&2)\n", False)


def test_doubled_braces_are_braces(waiter_cli, tmp_path):
    (tmp_path / "file").write_text("x y\n")

    assert waiter_cli("run", "awk", "{{print}}", input="file\n").stdout == "x y\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("echo", "{3}"), "last argument is {2}"),
        (("echo", "{szie}"), "Did you mean {size}, which is {2}?"),
        (("--shell", "echo {szie}"), "Did you mean {size}, which is {2}?"),
        (("--output", "out", "--output-format", "{szie}", "echo"), "--output-format asks for {szie}"),
    ],
)
def test_what_no_row_has_is_refused_before_the_first_order(waiter_cli, tmp_path, kitchen_url, command, words):
    (tmp_path / "orders.csv").write_text("file,size\na,1\nb,2\n")
    waiter_cli("load", "-k", kitchen_url, "--header", "orders.csv")

    done = waiter_cli("deliver", "-k", kitchen_url, *command)

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "\nhint: write {{" in done.stderr
    with open_kitchen(kitchen_url) as kitchen:
        assert [(order.status, order.attempt) for order in kitchen.find(Selector())] == [(Status.READY, 0)] * 2


def test_names_are_asked_of_rows_that_have_none(waiter_cli):
    done = waiter_cli("run", "echo", "{size}", input="a\n")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--header" in done.stderr


def test_what_one_row_lacks_is_that_orders_error(waiter_cli, tmp_path):
    (tmp_path / "orders.jsonl").write_text('{"file": "a"}\n{"file": "b", "size": 2}\n{"file": "c", "size": 3}\n')

    done = waiter_cli("run", "-k", "k.sqlite", "--input", "orders.jsonl", "echo", "{file}", "{size}")

    assert (done.returncode, done.stdout) == (1, "b 2\nc 3\n")
    with open_kitchen(str(tmp_path / "k.sqlite")) as kitchen:
        (failed,) = kitchen.find(Selector(statuses=(Status.ERROR,)))
    assert (failed.row, failed.error) == (
        1,
        "the command asks for {size}, and this order's arguments are named file",
    )


def contents(folder) -> list[str]:
    """What the files with stdout hold, and that each has one for stderr."""
    files = sorted(path for path in folder.iterdir() if path.suffix == ".out")
    assert all(path.with_suffix(".err").exists() for path in files)
    return sorted(path.read_text().strip() for path in files)


@pytest.mark.parametrize("template", ["{1}", "same", "{1}/..", "{batch}"])
def test_orders_that_ask_for_one_name_get_files_of_their_own(waiter_cli, tmp_path, template):
    say = 'echo "$1 $WAITER_ORDER"'
    done = waiter_cli(
        "run",
        "-j2",
        "--output",
        "out",
        "--output-format",
        template,
        "sh",
        "-c",
        say,
        "sh",
        input="b/c\nb_c\nb_c\nb_c \n",
    )

    assert done.returncode == 0, done.stderr
    assert sorted(text.rpartition("-")[2] for text in contents(tmp_path / "out")) == ["1", "2", "3", "4"]


def test_an_output_of_an_earlier_attempt_or_run_is_not_written_over(waiter_cli, tmp_path):
    fails_first = 'echo "$WAITER_ATTEMPT $1"; [ "$WAITER_ATTEMPT" -gt 1 ]'
    for _ in range(2):  # the second run delivers anew what was delivered completely
        done = waiter_cli(
            "run", "--output", "out", "--retries", "1", "--backoff", "0.01", "sh", "-c", fails_first, "sh", input="a\n"
        )
        assert done.returncode == 0, done.stderr

    assert contents(tmp_path / "out") == ["1 a", "1 a", "2 a", "2 a"]


def test_names_longer_than_a_file_may_have_are_cut_and_stay_apart(waiter_cli, tmp_path):
    rows = ["卵" * 120, "卵" * 121]
    done = waiter_cli(
        "run", "--output", "out", "--output-format", "{1}", "sh", "-c", "echo ${#1}", "sh", input="\n".join(rows)
    )

    assert done.returncode == 0, done.stderr
    assert len(contents(tmp_path / "out")) == 2


def test_an_output_that_cannot_be_named_is_that_orders_error(waiter_cli, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where a folder must be")
    kitchen_file = str(tmp_path / "k.sqlite")
    with open_kitchen(kitchen_file) as kitchen:
        fill(kitchen, [["a"], ["b"]])

    done = waiter_cli("deliver", "-k", kitchen_file, "--output", "out", "--output-format", "{1}/{order}", "echo")

    assert done.returncode == 1
    assert (tmp_path / "out" / "b" / "b-2.out").read_text() == "b\n"
    with open_kitchen(kitchen_file) as kitchen:
        (failed,) = kitchen.find(Selector(statuses=(Status.ERROR,)))
    assert failed.row == 1


def test_a_file_that_all_orders_append_to_makes_one_version_of_the_command(waiter_cli, tmp_path):
    (tmp_path / "run.log").write_text("")
    done = waiter_cli(
        "run", "-k", "k.sqlite", "sh", "-c", 'echo "$2" >> "$1"', "sh", "run.log", input="1\n2\n3\n4\n5\n6\n"
    )

    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run.log").read_text().split()) == 6
    with open_kitchen(str(tmp_path / "k.sqlite")) as kitchen:
        assert list(kitchen.commands().values()) == [6]
