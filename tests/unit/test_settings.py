"""Flag > WAITER_* variable > waiter.toml (this folder, then the user's) > default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from waiter.durations import format_duration, parse_duration
from waiter.errors import UsageError
from waiter.kitchen import kind_of
from waiter.kitchen.sqlite.address import default_path, file_path
from waiter.settings import settings
from waiter.user_dirs import Kind, own_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def places(tmp_path):
    """A working folder and a config folder, each with a waiter.toml."""
    config = tmp_path / "config"
    (config / "waiter").mkdir(parents=True)
    (config / "waiter" / "waiter.toml").write_text("kitchen = 'from-config'\n")
    (tmp_path / "waiter.toml").write_text("kitchen = 'from-folder'\n[deliver]\njobs = 4\n[fleet]\ntag = 'crunch'\n")
    return tmp_path, {"XDG_CONFIG_HOME": str(config)}


def test_each_source_wins_over_the_next(places):
    folder, environ = places
    said = {**environ, "WAITER_KITCHEN": "from-variable"}

    assert settings("from-flag", environ=said, folder=folder).kitchen == "from-flag"
    assert settings(environ=said, folder=folder).kitchen == "from-variable"
    assert settings(environ=environ, folder=folder).kitchen == "from-folder"
    (folder / "waiter.toml").unlink()
    assert settings(environ=environ, folder=folder).kitchen == "from-config"
    nothing = settings(environ={"XDG_CONFIG_HOME": str(folder)}, folder=folder)
    assert (nothing.kitchen, nothing.db, nothing.is_kitchen_named) == (None, "simplewaiter", False)


def test_a_kitchens_address_may_lie_in_a_file(places, tmp_path):
    folder, environ = places
    (tmp_path / "address").write_text("mongodb://me:pw@host/\n")
    said = {**environ, "WAITER_KITCHEN_FILE": str(tmp_path / "address")}

    assert settings(environ=said, folder=folder).kitchen == "mongodb://me:pw@host/"
    assert settings(environ={**said, "WAITER_KITCHEN": "from-variable"}, folder=folder).kitchen == "from-variable"
    (tmp_path / "address").unlink()
    assert settings("from-flag", environ=said, folder=folder).kitchen == "from-flag"
    with pytest.raises(UsageError, match="address cannot be read"):
        settings(environ=said, folder=folder)


def test_what_this_folder_does_not_say_is_as_the_user_says_it_everywhere(places):
    folder, environ = places
    (folder / "config/waiter/waiter.toml").write_text("kitchen = 'mine'\ndb = 'mine'\n[deliver]\njobs = 2\nnice = 5\n")
    (folder / "waiter.toml").write_text("db = 'ours'\n[deliver]\njobs = 4\n")

    found = settings(environ=environ, folder=folder)

    assert (found.kitchen, found.db, found.deliver) == ("mine", "ours", {"jobs": 4, "nice": 5})


def test_tables_are_handed_on(places):
    folder, environ = places
    found = settings(environ=environ, folder=folder)
    assert (found.deliver, found.fleet) == ({"jobs": 4}, {"tag": "crunch"})


@pytest.mark.parametrize(
    ("text", "word"), [("kitchen = 3", "a text"), ("deliver = 3", "[deliver]"), ("= x", "not TOML")]
)
def test_a_bad_file_is_named(tmp_path, text, word):
    (tmp_path / "waiter.toml").write_text(text)
    with pytest.raises(UsageError, match=r"waiter\.toml") as error:
        settings(environ={}, folder=tmp_path)
    assert word in str(error.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(tmp_path):
    file = tmp_path / "waiter.toml"
    file.write_text("[deliver]\non_done = 'id'\n")
    os.chown(file, 12345, 12345)

    with pytest.raises(UsageError, match="belongs to user 12345"):
        settings(environ={}, folder=tmp_path)
    assert settings(environ={"SUDO_UID": "12345"}, folder=tmp_path).deliver == {"on_done": "id"}


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_file_that_others_may_write_to_is_refused(tmp_path, mode):
    file = tmp_path / "waiter.toml"
    file.write_text("db = 'x'\n")
    file.chmod(mode)

    with pytest.raises(UsageError, match="others may write to it"):
        settings(environ={}, folder=tmp_path)
    file.chmod(0o644)
    assert settings(environ={}, folder=tmp_path).db == "x"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_that_a_group_may_write_to_is_refused_unless_it_is_the_owners_own(tmp_path):
    file = tmp_path / "waiter.toml"
    file.write_text("db = 'x'\n")
    file.chmod(0o664)
    assert settings(environ={}, folder=tmp_path).db == "x"

    os.chown(file, 0, 12345)
    with pytest.raises(UsageError, match="chmod go-w"):
        settings(environ={}, folder=tmp_path)


@pytest.fixture
def homeless(tmp_path, monkeypatch):
    """Nobody's home is known; the folder for temporary files is the test's."""

    def home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"waiter-{os.getuid()}"


def test_who_has_no_home_gets_a_folder_of_its_own(homeless):
    homeless.mkdir(mode=0o755)

    assert own_folder(Kind.STATE, {}).is_relative_to(homeless)
    assert homeless.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["link", "owner"])
def test_a_folder_that_somebody_else_made_for_who_has_no_home_is_refused(homeless, tmp_path, kind):
    (tmp_path / "elsewhere").mkdir()
    if kind == "link":
        homeless.symlink_to(tmp_path / "elsewhere")
    elif os.getuid() == 0:
        homeless.mkdir()
        os.chown(homeless, 12345, 12345)
    else:
        pytest.skip("only root can give a folder away")

    with pytest.raises(UsageError, match="set HOME"):
        own_folder(Kind.STATE, {})


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("0.5s", 0.5), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("250ms", 0.25)]
)
def test_durations_are_read(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-1", "5 weeks", "1e3", "٣"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError):
        parse_duration(text)


def test_durations_are_said_in_two_units():
    assert [format_duration(s) for s in (0, 0.52, 47, 200, 7500, 273_600)] == [
        "0 s",
        "0.52 s",
        "47 s",
        "3 min 20 s",
        "2 h 05 min",
        "3 d 4 h",
    ]


def test_a_kitchens_name_is_a_file_or_a_host(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    files = ["./x", "a/b", "orders.db", "orders.sqlite", "sqlite:///tmp/x", "~/x", "there"]
    hosts = ["localhost", "db.example:27017", "mongodb://h/a", "mongodb+srv://h/a"]

    assert [name for name in files + hosts if kind_of(name).is_local] == files
    assert str(file_path("sqlite:///tmp/x.db")) == "/tmp/x.db"
    with pytest.raises(UsageError):
        file_path("sqlite:x")


@pytest.mark.parametrize("url", ["db.example:27017/night", "ada:pa55word@db.example/night"])
def test_half_an_address_is_no_file(url):
    with pytest.raises(UsageError, match="write mongodb://") as error:
        kind_of(url)
    assert "pa55" not in str(error.value)


def test_a_databases_name_is_no_path():
    with pytest.raises(UsageError, match="--kitchen"):
        default_path("../orders")


def test_the_users_own_folders_are_where_the_system_keeps_such_things(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr("sys.platform", "linux")
    assert own_folder(Kind.STATE, {}) == Path("/home/ada/.local/state/waiter")
    assert own_folder(Kind.CACHE, {"XDG_CACHE_HOME": "/fast"}) == Path("/fast/waiter")
    assert own_folder(Kind.CONFIG, {"XDG_CONFIG_HOME": "not/absolute"}) == Path("/home/ada/.config/waiter")
    monkeypatch.setattr("sys.platform", "darwin")
    assert own_folder(Kind.DATA, {}) == Path("/home/ada/Library/Application Support/waiter")


def test_only_one_room_reads_where_the_system_keeps_things():
    variables = [kind.value[0] for kind in Kind]
    texts = {file.name: file.read_text() for file in (ROOT / "waiter").rglob("*.py")}
    assert [name for name, text in texts.items() if any(word in text for word in variables)] == ["user_dirs.py"]
