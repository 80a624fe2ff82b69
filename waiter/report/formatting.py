"""Values as people read them on a terminal: times, sizes, and text that cannot upset the terminal."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waiter.orders import Counts


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def escape_control(text: str) -> str:
    """The text without anything that a terminal obeys: control characters and bytes that are no UTF-8 as escapes.

    Line ends and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() or c in "\n\t" else escaped(c) for c in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def escaped(character: str) -> str:
    """The character as printable ASCII."""
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8, as `os.fsdecode` keeps it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def truncate_left(name: str, width: int) -> str:
    """The name, without its beginning where it is longer: what tells names apart stands at their end."""
    name = escape_control(name)
    return name if len(name) <= width else "…" + name[1 - width :]


def last_lines(text: str | None, count: int) -> list[str]:
    """The last lines that hold something, plain."""
    lines = [line.rstrip() for line in (text or "").splitlines() if line.strip()]
    return [escape_control(line) for line in lines[-count:]] if count > 0 else []


def clock_time(at: float | None, now: float) -> str:
    """The local time, with the date unless it is within the last twelve hours: `19:03:25`, `11-24 19:03:25`."""
    if at is None:
        return ""
    return time.strftime("%H:%M:%S" if abs(now - at) < 43_200 else "%m-%d %H:%M:%S", time.localtime(at))


def size(count: int | None) -> str:
    """`512 B`, `1.5 GiB`; empty when nobody knows."""
    if count is None:
        return ""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g} {_UNITS[unit]}" if value < 1000 else f"{value:.0f} {_UNITS[unit]}"


def dollars(amount: float) -> str:
    """`$0.0031`, `$12.40`, `$1,240`."""
    if amount >= 1000:
        return f"${amount:,.0f}"
    if 0 < amount < 0.095:
        digits = min(9, 1 - math.floor(math.log10(amount)))
        return f"${amount:.{digits}f}"
    return f"${amount:.2f}"


def per_second(rate: float) -> str:
    """`12.3/s`, `1,240/s`; slow ones by the minute or hour: `2.5/min`."""
    if rate >= 100:
        return f"{rate:,.0f}/s"
    if rate >= 1 or rate == 0:
        return f"{rate:.3g}/s"
    return f"{rate * 60:.3g}/min" if rate * 60 >= 1 else f"{rate * 3600:.3g}/h"


def format_counts(counts: Counts) -> str:
    """How many of each status: `12 ERROR, 3 RUNNING`."""
    from waiter.orders import Status  # here, because `waiter --help` formats nothing of it, and is to start quickly

    return ", ".join(f"{counts[status]:,} {status.value}" for status in Status if counts[status])


def plural(count: int, noun: str) -> str:
    """`1 order`, `3,000 orders`, `2 batches`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("ch") else "s")


def truncate(text: str, width: int) -> str:
    """The text on one line, its end left out where it does not fit."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
