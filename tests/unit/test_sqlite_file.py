"""Which files may be a kitchen, and what a user hears of those that may not."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import check_in, fill, unavailable
from waiter.errors import KitchenError, KitchenUnreachable
from waiter.kitchen.sqlite import file as sqlite_file
from waiter.kitchen.sqlite.file import refuse_network
from waiter.kitchen.sqlite.kitchen import SqliteKitchen


def refusal(path: Path) -> str:
    with pytest.raises(KitchenError) as refused:
        SqliteKitchen(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


OPENERS, FILES = 8, 40


def open_each(start: Any, folder: Path, said: Any) -> None:
    for number in range(FILES):
        start.wait(timeout=60)
        try:
            SqliteKitchen(folder / f"{number}.sqlite").close()
            said.put("opened")
        except KitchenError as error:
            said.put(str(error))


def test_many_may_open_a_new_file_at_the_same_moment(tmp_path):
    said: Any = multiprocessing.Queue()
    start = multiprocessing.Barrier(OPENERS)
    openers = [multiprocessing.Process(target=open_each, args=(start, tmp_path, said)) for _ in range(OPENERS)]
    for opener in openers:
        opener.start()

    heard = Counter(said.get(timeout=60) for _ in range(OPENERS * FILES))

    for opener in openers:
        opener.join()
    assert heard == {"opened": OPENERS * FILES}


def test_a_new_file_and_its_folders_are_for_nobody_else(tmp_path):
    path = tmp_path / "a" / "b" / "kitchen.sqlite"

    with SqliteKitchen(path):
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in (tmp_path / "a").rglob("*")}

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert modes.pop("b") == 0o700
    assert "kitchen.sqlite-wal" in modes
    assert set(modes.values()) == {0o600}


def test_a_directory_is_refused(tmp_path):
    assert "a directory" in refusal(tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "orders.csv").write_text("a,b\n")

    assert "Not a directory" in refusal(tmp_path / "orders.csv" / "kitchen.sqlite")


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text("a,b\n" * 1000)

    assert "not a database" in refusal(path)
    assert path.read_text() == "a,b\n" * 1000


def test_a_database_of_something_else_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "bookmarks.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE bookmarks (url)")
    other.close()
    before = path.read_bytes()

    assert "of another program" in refusal(path)
    assert path.read_bytes() == before


def test_a_file_of_a_newer_waiter_asks_for_an_upgrade(tmp_path):
    path = tmp_path / "kitchen.sqlite"
    SqliteKitchen(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()

    assert "upgrade this one" in refusal(path)


MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/fast ext4 rw 0 0
server:/x /mnt/with\040space cifs rw 0 0
me@host: /home/me/fast/far fuse.sshfs rw 0 0
"""


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="mounts are read on Linux only")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/k.sqlite", "nfs4"),
        ("/mnt/with space/k.sqlite", "cifs"),
        ("/home/me/fast/far/k.sqlite", "fuse.sshfs"),
        ("/home/me/fast/k.sqlite", None),
        ("/homely/k.sqlite", None),
        ("/var/k.sqlite", None),
    ],
)
def test_network_file_systems_are_refused_and_local_ones_inside_them_are_not(path, kind):
    if kind is None:
        refuse_network(Path(path), MOUNTS.encode)
        return

    with pytest.raises(KitchenError, match=kind) as refused:
        refuse_network(Path(path), MOUNTS.encode)

    assert "mongodb://" in str(refused.value)


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="mounts are read on Linux only")
def test_a_link_does_not_hide_a_network_file_system(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "kitchen.sqlite").symlink_to(tmp_path / "far" / "kitchen.sqlite")
    mounts = f"/dev/sda1 / ext4 rw 0 0\nserver:/x {(tmp_path / 'far').resolve()} nfs rw 0 0\n"

    with pytest.raises(KitchenError, match="network"):
        refuse_network(tmp_path / "kitchen.sqlite", mounts.encode)


def test_a_file_that_others_keep_locked_is_out_of_reach_for_now(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.3)
    with SqliteKitchen(tmp_path / "kitchen.sqlite") as kitchen:
        fill(kitchen, [["x"]])
        other = sqlite3.connect(kitchen.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(KitchenUnreachable, match="locked"):
            check_in(kitchen)
        assert kitchen.counts().total == 1  # who reads is not kept out

        other.execute("ROLLBACK")
        other.close()
        assert check_in(kitchen).waiter == "a"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode:
        unavailable("a small disk is mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_leaves_nothing_of_the_rows_and_there_is_no_need_to_start_over(small_disk):
    filler = small_disk / "filler"
    with SqliteKitchen(small_disk / "kitchen.sqlite") as kitchen:
        fill(kitchen, [["first"]], batch="a")
        fill(kitchen, [], batch="b")
        filler.write_bytes(b"x" * 400_000)
        rows = [(number, ["x" * 1000], None) for number in range(1, 400)]

        with pytest.raises(KitchenError, match="disk is full"):
            kitchen.add("b", rows)
        assert kitchen.counts().total == 1

        filler.unlink()
        assert kitchen.add("b", rows[:100]) == 100


def test_a_disk_that_cannot_be_written_is_named(small_disk):
    path = small_disk / "kitchen.sqlite"
    SqliteKitchen(path).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    with SqliteKitchen(path) as kitchen, pytest.raises(KitchenError, match=f"{path}: cannot be written"):
        fill(kitchen, [["x"]])
    assert "Read-only file system" in refusal(small_disk / "new.sqlite")
