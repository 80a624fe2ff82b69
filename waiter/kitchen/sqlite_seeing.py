"""What people ask an SQLite kitchen: counts over many orders. Each function is given the kitchen's way to read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from waiter.kitchen.contract import CLAIM_LIMIT, FailureGroup, Outlook, Throughput
from waiter.kitchen.sqlite_rows import ROW_BITS, reason_from

Read = Callable[..., list[sqlite3.Row]]
"""A statement and its parameters to rows."""


def outlook(read: Read, now: float) -> Outlook:
    """What waits and what runs, counted up to CLAIM_LIMIT."""
    few = f"SELECT count(*) AS n FROM (SELECT 1 FROM orders WHERE %s LIMIT {CLAIM_LIMIT})"
    ready = read(few % "status = 'READY' AND due IS NULL")[0]["n"]
    running = read(few % "status = 'RUNNING'")[0]["n"]
    overdue = read(few % "status = 'READY' AND due IS NOT NULL AND due <= ?", (now,))[0]["n"]
    waits = read("SELECT min(due) AS due FROM orders WHERE status = 'READY' AND due IS NOT NULL AND due > ?", (now,))
    due = waits[0]["due"]
    return Outlook(min(CLAIM_LIMIT, ready + overdue), None if due is None else due - now, running)


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


def failure_groups(read: Read, where: str, values: list[Any]) -> list[FailureGroup]:
    where = f"{where} AND status = 'ERROR' AND error_group IS NOT NULL"
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


def commands(read: Read) -> dict[str, int]:
    rows = read(
        "SELECT command, count(*) AS n FROM orders WHERE status IN ('DONE', 'ERROR') AND command IS NOT NULL "
        "GROUP BY command"
    )
    return {row["command"]: row["n"] for row in rows}
