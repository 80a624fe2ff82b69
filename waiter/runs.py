"""The kitchens of runs without `--kitchen`: which one a run has, whether another of the same is at work there, and how
long it is kept.

A run is what its commands see: input, command, folder, what --cwd, --shell, --stdin and --output say, and the
environment, --env included, but for what a terminal or a session sets. Beside each kitchen lies a file that a run at
work keeps locked, and that holds by which environment it is known.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from waiter.delivery.options import DeliveryOptions
from waiter.errors import KitchenError, naming
from waiter.intake import Input
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.sqlite.address import default_path
from waiter.orders import Counts, Status
from waiter.user_dirs import full_path

KEPT_S = 30 * 86_400.0
"""How long the kitchen of a run is kept after it was last used."""

KEPT_WHEN_DONE_S = 86_400.0
"""The same, if all of it was delivered: a day to look at results."""

OF_A_SESSION = re.compile(
    r"_|PWD|OLDPWD|SHLVL|COLUMNS|LINES|PS[0-4]|PROMPT_COMMAND|HIST\w*|LS_COLORS|LESS\w*|PAGER|EDITOR|VISUAL|MAIL|MOTD_SHOWN"
    r"|TERM\w*|COLORTERM|VTE_\w*|WINDOW\w*|TMUX\w*|STY|ITERM_\w*|LC_TERMINAL\w*|KITTY_\w*|WEZTERM_\w*|ALACRITTY_\w*"
    r"|KONSOLE_\w*|TILIX_\w*|VSCODE_\w*|DISPLAY|WAYLAND_\w*|XAUTHORITY|XDG_(SESSION|VTNR|SEAT|RUNTIME|GREETER|CURRENT)\w*"
    r"|SSH_\w*|GPG_\w*|SUDO_\w*|DBUS_\w*|DESKTOP_\w*|GNOME_\w*|GTK_\w*|GDM\w*|KDE_\w*|QT_\w*|SESSION\w*|MANAGERPID"
    r"|SECURITYSESSIONID|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_\w*|NOTIFY_SOCKET|COMP_\w*|__CF\w*|MAKE\w*"
    r"|MFLAGS|STARSHIP_\w*|DIRENV_\w*|ZELLIJ\w*|P9K_\w*|ATUIN_\w*|WAITER_(?!ORDER$)\w*"
)
"""Variables that differ from terminal to terminal and from day to day. Waiter's own are among them, but for the order
in whose command a run is started: that is another run for each."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What makes a run this one, and no other."""

    kin: str  # all but the environment
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.kin}-{_short(chr(0).join(f'{key}={self.environment[key]}' for key in sorted(self.environment)))}"


@dataclass(frozen=True, slots=True)
class RunFile:
    """The kitchen of a run that is at work."""

    path: Path
    is_joined: bool  # another run of the same is at work on it
    relatives: tuple[Relative, ...]  # that were left unfinished
    share: Callable[[], None]  # lets others of the same join: the orders are loaded

    def keep_shortly(self) -> None:
        """Let it go after KEPT_WHEN_DONE_S: all was delivered."""
        used = time.time() - KEPT_S + KEPT_WHEN_DONE_S
        os.utime(_beside(self.path), (used, used))


@dataclass(frozen=True, slots=True)
class Relative:
    """A run that differs from this one in its environment alone, and was left unfinished."""

    path: Path
    counts: Counts
    differing: tuple[str, ...]  # the variables


def run_facts(command: Sequence[str], input: Input, how: Sequence[object], options: DeliveryOptions) -> Facts:
    """What this run is: by what the input holds, not by its name, since most are stdin; `how` it is read."""
    digest = hashlib.blake2b(digest_size=16)
    input.file.seek(0)
    while chunk := input.file.read(1 << 20):
        digest.update(chunk)
    folders = [os.path.abspath(folder) if folder else "" for folder in (options.cwd, options.output)]  # noqa: PTH100
    seen = (*folders, options.output_format, options.shell, options.stdin)
    words = (os.fspath(full_path(Path())), digest.hexdigest(), *how, *seen, *command)
    inherited = {key: value for key, value in os.environ.items() if not OF_A_SESSION.fullmatch(key)}
    return Facts(_short("\0".join(map(str, words))), {**inherited, **options.env})


