"""An SQLite kitchen is one file under one name, with its -wal and -shm beside it: what happens when it is not, or when
somebody opens it for something else.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import check_in, eventually, fill, outcome
from waiter.delivery.command import Version
from waiter.errors import KitchenDamaged, KitchenError, KitchenMissing
from waiter.kitchen import open_kitchen
from waiter.kitchen.open_files import is_kitchen
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Selector, Status

RECORD = 'echo "$1" >> runs.txt; while [ ! -e go ]; do sleep 0.05; done'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")


@pytest.fixture
def started(tmp_path, home):
    """Starts `waiter` as a process of its own; what still runs at the end is killed."""
    begun = []

    def start(*arguments):
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "waiter", *arguments],
                cwd=tmp_path,
                env=home,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def counts(waiter_cli, kitchen="k.sqlite"):
    return json.loads(waiter_cli("status", "-k", kitchen, "--json").stdout)["counts"]


def runs(folder):
    file = folder / "runs.txt"
    return file.read_text().split() if file.exists() else []


def killed_in_the_middle(started, waiter_cli, folder):
    """A kitchen of three orders, all DONE, whose waiter was killed: the outcomes are in its -wal alone."""
    waiter_cli("load", "-k", "k.sqlite", "-", input="1\n2\n3\n")
    (folder / "go").touch()
    waiter = started("deliver", "-k", "k.sqlite", "--until", "stopped", "sh", "-c", RECORD, "sh")
    eventually(lambda: counts(waiter_cli).get("DONE") == 3)
    waiter.kill()
    waiter.wait()


# Opened by the same process for something else.


def test_a_command_that_names_the_kitchen_costs_nobody_the_kitchens_locks(started, waiter_cli, tmp_path):
    waiter_cli("load", "-k", "k.sqlite", "-", input="".join(f"{n}\n" for n in range(6)))
    # As a user does it to hand the kitchen to the command; the hash of the words looks into each file among them.
    command = ("sh", "-c", RECORD.replace("$1", "$3"), "sh", "./k.sqlite", "k.sqlite-shm")
    ada = started("deliver", "-k", "k.sqlite", "-n", "ada", "-j2", *command)
    eventually(lambda: len(runs(tmp_path)) == 2)

    assert counts(waiter_cli)["RUNNING"] >= 2  # and its end would clear away a -wal that nobody seems to use
    bob = started("deliver", "-k", "k.sqlite", "-n", "bob", "-j2", *command)
    eventually(lambda: len(runs(tmp_path)) == 4)
    (tmp_path / "go").touch()

    assert [process.wait(timeout=60) for process in (ada, bob)] == [0, 0]
    assert Counter(runs(tmp_path)) == Counter(str(n) for n in range(6))
    assert counts(waiter_cli)["DONE"] == 6


def test_who_has_a_kitchen_open_knows_its_files_by_whatever_name(tmp_path):
    path = tmp_path / "k.sqlite"
    (tmp_path / "other").symlink_to(path)
    with SqliteKitchen(tmp_path / "other") as kitchen:
        fill(kitchen, [["x"]])
        descriptor = os.open("/dev/null", os.O_RDONLY)

        assert all(is_kitchen(tmp_path / name) for name in ("k.sqlite", "other", "k.sqlite-wal", "k.sqlite-shm"))
        assert is_kitchen(os.fsencode(path))
        assert not is_kitchen(descriptor)
        assert not is_kitchen(tmp_path / "none")
        assert not is_kitchen(tmp_path)
        os.close(descriptor)

    assert not is_kitchen(path)


def is_locked(path):
    """Whether another process, as it closes the kitchen, sees that this one has it open, and leaves its -wal."""
    script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT 1 FROM state'); db.close()"
    subprocess.run([sys.executable, "-c", script, path], check=True)
    return Path(f"{path}-wal").exists()


def test_no_lock_is_dropped_by_what_looks_into_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "k.sqlite"
    with SqliteKitchen(path) as kitchen:
        fill(kitchen, [["x"]])
        shift = check_in(kitchen)
        version = Version(["sh", "./k.sqlite", "k.sqlite-wal", "k.sqlite-shm"], shutil.which("sh"), None)

        before = version.current()
        kitchen.finish(shift, [outcome(order) for order in kitchen.claim(shift, 1)])

        assert version.current() == before  # it is no part of the command
        assert is_locked(path)


def test_the_kitchen_is_no_input_no_output_and_no_joblog(waiter_cli, tmp_path):
    waiter_cli("load", "-k", "k.sqlite", "-", input="1\n")
    (tmp_path / "link").symlink_to("k.sqlite")
    whole = (tmp_path / "k.sqlite").read_bytes()

    done = [
        waiter_cli("load", "-k", "k.sqlite", "link"),
        waiter_cli("load", "-k", "k.sqlite", "k.sqlite-wal"),
        waiter_cli("extract", "-k", "k.sqlite", "-o", "link"),
        waiter_cli("extract", "-k", "k.sqlite", "-o", "k.sqlite-shm"),
        waiter_cli("deliver", "-k", "k.sqlite", "--joblog", "link", "true"),
        waiter_cli("run", "-k", "k.sqlite", "--input", "link", "true"),
        waiter_cli("run", "-k", "k.sqlite", "--joblog", "link", "true", input="1\n"),
    ]

    assert [one.returncode for one in done] == [1, 1, 2, 2, 2, 1, 2]
    assert counts(waiter_cli)["READY"] == 1
    assert (tmp_path / "k.sqlite").read_bytes()[:4096] == whole[:4096]


# Under two names, or under none.


def test_a_kitchen_with_two_names_is_refused_under_both(waiter_cli, tmp_path):
    waiter_cli("load", "-k", "k.sqlite", "-", input="1\n")
    (tmp_path / "b.sqlite").hardlink_to(tmp_path / "k.sqlite")

    for name in ("k.sqlite", "b.sqlite"):
        refused = waiter_cli("deliver", "-k", name, "sh", "-c", RECORD, "sh")
        assert (refused.returncode, refused.stderr.count("hard links")) == (3, 1)

    (tmp_path / "b.sqlite").unlink()
    assert counts(waiter_cli)["READY"] == 1
    assert runs(tmp_path) == []


@pytest.mark.parametrize("is_empty", [False, True])
def test_who_looks_for_a_kitchen_that_was_moved_away_costs_no_outcome(started, waiter_cli, tmp_path, is_empty):
    killed_in_the_middle(started, waiter_cli, tmp_path)
    (tmp_path / "k.sqlite").rename(tmp_path / "away")
    if is_empty:
        (tmp_path / "k.sqlite").touch()

    looked = [waiter_cli(*words, "-k", "k.sqlite") for words in (("status",), ("load", "/dev/null"), ("wait",))]

    assert [one.returncode for one in looked] == [3, 3, 3]
    assert all("k.sqlite-wal is here" in one.stderr for one in looked)
    (tmp_path / "away").rename(tmp_path / "k.sqlite")
    assert counts(waiter_cli)["DONE"] == 3


def has_beaten(path):
    with SqliteKitchen(path) as kitchen:
        return any(shift.heartbeat_at > shift.since + 0.5 for shift in kitchen.shifts())


def gone(path):
    path.rename(path.with_name("away"))


def replaced(path):
    gone(path)
    shutil.copy(path.with_name("away"), path)


@pytest.mark.parametrize("happens", [gone, replaced])
def test_a_waiter_whose_kitchen_is_taken_away_keeps_what_it_has_and_goes_home(started, waiter_cli, tmp_path, happens):
    waiter_cli("load", "-k", "k.sqlite", "-", input="1\n2\n3\n4\n")
    waiter = started("deliver", "-k", "k.sqlite", "-j2", "sh", "-c", RECORD, "sh")
    eventually(lambda: len(runs(tmp_path)) == 2)
    eventually(lambda: has_beaten(tmp_path / "k.sqlite"))

    happens(tmp_path / "k.sqlite")

    line = next(line for line in waiter.stdout if "deleted, moved or replaced" in line)
    assert str(tmp_path / "k.sqlite") in line
    (tmp_path / "go").touch()
    assert waiter.wait(timeout=30) == 3
    assert len(runs(tmp_path)) == 2  # the others are left to whoever has the file
    (tmp_path / "k.sqlite").unlink(missing_ok=True)
    (tmp_path / "away").rename(tmp_path / "k.sqlite")
    again = waiter_cli("deliver", "-k", "k.sqlite", "sh", "-c", RECORD, "sh")
    assert "Delivered outcomes that were kept on disk: 2" in again.stderr
    assert Counter(runs(tmp_path)) == Counter("1234")
    assert counts(waiter_cli)["DONE"] == 4


def test_nothing_is_acknowledged_that_went_into_a_deleted_file(tmp_path):
    path = tmp_path / "k.sqlite"
    with SqliteKitchen(path) as kitchen:
        fill(kitchen, [["x"], ["y"]])
        shift = check_in(kitchen)
        orders = kitchen.claim(shift, 1)
        path.unlink()

        for ask in (
            lambda: kitchen.finish(shift, [outcome(order) for order in orders]),
            lambda: kitchen.claim(shift, 1),
            kitchen.counts,
            lambda: SqliteKitchen(path),
        ):
            with pytest.raises(KitchenDamaged, match="deleted"):
                ask()
    assert not path.exists()


# Names.


@pytest.mark.parametrize("name", ["file:x.sqlite", "./:memory:", "a?mode=memory.sqlite", "50%25.sqlite"])
def test_a_name_is_a_name_whatever_sqlite_makes_of_it(waiter_cli, tmp_path, name):
    waiter_cli("load", "-k", name, "-", input="1\n")

    assert counts(waiter_cli, name)["READY"] == 1
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert {file.name for file in tmp_path.iterdir()} == {Path(name).name, "home"}


def test_a_name_that_is_no_utf_8(waiter_cli, tmp_path):
    db = os.fsdecode(b"b\xff")

    assert waiter_cli("load", "--db", db, "-", input="1\n").returncode == 0
    assert waiter_cli("status", "--db", db).returncode == 0
    assert [file.name for file in tmp_path.rglob("*.sqlite")] == [f"{db}.sqlite"]


@needs_root
@pytest.mark.parametrize("name", [b"caf\xe9", "line\u2028end".encode(), b"a b\tc\nd\\e"])
def test_a_mount_of_any_name_is_nobodys_trouble(waiter_cli, tmp_path, name):
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    try:
        for kitchen in ("k.sqlite", str(folder / "k.sqlite")):
            assert waiter_cli("load", "-k", kitchen, "-", input="1\n").returncode == 0
            assert counts(waiter_cli, kitchen)["READY"] == 1
    finally:
        subprocess.run(["umount", folder], check=True)


@needs_root
def test_a_file_that_is_mounted_by_itself_is_refused(waiter_cli, tmp_path):
    waiter_cli("load", "-k", "k.sqlite", "-", input="1\n")
    (tmp_path / "inside.sqlite").touch()
    subprocess.run(["mount", "--bind", tmp_path / "k.sqlite", tmp_path / "inside.sqlite"], check=True)
    try:
        refused = waiter_cli("status", "-k", "inside.sqlite")
    finally:
        subprocess.run(["umount", tmp_path / "inside.sqlite"], check=True)

    assert refused.returncode == 3
    assert "hint: mount its folder" in refused.stderr


def test_a_folder_that_was_deleted_is_no_hindrance_to_a_full_path(waiter_cli, tmp_path, home):
    waiter_cli("load", "-k", "k.sqlite", "-", input="1\n")
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'

    def from_nowhere(*arguments):
        words = ["sh", "-c", script, "sh", sys.executable, "-m", "waiter", *arguments]
        return subprocess.run(words, cwd=tmp_path, env=home, capture_output=True, text=True, timeout=60, input="1\n")

    assert from_nowhere("status", "-k", str(tmp_path / "k.sqlite")).returncode == 0
    for arguments in (("status", "-k", "k.sqlite"), ("run", "true")):
        refused = from_nowhere(*arguments)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 2)  # and a hint
        assert "current folder was deleted" in refused.stderr


# For readers.


def readable(kitchen):
    with SqliteKitchen(kitchen, create=False) as there:
        shifts = there.shifts()
        found = [order.status for order in there.find(Selector())]
        reclaimed = there.reclaim()
        return there.counts()[Status.DONE], len(found), len(shifts), bool(reclaimed), there.backlog().is_done


@needs_root
@pytest.mark.parametrize("is_open", [False, True], ids=["nobody at work", "somebody at work"])
def test_who_may_only_read_reads(waiter_cli, tmp_path, is_open):
    whole, seen = tmp_path / "whole", tmp_path / "seen"
    whole.mkdir()
    seen.mkdir()
    subprocess.run(["mount", "--bind", whole, seen], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", seen], check=True)
    try:
        kitchen = SqliteKitchen(whole / "k.sqlite")
        fill(kitchen, [["x"], ["y"]])
        shift = check_in(kitchen)
        for order in kitchen.claim(shift, 2):
            kitchen.finish(shift, [outcome(order)])
        if not is_open:
            kitchen.close()

        assert readable(seen / "k.sqlite") == (2, 2, 1, False, True)
        for verb in (("status",), ("orders",), ("errors",), ("waiters",), ("extract",), ("wait",), ("show", "b-1")):
            done = waiter_cli(*verb, "-k", "seen/k.sqlite")
            assert done.returncode == 0, done.stderr
        refused = waiter_cli("load", "-k", "seen/k.sqlite", "-", input="1\n")
        assert (refused.returncode, refused.stderr.count("\n")) == (3, 2)  # and a hint
        assert "cannot be written" in refused.stderr
        kitchen.close()
    finally:
        subprocess.run(["umount", seen], check=True)


@needs_root
def test_a_reader_sees_what_is_written_meanwhile(tmp_path):
    whole, seen = tmp_path / "whole", tmp_path / "seen"
    whole.mkdir()
    seen.mkdir()
    with SqliteKitchen(whole / "k.sqlite") as kitchen:
        fill(kitchen, [["x"]])
    subprocess.run(["mount", "--bind", whole, seen], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", seen], check=True)
    try:
        with SqliteKitchen(seen / "k.sqlite", create=False) as reader:
            assert reader.counts().total == 1
            with SqliteKitchen(whole / "k.sqlite") as kitchen:
                fill(kitchen, [["y"], ["z"]], batch="c")
                assert reader.counts().total == 3
            assert reader.counts().total == 3
            with pytest.raises(KitchenError):
                reader.reset(Selector())
    finally:
        subprocess.run(["umount", seen], check=True)


# Verbs that look.

LOOKING = [
    ("status",),
    ("orders",),
    ("show", "b-1"),
    ("errors",),
    ("waiters",),
    ("extract",),
    ("wait",),
    ("notify", "touch", "told"),
    ("pilot", "true"),
    ("try", "b-1", "true"),
    ("reset", "--yes"),
    ("cancel", "--yes"),
    ("pause",),
]


@pytest.mark.parametrize("verb", LOOKING, ids=lambda verb: verb[0])
def test_who_only_looks_makes_nothing(waiter_cli, tmp_path, verb):
    looked = waiter_cli(*verb[:1], "-k", "nowhere/typo.sqlite", *verb[1:])

    assert looked.returncode == 3
    assert looked.stderr.count("\n") == 2, "and a hint"
    assert "typo.sqlite: no such kitchen" in looked.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"home"}


@pytest.mark.parametrize(
    ("before", "after", "variables", "file"),
    [
        ((), ("-k", ""), {}, ""),
        (("-k", ""), (), {}, ""),
        ((), ("--db", ""), {}, ""),
        ((), (), {"WAITER_KITCHEN": ""}, ""),
        ((), (), {"WAITER_DB": ""}, ""),
        ((), (), {}, "kitchen = ''"),
    ],
)
def test_an_empty_name_is_not_the_default_kitchen(waiter_cli, tmp_path, before, after, variables, file):
    waiter_cli("load", "-", input="1\n")
    (tmp_path / "waiter.toml").write_text(file)

    refused = waiter_cli(*before, "clean", "--yes", *after, **variables)

    assert refused.returncode == 2
    assert "is empty" in refused.stderr
    (tmp_path / "waiter.toml").unlink()
    assert json.loads(waiter_cli("status", "--json").stdout)["counts"]["READY"] == 1


def test_a_flag_wins_over_an_empty_variable(waiter_cli):
    assert waiter_cli("load", "-k", "k.sqlite", "-", input="1\n", WAITER_KITCHEN="").returncode == 0


def test_what_is_not_there_is_clean(waiter_cli, tmp_path):
    assert waiter_cli("clean", "--yes", "-k", "typo.sqlite").returncode == 0
    assert not (tmp_path / "typo.sqlite").exists()


def test_a_program_that_only_looks_makes_nothing(tmp_path):
    with pytest.raises(KitchenMissing):
        open_kitchen(str(tmp_path / "nowhere" / "k.sqlite"), create=False)

    assert list(tmp_path.iterdir()) == []


def test_what_is_read_of_a_database_is_not_its_file(tmp_path):
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE t (x)").connection.close()

    with pytest.raises(KitchenError, match="of another program"):
        SqliteKitchen(tmp_path / "other.sqlite")
    assert not is_kitchen(tmp_path / "other.sqlite")
