"""Which orders a `run` means: those of its own input, whoever shares the folder, the command or the kitchen."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from tests.conftest import eventually

FAIL = ("sh", "-c", "echo $1; exit 1", "sh")


def test_another_input_for_the_same_command_brings_nothing_of_the_last_one(waiter_cli):
    assert waiter_cli("run", *FAIL, input="1\n2\n").returncode == 1

    done = waiter_cli("run", *FAIL, input="7\n8\n")

    assert done.stdout.split() == ["7", "8"]
    assert "before" not in done.stderr


def test_what_another_input_left_undone_stays_so(waiter_cli):
    left = waiter_cli("run", "--max-orders", "1", "echo", input="1\n2\n")
    assert left.returncode == 124
    assert "1 order left" in left.stderr

    assert waiter_cli("run", "echo", input="3\n2\n").stdout == "3\n2\n"
    assert waiter_cli("run", "echo", input="1\n2\n").stdout == "2\n"


def test_what_failed_is_tried_again_with_the_same_input(waiter_cli, tmp_path):
    line = ("sh", "-c", "echo $1; [ $1 = 1 -o -e gate ]", "sh")
    assert waiter_cli("run", *line, input="1\n2\n").returncode == 1
    (tmp_path / "gate").touch()

    again = waiter_cli("run", *line, input="1\n2\n")

    assert (again.returncode, again.stdout) == (0, "2\n")
    assert "1 of 2 orders were delivered before, 1 that failed is tried again" in again.stderr


def test_two_runs_at_once_deliver_each_its_own_input(tmp_path, home):
    script = 'sleep 0.2; echo "$1"'
    outputs = {}

    def run(name):
        done = subprocess.run(
            [sys.executable, "-m", "waiter", "run", "sh", "-c", script, "sh"],
            input="".join(f"{name}{n}\n" for n in range(4)),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=home,
            timeout=60,
        )
        outputs[name] = done.stdout.split()

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outputs == {name: [f"{name}{n}" for n in range(4)] for name in "ab"}


def test_a_run_in_a_shared_kitchen_leaves_others_failures_alone(waiter_cli, kitchen_url):
    waiter_cli("load", "-k", kitchen_url, "-", input="theirs\n")
    waiter_cli("deliver", "-k", kitchen_url, "--any-command", "false")

    done = waiter_cli("run", "-k", kitchen_url, "echo", input="mine\n")

    assert (done.returncode, done.stdout) == (0, "mine\n")
    counts = json.loads(waiter_cli("status", "-k", kitchen_url, "--json").stdout)["counts"]
    assert (counts["ERROR"], counts["DONE"]) == (1, 1)


def test_an_empty_input_delivers_nothing_of_a_shared_kitchen(waiter_cli, kitchen_url):
    waiter_cli("load", "-k", kitchen_url, "-", input="theirs\n")

    done = waiter_cli("run", "-k", kitchen_url, "echo", input="")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No rows in stdin: nothing to do.\n")
    assert json.loads(waiter_cli("status", "-k", kitchen_url, "--json").stdout)["counts"]["READY"] == 1


def test_a_run_that_others_helped_with_is_a_whole_success(waiter_cli, kitchen_url, tmp_path, home):
    line = [sys.executable, "-m", "waiter"]
    run = subprocess.Popen(
        [*line, "run", "-k", kitchen_url, "sh", "-c", "touch begun; sleep 1"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=home,
    )
    run.stdin.write("".join(f"{n}\n" for n in range(8)))
    run.stdin.close()
    eventually((tmp_path / "begun").exists)
    helper = waiter_cli("deliver", "-k", kitchen_url, "--any-command", "true")

    assert "0 orders" not in helper.stderr
    assert run.wait(60) == 0, run.stderr.read()


def test_a_run_whose_orders_a_helper_failed_is_none(waiter_cli, kitchen_url, tmp_path, home):
    run = subprocess.Popen(
        [sys.executable, "-m", "waiter", "run", "-k", kitchen_url, "sh", "-c", "touch begun; sleep 1"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=home,
    )
    run.stdin.write("".join(f"{n}\n" for n in range(8)))
    run.stdin.close()
    eventually((tmp_path / "begun").exists)
    waiter_cli("deliver", "-k", kitchen_url, "--any-command", "false")

    assert run.wait(60) == 1
