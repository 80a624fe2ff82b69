"""A file appears under its name when it is complete, or not at all, and what is wrong with it is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import unavailable
from waiter.atomic_write import atomic_write
from waiter.errors import FileUnusable


def test_the_file_is_there_when_the_block_has_ended(tmp_path):
    target = tmp_path / "orders.csv"

    with atomic_write(str(target)) as path:
        path.write_text("1,2\n")
        assert not target.exists()

    assert target.read_text() == "1,2\n"
    assert os.listdir(tmp_path) == ["orders.csv"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "orders.csv"
    target.write_text("old")

    def write_half() -> None:
        with atomic_write(str(target)) as path:
            path.write_text("ne")
            raise EOFError

    with pytest.raises(EOFError):
        write_half()

    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["orders.csv"]


def test_a_directory_is_refused_with_a_file_to_name(tmp_path):
    with pytest.raises(FileUnusable) as refused, atomic_write(str(tmp_path)):
        pass

    assert (
        str(refused.value)
        == f"{tmp_path}: is a directory, not a file\nhint: name a file in it, such as {tmp_path}/orders.csv"
    )


def test_a_missing_folder_is_told_with_the_command_that_makes_it(tmp_path):
    target = tmp_path / "of today" / "orders.csv"

    with pytest.raises(FileUnusable) as refused, atomic_write(str(target)):
        pass

    what, hint = str(refused.value).splitlines()
    assert what == f"{target}: cannot be written: No such file or directory"
    assert hint == f"hint: create its folder first: mkdir -p '{tmp_path}/of today'"


def test_a_full_disk_is_told_of_the_file_that_is_written():
    if not Path("/dev/full").exists():
        unavailable("no /dev/full")

    def write() -> None:
        with atomic_write("/dev/full") as path, path.open("w") as file:
            file.write("x")

    with pytest.raises(FileUnusable, match=r"^/dev/full: cannot be written: No space left.*\nhint: make room"):
        write()
