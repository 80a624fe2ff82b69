"""The orders of a MongoDB kitchen that have ended, by the time when: one index has all that a timeline asks of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from waiter.kitchen.mongo.connection import Connection
from waiter.kitchen.mongo.documents import ROWS, Document, rows_of
from waiter.kitchen.timeline import MOST_RUNNING, Ended, Window


class Source:
    """See `kitchen.timeline.Source`; `batches` are those that count, None: all."""

    most = 20_000

    def __init__(self, to: Connection, batches: Sequence[Document] | None) -> None:
        self._to = to
        self._batches = batches
        self._of: Document = {}
        if batches is not None:
            spans = [{"seq": rows_of(batch["number"])} for batch in batches]
            self._of = {"$or": spans} if len(spans) > 1 else spans[0]
        # A batch's own orders are found by their age; those of a large one among all that ended.
        self._hint = "age" if batches is not None and self.size() <= self.most else "ended"

    def size(self) -> int:
        if self._batches is None:
            return self._to.orders.estimated_document_count()
        return sum(batch["orders"] for batch in self._batches)

    def span(self) -> Window | None:
        """Of batches it is found among those that ended first and last, if they are there, or else by age."""
        among: list[Document] = [] if self._batches is None else [{"$limit": self.most}, {"$match": self._of}]
        stopped: list[Document] = [{"$match": {"stop": {"$gt": 0}, "start": {"$gt": 0}}}]
        ends = ([*stopped, {"$sort": {"stop": towards}}, *among, {"$limit": 1}] for towards in (1, -1))
        first, last = (self._rows(stages, "ended") for stages in ends)
        if first and last:
            return first[0][2], last[0][0]
        return None if self._batches is None else self._span_by_age()

    def last_stop(self) -> float | None:
        found = self._to.orders.find({"stop": {"$gt": 0}}, {"_id": 0, "stop": 1}).hint("ended").sort("stop", -1)
        return next((float(order["stop"]) for order in found.limit(1)), None)

    def _span_by_age(self) -> Window | None:
        first, last = {"$min": {"stop": "$stop", "start": "$start"}}, {"$max": "$stop"}
        stages = [self._stopped(), {"$group": {"_id": None, "first": first, "last": last}}]
        for seen in self._to.orders.aggregate(stages, hint="age"):
            return seen["first"]["start"], seen["last"]
        return None

    def ended(self, windows: Sequence[Window], limit: int) -> list[Ended]:
        within = [{"stop": {"$gte": since, "$lt": until}} for since, until in windows]
        return self._rows([self._stopped({"$or": within} if len(within) > 1 else within[0]), {"$limit": limit}])

    def _stopped(self, within: Document | None = None) -> Document:
        parts = (within, self._of, {"stop": {"$gt": 0}}, {"start": {"$gt": 0}})
        return {"$match": {"$and": [part for part in parts if part]}}

    def _rows(self, stages: list[Document], index: str | None = None) -> list[Ended]:
        """What the index has of these orders: nothing else is read, and it comes in as few answers as there can be."""
        fields = {"_id": 0, "stop": 1, "status": 1, "start": 1, "peak_memory": 1, "seq": 1}
        stages, index = [*stages, {"$project": fields}], index or self._hint
        found = self._to.orders.aggregate(stages, hint=index, batchSize=3 * self.most)
        return [(row["stop"], row["status"], row["start"], row.get("peak_memory"), row["seq"] // ROWS) for row in found]

    def ids(self, batches: Iterable[int | str]) -> Mapping[int | str, str]:
        found = self._to.batches.find({"number": {"$in": [*batches]}}, {"number": 1})
        return {batch["number"]: batch["_id"] for batch in found}

    def running(self) -> tuple[Sequence[float], int]:
        mine = {"status": "RUNNING", **self._of}
        starts = [order["start"] for order in self._to.orders.find(mine, {"_id": 0, "start": 1}, limit=MOST_RUNNING)]
        return starts, len(starts) if len(starts) < MOST_RUNNING else self._to.orders.count_documents(mine)
