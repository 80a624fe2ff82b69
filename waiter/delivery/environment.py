"""What commands, and whatever else a waiter starts, inherit of its own environment.

All but passwords, and but the locale that Python gives itself where there is none. A `waiter load` inside a command is
to reach the kitchen that the waiter was told of. An address without a password is handed on; one with a password is no
environment's business, and lies in a file that only the user may read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from waiter.delivery.runner.child import KITCHEN
from waiter.errors import UsageError
from waiter.kitchen import kind_of
from waiter.processes import with_given_locale
from waiter.user_dirs import full_path

KITCHEN_FILE = "WAITER_KITCHEN_FILE"
"""Names a file that holds the address (see `waiter.settings`)."""
FROM_HOSTS = "WAITER_KITCHEN_FROM_HOSTS"
"""The address as hosts reach it, which may hold a password: no command's business."""

_SECRET = "@|passw|token|secret"


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """This environment without the kitchen's password, and as it was when Python came to it.

    Where the address has one, KITCHEN_FILE names a file that is empty: a `waiter` that is started with this says so,
    and works on no other kitchen by mistake.
    """
    given = with_given_locale(environ)
    env = {name: value for name, value in given.items() if name not in (KITCHEN, FROM_HOSTS)}
    if url := environ.get(KITCHEN):
        env |= {KITCHEN_FILE: os.devnull} if _is_secret(url) else {KITCHEN: _anywhere(url)}
    elif file := environ.get(KITCHEN_FILE):
        env[KITCHEN_FILE] = str(full_path(Path(file)))
    return env


def secret_kitchen(environ: Mapping[str, str]) -> str | None:
    """The address that `inherited` leaves out, for a file of the runner's."""
    url = environ.get(KITCHEN)
    return url if url and _is_secret(url) else None


def _is_secret(url: str) -> bool:
    return bool(re.search(_SECRET, url, re.IGNORECASE)) and not _is_local(url)


def _is_local(url: str) -> bool:
    try:
        return kind_of(url).is_local
    except UsageError:
        return False  # nobody can open it, whatever it was meant to be


def _anywhere(url: str) -> str:
    """The address for a process that works in another folder."""
    try:
        return kind_of(url).full(url)
    except UsageError:
        return url  # as above
