"""What a verb has to show, as rows of text that fit 80 columns, and the lines that mend what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from waiter.fleet.actions import Report
from waiter.fleet.inventory import Host
from waiter.fleet.roster import Row
from waiter.fleet.trouble import Finding

Rows = tuple[list[str], list[list[str]]]
"""A header and the rows below it."""

WIDTH = 80


def host_rows(hosts: Sequence[Host]) -> Rows:
    """Who is selected. Columns that nobody fills are left out."""
    cells: dict[str, list[str]] = {
        "HOST": [host.name for host in hosts],
        "ADDRESS": [host.address or "none" for host in hosts],
        "STATE": [host.state or "" for host in hosts],
        "TYPE": [host.kind or "" for host in hosts],
        "REGION": [host.region or "" for host in hosts],
        "INSTANCE": [host.instance_id or "" for host in hosts],
    }
    if all(host.name == host.address for host in hosts):
        del cells["ADDRESS"]
    used = {name: column for name, column in cells.items() if any(column)}
    return list(used), [list(row) for row in zip(*used.values(), strict=True)]


def report_rows(reports: Sequence[Report]) -> Rows:
    """Hosts and outcomes."""
    return fitted(["HOST", "OUTCOME", "DETAIL"], [[each.host.name, each.outcome, detail(each)] for each in reports])


def fitted(header: list[str], rows: list[list[str]]) -> Rows:
    """The same with the last column cut so that the table fits; --json has the whole text."""
    taken = sum(max(len(row[column]) for row in [header, *rows]) + 2 for column in range(len(header) - 1))
    width = max(16, WIDTH - taken)
    return header, [[*row[:-1], shortened(row[-1], width)] for row in rows]


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def detail(report: Report) -> str:
    """The few words beside an outcome."""
    if report.findings:
        shown = [each.detail if each.trouble == report.outcome else str(each) for each in report.findings]
        return "; ".join(word for word in shown if word)
    facts = report.facts
    match report.outcome:
        case "fetched":
            return f"{facts['files']:,} files, {facts['bytes']:,} bytes in {facts['to']}"
        case "fit":
            return f"Python {facts['python']}, {facts['cpus']} CPUs, {facts['disk_free'] / 1e9:.0f} GB free"
        case "pushed":
            return ", ".join(facts.get("files") or ())
        case "stopped":
            left = facts.get("left") or {}
            return f"{left['delivered']} delivered, {left['failed']} failed" if "delivered" in left else ""
    return work(facts)


def work(facts: Any) -> str:
    """What a waiter does, in a few words."""
    if not facts.get("words") or facts.get("outcome") == "not running":
        return ""
    pid = f"pid {facts['pid']}: " if facts.get("pid") else ""
    boot = f" (returns by {facts['boot']})" if facts.get("boot") else ""
    return f"{pid}{' '.join(facts['words'])}{boot}"


def mends(reports: Sequence[Report]) -> list[str]:
    """What is wrong, whole, each with its hosts, and below it the line that mends it."""
    hosts: dict[Finding, list[str]] = {}
    for report in reports:
        for finding in report.findings:
            hosts.setdefault(finding, []).append(report.host.name)
    lines = []
    for finding, names in hosts.items():
        lines.append(f"{named(names)}: {finding}")
        if finding.mend.strip():
            lines.append(f"    {finding.mend}")
    return lines


def named(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def summary(reports: Sequence[Report], seconds: float) -> str:
    """One line with counts."""
    times = Counter(report.outcome for report in reports)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in times.most_common())
    hosts = "1 host" if len(reports) == 1 else f"{len(reports):,} hosts"
    return f"{hosts}: {counts} ({seconds:.1f} s)"


def to_json(verb: str, reports: Sequence[Report]) -> dict[str, Any]:
    """The one value that a verb prints with --json."""
    return {
        "verb": verb,
        "ok": all(report.is_ok for report in reports),
        "hosts": [report.to_json() for report in reports],
    }


# Status.


def roster_rows(rows: Sequence[Row], now: float) -> Rows:
    """Hosts by waiters. Columns that nobody fills are left out."""
    header = ["HOST", "STATE", "PID", "SINCE", "BUSY", "DONE", "FAILED", "BEAT", "RUNS"]
    cells = [
        [
            row.host,
            row.state,
            shown(row.pid),
            "" if row.since is None else span(now - row.since),
            "" if row.busy is None else f"{row.busy}/{row.slots}",
            shown(row.delivered),
            shown(row.failed),
            "" if row.heartbeat_s is None else span(row.heartbeat_s),
            row.command or "",
        ]
        for row in rows
    ]
    used = [column for column in range(len(header)) if column < 2 or any(row[column] for row in cells)]
    return fitted([header[column] for column in used], [[row[column] for column in used] for row in cells])


def roster_notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row.host}: {note}" for row in rows for note in row.notes]


def shown(number: int | None) -> str:
    return "" if number is None else str(number)


def span(seconds: float) -> str:
    """A duration in a few characters: 12s, 5m, 3h, 2d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
