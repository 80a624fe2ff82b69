"""The orders of an SQLite kitchen that have ended, by the time when: one index has all that a timeline asks of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence

from waiter.kitchen.sqlite.rows import ROW_BITS, Condition
from waiter.kitchen.timeline import MOST_RUNNING, Ended, Window

Read = Callable[..., list[sqlite3.Row]]

_BY_STOP = "FROM orders INDEXED BY by_stop WHERE stop IS NOT NULL AND start IS NOT NULL"
_BY_AGE = _BY_STOP.replace("INDEXED BY by_stop", "NOT INDEXED")


class Source:
    """See `kitchen.timeline.Source`; `of` are the orders that count, `numbers` those of their batches, None: all."""

    most = 40_000

    def __init__(self, read: Read, of: Condition, numbers: Sequence[int] | None) -> None:
        self._read = read
        self._of = of
        self._numbers = numbers
        # A batch's own orders lie together; those of a large one are found among all that ended.
        self._is_few = numbers is not None and self.size() <= self.most
        self._found = f"{_BY_AGE if self._is_few else _BY_STOP} AND {of.sql}"

    def size(self) -> int:
        which = "1" if self._numbers is None else f"number IN ({', '.join(map(str, self._numbers)) or 'NULL'})"
        return int(self._read(f"SELECT total(orders) AS n FROM batches WHERE {which}")[0]["n"])

    def span(self) -> Window | None:
        ends = (f"SELECT start, stop {self._found} ORDER BY stop {towards} LIMIT 1" for towards in ("ASC", "DESC"))
        first, last = (self._read(end, self._of.values) for end in ends)
        return (first[0]["start"], last[0]["stop"]) if first and last else None

    def last_stop(self) -> float | None:
        last: float | None = self._read("SELECT max(stop) AS last FROM orders WHERE stop IS NOT NULL")[0]["last"]
        return last

    def ended(self, windows: Sequence[Window], limit: int) -> list[Ended]:
        columns = f"stop, status, start, peak_memory, seq >> {ROW_BITS}"
        sql = f"SELECT {columns} {self._found} AND stop >= :from AND stop < :to LIMIT :most"
        found: list[Ended] = []
        for since, until in windows:
            values = {**self._of.values, "from": since, "to": until, "most": limit - len(found)}
            found += map(tuple, self._read(sql, values))
        return found

    def ids(self, batches: Iterable[int | str]) -> Mapping[int | str, str]:
        sql = "SELECT number, id FROM batches WHERE number IN (SELECT value FROM json_each(?))"
        return {row["number"]: row["id"] for row in self._read(sql, (json.dumps([*batches]),))}

    def running(self) -> tuple[Sequence[float], int]:
        running = f"FROM orders INDEXED BY running WHERE status = 'RUNNING' AND {self._of.sql}"
        starts = [row["start"] for row in self._read(f"SELECT start {running} LIMIT {MOST_RUNNING}", self._of.values)]
        if len(starts) < MOST_RUNNING:
            return starts, len(starts)
        return starts, self._read(f"SELECT count(*) AS n {running}", self._of.values)[0]["n"]
