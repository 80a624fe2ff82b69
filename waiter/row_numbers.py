"""How the rows of an input are numbered that is joined, row by row, to a batch that is there already."""

from __future__ import annotations

from waiter.intake import Format, Input, format_of
from waiter.kitchen.contract import Kitchen
from waiter.orders import Batch, Selector

PYTHON = "python"
"""What the source of rows is called that a program gives."""

LOOKED_AT = 100
"""So many orders tell whether a batch has a header."""


def row_shift(*, is_headed: bool, is_other_headed: bool) -> int:
    """What to add to the numbers of an input's rows where it is joined to another batch, one of them with a header:
    so the first row of each that is an order has the same number.
    """
    return int(is_other_headed) - int(is_headed)


def shift_of(kitchen: Kitchen, input: Input, after_row: str | None) -> int:
    """The `row_shift` of an input that is joined to the batch of that id; 0 if it is joined to none."""
    if after_row is None:
        return 0
    batches = {batch.id: batch for batch in kitchen.batches()}
    if (other := batches.get(after_row)) is None:  # somebody deleted it just now
        return 0
    while (before := batches.get(other.after_row or "")) is not None:  # whose rows it is numbered by itself
        other = before
    return row_shift(is_headed=input.header, is_other_headed=_is_headed(kitchen, other))


def _is_headed(kitchen: Kitchen, batch: Batch) -> bool:
    """Whether its rows stand below a header, as far as its orders tell.

    Objects of JSON have names as well. They begin below row 1 only where a blank, bad or deleted row is above them.
    """
    if batch.source == PYTHON or format_of(batch.source) is Format.JSONL:
        return False
    first = list(kitchen.find(Selector(batch=batch.id), limit=LOOKED_AT))
    return bool(first) and first[0].names is not None and first[0].row > 1 and not any(one.kinds for one in first)
