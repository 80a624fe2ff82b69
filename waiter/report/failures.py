"""Failures by kind: how a group ended, and whether it is one host's own trouble."""

from __future__ import annotations

import signal as signals
from collections.abc import Collection

from waiter.orders import FailureGroup, Order, Reason
from waiter.report.columns import printable, timestamp
from waiter.report.formatting import last_lines

FEW = 2
"""One failure is on one host by nature: only so many say something about the host."""


_SAYS_HOW = ("exit code ", "killed by ", "timeout ", "lost")


def says_how(message: str) -> bool:
    """Whether the message itself tells what `how` does."""
    return message.startswith(_SAYS_HOW)


def how(reason: Reason | None, exit_code: int | None, signal: int | None) -> str:
    """`exit 3`, `SIGKILL`, `timeout`, `lost`."""
    if signal is not None and reason in (None, Reason.SIGNAL):
        try:
            return signals.Signals(signal).name
        except ValueError:
            return f"signal {signal}"
    if exit_code is not None and reason in (None, Reason.EXIT):
        return f"exit {exit_code}"
    return reason.value if reason else ""


def only_host(group: FailureGroup, delivering: Collection[str]) -> str | None:
    """The host that all failures of the group happened on, if others deliver as well; else None."""
    if group.count < FEW or len(group.hosts) != 1 or not set(delivering) - set(group.hosts):
        return None
    return group.hosts[0]


def group_facts(
    group: FailureGroup, total: int, delivering: Collection[str], example: Order | None, lines: int
) -> dict[str, object]:
    """What `errors --json` says of a group; `total` counts the failures of all groups."""
    return {
        "group": group.group,
        "count": group.count,
        "share": round(group.count / total, 4) if total else 0.0,
        "message": printable(group.message),
        "exit_code": group.exit_code,
        "signal": group.signal,
        "reason": group.reason.value if group.reason else None,
        "hosts": list(group.hosts),
        "only_host": only_host(group, delivering),
        "first": timestamp(group.first),
        "last": timestamp(group.last),
        "example": group.example,
        "last_lines": last_lines(example.tail if example else None, lines),
    }
