"""The kitchens of runs without `--kitchen`: which one a run has, whether another of the same is at work there, and how
long it is kept.

A run is what its commands see: input, command, folder, what --cwd, --shell, --stdin and --output say, and the
environment, --env included, but for what a terminal or a session sets. A file as input is known by where it is,
whatever it holds now; what has no name by what it holds, or begins with. Beside each kitchen lies a file that a run at
work keeps locked, and that holds by which environment and beginning it is known.
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
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from waiter.delivery.batch_scope import bound_words
from waiter.delivery.options import DeliveryOptions
from waiter.errors import KitchenError, naming
from waiter.intake import Input, argument_lists
from waiter.intake.beginning import Beginning, begins_with, whole
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.sqlite.address import default_path
from waiter.light_dataclass import dataclass
from waiter.orders import Counts, Status
from waiter.user_dirs import full_path

KEPT_S = 30 * 86_400.0
"""How long the kitchen of a run is kept after it was last used."""

KEPT_WHEN_DONE_S = 86_400.0
"""The same, if its input has no name, it was short, and all of it was delivered: a day to look at results."""

SHORT_S = 600.0
"""A run that took less is short: to deliver it once more costs little."""

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
    line: str  # all but the environment and the input
    environment: Mapping[str, str]
    notes: RunNotes
    file: BinaryIO
    whole: Beginning | None  # all that the input holds; None: it is known by where it is

    @property
    def surrounding(self) -> str:
        """What names of runs in this environment end with."""
        return _short(chr(0).join(f"{key}={self.environment[key]}" for key in sorted(self.environment)))


@dataclass(frozen=True, slots=True)
class RunNotes:
    """What stands beside the kitchen of a run for those who look for it; None: an older Waiter wrote nothing of it."""

    begun: float  # the last time, seconds since 1970
    input: str | None = None  # stdin, or a file's name
    command: tuple[str, ...] | None = None
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class RunFile:
    """The kitchen of a run that is at work."""

    path: Path
    is_joined: bool  # another run of the same is at work on it
    relatives: tuple[Relative, ...]  # that were left unfinished
    share: Callable[[], None]  # lets others of the same join: the orders are loaded
    is_of_file: bool  # its input is known by where it is
    is_grown: bool  # its input has no name, and begins with what it was before

    def delivered(self, seconds: float) -> None:
        """All was delivered, in so many seconds: it need not be kept for long if that is no loss."""
        if self.is_of_file or seconds > SHORT_S:
            return
        used = time.time() - KEPT_S + KEPT_WHEN_DONE_S
        os.utime(_beside(self.path), (used, used))


@dataclass(frozen=True, slots=True)
class Relative:
    """A run that differs from this one in its environment alone, and was left unfinished."""

    path: Path
    counts: Counts
    differing: tuple[str, ...]  # the variables


def run_facts(command: Sequence[str], input: Input, how: Sequence[object], options: DeliveryOptions) -> Facts:
    """What this run is; `how` its input is read."""
    where = _where(input.name)
    content = None if where else whole(input.file)
    folders = [os.path.abspath(folder) if folder else "" for folder in (options.cwd, options.output)]  # noqa: PTH100
    seen = (*folders, options.output_format, options.shell, options.literal, options.stdin)
    here = os.fspath(full_path(Path()))
    words = ("\0".join(map(str, part)) for part in ((here, *how, *seen, *command), (where or content,)))
    line, held = map(_short, words)
    inherited = {key: value for key, value in os.environ.items() if not OF_A_SESSION.fullmatch(key)}
    notes = RunNotes(time.time(), input.name, bound_words(command, shell=options.shell), here)
    return Facts(_short(line + held), line, {**inherited, **options.env}, notes, input.file, content)


def _where(name: str) -> str | None:
    """The full path of a file; None for what is another one each time, as <(seq 9) is."""
    path = Path(name)
    is_file = name not in ("stdin", argument_lists.NAME) and not name.startswith(("/dev/", "/proc/")) and path.is_file()
    return os.path.realpath(path) if is_file else None


def pipeline_facts(file: Path) -> Facts:
    """What a pipeline is: its file, by where that lies. Stages that are changed in it go on where they were."""
    real = file.resolve()
    notes = RunNotes(time.time(), os.fspath(real), (real.name,), os.fspath(real.parent))
    name = _short(f"pipeline\0{real}")
    return Facts(name, name, {}, notes, BytesIO(), None)


@contextmanager
def run_file(run: Facts, say: Callable[[str], None]) -> Iterator[RunFile]:
    """The kitchen of this run, kept from being tidied away, and made anew by nobody else, until the run is over."""
    folder = runs_folder()
    _make(folder)
    _tidy(folder)
    path = folder / f"{_name(folder, run)}.sqlite"
    with _locked(_beside(path), say) as (descriptor, is_alone):
        relatives: list[Relative] = []
        if not path.exists():
            relatives = [relative for other in folder.glob(f"{run.kin}-*.run") if (relative := _relative(other, run))]
        before = _whole_of(_kept(_beside(path)))
        if is_alone:
            with naming(_beside(path)):
                _write(descriptor, run, before or run.whole)  # it has grown once the rest is loaded
        os.utime(_beside(path))

        def share() -> None:
            if is_alone and before != run.whole:
                _write(descriptor, run, run.whole)
            fcntl.flock(descriptor, fcntl.LOCK_SH)

        is_grown = before is not None and before != run.whole
        yield RunFile(path, not is_alone, tuple(relatives), share, run.whole is None, is_grown)


def _name(folder: Path, run: Facts) -> str:
    """What this run's kitchen is called: as before, if its input begins with all that it held then."""
    if run.whole is None:
        return f"{run.kin}-{run.surrounding}"
    there: dict[Beginning, str] = {}
    for file in folder.glob(f"*-{run.surrounding}.run"):
        kept = _kept(file)
        held = _whole_of(kept)
        if held is not None and kept.get("line") == run.line:
            there[held] = file.stem
    if matching := begins_with(run.file, there):
        return there[matching[-1]]
    name, number = f"{run.kin}-{run.surrounding}", 2
    while name in there.values():  # it began so, and has grown since
        name = f"{_short(run.kin + str(number))}-{run.surrounding}"
        number += 1
    return name


def _kept(file: Path) -> dict[str, Any]:
    """What the file beside a run's kitchen holds."""
    with suppress(OSError, ValueError):
        if isinstance(kept := json.loads(file.read_bytes()), dict):
            return kept
    return {}


def _whole_of(kept: Mapping[str, Any]) -> Beginning | None:
    """What the run's input held when it was loaded last; None if it is known by where it is."""
    with suppress(KeyError, TypeError):
        return Beginning(**kept["whole"])
    return None


def runs_folder() -> Path:
    return default_path("x").parent / "runs"


def notes_of(file: Path, otherwise_begun: float) -> RunNotes:
    """What the file beside a run's kitchen says; of one that says nothing, when it was begun is a guess."""
    with suppress(KeyError, TypeError):
        notes = _kept(file)["notes"]
        return RunNotes(**{**notes, "command": tuple(notes["command"])})
    return RunNotes(otherwise_begun)


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


def _write(descriptor: int, run: Facts, held: Beginning | None) -> None:
    """Keep by which environment this run is known: names, and of the values only what tells one from another."""
    salt = os.urandom(16).hex()
    marks = {os.fsencode(key).hex(): _mark(salt, value) for key, value in run.environment.items()}
    facts: dict[str, object] = {"salt": salt, "environment": marks, "notes": asdict(run.notes), "line": run.line}
    facts["whole"] = None if held is None else asdict(held)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(facts).encode(), 0)


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
