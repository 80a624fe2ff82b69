"""The number of a job's slot, which its words may hold: only the runner knows it. The waiter itself needs no more of
`slot` than this.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself would be a tenth of the runner's start
if TYPE_CHECKING:
    from collections.abc import Sequence

SLOT_MARK = "\0slot\0"
"""Stands in a job's words where the number of its slot goes. No argument can hold a NUL."""


def with_slot(argv: Sequence[str], number: int) -> list[str]:
    """The words with the number of the slot where it belongs."""
    return [word.replace(SLOT_MARK, str(number)) if "\0" in word else word for word in argv]
