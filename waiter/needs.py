"""What an order needs of the host that runs it: CPUs, memory and GPUs, as people write it (`cpus=2,mem=4G,gpu=1`)."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from waiter.errors import UsageError
from waiter.light_dataclass import dataclass

EXAMPLE = "cpus=2,mem=4G,gpu=1"

_FIELDS = {"cpus": "cpus", "cpu": "cpus", "mem": "memory", "memory": "memory", "gpu": "gpus", "gpus": "gpus"}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NUMBER = r"[0-9]{1,15}(\.[0-9]{1,6})?"
_SEPARATORS = r"[,;\s]+"


@dataclass(frozen=True, slots=True)
class Needs:
    """Amounts of what a host has. None: nothing is said of it."""

    cpus: float | None = None
    memory: int | None = None  # bytes
    gpus: int | None = None

    def over(self, usual: Needs) -> Needs:
        """These, and the usual ones where nothing is said."""
        return Needs(
            usual.cpus if self.cpus is None else self.cpus,
            usual.memory if self.memory is None else self.memory,
            usual.gpus if self.gpus is None else self.gpus,
        )

    def fits(self, room: Needs) -> bool:
        """Whether there is so much room; `room` says nothing of what there is plenty of."""
        return not self.lacking(room)

    def lacking(self, room: Needs) -> list[str]:
        """What there is too little of: "4 GiB; 1.2 GiB free"."""
        words = []
        if self.cpus and room.cpus is not None and self.cpus > room.cpus + 1e-6:
            words.append(f"{cpu_words(self.cpus)}; {room.cpus:.4g} free")
        if self.memory and room.memory is not None and self.memory > room.memory:
            words.append(f"{memory_words(self.memory)}; {memory_words(max(0, room.memory))} free")
        if self.gpus and room.gpus is not None and self.gpus > room.gpus:
            words.append(f"{gpu_words(self.gpus)}; {max(0, room.gpus)} free")
        return words

    def __str__(self) -> str:
        """As people write it."""
        parts = [] if self.cpus is None else [f"cpus={self.cpus:.6g}"]
        parts += [] if self.memory is None else [f"mem={_written(self.memory)}"]
        parts += [] if self.gpus is None else [f"gpu={self.gpus}"]
        return ",".join(parts)


NOTHING = Needs()


@functools.lru_cache(1024)
def parse_needs(text: str) -> Needs:
    """What `cpus=2,mem=4G,gpu=1` stands for. Raises UsageError."""
    values: dict[str, float | int] = {}
    for part in filter(None, re.split(_SEPARATORS, text.strip())):
        name, equals, amount = part.partition("=")
        field = _FIELDS.get(name.lower())
        if field is None or not equals:
            raise UsageError(f"{part}: not understood\nhint: write what is needed like this: {EXAMPLE}")
        if field in values:
            raise UsageError(f"{part}: said twice\nhint: write what is needed like this: {EXAMPLE}")
        values[field] = _amount(part, field, amount)
    cpus, memory, gpus = values.get("cpus"), values.get("memory"), values.get("gpus")
    return Needs(cpus, None if memory is None else int(memory), None if gpus is None else int(gpus))


def needs_in(arguments: Sequence[str], names: Sequence[str] | None, column: str) -> Needs:
    """What a row says in its column of that name or number that it needs. Raises UsageError."""
    if names is not None and column in names:
        place = list(names).index(column)
    elif column.isascii() and column.isdigit() and 0 < int(column) <= len(arguments):
        place = int(column) - 1
    else:
        there = f"its columns are {', '.join(names)}" if names else f"it has {len(arguments)} columns without names"
        raise UsageError(f"no column {column} says what the row needs; {there}")
    return parse_needs(str(arguments[place]))


def _amount(part: str, field: str, amount: str) -> float | int:
    if field == "memory":
        try:
            return parse_size(amount)
        except UsageError:
            raise UsageError(f"{part}: not a size\nhint: write mem=512M or mem=4G") from None
    if not re.fullmatch(_NUMBER, amount, re.ASCII) or (field == "gpus" and "." in amount):
        raise UsageError(f"{part}: not a number of {'GPUs' if field == 'gpus' else 'CPUs'}\nhint: write {EXAMPLE}")
    return float(amount) if field == "cpus" else int(amount)


def parse_size(text: str) -> int:
    """The bytes of 512M, 4G, 1.5T or a plain number. Raises UsageError."""
    written = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = _UNITS.get(written[-1:], 1)
    number = written[:-1] if unit > 1 else written
    if not re.fullmatch(_NUMBER, number, re.ASCII) or (unit == 1 and "." in number):
        raise UsageError(f"{text}: not a size\nhint: write 512M or 4G")
    return int(float(number) * unit)


def _written(count: int) -> str:
    for letter, unit in reversed(_UNITS.items()):
        if count and count % unit == 0:
            return f"{count // unit}{letter}"
    return str(count)


def cpu_words(cpus: float) -> str:
    return "1 CPU" if cpus == 1 else f"{cpus:.4g} CPUs"


def gpu_words(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def memory_words(count: int) -> str:
    """`512 MiB`, `1.2 GiB`."""
    value, unit = float(count), 0
    while value >= 1024 and unit < 4:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"
