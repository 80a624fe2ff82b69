"""What people ask an SQLite kitchen: counts over many orders. Each function is given the kitchen's way to read."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from waiter.kitchen.answers import Durations, durations_from, own_window
from waiter.kitchen.contract import CLAIM_LIMIT, Backlog, FailureGroup, Throughput
from waiter.kitchen.selecting import PORTION
from waiter.kitchen.sqlite import tally
from waiter.kitchen.sqlite.rows import (
    AGE,
    EVERYTHING,
    FROM,
    LIGHT,
    ROW_BITS,
    WHOLE,
    Condition,
    order_from,
    reason_from,
)
from waiter.kitchen.sqlite.timeline import Source
from waiter.kitchen.timeline import MOST_COUNTED, estimate
from waiter.orders import HELD, BatchProgress, Counts, Order, Selector, Status

Read = Callable[..., list[sqlite3.Row]]
"""A statement and its parameters to rows."""

# What an index finds would have to be sorted, or gone through, for each portion.
_BY_TABLE = FROM.replace("orders", "orders NOT INDEXED", 1)
_ALL = ", ".join(repr(status.value) for status in Status)
_COUNT_BY_BATCH = (
    f"SELECT seq >> {ROW_BITS} AS number, status, count(*) AS n FROM orders INDEXED BY by_status GROUP BY 1, 2"
)


def backlog(read: Read, now: float) -> Backlog:
    """What waits and what runs, counted up to CLAIM_LIMIT."""
    few = f"SELECT count(*) AS n FROM (SELECT 1 FROM orders INDEXED BY %s LIMIT {CLAIM_LIMIT})"
    waiting = "waiting WHERE status = 'READY' AND due IS NOT NULL AND due"
    ready = read(few % "claimable WHERE status = 'READY' AND due IS NULL")[0]["n"]
    running = read(few % "running WHERE status = 'RUNNING'")[0]["n"]
    overdue = read(few % f"{waiting} <= ?", (now,))[0]["n"]
    due = read(f"SELECT min(due) AS due FROM orders INDEXED BY {waiting} > ? AND due < {HELD!r}", (now,))[0]["due"]
    held = read(few % f"{waiting} = {HELD!r}")[0]["n"]
    return Backlog(min(CLAIM_LIMIT, ready + overdue), None if due is None else due - now, running, held)


def held_rows(read: Read) -> dict[str, int]:
    """How many orders of each batch wait for the same row of another one."""
    held = f"INDEXED BY waiting WHERE status = 'READY' AND due IS NOT NULL AND due = {HELD!r}"
    grouped = f"SELECT seq >> {ROW_BITS} AS number, count(*) AS n FROM orders {held} GROUP BY 1"
    return {row["id"]: row["n"] for row in read(f"SELECT id, n FROM ({grouped}) JOIN batches USING (number)")}


def counts(read: Read, selector: Selector | None, where: Condition) -> Counts:
    index = "" if selector and selector.ids else "INDEXED BY by_status"
    # Said of every status, the index alone answers also for a batch: its keys end with `seq`.
    sql = f"SELECT status, count(*) AS n FROM orders {index} WHERE status IN ({_ALL}) AND {where.sql} GROUP BY status"
    return Counts({Status(row["status"]): row["n"] for row in read(sql, where.values)})


def find(
    db: sqlite3.Connection, selector: Selector, where: Condition, ordered: str, limit: int | None, with_details: bool
) -> Iterator[Order]:
    """The orders that match, in portions, in the order of the words after ORDER BY."""
    columns = WHOLE if with_details else LIGHT
    if limit is not None and limit <= PORTION:
        sql = f"SELECT {columns} {FROM} WHERE {where.sql} ORDER BY {ordered} LIMIT {max(0, limit)}"
        yield from map(order_from, db.execute(sql, where.values).fetchall())
    elif ordered in AGE and not (selector.ids or selector.statuses or selector.batch):
        yield from islice(_by_age(db, columns, where, ordered), limit)
    else:  # also where an index knows those that match, and the table would have to be read to its end
        yield from islice(_by_place(db, columns, where, ordered), limit)


def _by_age(db: sqlite3.Connection, columns: str, where: Condition, ordered: str) -> Iterator[Order]:
    """Each portion begins where the last one ended: an order's age never changes."""
    sql = f"SELECT {columns} {_BY_TABLE} WHERE {where.sql} AND {{}} ORDER BY {ordered} LIMIT {PORTION}"
    beyond, after = "1", 0
    while rows := db.execute(sql.format(beyond), {**where.values, "after": after}).fetchall():
        yield from map(order_from, rows)
        beyond, after = f"seq {AGE[ordered]} :after", rows[-1]["seq"]


def _by_place(db: sqlite3.Connection, columns: str, where: Condition, ordered: str) -> Iterator[Order]:
    """Each order has its place from the beginning: none comes twice or is left out because it moves meanwhile."""
    found = db.execute(f"SELECT seq FROM orders WHERE {where.sql} ORDER BY {ordered}", where.values)
    places = array("q", (row["seq"] for row in found))
    sql = f"SELECT {columns} {_BY_TABLE} WHERE seq IN (SELECT value FROM json_each(:portion)) AND {where.sql}"
    for at in range(0, len(places), PORTION):
        portion = places[at : at + PORTION].tolist()
        rows = db.execute(sql, {**where.values, "portion": json.dumps(portion)}).fetchall()
        by_seq = {row["seq"]: row for row in rows}
        yield from (order_from(by_seq[seq]) for seq in portion if seq in by_seq)


