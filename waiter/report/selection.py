"""Which orders somebody means, as it is written after a verb and in the query of an address."""

from __future__ import annotations

from dataclasses import replace

from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.orders import Selector, Status
from waiter.report.waiting import WAITING, waiting_batches

STATUS_WORDS = ", ".join((*Status, WAITING))
"""What may be said of where orders stand, for messages and help texts. Those that wait are READY ones, too."""


def status_from(word: str) -> Status:
    """The status of that name, in any case. Raises UsageError."""
    try:
        return Status(word.upper())
    except ValueError:
        raise UsageError(f"unknown status {word}\nhint: known are {STATUS_WORDS}") from None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which orders the options of `selecting` mean, as they were written."""

    ids: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    batch: str | None = None
    waiter: str | None = None
    host: str | None = None
    since: float | None = None  # seconds ago
    longer_than: float | None = None  # seconds
    match: str | None = None
    like: str | None = None
    except_command: str | None = None


def resolve_selector(kitchen: Kitchen, selection: Selection) -> Selector:
    """The orders of this kitchen that are meant. Raises UsageError for what is named and does not exist."""
    selector = _selector(kitchen.now(), selection)
    if WAITING in map(str.upper, selection.statuses):
        shut = tuple(batch.id for batch in waiting_batches(kitchen) if not batch.is_by_row)
        selector = replace(selector, waiting=shut)
    ids = selection.ids
    if ids and (missing := set(ids) - {order.id for order in kitchen.find(Selector(ids=ids))}):
        raise UsageError(f"no such order: {', '.join(sorted(missing))}. See: waiter orders")
    group, version = selector.error_group, selector.except_command
    if group is not None and not any(kitchen.find(Selector(error_group=group), limit=1)):
        raise UsageError(f"no order failed like this: {group}. See the groups: waiter errors")
    # A part of a hash would be another version than all that there are: every order would be meant.
    if version is not None and version not in (known := _versions(kitchen)):
        there = f"There is {', '.join(known)}" if known else "There is none"
        raise UsageError(f"no such version of the command: {version}. {there}. See: waiter status")
    return selector


def _versions(kitchen: Kitchen) -> list[str]:
    """The hashes of commands that delivered something, or that waiters came with."""
    came = (shift.vitals.command_hash for shift in kitchen.shifts(include_left=True))
    return list(dict.fromkeys((*kitchen.commands(), *filter(None, came))))


def _selector(now: float, selection: Selection) -> Selector:
    """What is meant at this time by the kitchen's clock. Raises UsageError."""
    return Selector(
        ids=selection.ids,
        statuses=tuple(status_from(word) for word in selection.statuses if word.upper() != WAITING),
        batch=selection.batch,
        waiter=selection.waiter,
        host=selection.host,
        since=None if selection.since is None else now - selection.since,
        longer_than_s=selection.longer_than,
        match=selection.match,
        error_group=selection.like,
        except_command=selection.except_command,
    )
