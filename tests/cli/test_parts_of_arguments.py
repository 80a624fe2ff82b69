"""`{.}` `{/}` `{//}` `{/.}` `{#}` `{%}` mean what they mean to GNU parallel; `--literal` makes braces of them again."""

from __future__ import annotations

import json
import subprocess

import pytest

PATHS = ["/a/b.c/d.tar.gz", "foo", "a/b/", ".bashrc", "x/.y.z", "a.b/c", "/", "with blank.txt"]


@pytest.mark.parametrize("shell", [False, True])
def test_parts_are_those_of_parallel(waiter_cli, shell):
    marks = ["{.}", "{/}", "{//}", "{/.}", "{#}", "<{1/}>", "-{1.}-", "{1//}", "{1/.}"]
    theirs = subprocess.run(
        ["parallel", "-k", "-j1", "-q", "printf", "%s|", *marks, ":::", *PATHS],
        capture_output=True,
        check=True,
    ).stdout.decode()

    line = ["--shell", "printf '%s|' " + " ".join(f'"{mark}"' for mark in marks)] if shell else []
    ours = waiter_cli("run", *(line or ["printf", "%s|", *marks]), ":::", *PATHS)

    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == theirs


def test_parts_of_named_arguments(waiter_cli, tmp_path):
    (tmp_path / "in.csv").write_text("scan,slot\nraw/one.tif,left\n")

    told = waiter_cli("run", "--input", "in.csv", "--header", "echo", "{scan/.}", "{slot}", "{slot.}", "{%}")

    assert told.stdout == "one left left 1\n"


@pytest.mark.parametrize("shell", [False, True])
def test_the_slot_is_the_one_that_runs_it(waiter_cli, shell):
    script = 'test "$1" = "$WAITER_SLOT" && test "$2" = "x$WAITER_SLOT" && echo "$1"'
    words = (
        ["--shell", f"sh -c '{script}' sh '{{%}}' x{{slot}}"] if shell else ["sh", "-c", script, "sh", "{%}", "x{slot}"]
    )

    told = waiter_cli("run", "-j3", *words, ":::", *map(str, range(12)))

    assert told.returncode == 0, told.stderr
    assert set(told.stdout.split()) <= {"1", "2", "3"}
    assert len(told.stdout.split()) == 12


def test_literal_braces_are_braces(waiter_cli, kitchen_url):
    waiter_cli("-k", kitchen_url, "load", "-", input="a\n")

    told = waiter_cli("-k", kitchen_url, "deliver", "--literal", "echo", "{.}", "{nothing}", "{1}")

    assert told.stdout == "{.} {nothing} {1} a\n"
    (batch,) = json.loads(waiter_cli("-k", kitchen_url, "batches", "--json").stdout)["batches"]
    assert batch["command"] == ["--literal", "echo", "{.}", "{nothing}", "{1}"]
    assert "--literal echo {.} {nothing} {1}" in waiter_cli("-k", kitchen_url, "batches").stdout


def test_a_batch_keeps_that_its_command_is_literal(waiter_cli, kitchen_url):
    waiter_cli("-k", kitchen_url, "load", "--batch", "one", "--for", "--literal echo {.}", "-", input="a\n")
    waiter_cli("-k", kitchen_url, "load", "--batch", "two", "-", input="b\n")
    waiter_cli("-k", kitchen_url, "batch", "bind", "--literal", "--shell", "two", "echo {x} $1")

    told = waiter_cli("-k", kitchen_url, "deliver")

    assert sorted(told.stdout.splitlines()) == ["{.} a", "{x} b"]


def test_names_of_output_files_have_parts_but_no_slot(waiter_cli, tmp_path):
    named = waiter_cli("run", "--output", "out", "--output-format", "{1/.}-{#}", "echo", ":::", "a/b.txt")
    refused = waiter_cli("run", "--output", "out", "--output-format", "{%}", "echo", ":::", "a/b.txt")

    assert named.returncode == 0
    assert (tmp_path / "out/b-1.out").read_text() == "a/b.txt\n"
    assert refused.returncode == 2
    assert "--output-format asks for {%}, the slot, which is not known before the command starts" in refused.stderr


def test_an_order_can_be_tried_with_parts(waiter_cli):
    waiter_cli("load", "-", input="a/b.txt\n")
    (order,) = json.loads(waiter_cli("orders", "--json").stdout)["orders"]

    assert waiter_cli("try", order["_id"], "echo", "{/.}", "{%}").stdout == "b 1\n"
    assert waiter_cli("try", "--shell", order["_id"], "echo {//} {slot}").stdout == "a 1\n"
    assert waiter_cli("try", "--literal", order["_id"], "echo", "{/.}").stdout == "{/.} a/b.txt\n"