def throughput(read: Read, now: float, window_s: float) -> Throughput:
    rows = read(
        "SELECT status, count(*) AS n, total(stop - start) AS seconds FROM ("
        "SELECT status, start, stop FROM orders INDEXED BY by_stop "
        "WHERE stop IS NOT NULL AND stop BETWEEN ? AND ? AND status IN ('DONE', 'ERROR') LIMIT ?) GROUP BY status",
        (now - window_s, now + window_s, MOST_COUNTED),
    )
    if sum(row["n"] for row in rows) < MOST_COUNTED:
        return _throughput(rows, window_s)
    return estimate(Source(read, EVERYTHING, None), now, window_s)


def _throughput(rows: list[sqlite3.Row], window_s: float) -> Throughput:
    """Of rows with a status, their number and all their seconds."""
    counts = {row["status"]: row["n"] for row in rows}
    total = sum(counts.values())
    mean_s = sum(row["seconds"] for row in rows) / total if total else None
    return Throughput(window_s, counts.get("DONE", 0), counts.get("ERROR", 0), mean_s)


def durations(read: Read, since: float, bounds: Sequence[float]) -> Durations:
    cases = " ".join(f"WHEN seconds <= {bound!r} THEN {number}" for number, bound in enumerate(bounds))
    ended = (
        "SELECT status, max(0, ifnull(stop - start, 0)) AS seconds FROM orders INDEXED BY by_stop "
        "WHERE stop IS NOT NULL AND stop > ? AND status IN ('DONE', 'ERROR')"
    )
    rows = read(
        f"SELECT status, CASE {cases} WHEN 1 THEN {len(bounds)} END AS bound, count(*) AS n, total(seconds) AS seconds "
        f"FROM ({ended}) GROUP BY 1, 2",
        (since,),
    )
    return durations_from(((row["status"], row["bound"], row["n"], row["seconds"]) for row in rows), len(bounds))


def batch_progress(read: Read, now: float, window_s: float, *, is_kept: bool) -> dict[str, BatchProgress]:
    """How far each batch is, by its id, and how fast lately. `is_kept`: the file knows how many orders there are."""
    counted = tally.by_batch(read) if is_kept else read(_COUNT_BY_BATCH)
    ended = read(
        f"SELECT seq >> {ROW_BITS} AS number, status, count(*) AS n, total(stop - start) AS seconds, "
        "? - min(start) AS age FROM orders INDEXED BY by_stop "
        "WHERE stop IS NOT NULL AND stop BETWEEN ? AND ? AND status IN ('DONE', 'ERROR') GROUP BY 1, 2",
        (now, now - window_s, now + window_s),
    )
    counts: dict[int, dict[Status, int]] = {}
    for row in counted:
        counts.setdefault(row["number"], {})[Status(row["status"])] = row["n"]
    recent: dict[int, list[sqlite3.Row]] = {}
    for row in ended:
        recent.setdefault(row["number"], []).append(row)

    def progress(number: int) -> BatchProgress:
        rows = recent.get(number, [])
        own_s = own_window([row["age"] for row in rows], window_s)
        return BatchProgress(Counts(counts.get(number, {})), _throughput(rows, own_s))

    return {row["id"]: progress(row["number"]) for row in read("SELECT id, number FROM batches ORDER BY number")}


def failure_groups(read: Read, chosen: Condition) -> list[FailureGroup]:
    # An index knows how many there are of all, where and when; only the latest one of each is read.
    index = "INDEXED BY failures" if chosen is EVERYTHING else ""
    failed = "status = 'ERROR' AND error_group IS NOT NULL"
    counted = (
        "SELECT error_group AS kind, host AS place, count(*) AS n, min(stop) AS first, max(stop) AS last "
        f"FROM orders {index} WHERE {failed} AND {chosen.sql} GROUP BY 1, 2"
    )
    latest = (
        f"SELECT seq FROM orders INDEXED BY failures WHERE {failed} AND error_group = kind AND host IS place "
        f"AND stop IS last AND {chosen.sql} ORDER BY seq DESC LIMIT 1"
    )
    rows = read(
        "SELECT kind, place, n, first, last, seq, error, exit_code, signal, reason "
        f"FROM ({counted}) CROSS JOIN orders ON seq = ({latest})",
        chosen.values,
    )
    places: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        places.setdefault(row["kind"], []).append(row)
    batches = {row["number"]: row["id"] for row in read("SELECT number, id FROM batches")} if rows else {}
    groups = [_failure_group(rows, batches) for rows in places.values()]
    return sorted(groups, key=lambda group: (-group.count, group.group))


def _failure_group(places: list[sqlite3.Row], batches: Mapping[int, str]) -> FailureGroup:
    """The failures of one kind; those on each host are a row."""
    latest = max(places, key=lambda row: (row["last"], row["seq"]))
    return FailureGroup(
        group=latest["kind"],
        count=sum(row["n"] for row in places),
        message=latest["error"] or "",
        exit_code=latest["exit_code"],
        signal=latest["signal"],
        reason=reason_from(latest["reason"]),
        hosts=tuple(sorted(row["place"] for row in places if row["place"] is not None)),
        first=min(row["first"] for row in places),
        last=latest["last"],
        example=f"{batches[latest['seq'] >> ROW_BITS]}-{latest['seq'] & ((1 << ROW_BITS) - 1)}",
    )


def commands(read: Read, where: Condition) -> dict[str, int]:
    index = "INDEXED BY by_status" if where is EVERYTHING else ""  # which alone answers, without any order
    rows = read(
        f"SELECT command, count(*) AS n FROM orders {index} WHERE status IN ('DONE', 'ERROR') AND command IS NOT NULL "
        f"AND {where.sql} GROUP BY command ORDER BY n DESC, command",
        where.values,
    )
    return {row["command"]: row["n"] for row in rows}