@contextmanager
def run_file(run: Facts, say: Callable[[str], None]) -> Iterator[RunFile]:
    """The kitchen of this run, kept from being tidied away, and made anew by nobody else, until the run is over."""
    folder = default_path("x").parent / "runs"
    _make(folder)
    _tidy(folder)
    path = folder / f"{run.name}.sqlite"
    with _locked(_beside(path), say) as (descriptor, is_alone):
        relatives: list[Relative] = []
        if not path.exists():
            relatives = [relative for other in folder.glob(f"{run.kin}-*.run") if (relative := _relative(other, run))]
        if is_alone:
            with naming(_beside(path)):
                _write(descriptor, run.environment)
        os.utime(_beside(path))
        yield RunFile(path, not is_alone, tuple(relatives), lambda: fcntl.flock(descriptor, fcntl.LOCK_SH))


def is_anybody_at_work(kitchen: Kitchen) -> bool:
    """Whether a waiter's shift lives there."""
    return any(shift.lost_at is None and shift.lease_until > kitchen.now() for shift in kitchen.shifts())


def _make(folder: Path) -> None:
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise KitchenError(
            f"{folder}: a run cannot keep its orders there: {error.strerror}\n"
            "hint: become its owner (chown), or name a file: --kitchen ./orders.sqlite"
        ) from None


def _short(words: str) -> str:
    return hashlib.blake2b(words.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def _beside(path: Path) -> Path:
    return path.with_suffix(".run")


@contextmanager
def _locked(file: Path, say: Callable[[str], None] | None = None) -> Iterator[tuple[int, bool]]:
    """The file's descriptor, locked, and whether it is by us alone. Who is not alone waits until others may join.

    Without `say`, which hears what is waited for, it does not wait and raises BlockingIOError.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            is_alone = _lock(descriptor, say)
            if _is_there(file, descriptor):
                yield descriptor, is_alone
                return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, say: Callable[[str], None] | None) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if say is None:
            raise
    else:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another run of the same is loading the input: waiting for it.")
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return False


def _is_there(file: Path, descriptor: int) -> bool:
    """Whether nobody tidied it away while we waited for it."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write(descriptor: int, environment: Mapping[str, str]) -> None:
    """Keep by which environment this run is known: names, and of the values only what tells one from another."""
    salt = os.urandom(16).hex()
    marks = {os.fsencode(key).hex(): _mark(salt, value) for key, value in environment.items()}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"salt": salt, "environment": marks}).encode(), 0)


def _mark(salt: str, value: str) -> str:
    return hashlib.blake2b(os.fsencode(value), salt=bytes.fromhex(salt), digest_size=8).hexdigest()


def _relative(file: Path, run: Facts) -> Relative | None:
    """The run of this file, if it stands still and was left unfinished."""
    path = file.with_suffix(".sqlite")
    with suppress(BlockingIOError, KitchenError, OSError, ValueError, KeyError), _locked(file):
        if not path.exists():
            return None
        kept = json.loads(file.read_bytes())
        there = {os.fsdecode(bytes.fromhex(key)): mark for key, mark in kept["environment"].items()}
        here = {key: _mark(kept["salt"], value) for key, value in run.environment.items()}
        with open_kitchen(str(path), create=False) as kitchen:
            counts = kitchen.counts()
        differing = sorted(key for key in {*here, *there} if here.get(key) != there.get(key))
        if counts[Status.DONE] and counts[Status.DONE] < counts.total:
            return Relative(path, counts, tuple(differing))
    return None


def _tidy(folder: Path) -> None:
    """Delete what nobody has used for KEPT_S, and nobody uses now."""
    for path in folder.glob("*.sqlite"):
        with suppress(BlockingIOError, FileNotFoundError):  # it is in use; another run was faster
            if _is_old(path):
                with _locked(_beside(path)):
                    if not _has_waiters(path):
                        for ending in (".sqlite-wal", ".sqlite-shm", ".sqlite", ".run"):
                            path.with_suffix(ending).unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    used = _beside(path) if _beside(path).exists() else path
    return time.time() - used.stat().st_mtime > KEPT_S


def _has_waiters(path: Path) -> bool:
    """Whether somebody helps by `deliver`, who knows of no lock."""
    if not path.exists():
        return False
    try:
        with open_kitchen(str(path), create=False) as kitchen:
            return is_anybody_at_work(kitchen)
    except KitchenError:
        return False  # damaged
