"""What both kitchens say of a selector or a sort that names what does not exist: the same words in both."""

from __future__ import annotations

from collections.abc import Iterable

from waiter.errors import NoSuchBatch, UsageError

SORTS = ("age", "start", "stop", "duration")

PORTION = 250
"""How many orders a reader is given at once: nothing stays open in the kitchen from one portion to the next."""

_NAMED = 10
"""How many batches a message lists."""


def unknown_batch(wanted: str, batches: Iterable[tuple[str, str | None]]) -> NoSuchBatch:
    """The error for a batch that is none of `batches` (ids and names, oldest first): it names those that exist."""
    there = [f"{batch} ({name})" if name else batch for batch, name in batches]
    if not there:
        return NoSuchBatch(f"no such batch: {wanted}. The kitchen has none: load something first.")
    more = f", and {len(there) - _NAMED} older ones" if len(there) > _NAMED else ""
    return NoSuchBatch(f"no such batch: {wanted}. There is {', '.join(there[-_NAMED:])}{more}.")


def sort_of(sort: str) -> tuple[str, bool]:
    """What to sort by, and whether from the top down. Raises UsageError."""
    by = sort.removeprefix("-")
    if by not in SORTS:
        raise UsageError(f"no such sort: {sort!r}. Choose from {', '.join(SORTS)}, each with or without a leading -.")
    return by, sort.startswith("-")
