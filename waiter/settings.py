"""Flag > WAITER_* variable > waiter.toml of this folder > the user's > default, key by key, as one frozen value.

Nobody else reads them.
"""

from __future__ import annotations

import grp
import math
import os
import pwd
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any

from waiter.errors import UsageError
from waiter.kitchen import DEFAULT_DB
from waiter.light_dataclass import dataclass, field
from waiter.user_dirs import Kind, own_folder

FILE = "waiter.toml"
_TEXTS = ("kitchen", "db", "name", "kitchen_from_hosts")
_TABLES = ("deliver", "fleet", "prices")
_FLAGS = ("require",)
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(_TABLES, dict),
    **dict.fromkeys(_FLAGS, bool),
}
_KIND_WORDS = {str: "a text", bool: "true or false"}


class Source(Enum):
    """Who said a setting."""

    FLAG = auto()
    VARIABLE = auto()
    FILE = auto()


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every command."""

    kitchen: str | None = None  # None: an SQLite file named after `db` in the user's data folder
    db: str = DEFAULT_DB
    name: str | None = None  # None: host/pid
    kitchen_from_hosts: str | None = None  # the kitchen's address as hosts reach it; None: the same
    deliver: Mapping[str, Any] = field(default_factory=dict)  # defaults of `waiter deliver`'s options
    fleet: Mapping[str, Any] = field(default_factory=dict)  # defaults of the fleet's options
    prices: Mapping[str, float] = field(default_factory=dict)  # dollars an hour, by type: `m7a.large`, `spot.m7a.large`
    sources: Mapping[str, Source] = field(default_factory=dict)  # of `kitchen`, `db` and `name`, where somebody said it
    is_kitchen_handed_on: bool = False  # by the waiter whose command this process is
    file: str | None = None  # the waiter.toml that was read, or both, for messages
    is_kitchen_named: bool = False  # somebody said which kitchen, anywhere
    is_kitchen_said: bool = False  # by a flag: who is to come there again needs the same
    requires_kitchen: bool = False  # nobody is to work in the default one because a kitchen was forgotten

    def with_kitchen(self) -> Settings:
        """These settings. Raises UsageError if a kitchen is required and nobody named one."""
        if self.requires_kitchen and not self.is_kitchen_named:
            raise UsageError(
                "no kitchen is named: --require-kitchen, or require = true in waiter.toml, refuses the default one\n"
                "hint: give --kitchen, or set WAITER_KITCHEN"
            )
        return self


def settings(
    kitchen: str | None = None,
    db: str | None = None,
    name: str | None = None,
    *,
    kitchen_from_hosts: str | None = None,
    require: bool = False,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """The settings with these flags, in this environment and folder.

    Raises UsageError for a bad waiter.toml, and for a flag or variable that is there and empty.
    """
    environ = os.environ if environ is None else environ
    files = _files(folder or Path(), environ)
    flags = {"kitchen": kitchen, "db": db, "name": name, "kitchen_from_hosts": kitchen_from_hosts}
    _refuse_empty(flags, environ)
    layers: list[tuple[Source, Mapping[str, Any]]]
    layers = [(Source.FLAG, flags), (Source.VARIABLE, _in_environment(environ, is_kitchen_wanted=kitchen is None))]
    layers += [(Source.FILE, table) for table in files.values()]
    sources, values = _first_of_each(layers)
    return Settings(
        kitchen=values.get("kitchen"),
        db=values.get("db", DEFAULT_DB),
        name=values.get("name"),
        kitchen_from_hosts=values.get("kitchen_from_hosts"),
        deliver=_merged("deliver", files),
        fleet=_merged("fleet", files),
        prices=_prices(files),
        sources=sources,
        is_kitchen_handed_on=sources.get("kitchen") is Source.VARIABLE and "WAITER_ORDER" in environ,
        file=" or ".join(map(str, files)) or None,
        is_kitchen_named="kitchen" in values or "db" in values,
        is_kitchen_said=Source.FLAG in (sources.get("kitchen"), sources.get("db")),
        requires_kitchen=require or next((table["require"] for table in files.values() if "require" in table), False),
    )


def _first_of_each(layers: Sequence[tuple[Source, Mapping[str, Any]]]) -> tuple[dict[str, Source], dict[str, str]]:
    """Who says each text first, and what; the first layer wins. Who says nothing, or an empty text, is passed over."""
    sources: dict[str, Source] = {}
    values: dict[str, str] = {}
    for source, said in layers:
        for key in _TEXTS:
            if key not in values and said.get(key):
                sources[key], values[key] = source, said[key]
    return sources, values


def _merged(table: str, files: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """What the files say in this table, key by key; the first file wins."""
    merged: dict[str, Any] = {}
    for said in reversed(list(files.values())):
        merged |= said.get(table, {})
    return merged


def _prices(files: Mapping[Path, Mapping[str, Any]]) -> dict[str, float]:
    """What machines cost an hour; the first file wins. A dot may be one of the name, or one of TOML's."""
    prices: dict[str, float] = {}
    for file, said in reversed(list(files.items())):
        for name, value in _flat(said.get("prices", {})):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise UsageError(
                    f"{file}, [prices] {name}: {value} is no price\n"
                    f'hint: dollars an hour, by instance type: "{name}" = 0.12'
                )
            prices[name] = float(value)
    return prices


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _in_environment(environ: Mapping[str, str], *, is_kitchen_wanted: bool) -> dict[str, str | None]:
    """What WAITER_* variables say. The file of WAITER_KITCHEN_FILE is read only if no flag or variable comes before."""
    values = {key: _variable(key, environ) for key in _TEXTS}
    if is_kitchen_wanted and not values["kitchen"]:
        values["kitchen"] = _kitchen_in_file(environ)
    return values


