"""Durations as people write them: `90`, `0.5s`, `5m`, `2h`, `1d`."""

from __future__ import annotations

import re

from waiter.errors import UsageError

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|[smhd]?)"


def parse_duration(text: str) -> float:
    """The seconds that a duration stands for. Raises UsageError."""
    match = re.fullmatch(_DURATION, text.strip().lower(), re.ASCII)
    if match is None:
        raise UsageError(f"{text}: not a duration\nhint: write seconds, or a number with a unit: 90, 0.5s, 5m, 2h, 1d")
    return float(match[1]) * _UNITS[match[2]]


def format_duration(duration_s: float) -> str:
    """A duration in two units at most: `0.52 s`, `47 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    if duration_s < 9.995:
        return f"{duration_s:.2g} s" if duration_s else "0 s"
    whole = round(duration_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
