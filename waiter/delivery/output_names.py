"""What the files of `--output` are called: `--output-format`, filled as a command's placeholders are.

Placeholders of its own go first: {order}, {attempt}, {batch} and {row}. Whatever an argument holds that does not belong
into a file name becomes an underscore, so two orders may ask for one name: who comes second gets a longer one.
"""

from __future__ import annotations

import re

from waiter.delivery.placeholders import filled, own_or_argument
from waiter.hashing import blake2b
from waiter.light_dataclass import dataclass
from waiter.orders import Order

ASKER = "--output-format"

LONGEST = 255
"""How many bytes Linux lets a file's name have."""

_ENDING = len(".out")
_NUMBER = len("~9999")
_UNSAFE = r"[^\w.,=@%+-]"


@dataclass(frozen=True, slots=True)
class Stem:
    """The path of an order's output below its folder, without the ending."""

    name: str
    spare: str  # for when a file of the first name exists: no other order or attempt asks for it


def stem(template: str, order: Order) -> Stem:
    """The name that the template makes for this order; never outside the folder. Raises NoSuchArgument."""
    own = {"order": order.id, "attempt": str(order.attempt), "batch": order.batch, "row": str(order.row)}
    value = own_or_argument(own, order, ASKER)
    path = filled(template, (*own, *(order.names or ())), lambda name: re.sub(_UNSAFE, "_", value(name)))
    *folders, name = [part for part in path.split("/") if part not in ("", ".", "..")] or [order.id]
    parents = "".join(f"{cut(folder, LONGEST)}/" for folder in folders)
    apart = "" if "{order}" in template else f"-{order.id}"
    apart += "" if "{attempt}" in template else f".{order.attempt}"
    room = LONGEST - _ENDING
    spare = cut(name, room - _NUMBER - len(apart.encode())) + apart
    return Stem(parents + cut(name, room), parents + spare)


def cut(name: str, room: int) -> str:
    """The name in so many bytes. A hash of the whole at the end of a shorter one keeps it apart from others."""
    whole = name.encode("utf-8", "replace")
    if len(whole) <= room:
        return name
    mark = f"~{blake2b(whole, digest_size=4).hexdigest()}"
    return whole[: room - len(mark)].decode("utf-8", "ignore") + mark