def _refuse_empty(said: Mapping[str, str | None], environ: Mapping[str, str]) -> None:
    """`-k "$UNSET"` means some kitchen, and not the default one, which `clean` would then delete."""
    for key, flag in said.items():
        where, value = f"--{key.replace('_', '-')}", flag
        if flag is None:
            where, value = f"WAITER_{key.upper()}", _variable(key, environ)
        if value == "":
            rest = "leave it out" if flag == "" else f"unset {where}"
            raise UsageError(f"{where} is empty\nhint: give it a value, or {rest}")


def _variable(key: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(f"WAITER_{key.upper()}")


def _kitchen_in_file(environ: Mapping[str, str]) -> str:
    """The address in the file that WAITER_KITCHEN_FILE names; empty where nothing names one."""
    file = environ.get("WAITER_KITCHEN_FILE")
    if not file:
        return ""
    try:
        address = Path(file).read_text().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"WAITER_KITCHEN_FILE: {file} cannot be read: {error}") from None
    if not address:
        raise UsageError(
            f"WAITER_KITCHEN_FILE: {file} holds no address\n"
            "hint: give --kitchen; hooks, notifications and `waiter try` get no address that has a password"
        )
    return address


def _files(folder: Path, environ: Mapping[str, str]) -> dict[Path, Mapping[str, Any]]:
    """What each waiter.toml says, the one that wins first."""
    files = {}
    for candidate in (folder / FILE, own_folder(Kind.CONFIG, environ) / FILE):
        try:
            files[candidate] = _checked(candidate, _trusted(candidate, environ))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UsageError(f"{candidate}: cannot be read: {error.strerror}") from None
    return files


def _trusted(file: Path, environ: Mapping[str, str]) -> bytes:
    """What it holds, which may be commands to run. Raises UsageError if somebody else could have written it."""
    with file.open("rb") as opened:
        facts = os.fstat(opened.fileno())
        sudo = environ.get("SUDO_UID", "") if os.geteuid() == 0 else ""
        if facts.st_uid not in (0, os.geteuid()) and str(facts.st_uid) != sudo:
            raise UsageError(
                f"{file}: belongs to {_user(facts.st_uid)}, and can make {_user(os.geteuid())} run commands\n"
                f"hint: read it; if you trust it, make it yours: chown {os.geteuid()} {shlex.quote(str(file))}"
            )
        if facts.st_mode & stat.S_IWOTH or (facts.st_mode & stat.S_IWGRP and not _is_private(facts)):
            raise UsageError(
                f"{file}: others may write to it, and it can hold commands to run\n"
                f"hint: read it; if it is all right: chmod go-w {shlex.quote(str(file))}"
            )
        return opened.read()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _is_private(facts: os.stat_result) -> bool:
    """Whether the file's group is its owner's alone, as many systems give one to each user."""
    try:
        owner, group = pwd.getpwuid(facts.st_uid), grp.getgrgid(facts.st_gid)
    except KeyError:
        return False
    return owner.pw_gid == facts.st_gid and owner.pw_name == group.gr_name and {*group.gr_mem} <= {owner.pw_name}


def _checked(file: Path, content: bytes) -> Mapping[str, Any]:
    import tomllib  # most waiters have no such file

    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not TOML: {error}") from None
    for key, value in table.items():
        if key not in _KINDS:
            raise UsageError(f"{file}: unknown key {key}\nhint: known are {', '.join(_KINDS)}")
        if value == "":
            raise UsageError(f"{file}: {key} is empty\nhint: give it a value, or take the line out")
        if not isinstance(value, _KINDS[key]):
            raise UsageError(f"{file}: {key} must be {_KIND_WORDS.get(_KINDS[key], f'a table, [{key}]')}")
    return table
