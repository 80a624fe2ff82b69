"""Bringing files back: REMOTE of every host into a folder of its own below LOCAL.

Names come from the host, so none may lead out of that folder. A file that cannot be had costs that file only.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waiter.fleet.inventory import Host
from waiter.fleet.problems import Finding, HostError, Problem
from waiter.fleet.runner import FleetRunner, Report

MOST_NAMES = 5_000_000
"""More names than that, of one host, are a listing that never ends."""

MOST_KEPT = 256 << 20
"""Bytes of names, of one host, that may be kept."""

NAME_BYTES = 100
"""What a name takes beside its letters."""

MISSED_SHOWN = 20
"""So many of the files that were not fetched are named."""


@dataclass(slots=True)
class FetchCounters:
    """What came from one host so far."""

    files: int = 0
    size: int = 0
    names: int = 0  # that the host told
    kept: int = 0  # bytes that names take which wait for their turn
    missed: list[str] = field(default_factory=list)  # why, for the first of them
    missed_count: int = 0

    def miss(self, why: str) -> None:
        self.missed_count += 1
        if len(self.missed) < MISSED_SHOWN:
            self.missed.append(why)

    def keep(self, name: str) -> None:
        """A name that has to be kept: one of a folder, or one that a glob fits. Raises HostError."""
        self.kept += len(name) + NAME_BYTES
        if self.kept > MOST_KEPT:
            raise HostError(Problem.FAILED, "the host names more files than fit into memory", "name fewer of them")

    def heard(self) -> None:
        """One name more. Raises HostError when it never ends."""
        self.names += 1
        if self.names > MOST_NAMES:
            raise HostError(Problem.FAILED, f"the host names more than {MOST_NAMES:,} files", "name fewer of them")


def fetch(runner: FleetRunner, hosts: Sequence[Host], remote: str, local: Path) -> list[Report]:
    """Copy a file, a folder with all below it, or what a glob names.

    REMOTE is relative to the user's home; symlinks to folders are not followed. What is there already is replaced.
    """
    folders = folders_of(hosts)

    def act(host: Host) -> Report:
        target, counters = local / folders[host.name], FetchCounters()
        with runner.network.session(host) as session, session.files(runner.timeout_s) as sftp:
            for path in expand_globs(sftp, remote.removeprefix("~/"), counters):
                for source, name in below(sftp, path, counters):
                    take(sftp, source, target / name, counters)
        facts = {"files": counters.files, "bytes": counters.size, "to": str(target), "missed": counters.missed}
        if not counters.missed_count:
            return Report(host, "fetched", facts)
        more = counters.missed_count - len(counters.missed)
        words = "; ".join([*counters.missed, *([f"and {more:,} more"] if more else [])])
        finding = Finding(Problem.FAILED, words, " ")
        return Report(host, "fetched in part" if counters.files else "failed", facts, (finding,))

    return runner.each(hosts, act)


def folders_of(hosts: Sequence[Host]) -> dict[str, str]:
    """A folder for each host's name, no two alike, also where a file system takes A and a for one letter.

    A name of letters, digits and `_ . @ -` is its own folder. Another one, and one that differs from a second host's by
    case only, gets a few digits of its hash.
    """
    plain = {host.name: re.sub(r"[^A-Za-z0-9_.@-]", "_", host.name).lstrip(".") for host in hosts}
    seen = Counter(name.casefold() for name, folder in plain.items() if folder == name)
    return {
        name: folder if folder == name and seen[folder.casefold()] == 1 else f"{folder or 'host'}-{_hash(name)}"
        for name, folder in plain.items()
    }


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def expand_globs(sftp: Any, remote: str, counters: FetchCounters) -> list[str]:
    """The paths that a path with globs means. Raises HostError when there is none."""
    paths = ["/" if remote.startswith("/") else ""]
    for part in remote.strip("/").split("/") if remote.strip("/") else []:
        if is_glob(part):
            paths = [posixpath.join(path, name) for path in paths for name in fitting(sftp, path, part, counters)]
        else:
            paths = [posixpath.join(path, part) for path in paths]
    if not paths:
        raise HostError(Problem.FAILED, f"{remote}: no such file on the host", " ")
    return [path or "." for path in paths]


def is_glob(part: str) -> bool:
    return any(character in part for character in "*?[")


def fitting(sftp: Any, folder: str, glob: str, counters: FetchCounters) -> list[str]:
    """The names in a folder that a glob fits; those that begin with a dot only if it does too."""
    names = []
    try:
        for entry in sftp.names(folder or "."):
            counters.heard()
            if fnmatch.fnmatchcase(entry.filename, glob) and is_plain(entry.filename):
                counters.keep(entry.filename)
                names.append(entry.filename)
    except OSError:
        return []
    return sorted(name for name in names if glob.startswith(".") or not name.startswith("."))


def is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def below(sftp: Any, path: str, counters: FetchCounters) -> Iterator[tuple[str, str]]:
    """Every file at or below a path, with its name below the target."""
    try:
        facts = sftp.stat(os.fsencode(path))
    except OSError as error:
        counters.miss(f"{printable_path(path)}: {'no such file on the host' if is_missing(error) else error}")
        return
    top = posixpath.basename(path.rstrip("/"))
    top = top if is_plain(top) else ""
    if not stat.S_ISDIR(facts.st_mode or 0):
        yield path, top or "file"
        return
    folders = [(path, top)]
    while folders:
        folder, name = folders.pop()
        try:
            for entry in sftp.names(folder):
                counters.heard()
                if not is_plain(entry.filename):
                    continue
                inner = (posixpath.join(folder, entry.filename), posixpath.join(name, entry.filename))
                if stat.S_ISDIR(entry.st_mode or 0):
                    counters.keep(inner[0])
                    folders.append(inner)
                elif stat.S_ISREG(entry.st_mode or 0) or is_regular_file(sftp, inner[0], counters):
                    yield inner
        except TimeoutError:
            raise  # the host's, not the folder's
        except OSError as error:
            counters.miss(f"{printable_path(folder)}: {error}")


def is_missing(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError) or error.errno == 2


def is_regular_file(sftp: Any, path: str, counters: FetchCounters) -> bool:
    """Whether a symlink leads to a file. One that leads nowhere is missed; sockets, pipes and folders are no files."""
    try:
        return stat.S_ISREG(sftp.stat(os.fsencode(path)).st_mode or 0)
    except OSError:
        counters.miss(f"{printable_path(path)}: a link that leads nowhere")
        return False


def take(sftp: Any, source: str, target: Path, counters: FetchCounters) -> None:
    """Copy one file, whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".fetch-{secrets.token_hex(6)}")
        try:
            sftp.get(os.fsencode(source), str(temporary))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except TimeoutError:
        raise  # the host's, not the file's
    except OSError as error:
        counters.miss(f"{printable_path(source)}: {error.strerror or error}")
    else:
        counters.files += 1
        counters.size += target.stat().st_size


def printable_path(path: str) -> str:
    """A path of the host's as text that can be printed."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
