"""What both kitchens say of a selector or a sort that names what does not exist: the same words in both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from waiter.errors import NoSuchBatch, UsageError
from waiter.orders import Selector

SORTS = ("age", "start", "stop", "duration")

PORTION = 250
"""How many orders a reader is given at once: nothing stays open in the kitchen from one portion to the next."""

_NAMED = 10
"""How many batches a message lists."""


def is_of_batches(selector: Selector) -> bool:
    """Whether it asks for a batch and statuses at most: how many those are the kitchen knows without a look at them."""
    return replace(selector, batch=None, statuses=()) == Selector()


def unknown_batch(wanted: str, batches: Iterable[tuple[str, str | None]]) -> NoSuchBatch:
    """The error for a batch that is none of `batches` (ids and names, oldest first): it names those that exist."""
    known = list(batches)
    there = [f"{batch} ({name})" if name else batch for batch, name in known]
    if not there:
        return NoSuchBatch(f"no such batch: {wanted}. The kitchen has none: load something first.")
    more = f", and {len(there) - _NAMED} older ones" if len(there) > _NAMED else ""
    near = _nearest(wanted, [word for pair in known for word in pair if word])
    hint = f"\nhint: did you mean {near}?" if near else ""
    return NoSuchBatch(f"no such batch: {wanted}. There is {', '.join(there[-_NAMED:])}{more}.{hint}")


def _nearest(wanted: str, words: list[str]) -> str | None:
    from difflib import get_close_matches  # here, because it is heavy and only a mistake needs it

    return next(iter(get_close_matches(wanted, words, 1)), None)


def unknown_position(order_id: str) -> UsageError:
    """The error for a page that is to begin behind an order that cannot be one."""
    return UsageError(f"no such order to go on from: {order_id}\nhint: begin again with the first page")


def sort_of(sort: str) -> tuple[str, bool]:
    """What to sort by, and whether from the top down. Raises UsageError."""
    by = sort.removeprefix("-")
    if by not in SORTS:
        raise UsageError(
            f"no such sort: {sort!r}\nhint: choose from {', '.join(SORTS)}, each with or without a leading -"
        )
    return by, sort.startswith("-")
