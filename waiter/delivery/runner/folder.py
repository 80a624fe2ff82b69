"""The runner's private folder, where commands leave their words and find what is given to them on stdin."""

from __future__ import annotations

import fcntl
import os


def make() -> str:
    """A new folder, 0700. Raises OSError."""
    parent = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"
    folder = os.path.join(parent if os.access(parent, os.W_OK) else "/tmp", f"waiter-{os.urandom(8).hex()}")
    os.mkdir(folder, 0o700)
    return folder


def keep(folder: str) -> int:
    """Lock it for as long as the returned descriptor is open: systemd-tmpfiles leaves locked folders alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def write(folder: str, name: str, text: str) -> str:
    """A file in it that only this user may read; returns its path."""
    path = os.path.join(folder, name)
    with open(path, "w", opener=lambda path, flags: os.open(path, flags | os.O_EXCL, 0o600)) as file:
        file.write(text)
    return path


def remove(folder: str) -> None:
    """Delete it with all that is in it; what is gone already, or belongs to somebody else, is fine."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(folder)
    except OSError:
        return
