"""How many orders of a MongoDB kitchen each version of the command delivered: kept where all have ended.

The document of a piece (see `pieces`) has `versions`, each with its number, and the `mark` and `ended` for which that
is true: what makes these wrong makes it wrong. An index counts the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from waiter.kitchen.mongo import pieces, tally
from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import ROWS, Document, rows_of

_QUESTIONS = 200
"""So many more are asked at most to learn of pieces that have ended what nobody has asked before."""


def count(to: Connection, numbers: Collection[int] | None = None) -> dict[str, int]:
    """Of the batches with these numbers, or of all: orders that ended DONE or ERROR by their version, most first."""
    versions = to.orders.distinct("command", {"command": {"$gt": ""}})
    told = to.state.find_one({"_id": "news"}, {"pieces": 1})
    found: Counter[str] = Counter()
    if told is None or told.get("pieces") != pieces.KNOWN:
        for span in [{"$gte": 0}] if numbers is None else map(rows_of, numbers):
            found += _counted(to, versions, span)
    else:
        known = _known(to, versions, numbers)
        for kept in known.values():
            found.update(kept or {})
        for gap in _gaps(known, is_whole=numbers is None):
            found += _counted(to, versions, {"$gte": gap[0], "$lt": gap[-1] + pieces.PIECE})
            for start in gap:  # some of them may be known
                found.subtract(known[start] or {})
    return {version: n for version, n in sorted(found.items(), key=lambda one: (-one[1], one[0])) if n > 0}


def _known(
    to: Connection, versions: Sequence[str], numbers: Collection[int] | None
) -> dict[int, dict[str, int] | None]:
    """What is known of each piece; what can be learned now is, and written down."""
    known: dict[int, dict[str, int] | None] = {}
    questions, learned = _QUESTIONS, list[UpdateOne]()
    for span in [{"$gte": 0}] if numbers is None else map(rows_of, sorted(numbers)):
        for piece in to.counts.find({"_id": span}, {"mark": 1, "ended": 1, "versions": 1}).sort("_id", 1):
            start, kept = piece["_id"], piece.get("versions", {})
            is_true = "ended" in piece and all(kept.get(of) == piece[of] for of in ("mark", "ended"))
            known[start] = dict(kept["orders"]) if is_true else None
            if "ended" in piece and known[start] is None and questions > 0:
                questions -= 2 * len(versions)
                known[start] = found = _counted(to, versions, {"$gte": start, "$lt": start + pieces.PIECE})
                learned.append(_learned(piece, found))
    _write(to, learned)
    return known


def _learned(piece: Document, found: Counter[str]) -> UpdateOne:
    unchanged = {"mark": piece["mark"], "ended": piece["ended"]}
    kept = {**unchanged, "orders": [[version, n] for version, n in found.items()]}
    return UpdateOne({"_id": piece["_id"], **unchanged}, {"$set": {"versions": kept}})


def _write(to: Connection, learned: Sequence[UpdateOne]) -> None:
    try:
        if learned:
            to.counts_w1.bulk_write(learned, ordered=False)
    except PyMongoError:
        return  # who may only read, too, has counted right


def _gaps(known: dict[int, dict[str, int] | None], *, is_whole: bool) -> Iterable[Sequence[int]]:
    """Pieces of which nothing is known, with some between them of which something is: of one batch, unless of all."""
    alike = groupby(known, key=lambda start: 0 if is_whole else start // ROWS)
    for _, starts in alike:
        mine = [*starts]
        yield from tally.gaps(mine, [start for start in mine if known[start] is not None])


def _counted(to: Connection, versions: Iterable[str], span: Document) -> Counter[str]:
    """Keys of an index are counted, which is quick where nothing but `seq` is a span."""
    found: Counter[str] = Counter()
    for version in versions:
        for end in ("DONE", "ERROR"):
            mine = {"command": version, "status": end, "seq": span}
            found[version] += to.orders.count_documents(mine, hint="versions")
    return +found
