"""What people ask an SQLite kitchen: counts over many orders. Each function is given the kitchen's way to read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from waiter.kitchen.contract import CLAIM_LIMIT, FailureGroup, Outlook, Throughput
from waiter.kitchen.sqlite_rows import EVERYTHING, ROW_BITS, Condition, reason_from
from waiter.orders import Counts, Selector, Status

Read = Callable[..., list[sqlite3.Row]]
"""A statement and its parameters to rows."""

_ALL = ", ".join(repr(status.value) for status in Status)


def outlook(read: Read, now: float) -> Outlook:
    """What waits and what runs, counted up to CLAIM_LIMIT."""
    few = f"SELECT count(*) AS n FROM (SELECT 1 FROM orders INDEXED BY %s LIMIT {CLAIM_LIMIT})"
    waiting = "waiting WHERE status = 'READY' AND due IS NOT NULL AND due"
    ready = read(few % "claimable WHERE status = 'READY' AND due IS NULL")[0]["n"]
    running = read(few % "running WHERE status = 'RUNNING'")[0]["n"]
    overdue = read(few % f"{waiting} <= ?", (now,))[0]["n"]
    due = read(f"SELECT min(due) AS due FROM orders INDEXED BY {waiting} > ?", (now,))[0]["due"]
    return Outlook(min(CLAIM_LIMIT, ready + overdue), None if due is None else due - now, running)


def counts(read: Read, selector: Selector | None, where: Condition) -> Counts:
    index = "" if selector and selector.ids else "INDEXED BY by_status"
    # Said of every status, the index alone answers also for a batch: its keys end with `seq`.
    sql = f"SELECT status, count(*) AS n FROM orders {index} WHERE status IN ({_ALL}) AND {where.sql} GROUP BY status"
    return Counts({Status(row["status"]): row["n"] for row in read(sql, where.values)})


def throughput(read: Read, now: float, window_s: float) -> Throughput:
    rows = read(
        "SELECT status, count(*) AS n, total(stop - start) AS seconds FROM orders INDEXED BY by_stop "
        "WHERE stop IS NOT NULL AND stop >= ? AND status IN ('DONE', 'ERROR') GROUP BY status",
        (now - window_s,),
    )
    counts = {row["status"]: row["n"] for row in rows}
    total = sum(counts.values())
    mean_s = sum(row["seconds"] for row in rows) / total if total else None
    return Throughput(window_s, counts.get("DONE", 0), counts.get("ERROR", 0), mean_s)


def failure_groups(read: Read, chosen: Condition) -> list[FailureGroup]:
    where, values = f"{chosen.sql} AND status = 'ERROR' AND error_group IS NOT NULL", chosen.values
    hosts: dict[str, list[str]] = {}
    for row in read(f"SELECT DISTINCT error_group, host FROM orders WHERE {where} ORDER BY host", values):
        if row["host"] is not None:
            hosts.setdefault(row["error_group"], []).append(row["host"])
    # max() makes SQLite take the other columns from the latest row of each group.
    groups = read(
        f"SELECT error_group, count(*) AS n, min(stop) AS first, max(stop) AS last, seq, error, exit_code, signal, "
        f"reason FROM orders WHERE {where} GROUP BY error_group ORDER BY n DESC, error_group",
        values,
    )
    return [_failure_group(read, row, tuple(hosts.get(row["error_group"], ()))) for row in groups]


def _failure_group(read: Read, row: sqlite3.Row, hosts: tuple[str, ...]) -> FailureGroup:
    batch = read("SELECT id FROM batches WHERE number = ?", (row["seq"] >> ROW_BITS,))[0]["id"]
    return FailureGroup(
        group=row["error_group"],
        count=row["n"],
        message=row["error"] or "",
        exit_code=row["exit_code"],
        signal=row["signal"],
        reason=reason_from(row["reason"]),
        hosts=hosts,
        first=row["first"],
        last=row["last"],
        example=f"{batch}-{row['seq'] & ((1 << ROW_BITS) - 1)}",
    )


def commands(read: Read, where: Condition) -> dict[str, int]:
    index = "INDEXED BY by_status" if where is EVERYTHING else ""  # which alone answers, without any order
    rows = read(
        f"SELECT command, count(*) AS n FROM orders {index} WHERE status IN ('DONE', 'ERROR') AND command IS NOT NULL "
        f"AND {where.sql} GROUP BY command ORDER BY n DESC, command",
        where.values,
    )
    return {row["command"]: row["n"] for row in rows}
