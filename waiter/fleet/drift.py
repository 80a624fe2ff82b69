"""How what a host runs differs from what is here: another command, a script that has changed, other settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from waiter.errors import UsageError
from waiter.fleet.problems import Finding, Problem
from waiter.fleet.protocol import OWN_COMMANDS, HostSettings
from waiter.fleet.zipapp import local_script, script_hash


def difference(facts: Mapping[str, Any], wanted: HostSettings) -> tuple[Problem, str] | None:
    """In what a waiter that runs differs from what is asked for now; None: in nothing."""
    if facts.get("settings") == wanted.digest:
        return None
    words = tuple(facts.get("words") or ())
    if words != wanted.words:
        return Problem.OTHER_SETTINGS, f"it runs another command: {' '.join(words) or OWN_COMMANDS}"
    if facts.get("script") != wanted.script:
        return Problem.OLD_SCRIPT, f"{_program(words)} here differs from the one that it runs"
    if facts.get("bundle") != wanted.bundle:
        return Problem.OLD_SCRIPT, "the files here that go along (--file, --dir) differ from those that it has"
    names = ", ".join(f"--{name.replace('_', '-')}" for name in facts.get("changed") or ())
    return Problem.OTHER_SETTINGS, "it runs with other settings" + (f": {names}" if names else "")


def remark_on_script(facts: Mapping[str, Any]) -> Finding | None:
    """What to know of a host that was started again as before, although the script here is another by now."""
    words = tuple(facts.get("words") or ())
    if not words or not facts.get("script"):
        return None
    try:
        here = local_script(_program(words))
    except UsageError:
        return None
    if here is None or script_hash(here) == facts["script"]:
        return None
    line = words[0] if len(words) == 1 else shlex.join(words)
    sending = f"to send it: waiter fleet restart --cmd {shlex.quote(line)}"
    return Finding(Problem.OLD_SCRIPT, f"{_program(words)} runs as it was sent; the one here differs", sending)


def _program(words: tuple[str, ...]) -> str:
    """The first word, also of a line for the shell."""
    try:
        return next(iter(shlex.split(words[0])), "") if words else ""
    except ValueError:
        return words[0]
