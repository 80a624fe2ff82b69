"""Short options as the long ones that they stand for, before Click reads them.

Click takes each short option for a long one that it does not know, first, and looks for names that are like it. That
costs 3 ms: a thirtieth of a waiter's start.
"""

from __future__ import annotations

from collections.abc import Sequence

import click


def with_long_options(parameters: Sequence[click.Parameter], words: Sequence[str]) -> list[str]:
    """These words with `--jobs 2` for `-j 2` and `--jobs=2` for `-j2`, as far as they are options.

    What is not understood, or wrong, is left with all behind it: it is Click's to say so.
    """
    options = {name: one for one in parameters if isinstance(one, click.Option) for name in one.opts}
    said: list[str] = []
    left = list(words)
    while left and (option := options.get(_name(left[0]))) is not None and option.nargs == 1:
        taken = _taken(option, left)
        if taken is None:
            break
        said += taken
        del left[: len(taken)]
    return [*said, *left]


def _name(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else word[:2]


def _taken(option: click.Option, words: Sequence[str]) -> list[str] | None:
    """The option and its value, if it has one."""
    word = words[0]
    has_value = not (option.is_flag or option.count)
    if word.startswith("--"):
        if "=" in word:
            return [word] if has_value else None
        long, attached = word, ""
    else:
        long, attached = next((name for name in option.opts if name.startswith("--")), ""), word[2:]
    if not long or (attached and (not has_value or attached.startswith("="))):
        return None
    if attached:
        return [f"{long}={attached}"]
    needed = 2 if has_value else 1
    return [long, *words[1:needed]] if len(words) >= needed else None
