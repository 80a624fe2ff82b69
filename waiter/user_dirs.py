"""Where the user's own files lie: the XDG base directories, on macOS the Library. Nobody else reads these variables.

A room of its own, without a library, because hosts of a fleet ask it too.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

from waiter.errors import UsageError


class Kind(Enum):
    """What is to be kept: the variable that names the base folder, the usual one under home, and macOS's."""

    DATA = ("XDG_DATA_HOME", ".local/share", "Library/Application Support")
    STATE = ("XDG_STATE_HOME", ".local/state", "Library/Application Support")
    CONFIG = ("XDG_CONFIG_HOME", ".config", "Library/Application Support")
    CACHE = ("XDG_CACHE_HOME", ".cache", "Library/Caches")


def own_folder(kind: Kind, environ: Mapping[str, str] | None = None) -> Path:
    """The folder `waiter` for files of this kind; it need not exist."""
    variable, usual, on_a_mac = kind.value
    base = (os.environ if environ is None else environ).get(variable)
    if base and Path(base).is_absolute():  # others are to be ignored, says the specification
        return Path(base) / "waiter"
    return _home() / (on_a_mac if sys.platform == "darwin" else usual) / "waiter"


def full_path(path: Path) -> Path:
    """The path from the root. Raises UsageError in a folder that was deleted, where a relative path leads nowhere."""
    try:
        return path.absolute()
    except FileNotFoundError:
        raise UsageError(
            f"{path}: leads nowhere, the current folder was deleted\nhint: go to another one, or name the full path"
        ) from None


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME and no entry in the password file
        return _stand_in()


def _stand_in() -> Path:
    """A folder for who has no home, in a place where everybody may make one of any name. Raises UsageError."""
    import tempfile  # it knows compression and dice, and hardly anybody has no home

    folder = Path(tempfile.gettempdir()) / f"waiter-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise UsageError(f"{folder}: made by somebody else, who could read and change what lies there\nhint: set HOME")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder
