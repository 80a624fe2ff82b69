"""What a host may say of itself: which facts there are, and what each of them is.

A host may be broken or hostile, and its words go into tables, notes and JSON beside those of all others. What passes
here is a value of its type, of a bounded size; what is not known is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from waiter.fleet.problems import HostError, Problem

MOST_BYTES = 4 << 20
"""A longer reply, with all that login scripts print around it, is none."""

OUTCOMES = frozenset(
    (
        "already running",
        "draining",
        "failed",
        "not running",
        "not started",
        "pushed",
        "restarted",
        "running",
        "started",
        "started, not checked in yet",
        "starts when its orders end",
        "still draining",
        "stopped",
    )
)

_MOST = 1e15
"""No pid, size or time is larger."""

_SHOWN = 100

Check = Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < _MOST


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and abs(value) < _MOST


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_LEFT: dict[str, Check] = {
    **dict.fromkeys(("error", "left_because"), _is_text),
    **dict.fromkeys(("delivered", "failed", "retried", "cancelled", "late", "spooled"), _is_whole),
    **dict.fromkeys(("seconds", "at"), _is_number),
}
_KITCHEN: dict[str, Check] = {
    **dict.fromkeys(("error", "url"), _is_text),
    **dict.fromkeys(("now", "host_now"), _is_number),
}
_FIELDS: dict[str, Check | dict[str, Check]] = {
    **dict.fromkeys(("trouble", "error", "error_type", "home", "host", "waiter", "shift", "version"), _is_text),
    **dict.fromkeys(("parcel", "bundle", "script", "settings", "boot", "python"), _is_text),
    **dict.fromkeys(("missing", "words", "log", "changed"), _are_texts),
    **dict.fromkeys(("pid", "errno", "cpus", "disk_free"), _is_whole),
    **dict.fromkeys(("since", "now"), _is_number),
    **dict.fromkeys(("is_same", "is_next_ready", "is_rebooted"), _is_flag),
    "outcome": lambda value: isinstance(value, str) and value in OUTCOMES,
    "jobs": lambda value: _is_text(value) or _is_whole(value),
    "left": _LEFT,
    "kitchen": _KITCHEN,
}


def checked(reply: object) -> dict[str, Any]:
    """The facts of a reply. Raises HostError where one of them is not what it should be."""
    return _known(reply, _FIELDS, "its reply")


def _known(said: object, fields: Mapping[str, Check | dict[str, Check]], name: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise senseless(name, said)
    facts: dict[str, Any] = {}
    for field, is_sound in fields.items():
        value = said.get(field)
        if value is not None and isinstance(is_sound, dict):
            facts[field] = _known(value, is_sound, field)
        elif value is None or (callable(is_sound) and is_sound(value)):
            facts |= {field: value} if field in said else {}
        else:
            raise senseless(field, value)
    return facts


def senseless(name: str, said: object) -> HostError:
    return HostError(Problem.UNEXPECTED, f"{name} makes no sense: {repr(said)[:_SHOWN]}")
