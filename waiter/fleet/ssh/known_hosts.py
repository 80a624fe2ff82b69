"""known_hosts as OpenSSH keeps it: which keys a host may show, and remembering one at the first meeting.

Only text is read and written here; what a key is, `ssh` knows. Hashed names, patterns, negations and @revoked count.
"""

from __future__ import annotations

import base64
import fcntl
import fnmatch
import hashlib
import hmac
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from waiter.user_dirs import Kind, own_folder

_appending = threading.Lock()


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line: a key for the hosts that its patterns name."""

    patterns: tuple[str, ...]
    key_type: str
    key: bytes  # as it goes over the wire
    is_revoked: bool = False


def read(files: Iterable[Path]) -> list[KnownKey]:
    """All keys of the files. Files that are missing and lines that make no sense are passed over, as ssh does."""
    known: list[KnownKey] = []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        known += [key for line in lines if (key := parsed(line)) is not None]
    return known


def parsed(line: str) -> KnownKey | None:
    """The key of one line; None for comments, nonsense and certificate authorities (certificates are not looked at)."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if len(words) < 3 or marker not in ("", "@revoked"):
        return None
    try:
        key = base64.b64decode(words[2], validate=True)
    except ValueError:
        return None
    return KnownKey(tuple(words[0].split(",")), words[1], key, is_revoked=bool(marker))


def keys_of(name: str, known: Sequence[KnownKey]) -> list[KnownKey]:
    """The keys that stand for this name (`host`, or `[host]:port`)."""
    return [key for key in known if is_meant(name, key.patterns)]


def is_meant(name: str, patterns: Iterable[str]) -> bool:
    """Whether the patterns of a line stand for this name."""
    is_found = False
    for pattern in patterns:
        if pattern.startswith("|1|"):
            is_found |= is_hash_of(name, pattern)
        elif pattern.startswith("!"):
            if fits(name, pattern[1:]):
                return False
        else:
            is_found |= fits(name, pattern)
    return is_found


def fits(name: str, pattern: str) -> bool:
    # In known_hosts, brackets are no character class: they hold a host that has a port.
    literal = pattern.lower().replace("[", "\0").replace("]", "\1").replace("\0", "[[]").replace("\1", "[]]")
    return fnmatch.fnmatchcase(name.lower(), literal)


def is_hash_of(name: str, pattern: str) -> bool:
    """`|1|salt|hash`: an HMAC-SHA1 of the name."""
    try:
        _, _, salt, digest = pattern.split("|")
        made = hmac.new(base64.b64decode(salt), name.lower().encode(), hashlib.sha1).digest()
        return hmac.compare_digest(made, base64.b64decode(digest))
    except ValueError:
        return False


def remember(file: Path, name: str, key_type: str, key: bytes) -> None:
    """Add the key to the file, once, whoever else is adding at the same time. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{name} {key_type} {base64.b64encode(key).decode()}\n"
    with _appending, open(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        there = held.read()
        if line not in there:
            held.write(line if there.endswith("\n") or not there else f"\n{line}")


def fleet_file() -> Path:
    """The keys of launched machines, by instance id: their addresses come and go, and known_hosts stays the user's."""
    return own_folder(Kind.DATA) / "fleet_known_hosts"


def fingerprint(key: bytes) -> str:
    """As ssh shows it: SHA256:…"""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
