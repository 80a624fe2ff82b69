"""Bad input and faults: one clear line on stderr, no traceback, nothing lost, a non-zero exit code."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys

import pytest

from tests.conftest import with_database


def one_line(done, code):
    """The single line of complaint."""
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("waiter: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_kitchen_out_of_reach_is_waited_for_and_named(all_said_by_cli):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"

        done = all_said_by_cli("status", "-k", f"mongodb://me:secret@{address}/?serverSelectionTimeoutMS=5000")

    assert address in one_line(done, 3)
    assert "Waiting" in done.stderr
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("folder", None, "directory"), ("notes.db", b"not a database, but long enough " * 40, "not a database")],
)
def test_what_is_no_kitchen_is_refused(waiter_cli, tmp_path, name, content, words):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content)

    line = one_line(waiter_cli("status", "-k", str(tmp_path / name)), 3)

    assert name in line
    assert words in line


def test_somebody_elses_sqlite_database_is_left_alone(waiter_cli, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "theirs.db") as db:
        db.execute("CREATE TABLE theirs (x)")

    assert "of another program" in one_line(waiter_cli("load", "-k", "./theirs.db", "-", input="x\n"), 3)


def test_somebody_elses_mongodb_database_is_left_alone(waiter_cli, mongod_url):
    import pymongo

    name = f"waiter_test_{secrets.token_hex(6)}"
    with pymongo.MongoClient(mongod_url) as client:
        client[name].orders.insert_one({"customer": 17})

        line = one_line(waiter_cli("clean", "--yes", "-k", with_database(mongod_url, name)), 3)

        assert "another program" in line
        assert client[name].list_collection_names() == ["orders"]
        client.drop_database(name)


def test_an_unwritable_place_for_the_kitchen(waiter_cli):
    assert "/proc/nowhere" in one_line(waiter_cli("status", "-k", "/proc/nowhere/kitchen.db"), 3)


def test_a_name_that_no_file_can_have(waiter_cli):
    assert "File name too long" in one_line(waiter_cli("status", "-k", f"{'x' * 300}.sqlite"), 3)


def test_a_kitchen_may_have_a_name_that_is_no_utf8(waiter_cli):
    done = waiter_cli("run", "-k", "./k\udce9.sqlite", "echo", input="x\n")

    assert (done.returncode, done.stdout) == (0, "x\n")


def test_an_unknown_status(waiter_cli):
    waiter_cli("load", "-")
    told = waiter_cli("extract", "--status", "gone")

    assert one_line(told, 2) == "waiter: unknown status gone"
    assert "\nhint: known are READY, RUNNING, DONE, ERROR, CANCELLED" in told.stderr


def test_an_unknown_batch(waiter_cli, kitchen_url):
    waiter_cli("load", "-k", kitchen_url, "-")
    assert "nowhere" in one_line(waiter_cli("extract", "-k", kitchen_url, "--batch", "nowhere"), 2)


def test_an_unknown_order(waiter_cli, kitchen_url):
    waiter_cli("load", "-k", kitchen_url, "-")
    assert "b-1" in one_line(waiter_cli("reset", "-k", kitchen_url, "--yes", "b-1"), 2)


@pytest.mark.parametrize("verb", ["deliver", "run"])
def test_no_command(waiter_cli, verb):
    assert "no command" in one_line(waiter_cli(verb), 2)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--timeout", "soon"),
        ("--jobs", "many"),
        ("--halt", "later"),
        ("--backoff", "1 week"),
        ("--env", "NOVALUE"),
        ("--retries", "-1"),
        ("--max-orders", "0"),
        ("--fail-on", "256"),
        ("--nice", "20"),
        ("--max-load", "-0.5"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(waiter_cli, option, value):
    assert value in one_line(waiter_cli("run", option, value, "true", input="x\n"), 2)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("open.csv", b'a\nb,"c\nd\n', "row 2"),
        ("nul.csv", b"a\nb\0c\n", "row 2: a NUL byte"),
        ("half.jsonl", b'["a"]\n{"a": \n', "row 2"),
        ("number.jsonl", b"[1]\n7\n", "row 2"),
        ("torn.csv.gz", b"\x1f\x8b\x08\x00torn", "torn.csv.gz"),
    ],
)
def test_a_bad_row_leaves_nothing_of_its_load(waiter_cli, kitchen_url, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)

    done = waiter_cli("load", "-k", kitchen_url, name)

    assert name in one_line(done, 1)
    assert words in done.stderr
    assert json.loads(waiter_cli("status", "-k", kitchen_url, "--json").stdout)["total"] == 0


def test_bad_rows_can_be_left_out_and_are_listed(waiter_cli, kitchen_url, tmp_path):
    (tmp_path / "nul.csv").write_bytes(b"a\nb\0c\nd\n")

    done = waiter_cli("load", "-k", kitchen_url, "--skip-bad", "nul.csv")

    assert done.returncode == 0
    assert done.stderr.startswith("left out: nul.csv, row 2: a NUL byte cannot be passed to a command\nLoaded 2 orders")


def test_a_missing_file_and_a_folder(waiter_cli, tmp_path):
    assert "nothing.csv" in one_line(waiter_cli("load", "nothing.csv"), 1)
    (tmp_path / "folder").mkdir()
    assert "directory" in one_line(waiter_cli("load", "folder"), 1)


def test_stdin_that_is_closed(tmp_path, home):
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m waiter load - <&-"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=home,
        timeout=60,
    )
    assert "stdin" in one_line(done, 1)


def test_an_interrupted_load_says_how_to_go_on(tmp_path, home):
    loading = subprocess.Popen(
        [sys.executable, "-m", "waiter", "load", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=home,
    )
    assert loading.stdin is not None
    loading.stdin.write(b"row\n" * 1_000_000)  # more than a pipe holds: it is being read now

    loading.send_signal(signal.SIGINT)

    _, said = loading.communicate(timeout=60)
    assert loading.returncode == 130
    assert said.endswith(b"Interrupted. The same load again adds what is missing.\n")


def test_a_reader_that_has_had_enough_is_no_error(waiter_cli, kitchen_url, tmp_path, home):
    waiter_cli("load", "-k", kitchen_url, "-", input="".join(f"{n}\n" for n in range(20_000)))

    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f"{sys.executable} -m waiter extract -k {kitchen_url} | head -n 1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=home,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("_id,status")


@pytest.mark.parametrize("verb", ["clean", "reset"])
def test_nobody_is_there_to_be_asked(waiter_cli, kitchen_url, verb):
    waiter_cli("run", "-k", kitchen_url, "false", input="x\n")

    assert "--yes" in one_line(waiter_cli(verb, "-k", kitchen_url), 2)
    assert json.loads(waiter_cli("status", "-k", kitchen_url, "--json").stdout)["counts"]["ERROR"] == 1


def test_errors_are_json_when_json_was_asked_for(waiter_cli, tmp_path):
    done = waiter_cli("status", "--json", "-k", str(tmp_path))

    assert done.returncode == 3
    assert "directory" in json.loads(done.stdout)["error"]


def test_a_setting_that_nobody_knows(waiter_cli, tmp_path):
    (tmp_path / "waiter.toml").write_text("kitchn = 'x'\n")

    assert "unknown key kitchn" in one_line(waiter_cli("status"), 2)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('retries = "two"', "retries: 'two'"),
        ('fail_on = ["x"]', "fail_on: 'x'"),
        ('tag = "x"', "tag: 'x'"),
        ('max-load = "high"', "max-load: 'high'"),
        ('min_memory = "much"', "min_memory: much"),
        ('nice = "a"', "nice: 'a'"),
        ("grace = -1", "grace: -1"),
        ("timeout = true", "timeout: true"),
        ('until = "foo"', "until: 'foo'"),
        ("nosuch = 1", "unknown key nosuch"),
    ],
)
def test_a_delivery_setting_that_cannot_be_read_is_named_with_its_file(waiter_cli, tmp_path, setting, words):
    (tmp_path / "waiter.toml").write_text(f"[deliver]\n{setting}\n")

    line = one_line(waiter_cli("run", "true", input="x\n"), 2)

    assert "waiter.toml, [deliver]" in line
    assert words in line


def test_delivery_settings_are_read_as_their_flags_are(waiter_cli, tmp_path):
    (tmp_path / "waiter.toml").write_text(
        "[deliver]\nfail_on = 3\nmin-memory = '1M'\nmax_time = '2h'\njobs = 2\ntag = true\nenv = {A = 'b'}\n"
    )

    done = waiter_cli("run", "sh", "-c", "echo $A; exit 3", input="x\n")

    assert (done.returncode, done.stdout) == (1, "x\tb\n")


def test_an_unknown_setting_of_the_fleet_is_named(waiter_cli, tmp_path):
    (tmp_path / "waiter.toml").write_text("[fleet]\nregon = 'eu-west-1'\n")

    line = one_line(waiter_cli("fleet", "hosts", "--hosts", "localhost"), 2)

    assert "waiter.toml, [fleet]: unknown key regon" in line


def test_a_json_flag_of_the_command_is_the_commands(waiter_cli):
    waiter_cli("load", "-", input="x\n")

    assert "no-such" in one_line(waiter_cli("deliver", "./no-such", "--json"), 4)
    assert "no such order" in one_line(waiter_cli("try", "b-1", "./no-such", "--json"), 2)
    assert "no such order" in json.loads(waiter_cli("try", "--json", "b-1", "true").stdout)["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "--watch", "--batch", "b"), "--batch"),
        (("extract", "--limit", "-3"), "-3"),
        (("extract", "--sort", "size"), "size"),
        (("extract", "-k", "orders.sqlite", "-o", "./orders.sqlite"), "the kitchen itself"),
        (("load", "--priority", "9" * 20, "orders.csv"), "9" * 20),
        (("reset", "--status", "ready", "--yes"), "READY already"),
        (("status", "-k", "postgres://host/db"), "postgres://…: no such kind of kitchen"),
        (("load",), "See: waiter load --help"),
        (("stauts",), "Did you mean status?"),
    ],
)
def test_what_a_verb_cannot_do_is_refused(waiter_cli, arguments, words):
    waiter_cli("load", "-k", "orders.sqlite", "-")
    waiter_cli("load", "-")
    assert words in one_line(waiter_cli(*arguments), 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_a_full_disk_is_named_and_nothing_is_half_loaded(waiter_cli, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=True)
    try:
        kitchen = str(small / "kitchen.sqlite")
        assert waiter_cli("load", "-k", kitchen, "-", input="x\n").returncode == 0

        done = waiter_cli("load", "-k", kitchen, "-", input="".join(f"{n} {'y' * 200}\n" for n in range(20_000)))

        assert "disk is full" in one_line(done, 3)
    finally:
        subprocess.run(["umount", str(small)], check=True)
