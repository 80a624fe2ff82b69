"""`waiter run` and `waiter deliver`: what a user sees, types and gets back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.conftest import eventually
from waiter.delivery.environment import inherited
from waiter.kitchen import open_kitchen
from waiter.orders import Reason, Selector, Status


def orders(url):
    with open_kitchen(url) as kitchen:
        return {order.arguments[0]: order for order in kitchen.find(Selector(), with_details=True)}


def load(waiter_cli, url, text):
    done = waiter_cli("load", "-k", url, "-", input=text)
    assert done.returncode == 0, done.stderr


def test_run_delivers_a_piped_list_and_says_how_it_went(waiter_cli):
    done = waiter_cli("run", "-j4", "echo", "got", input="a\nb\n\nc\n")

    assert done.returncode == 0
    assert sorted(done.stdout.split("\n")[:-1]) == ["got a", "got b", "got c"]
    assert "1 blank row skipped" in done.stderr
    assert "3 orders delivered" in done.stderr


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_one_slot_tells_of_each_order_before_its_output(ask, begin):
    ask("load", "--format", "lines", "-", input="".join(f"{n}\n" for n in range(30)))

    said, _ = begin("deliver", "echo", "got").communicate(timeout=30)

    assert re.findall(r"Delivering \S+: (\d+)\ngot (\d+)\n", said) == [(str(n), str(n)) for n in range(30)]


def test_run_fails_when_an_order_fails_and_names_it(waiter_cli):
    done = waiter_cli("run", "sh", "-c", "echo no such tile >&2; exit $1", "sh", input="0\n3\n")

    assert done.returncode == 1
    assert "1 order delivered, 1 failed" in done.stderr
    assert "exit code 3: no such tile" in done.stderr


def test_run_goes_on_where_it_was_interrupted(waiter_cli, tmp_path, home):
    inputs = tmp_path / "inputs.txt"
    inputs.write_text("".join(f"{n}\n" for n in range(6)))
    line = [
        "run",
        "--input",
        "inputs.txt",
        "sh",
        "-c",
        "echo $1 >> seen; [ $1 -lt 3 -o -e gate ] || sleep 60",
        "sh",
    ]
    talk = tmp_path / "talk"
    with talk.open("wb") as stderr:
        first = subprocess.Popen([sys.executable, "-m", "waiter", *line], cwd=tmp_path, env=home, stderr=stderr)
    eventually(lambda: (tmp_path / "seen").exists() and "3" in (tmp_path / "seen").read_text())
    first.send_signal(signal.SIGINT)
    eventually(lambda: "Draining" in talk.read_text())
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130, talk.read_text()
    (tmp_path / "gate").touch()

    second = waiter_cli(*line)

    assert second.returncode == 0, second.stderr
    assert "3 of 6 orders were delivered before" in second.stderr
    assert (tmp_path / "seen").read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]


def test_run_delivers_anew_what_was_delivered_completely(waiter_cli):
    assert [waiter_cli("run", "echo", input="x\n").stdout for _ in range(2)] == ["x\n", "x\n"]


def test_placeholders_put_arguments_where_they_stand(waiter_cli, tmp_path):
    (tmp_path / "sizes.csv").write_text("file,size\na b.png,10\n")

    done = waiter_cli(
        "run", "--header", "--input", "sizes.csv", "printf", "%s|", "{size}x", "{1}", "small/{file}", "{}"
    )

    assert done.stdout == "10x|a b.png|small/a b.png|a b.png|10|"


def test_a_shell_line_gets_arguments_as_parameters(waiter_cli):
    done = waiter_cli("run", "--shell", "echo {} | tr a-z A-Z", input="$(id) x\n")

    assert done.stdout == "$(ID) X\n"


def test_bytes_that_are_no_utf8_reach_the_command(tmp_path, home):
    done = subprocess.run(
        [sys.executable, "-m", "waiter", "run", "printf", "%s"],
        input=b"\xff\xfe\n",
        capture_output=True,
        cwd=tmp_path,
        env=home,
        timeout=60,
    )
    assert done.stdout == b"\xff\xfe"


def test_the_command_learns_who_and_what_it_is(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "x\n")
    show = "echo $WAITER_ORDER $WAITER_ATTEMPT $WAITER_SLOT $WAITER_NAME"

    done = waiter_cli("deliver", "-n", "me", "sh", "-c", show, WAITER_KITCHEN=kitchen_url)

    (order,) = orders(kitchen_url).values()
    assert done.stdout == f"{order.id} 1 1 me\n"


LOAD_MORE = f'[ "$1" != x ] || echo more | {sys.executable} -m waiter load -'


@pytest.mark.parametrize("is_secret", [False, True], ids=["plain", "with a password"])
def test_a_load_inside_a_command_reaches_the_same_kitchen(waiter_cli, kitchen_url, tmp_path, is_secret):
    load(waiter_cli, kitchen_url, "x\n")
    (tmp_path / "elsewhere").mkdir()
    url = kitchen_url
    if not url.startswith("mongodb://"):
        url = "sqlite.password@x/../kitchen.sqlite" if is_secret else "./kitchen.sqlite"
        (tmp_path / "sqlite.password@x").mkdir()
    elif is_secret:
        url += "&appName=password" if "?" in url else "?appName=password"

    done = waiter_cli("deliver", "--cwd", "elsewhere", "sh", "-c", LOAD_MORE, "sh", WAITER_KITCHEN=url)

    assert done.returncode == 0, done.stderr
    assert {argument: order.status for argument, order in orders(kitchen_url).items()} == {"x": "DONE", "more": "DONE"}


def test_no_command_sees_a_password_in_its_environment_or_its_parents(waiter_cli, mongod_url, tmp_path):
    kitchen = f"{mongod_url.rstrip('/')}/secrets_{os.urandom(4).hex()}?appName=password-geheim"
    waiter_cli("load", "-k", kitchen, "-", input="x\n")
    guard = "/proc/$(cut -d' ' -f4 /proc/$PPID/stat)"
    line = f"cat /proc/self/environ /proc/$PPID/environ {guard}/environ > seen; stat -c %a $WAITER_KITCHEN_FILE"

    done = waiter_cli("deliver", "sh", "-c", line, "sh", WAITER_KITCHEN=kitchen)

    assert (done.stdout, done.returncode) == ("600\n", 0), done.stderr
    assert b"HOME=" in (tmp_path / "seen").read_bytes()
    assert b"geheim" not in (tmp_path / "seen").read_bytes()


@pytest.mark.parametrize("given", [{}, {"LC_CTYPE": "C.UTF-8"}, {"LANG": "C"}, {"LC_ALL": "C"}, {"LC_CTYPE": "C"}])
def test_a_command_has_the_locale_that_the_waiter_was_given(given, tmp_path, home):
    env = {name: home[name] for name in ("PATH", "HOME", "PYTHONPATH")} | given
    words = [sys.executable, "-m", "waiter", "run", "sh", "-c", "env | grep -e ^LC_ -e ^LANG; true", ":::", "x"]

    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [f"{name}={value}" for name, value in given.items()]


def test_what_is_given_no_password_works_on_no_other_kitchen(waiter_cli):
    env = inherited({"WAITER_KITCHEN": "mongodb://me:geheim@host/"})

    done = waiter_cli("load", "-", input="x\n", **env)

    assert "geheim" not in str(env)
    assert (done.returncode, "holds no address" in done.stderr) == (2, True)


def under(limits, home, tmp_path, *words):
    """`waiter` as it runs under these ulimits."""
    line = f'{limits}; exec "$0" -m waiter "$@"'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *words],
        input="x\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=home,
        timeout=60,
    )


def test_more_slots_than_the_system_has_open_files_for_are_refused_with_what_to_do(home, tmp_path):
    done = under("ulimit -n 100", home, tmp_path, "run", "-j", "40", "true")

    assert done.returncode == 4
    assert "40 slots need 192 open files, and this machine allows a process 100\nhint: give -j 17" in done.stderr
    assert under("ulimit -n 100", home, tmp_path, "run", "-j", "17", "true").returncode == 0


def test_a_result_that_is_cut_is_said_for_its_order(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "x\n")

    done = waiter_cli("deliver", "-k", kitchen_url, "sh", "-c", "head -c 70000 /dev/zero | tr '\\0' x > $WAITER_RESULT")

    (order,) = orders(kitchen_url).values()
    assert (done.returncode, len(order.result)) == (0, 65_536)
    assert f"{order.id}: its result is cut: of 70,000 bytes the first 65,536 are kept" in done.stderr


def test_timeouts_are_one_kind_of_failure_however_the_command_took_its_signals(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "dies\ndeaf\nexits\n")
    line = 'case $1 in deaf) trap "" TERM;; exits) trap "exit 7" TERM;; esac; while :; do sleep 0.05; done'

    waiter_cli("deliver", "-k", kitchen_url, "-j3", "--timeout", "0.5", "--grace", "0.5", "sh", "-c", line, "sh")

    ended = orders(kitchen_url).values()
    assert {order.reason for order in ended} == {Reason.TIMEOUT}
    assert len({(order.signal, order.exit_code) for order in ended}) == 3
    with open_kitchen(kitchen_url) as kitchen:
        assert [group.count for group in kitchen.failure_groups()] == [3]


def test_a_run_inside_an_order_has_a_pile_of_its_own(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "x\n")
    line = f"echo inner | {sys.executable} -m waiter run echo"

    done = waiter_cli("deliver", "sh", "-c", line, "sh", WAITER_KITCHEN=kitchen_url, timeout_s=20)

    assert done.stdout == "inner\n"
    assert set(orders(kitchen_url)) == {"x"}


def test_results_and_words_of_the_command_are_on_the_order(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "good\nbad\n")
    line = 'echo "{\\"area\\": 7}" > $WAITER_RESULT; [ $1 = good ] || { echo cloudy > $WAITER_ERROR; exit 9; }'

    assert waiter_cli("deliver", "-k", kitchen_url, "sh", "-c", line, "sh").returncode == 1

    done = orders(kitchen_url)
    assert json.loads(done["good"].result) == {"area": 7}
    assert (done["bad"].status, done["bad"].error, done["bad"].exit_code) == (Status.ERROR, "cloudy", 9)
    extract = waiter_cli("extract", "-k", kitchen_url, "--columns", "arguments,result.area", "--status", "done")
    assert extract.stdout == 'arguments,result.area\n"[""good""]",7\n'


def test_retries_are_counted_and_end(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "x\n")

    done = waiter_cli("deliver", "-k", kitchen_url, "--retries", "2", "--backoff", "0.1s", "false")

    (order,) = orders(kitchen_url).values()
    assert (done.returncode, order.status, order.attempt, order.failures) == (1, Status.ERROR, 3, 3)
    assert [event.status for event in order.history] == [Status.READY, Status.READY, Status.ERROR]


@pytest.mark.parametrize(
    ("line", "reason"),
    [("exit 3", Reason.EXIT), ("kill -SEGV $$", Reason.SIGNAL), ("sleep 60", Reason.TIMEOUT)],
)
def test_the_reason_of_a_failure_stands_beside_it(waiter_cli, kitchen_url, line, reason):
    load(waiter_cli, kitchen_url, "x\n")

    waiter_cli("deliver", "-k", kitchen_url, "--timeout", "1s", "--grace", "1", "sh", "-c", line)

    (order,) = orders(kitchen_url).values()
    assert (order.status, order.reason) == (Status.ERROR, reason)


def test_chosen_exit_codes_are_failures(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "1\n2\n")

    waiter_cli("deliver", "-k", kitchen_url, "--fail-on", "2", "sh", "-c", "exit $1", "sh")

    assert {a: o.status for a, o in orders(kitchen_url).items()} == {"1": Status.DONE, "2": Status.ERROR}


def test_halting_stops_taking_orders(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "".join(f"{n}\n" for n in range(300)))

    waiter_cli("deliver", "-k", kitchen_url, "--halt", "soon,fail=3", "false")

    statuses = [order.status for order in orders(kitchen_url).values()]
    assert (statuses.count(Status.ERROR), statuses.count(Status.READY)) == (3, 297)


def test_a_timeout_in_percent_ends_an_order_that_began_before_there_was_a_median(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "60\n0.1\n0.1\n0.1\n0.1\n")

    done = waiter_cli("deliver", "-k", kitchen_url, "-j2", "--timeout", "1000%", "sleep")

    assert done.returncode == 1
    assert {a: o.reason for a, o in orders(kitchen_url).items()} == {"60": Reason.TIMEOUT, "0.1": None}


@pytest.mark.parametrize(
    ("flags", "input", "code"),
    [
        (("--halt", "now,success=1"), "0\n0\n", 0),
        (("--halt", "now,success=1"), "1\n0\n0\n", 0),  # as GNU parallel: what failed before is no matter
        (("--halt", "soon,success=2"), "1\n0\n", 1),  # never reached
        (("--halt", "soon,done=1"), "0\n0\n", 124),
        (("-j1", "--max-time", "0.1s"), "0\n0\n", 124),
        (("--max-orders", "1"), "0\n0\n", 124),
        (("--max-orders", "2"), "0\n0\n", 0),
    ],
)
def test_a_run_that_was_told_how_far_to_go_says_whether_orders_are_left(waiter_cli, flags, input, code):
    # One takes longer than the maximal time.
    done = waiter_cli("run", *flags, "sh", "-c", "sleep 0.2; exit $1", "sh", input=input)

    assert done.returncode == code, done.stderr


def test_output_goes_to_files_of_their_own(waiter_cli, tmp_path):
    waiter_cli(
        "run", "--output", "out", "--output-format", "{row}-{1}", "sh", "-c", "echo o; echo e >&2", input="../a\nb\n"
    )

    assert sorted(os.listdir(tmp_path / "out")) == ["1-.._a.err", "1-.._a.out", "2-b.err", "2-b.out"]
    assert (tmp_path / "out" / "2-b.out").read_text() == "o\n"


def test_tags_tell_whose_line_it_is(waiter_cli):
    done = waiter_cli("run", "-j2", "--tag", "sh", "-c", 'echo "1 $1"; echo "2 $1"', "sh", input="a\nb\n")

    assert sorted(done.stdout.splitlines()) == ["a\t1 a", "a\t2 a", "b\t1 b", "b\t2 b"]


def test_a_tag_begins_a_line_though_the_order_before_ended_without_one(waiter_cli):
    line = 'printf "1 $1\\n2 $1"'
    done = waiter_cli("run", "--tag", "sh", "-c", line, "sh", input="a\nb\n")

    assert done.stdout == "a\t1 a\na\t2 a\nb\t1 b\nb\t2 b"


def test_hooks_hear_of_each_order(waiter_cli, kitchen_url, tmp_path):
    load(waiter_cli, kitchen_url, "0\n7\n")
    hook = 'echo "$WAITER_STATUS $WAITER_ARGUMENTS $WAITER_EXIT_CODE" >> heard'

    waiter_cli("deliver", "-k", kitchen_url, "--on-done", hook, "--on-error", hook, "sh", "-c", "exit $1", "sh")

    assert sorted((tmp_path / "heard").read_text().splitlines()) == ['DONE ["0"] 0', 'ERROR ["7"] 7']


def test_a_waiter_goes_home_after_so_many_orders(waiter_cli, kitchen_url):
    load(waiter_cli, kitchen_url, "".join(f"{n}\n" for n in range(9)))

    done = waiter_cli("deliver", "-k", kitchen_url, "--max-orders", "4", "true")

    assert done.returncode == 124
    assert [order.status for order in orders(kitchen_url).values()].count(Status.DONE) == 4


def test_a_run_of_a_missing_command_loads_nothing_first(waiter_cli):
    done = waiter_cli("run", "./no-such", input="1\n")

    assert (done.returncode, "Loaded" in done.stderr) == (4, False)


def test_a_machine_that_lets_no_command_run_costs_no_order_anything(waiter_cli, kitchen_url):
    waiter_cli("load", "-k", kitchen_url, "-", input="1\n")

    done = waiter_cli("deliver", "-k", kitchen_url, "true", TMPDIR="/proc")

    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
    assert done.stderr.count("waiter: no command can be run on this machine: [Errno 2]") == 1
    counts = json.loads(waiter_cli("status", "-k", kitchen_url, "--json").stdout)["counts"]
    assert counts["READY"] == 1


def test_a_missing_command_costs_no_order_anything(waiter_cli, kitchen_url, tmp_path):
    load(waiter_cli, kitchen_url, "x\n")
    (tmp_path / "plain.sh").write_text("#!/bin/sh\n")

    missing = waiter_cli("deliver", "-k", kitchen_url, "./no-such.sh")
    plain = waiter_cli("deliver", "-k", kitchen_url, "./plain.sh")

    assert (missing.returncode, plain.returncode) == (4, 4)
    assert "waiter: ./no-such.sh: no such file" in missing.stderr
    assert "chmod +x ./plain.sh" in plain.stderr
    (order,) = orders(kitchen_url).values()
    assert (order.status, order.attempt) == (Status.READY, 0)
