"""Bringing files back: REMOTE of every host into a folder of its own below LOCAL.

Names come from the host, so none may lead out of that folder.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from waiter.fleet.actions import Drive, Report
from waiter.fleet.inventory import Host
from waiter.fleet.trouble import HostError, Trouble


def fetch(drive: Drive, hosts: Sequence[Host], remote: str, local: Path) -> list[Report]:
    """Copy a file, a folder with all below it, or what a glob in the last part of the path names.

    REMOTE is relative to the user's home; symlinks to folders are not followed. What is there already is replaced.
    """

    def act(host: Host) -> Report:
        target = local / folder_of(host)
        count = size = 0
        with drive.network.session(host) as session, session.files(drive.timeout_s) as sftp:
            for path in named(sftp, remote.removeprefix("~/")):
                for source, name in below(sftp, path):
                    size += copied(sftp, source, target / name)
                    count += 1
        return Report(host, "fetched", {"files": count, "bytes": size, "to": str(target)})

    return drive.each(hosts, act)


def folder_of(host: Host) -> str:
    """A host's name as a folder's."""
    return re.sub(r"[^\w.@-]", "_", host.name).lstrip(".") or "host"


def named(sftp: Any, remote: str) -> list[str]:
    """The paths that a path with a glob means. Raises HostError when there is none."""
    folder, name = posixpath.split(remote.rstrip("/"))
    if any(character in folder for character in "*?["):
        raise HostError(Trouble.FAILED, f"{remote}: a glob may stand in the last part of a path only", " ")
    if not any(character in name for character in "*?["):
        return [remote.rstrip("/") or "/"]
    try:
        names = sorted(each for each in sftp.listdir(folder or ".") if fnmatch.fnmatchcase(each, name))
    except OSError:
        names = []
    if not names:
        raise HostError(Trouble.FAILED, f"{remote}: no such file on the host", " ")
    return [posixpath.join(folder, each) for each in names if is_plain(each)]


def is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def below(sftp: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every file at or below a path, with its name below the target."""
    try:
        facts = sftp.stat(path)
    except OSError as error:
        raise HostError(Trouble.FAILED, f"{path}: no such file on the host", " ") from error
    top = posixpath.basename(path.rstrip("/"))
    top = top if is_plain(top) else ""
    if not stat.S_ISDIR(facts.st_mode):
        yield path, top or "file"
        return
    folders = [(path, top)]
    while folders:
        folder, name = folders.pop()
        for entry in sorted(sftp.listdir_attr(folder), key=lambda each: str(each.filename)):
            if not is_plain(entry.filename):
                continue
            inner = (posixpath.join(folder, entry.filename), posixpath.join(name, entry.filename))
            if stat.S_ISDIR(entry.st_mode):
                folders.append(inner)
            elif stat.S_ISREG(entry.st_mode) or is_file(sftp, inner[0]):
                yield inner


def is_file(sftp: Any, path: str) -> bool:
    """Whether a symlink leads to a file."""
    try:
        return stat.S_ISREG(sftp.stat(path).st_mode)
    except OSError:
        return False


def copied(sftp: Any, source: str, target: Path) -> int:
    """Copy one file, whole or not at all, and return its size."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
        try:
            sftp.get(source, str(temporary))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return target.stat().st_size
    except TimeoutError:
        raise  # the host's, not the file's
    except OSError as error:
        raise HostError(Trouble.FAILED, f"{source} → {target}: {error}", " ") from error
