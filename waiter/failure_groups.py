"""Which failures are of one kind: their messages without what differs from order to order.

What an order's own arguments name is no difference, nor are times, addresses, paths, ids, numbers and quoted names. A
message that holds none of them stays as it is, so that kinds are no fewer than there are troubles. The time that it
takes grows with the message's length and no faster, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from waiter.hashing import blake2b
from waiter.orders import Reason

_SHORT = 3
"""Arguments below so many characters are words like others."""

_MANY = 100
"""So many arguments of an order are looked for."""

LOOKED_AT = 16_384
_KEPT = 4_096
"""Characters of a message, and of what is left of it: what a longer one says further on tells no kinds apart. The
second is smaller, so that it does not hang on the length of paths and arguments where the first one ends."""

_DAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d"
_QUOTED = r"(?:'[^\s'\"`]+'|\"[^\s'\"`]+\"|`[^\s'\"`]+[`']|\u2018[^\s\u2019]+\u2019|\u201c[^\s\u201d]+\u201d)"
_STEP = r"[\w.@+=%~-]+"

# The order counts: each takes what the later ones would tear apart. Not compiled here: most waiters see no failure.
_PLACES = (
    (r"\b\d{4}[-/]\d\d[-/]\d\d[T ]\d\d?:\d\d(:\d\d?)?([.,]\d+)?( ?(Z|UTC|[+-]\d\d:?\d\d))?", "<time>"),
    (rf"\b{_DAY} \d\d:\d\d:\d\d([.,]\d+)?( [A-Z]{{3,4}})?( \d{{4}})?", "<time>"),
    (r"\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"`<>)\]},;]+", "<url>"),
    (r"(['\"])(?:~|\.\.?|[A-Za-z]:)?[/\\][^'\"]*[^'\"\s]\1", "<path>"),
    (rf"(?<![\w<.])(?<!\w>)(?:~|\.\.?)?(?:/{_STEP})+/?|\b[A-Za-z]:\\[^\s'\":]+", "<path>"),
    (rf"(?<![\w<./@+=%~-]){_STEP}(?:/{_STEP})*/[\w@+=%~.-]*\.\w{{1,5}}\b", "<path>"),
)
_NAMES = (
    # A uuid, 0x…, a run of eight or more letters and digits in turns, hexadecimal digits with a number among them.
    (r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "<id>"),
    (r"(?<![A-Za-z0-9])0x[0-9a-fA-F]+(?![A-Za-z])", "<n>"),
    (r"(?<![A-Za-z0-9])(?<!\d\.)(?=[A-Za-z]*\d+[A-Za-z]+\d)[A-Za-z0-9]{8,}(?![A-Za-z0-9])", "<n>"),
    (r"(?<![A-Za-z0-9])(?<!\d\.)(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{4,}(?![A-Za-z0-9])", "<n>"),
    (r"(?:(?<![^\s=(\[,:])[+-])?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?", "<n>"),
    # A quoted word as programs name things in sentences. In JSON, logfmt and Python's dicts quotes are no names.
    (rf"(?<=\w ){_QUOTED}(?=[\s.,:;)]|$)|(?:(?<=: )|^){_QUOTED}(?=[\s.;:)]|$)", "<name>"),
    (r"\s+", " "),
)


def normalised(message: str, arguments: Sequence[str] = (), *, looked_at: int = LOOKED_AT) -> str:
    """The message without what differs from order to order; `arguments` are those of the order that failed.

    `looked_at` is how many of its characters count.
    """
    message = message[:looked_at]
    if _is_plain(message) and not arguments:
        return message[:_KEPT]
    message = _without(_PLACES, message)
    for word in _own_words(arguments[:_MANY]):
        if word in message:
            message = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "<argument>", message)
    return _without(_NAMES, message).strip()[:_KEPT]


def _is_plain(message: str) -> bool:
    """Whether it is nothing but words, of letters: what differs has digits, quotes, slashes or colons in it.

    Such are ours, which every process asks for; to compile what finds the others takes 8 ms of its start.
    """
    return all(word.isalpha() for word in message.split(" "))


def _without(noises: Iterable[tuple[str, str]], message: str) -> str:
    for noise, mark in noises:
        message = re.sub(noise, mark, message)
    return message


def _own_words(arguments: Iterable[str]) -> list[str]:
    """How a message may name an argument: whole, or the file of a path, with and without its ending. Longest first."""
    words = set()
    for argument in arguments:
        file = argument.rstrip("/").rpartition("/")[2]
        words |= {argument, file, file.partition(".")[0]}
    return sorted((word for word in words if len(word) >= _SHORT and not _is_number(word)), key=len, reverse=True)


def _is_number(word: str) -> bool:
    """Numbers are taken out wherever they stand; the order's own must not look otherwise than those of others."""
    return not any(character.isalpha() for character in word)


def error_group(
    error: str, reason: Reason | None, exit_code: int | None, signal: int | None, arguments: Sequence[str] = ()
) -> str:
    """A short id (8 hex digits) that failures of the same kind share."""
    if reason in (Reason.TIMEOUT, Reason.MEMORY):
        exit_code = signal = None  # how it took the TERM and the KILL of its waiter makes no other kind of it
    kind = f"{reason or ''}/{exit_code}/{signal}/{normalised(error, arguments)}"
    return blake2b(kind.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
