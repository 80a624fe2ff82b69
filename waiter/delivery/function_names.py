"""How a function is named in the place of a command: `python:module:function`.

Apart from `named_functions`, which finds them: every waiter asks whether its command is one, and few have to import it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from waiter.delivery.runner.child import package_root
from waiter.errors import UsageError

PREFIX = "python:"

_ONCE = "import sys; sys.path.insert(0, sys.argv[1]); from waiter.delivery.worker_process import once; once()"


def once_words(word: str, folder: str | None = None) -> tuple[str, ...]:
    """The command that calls the function once: with its arguments, and the order's other facts on stdin."""
    return sys.executable, "-c", _ONCE, package_root(), str(Path(folder or "").absolute()), word


def names_function(words: Sequence[str], *, shell: bool = False) -> bool:
    return bool(words) and words[0].startswith(PREFIX) and not shell


def parted(word: str) -> tuple[str, str]:
    """Module and function. Raises UsageError."""
    module, _, name = word.removeprefix(PREFIX).rpartition(":")
    if not module or not all(map(str.isidentifier, [*module.split("."), *name.split(".")])):
        raise UsageError(f"{word}: not understood\nhint: {PREFIX}MODULE:FUNCTION, for example {PREFIX}crunch:align")
    return module, name


def own_settings(words: Sequence[str], folder: str | None = None, *, shell: bool = False) -> Mapping[str, object]:
    """What `@worker` says of the function that the words name; nothing for a command."""
    if not names_function(words, shell=shell):
        return {}
    from waiter.delivery.named_functions import settings_of_named  # few waiters need it

    return settings_of_named(words[0], folder)
