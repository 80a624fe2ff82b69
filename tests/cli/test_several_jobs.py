"""Several jobs in one kitchen: no command runs over the orders of another unless somebody says so."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.conftest import eventually


@pytest.fixture
def waiter(waiter_cli, kitchen_url):
    """Runs a verb of `waiter` on the test's kitchen."""

    def run(verb: str, *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return waiter_cli("-k", kitchen_url, verb, *words, input=input)

    return run


def load(waiter, batch: str, *rows: str, options: tuple[str, ...] = ()) -> None:
    loaded = waiter("load", "--batch", batch, *options, "-", input="\n".join(rows) + "\n")
    assert loaded.returncode == 0, loaded.stderr


def counts(waiter, batch: str) -> dict[str, int]:
    told = json.loads(waiter("batches", "--json").stdout)["batches"]
    (found,) = (one for one in told if one["name"] == batch)
    return {status: n for status, n in found["counts"].items() if n}


def test_a_second_command_is_refused_and_told_whose_orders_they_are(waiter):
    load(waiter, "night", "1", "2", "3")
    first = waiter("deliver", "--max-orders", "1", "echo", "align")

    second = waiter("deliver", "echo", "render")

    assert first.stdout == "align 1\n"
    assert second.returncode == 2
    assert "nothing to deliver for echo render: batch night is for echo align" in second.stderr
    assert "--batch night, or --any-command" in second.stderr
    assert counts(waiter, "night") == {"READY": 2, "DONE": 1}


@pytest.mark.parametrize("option", [("--batch", "night"), ("--any-command",)], ids=["batch", "any"])
def test_who_says_so_runs_another_command_over_them(waiter, option):
    load(waiter, "night", "1", "2")
    waiter("deliver", "--max-orders", "1", "echo", "align")

    told = waiter("deliver", *option, "echo", "render")

    assert (told.returncode, told.stdout) == (0, "render 2\n")


def test_each_command_takes_its_own_batch_and_those_of_none(waiter):
    load(waiter, "a", "1", "2", options=("--for", "echo A"))
    load(waiter, "b", "3", options=("--for", "echo B {1}!"))
    load(waiter, "free", "4")

    told = waiter("deliver", "echo", "A")

    assert sorted(told.stdout.split("\n")[:-1]) == ["A 1", "A 2", "A 4"]
    assert counts(waiter, "b") == {"READY": 1}


def test_without_a_command_every_batch_is_delivered_with_its_own(waiter):
    load(waiter, "a", "1", "2", options=("--for", "echo A"))
    load(waiter, "b", "3", options=("--for", "--shell 'echo {1} | tr 3 B'"))
    load(waiter, "free", "4")

    told = waiter("deliver")

    assert told.returncode == 0, told.stderr
    assert sorted(told.stdout.splitlines()) == ["A 1", "A 2", "B"]
    assert counts(waiter, "free") == {"READY": 1}


def test_without_a_command_a_kitchen_of_unbound_batches_is_refused(waiter):
    load(waiter, "free", "4")

    told = waiter("deliver")

    assert told.returncode == 2
    assert "no command given, and no batch here is bound to one" in told.stderr
    assert counts(waiter, "free") == {"READY": 1}


def test_a_batch_whose_command_is_not_on_this_machine_is_left_to_others(waiter):
    load(waiter, "a", "1", options=("--for", "./nowhere"))
    load(waiter, "b", "2", options=("--for", "echo B"))

    told = waiter("deliver", "--until", "empty", "--idle-timeout", "3")

    assert told.stdout == "B 2\n"
    assert "./nowhere: no such file" in told.stderr
    assert counts(waiter, "a") == {"READY": 1}


def test_what_only_failed_gives_way_to_the_mended_command(waiter):
    load(waiter, "night", "1", "2")
    waiter("deliver", "false")
    waiter("reset", "--yes")

    told = waiter("deliver", "echo", "better")

    assert (told.returncode, told.stdout) == (0, "better 1\nbetter 2\n")


def test_a_batch_that_somebody_bound_gives_way_to_nobody(waiter):
    load(waiter, "night", "1")
    assert waiter("batch", "bind", "night", "./align.sh", "{1}").returncode == 0

    refused = waiter("deliver", "echo", "render")

    assert refused.returncode == 2
    assert "batch night is for ./align.sh {1}" in refused.stderr
    assert waiter("batch", "unbind", "night").returncode == 0
    assert waiter("deliver", "echo", "render").stdout == "render 1\n"


def test_match_and_a_least_priority_choose_orders(waiter):
    load(waiter, "night", "small-1", "huge-2", "huge-3")
    waiter("priority", "5", "--match", "huge-3")

    assert waiter("deliver", "--priority-min", "5", "--until", "empty", "echo").stdout == "huge-3\n"
    assert waiter("deliver", "--match", "huge", "--until", "empty", "echo").stdout == "huge-2\n"
    assert counts(waiter, "night") == {"READY": 1, "DONE": 2}


def test_a_pilot_keeps_to_its_batch(waiter):
    load(waiter, "a", *"12345")
    load(waiter, "b", *"6789")

    told = waiter("pilot", "-n", "3", "--batch", "b", "--json", "true")

    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["orders"] == 3
    assert counts(waiter, "a") == {"READY": 5}


def test_batches_share_the_claims_by_weight(waiter):
    load(waiter, "heavy", *map(str, range(200)), options=("--weight", "4"))
    load(waiter, "light", *map(str, range(200, 400)))

    waiter("deliver", "--max-orders", "100", "-j2", "true")

    heavy, light = counts(waiter, "heavy")["DONE"], counts(waiter, "light")["DONE"]
    assert heavy + light == 100
    assert heavy > light > 0


def test_batches_are_listed_renamed_and_paused(waiter):
    load(waiter, "night", "1", options=("--for", "echo A"))

    listed = waiter("batches")

    assert listed.stdout.splitlines()[1].split()[:4] == ["night", "echo", "A", "1"]
    assert waiter("batch", "rename", "night", "day").returncode == 0
    assert waiter("pause", "--batch", "day", "--reason", "disk full").returncode == 0
    assert "day is paused: disk full" in waiter("batches").stderr
    paused = waiter("deliver", "--idle-timeout", "2", "echo", "A")
    assert "Batch day is paused: disk full" in paused.stderr
    assert "hint: to go on: waiter resume --batch day" in paused.stderr
    assert paused.stdout == ""
    assert waiter("resume", "--batch", "day").returncode == 0
    assert waiter("deliver", "echo", "A").stdout == "A 1\n"


def test_a_load_that_adds_nothing_says_what_of_the_batch_stays_and_how_to_change_it(waiter):
    load(waiter, "day", "1", options=("--for", "echo A"))

    told = waiter("load", "--batch", "night", "--for", "echo 'B C'", "--priority", "2", "-", input="1\n").stderr

    id = "7315f54247"
    assert f"It is still for echo A\nhint: waiter batch bind {id} echo 'B C'\n" in told
    assert f"It is still called day\nhint: waiter batch rename {id} night\n" in told
    assert f"Its priority stays as it was\nhint: waiter priority 2 --batch {id}\n" in told
    assert "It is still" not in waiter("load", "--batch", "day", "--for", "echo A", "-", input="1\n").stderr


def test_the_brake_stops_a_command_that_only_fails(waiter):
    load(waiter, "night", *map(str, range(1000)))

    told = waiter("deliver", "-j2", "sh", "-c", "echo broken >&2; exit 7", "x")

    assert told.returncode == 1
    assert "Stopped: the first 20 orders all failed" in told.stderr
    assert "exit code 7" in told.stderr
    told_counts = counts(waiter, "night")
    assert 20 <= told_counts["ERROR"] <= 24
    assert told_counts["READY"] == 1000 - told_counts["ERROR"]


def test_the_brake_can_be_set_and_taken_off(waiter):
    load(waiter, "night", *map(str, range(60)))

    assert waiter("deliver", "--brake", "3", "false").returncode == 1
    assert counts(waiter, "night")["ERROR"] <= 5
    assert waiter("deliver", "--brake", "0", "false").returncode == 1
    assert counts(waiter, "night") == {"ERROR": 60}


def test_a_command_that_delivered_before_it_fails_is_not_stopped(waiter):
    load(waiter, "night", *map(str, range(50)))

    told = waiter("deliver", "sh", "-c", 'test "$1" = 0', "x")

    assert counts(waiter, "night") == {"DONE": 1, "ERROR": 49}
    assert "Stopped" not in told.stderr


def test_the_brake_of_one_waiter_pauses_the_batch_for_all(waiter, begin):
    load(waiter, "night", *map(str, range(500)))
    begin("deliver", "-j1", "--until", "stopped", "sh", "-c", "sleep 30", "x")
    eventually(lambda: counts(waiter, "night").get("RUNNING"))

    told = waiter("deliver", "--any-command", "false")

    assert told.returncode == 1
    assert "batch night is paused for all waiters\n" in told.stderr
    assert "hint: fix the command, then: waiter reset; waiter resume --batch night" in told.stderr
    assert "the first 20 orders all failed" in waiter("batches").stderr


@pytest.mark.parametrize("delivered_before", [0, 2])
def test_the_brake_of_many_commands_leaves_a_batch_alone_and_delivers_the_others(waiter, delivered_before):
    load(waiter, "bad", *map(str, range(60)), options=("--for", "sh -c 'echo broken >&2; exit 7'"))
    load(waiter, "good", *map(str, "abcde"), options=("--for", "true"))
    if delivered_before:  # and so not paused for others, who may do well
        waiter("deliver", "--batch", "bad", "--max-orders", str(delivered_before), "true")
        waiter("batch", "bind", "bad", "sh", "-c", "echo broken >&2; exit 7")

    told = waiter("deliver")

    assert told.returncode == 1
    assert counts(waiter, "good") == {"DONE": 5}
    assert counts(waiter, "bad")["ERROR"] == 20
    assert counts(waiter, "bad")["READY"] == 40 - delivered_before
    assert told.stderr.count("Batch bad is left alone: the first 20 orders all failed") == 1
    assert "hint: fix the command, then: waiter reset, and start again" in told.stderr
    assert f"{40 - delivered_before} orders left." in told.stderr


def test_a_batch_that_the_brake_paused_for_a_waiter_of_many_commands_goes_on_when_it_is_resumed(
    waiter, begin, tmp_path
):
    load(waiter, "bad", *map(str, range(30)), options=("--for", f"test -e {tmp_path}/mended -a"))
    service = begin("deliver", "--until", "stopped")
    eventually(lambda: "bad is paused: the first 20" in waiter("batches").stderr)
    assert counts(waiter, "bad") == {"ERROR": 20, "READY": 10}

    (tmp_path / "mended").touch()
    assert waiter("resume", "--batch", "bad").returncode == 0

    eventually(lambda: counts(waiter, "bad") == {"ERROR": 20, "DONE": 10})
    service.send_signal(signal.SIGTERM)
    assert service.wait(30) == 0
