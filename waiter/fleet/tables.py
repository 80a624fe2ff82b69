"""What a verb has to show, as rows of text that fit 80 columns, and the lines that fix what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from waiter.fleet.inventory import Host
from waiter.fleet.protocol import OWN_COMMANDS
from waiter.fleet.runner import Report
from waiter.fleet.status import StatusRow
from waiter.report.formatting import truncate

Table = tuple[list[str], list[list[str]]]
"""A header and the rows below it."""

WIDTH, LAST_WIDTH = 80, 19
"""The table's, and what its last column gets at least: an instance's id."""


def host_rows(hosts: Sequence[Host]) -> Table:
    """Who is selected."""
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
    return fitted(
        list(cells), [list(row) for row in zip(*cells.values(), strict=True)], ("TYPE", "REGION", "INSTANCE", "STATE")
    )


def report_cells(reports: Sequence[Report]) -> Table:
    """Hosts and outcomes."""
    return ["HOST", "OUTCOME", "DETAIL"], [[each.host.name, each.outcome, detail(each)] for each in reports]


def fitted(header: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> Table:
    """The same in WIDTH: without columns that nobody fills, then without spare ones, and with the last one cut.

    --json has the whole text. The first column always stays.
    """
    columns = [list(column) for column in zip(header, *rows, strict=True)]
    used = [column for number, column in enumerate(columns) if number == 0 or any(column[1:])]
    for name in spare:
        if room_left(used) < min(LAST_WIDTH, max(map(len, used[-1]))):
            used = [column for column in used if column[0] != name]
    used[-1] = [truncate(one_line(cell), max(LAST_WIDTH, room_left(used))) for cell in used[-1]]
    first, *others = zip(*used, strict=True)
    return list(first), [list(row) for row in others]


def room_left(columns: Sequence[Sequence[str]]) -> int:
    """What the last of these columns may take."""
    return WIDTH - sum(max(map(len, column)) + 2 for column in columns[:-1])


def one_line(words: str) -> str:
    """A host's words, which must not look like a line of ours."""
    return " ".join(words.split())


def detail(report: Report) -> str:
    """The few words beside an outcome."""
    if report.findings:
        shown = [each.detail if each.problem == report.outcome else str(each) for each in report.findings]
        return "; ".join(word for word in shown if word)
    facts = report.facts
    match report.outcome:
        case "fetched":
            files = "1 file" if facts["files"] == 1 else f"{facts['files']:,} files"
            return f"{files}, {facts['bytes']:,} bytes in {facts['to']}"
        case "fit":
            return f"Python {facts.get('python')}, {facts.get('cpus')} CPUs, {facts['disk_free'] / 1e9:.0f} GB free"
        case "pushed":
            return ", ".join(facts.get("files") or ())
        case "stopped" | "ended":
            if report.remarks:
                return report.remarks[0].detail
            left = facts.get("left") or {}
            return f"{left['delivered']} delivered, {left.get('failed')} failed" if "delivered" in left else ""
    return waiter_summary(facts)


def waiter_summary(facts: Any) -> str:
    """What a waiter does, in a few words."""
    if facts.get("words") is None or facts.get("outcome") == "not running":
        return ""
    pid = f"pid {facts['pid']}: " if facts.get("pid") else ""
    boot = f" (returns by {facts['boot']})" if facts.get("boot") else ""
    return f"{pid}{' '.join(facts['words']) or OWN_COMMANDS}{boot}"


def problem_lines(reports: Sequence[Report]) -> list[str]:
    """What is wrong, or should be known, whole, each with its hosts, and below it the line that fixes it."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        said = [
            *((str(each), each.fix) for each in report.findings),
            *((each.detail, each.fix) for each in report.remarks),
        ]
        for what in said:
            hosts.setdefault(what, []).append(report.host.name)
    lines = []
    for (words, remedy), names in hosts.items():
        lines.append(f"{join_names(names)}: {one_line(words)}")
        if remedy.strip():
            lines.append(f"    {remedy}")
    return lines


def join_names(names: Sequence[str]) -> str:
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


SPARE_OF_STATUS = ("SINCE", "BEAT", "PID")
"""Columns of `status` that go first where there is no room."""


def status_cells(rows: Sequence[StatusRow], now: float) -> Table:
    """Hosts by waiters."""
    header = ["HOST", "STATE", "PID", "SINCE", "BUSY", "DONE", "FAILED", "BEAT", "RUNS"]
    cells = [
        [
            row.host,
            row.state,
            format_number(row.pid),
            "" if row.since is None else format_age(now - row.since),
            "" if row.busy is None else f"{row.busy}/{row.slots}",
            format_number(row.delivered),
            format_number(row.failed),
            "" if row.heartbeat_s is None else format_age(row.heartbeat_s),
            row.command or "",
        ]
        for row in rows
    ]
    return header, cells


def status_notes(rows: Sequence[StatusRow]) -> list[str]:
    """What is odd, or why nobody works there; what holds for several hosts once."""
    hosts: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            hosts.setdefault(one_line(note), []).append(row.host)
    return [f"{join_names(names)}: {note}" for note, names in hosts.items()]


def format_number(number: int | None) -> str:
    return "" if number is None else str(number)


def format_age(seconds: float) -> str:
    """A duration in a few characters: 12s, 5m, 3h, 2d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
