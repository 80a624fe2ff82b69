"""~/.waiter on a host: who may read it, what lies there, and whose process runs from it.

Everything is the user's own, 0600 in a folder of 0700; symlinks and foreign owners are refused. The kitchen's URL,
which may hold a password, has a file of its own and is written nowhere else.

Hosts may share one home (NFS, as clusters do). What was sent lies there once for all of them; who works, with what,
and its log lie in a folder for each host, hosts/NAME.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waiter import processes
from waiter.errors import WaiterError

STATE, SETTINGS, KITCHEN = "state.json", "settings.json", "kitchen"
"""Who works here, with what, and the kitchen's URL."""

NEXT = "next.json"
"""The process that waits for the present waiter to leave."""

OVERTAKEN = "not started again: another start or stop came in between"

HOSTS = "hosts"
"""Where each host that shares this home has its folder."""


class UnsafeFolder(WaiterError):
    """Something in ~/.waiter is not what it must be: another's, or a symlink."""


class Busy(WaiterError):
    """Another command holds this host's waiter at the moment."""


class Home:
    """The folder. Raises UnsafeFolder when it cannot be trusted."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path.home() / ".waiter"
        self.path.mkdir(mode=0o700, exist_ok=True)
        facts = self._checked(self.path, stat.S_ISDIR, "folder")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            self.path.chmod(0o700)
        self.own = self.path / HOSTS / os.uname().nodename
        self.own.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = self.own / "waiter.log"

    def _checked(self, path: Path, is_kind: Any, kind: str) -> os.stat_result:
        facts = path.lstat()
        if not is_kind(facts.st_mode):
            raise UnsafeFolder(f"{path} is no {kind} of its own (a symlink?). Move it away")
        if facts.st_uid != os.getuid():
            raise UnsafeFolder(f"{path} belongs to user {facts.st_uid}, not to {os.getuid()}. Move it away")
        return facts

    # Files.

    def read(self, name: str) -> str | None:
        """The text of a file of this host, or None when there is none."""
        return self._text(self.own / name)

    def _text(self, file: Path) -> str | None:
        try:
            self._checked(file, stat.S_ISREG, "file")
            return file.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """Put a file of 0600 in place at once, in this host's folder."""
        self._write(self.own / name, text)

    def _write(self, file: Path, text: str) -> None:
        temporary = file.with_name(f".{file.name}-{os.urandom(6).hex()}")
        try:
            with open(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
                "w",
                encoding="utf-8",
                errors="surrogateescape",
            ) as out:
                out.write(text)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self.own / name).unlink(missing_ok=True)

    def json(self, name: str) -> dict[str, Any]:
        """What a JSON file of this host holds; empty when there is none, or a crash left half of it."""
        return self._object(self.own / name)

    def _object(self, file: Path) -> dict[str, Any]:
        try:
            found = json.loads(self._text(file) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def used(self, what: str) -> set[Any]:
        """The `what` (parcel, bundle) of every host that shares this home: as it works, and as it was asked to."""
        files = (folder / name for folder in (self.path / HOSTS).iterdir() for name in (STATE, SETTINGS))
        return {self._object(file).get(what) for file in files}

    def open_log(self) -> int:
        """A file descriptor that appends to the log."""
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def log_lines(self, count: int) -> list[str]:
        """The last lines of the log."""
        try:
            with open(os.open(self.log, os.O_RDONLY | os.O_NOFOLLOW), "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 64 * 1024))
                return log.read().decode("utf-8", "replace").splitlines()[-count:]
        except OSError:
            return []

    @contextmanager
    def lock(self, wait_s: float = 30.0) -> Iterator[None]:
        """Only one command at a time changes what there is. Raises Busy."""
        with open(os.open(self.own / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as held:
            deadline = time.monotonic() + wait_s
            while not _is_locked(held.fileno()):
                if time.monotonic() > deadline:
                    raise Busy("another start or stop is under way on this host. Try again when it has ended")
                time.sleep(0.05)
            yield

    def new_intent(self) -> str:
        """Note that somebody wants something of this host's waiter, and return by what to know it again."""
        mine = os.urandom(8).hex()
        self.write("wanted", mine)
        return mine

    def is_current(self, mine: str) -> bool:
        """Whether nobody has wanted anything else since."""
        return self.read("wanted") == mine

    def note_draining(self, state: Mapping[str, Any]) -> None:
        """Remember that the waiter of this state was told to leave, before it has heard of it itself."""
        self.write("draining", str(state.get("birth")))

    def is_draining(self, state: Mapping[str, Any]) -> bool:
        """Whether the waiter of this state takes no more orders: it is on its way out."""
        return bool(state.get("draining")) or self.read("draining") == str(state.get("birth"))

    # What was sent.

    def bundle(self, digest: str) -> Path:
        """The folder of the command's files, unpacked if they have just come. Raises WaiterError without them."""
        folder = self.path / "bundles" / digest
        archive = self.path / f"bundle-{digest}.tgz"
        if not folder.is_dir():
            if not archive.is_file():
                raise WaiterError(f"the command's files ({digest}) are not on this host. Run: waiter fleet push")
            unpacked = self.path / "bundles" / f".{digest}-{os.urandom(4).hex()}"
            unpacked.mkdir(mode=0o700, parents=True)
            self._write(self.path / f"{digest}.files", json.dumps(_unpack(archive, unpacked)))
            try:
                unpacked.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
                shutil.rmtree(unpacked)  # another host that shares this home was first
        archive.unlink(missing_ok=True)
        return folder

    def remove_partial(self) -> None:
        """Remove what came here in part, when a connection or a disk ended: nobody sends for longer than a day."""
        for file in self.path.glob(".*"):
            if file.is_file() and time.time() - file.stat().st_mtime > 86400:
                file.unlink(missing_ok=True)

    def forget_bundles(self) -> None:
        """Remove what was sent with bundles that nobody uses. What commands have written beside it stays."""
        kept = self.used("bundle")
        for listed in self.path.glob("*.files"):
            folder = self.path / "bundles" / listed.stem
            if listed.stem in kept:
                continue
            for name in json.loads(self._text(listed) or "[]"):
                (folder / name).unlink(missing_ok=True)
            for inner, _, _ in os.walk(folder, topdown=False):
                if not any(Path(inner).iterdir()):
                    Path(inner).rmdir()
            listed.unlink()


def _unpack(archive: Path, folder: Path) -> list[str]:
    """Plain files only, and only below the folder: Python before 3.11.4 cannot be told so. Returns their names."""
    names = []
    import tarfile  # only when something has come: a host starts Python for every verb

    with tarfile.open(archive) as packed:
        for member in packed:
            content = packed.extractfile(member) if member.isreg() else None
            target = folder / member.name
            if content is None or ".." in target.parts or not target.is_relative_to(folder):
                raise WaiterError(f"{archive.name}: {member.name} is not a regular file below its folder")
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(content, out)
            target.chmod(member.mode & 0o700)
            names.append(member.name)
    return names


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Processes: a number alone names nobody for long, so it goes with the moment of birth and the boot.


def process_start_id(pid: int) -> str | None:
    """When a process was born, in words that no other process of that number will have; None if it is gone."""
    facts, boot = processes.facts_of(pid), processes.machine_boot_id()
    if facts is None or not boot:
        return None if Path("/proc/self/stat").exists() else _start_id_by_ps(pid)
    return None if facts.is_dead else f"{boot}:{facts.start_ticks}"


def _start_id_by_ps(pid: int) -> str | None:
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, born = shown.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else born.strip()


def is_alive(state: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this state still lives."""
    pid = state.get("pid")
    return isinstance(pid, int) and process_start_id(pid) == state.get("birth") is not None


def is_of_an_earlier_boot(state: Mapping[str, Any]) -> bool:
    """Whether the host has been rebooted since the process that wrote this state began."""
    then, colon, _ = str(state.get("birth")).partition(":")
    now = processes.machine_boot_id()
    return bool(colon and now) and then != now
