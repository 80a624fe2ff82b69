"""How what is said on stderr is written: as it is, behind the time, or as JSON, one object a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from waiter.report.formatting import escape_control

# What `delivery.options.LogFormat` has; as words, because every verb comes by here.
AUTO, PLAIN, TEXT, JSON = "auto", "plain", "text", "json"

_format = PLAIN


def log_as(format: str) -> None:
    """Write in this format what this process says from now on."""
    global _format
    _format = format


def is_json() -> bool:
    return _format == JSON


def is_text() -> bool:
    return _format == TEXT


def for_service(format: str) -> str:
    """What AUTO means for a waiter: a file or a pipe gets the time, a terminal and the journal have their own."""
    if format != AUTO:
        return format
    return PLAIN if sys.stderr.isatty() or _is_journal() else TEXT


def for_person(format: str) -> str:
    """What AUTO means for a command that somebody waits for, whether or not its stderr is a pipe."""
    return PLAIN if format == AUTO else format


def _is_journal() -> bool:
    """Whether stderr goes to systemd's journal, by what systemd says in the environment."""
    with suppress(OSError):
        there = os.fstat(sys.stderr.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"
    return False


def log_line(message: str, level: str, kind: str, facts: Mapping[str, object]) -> str:
    """The message as it is written: in JSON with what is known of it, else so that a terminal obeys nothing in it."""
    if is_json():
        return json.dumps({"time": _now(), "level": level, "kind": kind, "message": message, **facts})
    text = escape_control(message)
    if _format != TEXT:
        return text
    now = _now()
    return "\n".join(f"{now} {line}" for line in text.split("\n"))


def _now() -> str:
    """The time as `extract` writes it, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
