"""What the fields of `--json` mean, verb by verb. A test runs each verb and compares: no field is missing here.

`a.b` is the key b of the object at a, `a[].b` that of each object in the list at a.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

COUNTS = "Orders by status: READY, RUNNING, DONE, ERROR, CANCELLED; and WAITING where there are stages."
TIME = "ISO 8601, UTC"

_END: Mapping[str, str] = {
    "text": "The result in a sentence.",
    "is_done": "Whether all orders have ended.",
    "exit_code": "What the verb ends with.",
    "kitchen": "The kitchen's address, without a password.",
    "batch": "The batch that was waited for; null: all.",
    "total": "How many orders there are.",
    "counts": COUNTS,
    "failures[].group": "A group of failures, for `--like`.",
    "failures[].count": "How many orders failed in this way.",
    "failures[].message": "One of them in a line.",
    "failures[].example": "The id of an order of the group.",
    "at": f"When this was so ({TIME}).",
}

COST = {
    "cost[].fleet": "A fleet that `fleet launch` made.",
    "cost[].machines": "How many of its machines live.",
    "cost[].ended": "How many have ended.",
    "cost[].so_far": "What they have cost, in dollars; null where a price is unknown.",
    "cost[].per_hour": "What those that live cost an hour.",
    "cost[].orders": "Orders that have ended since its first launch.",
    "cost[].per_order": "What each of them cost.",
    "cost[].projected": "What all will have cost when all is done: from and to; null: unknown.",
    "cost[].unpriced": "Types whose price is unknown.",
}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "status": {
        "kitchen": "The kitchen's address, without a password.",
        "total": "How many orders there are.",
        "counts": COUNTS,
        "oldest_running._id": "The order that has run longest; null if none runs.",
        "oldest_running.waiter": "Who runs it.",
        "oldest_running.seconds": "For how long.",
        "running": "Orders whose command runs.",
        "claimed": "Orders that a waiter has taken and not begun; `counts` has both as RUNNING.",
        "waiters": "Waiters at work.",
        "rate": "Orders a second in the last minute.",
        "eta": "Seconds until all is done: the soonest and the latest; null: unknown.",
        "eta_words": "The same in words.",
        "commands": "How many orders each version of the command delivered.",
        "latest_command": "The version that was started last.",
        "last_hour.done": "Orders that were delivered in the last hour; among tens of thousands an estimate.",
        "last_hour.failed": "Orders that failed in it.",
        "last_hour.mean": "Seconds that they took; null: there were none.",
        "waiting[].batch": "A batch that waits for others.",
        "waiting[].name": "Its name.",
        "waiting[].orders": "How many orders of it wait.",
        "waiting[].why": "What for.",
        "paused[].batch": "A paused batch.",
        "paused[].name": "Its name.",
        "paused[].why": "Why it is paused.",
        **COST,
        "cost[].words": "All of it in words.",
        "with_more_hosts.hosts": "`--more-hosts`.",
        "with_more_hosts.eta": "Seconds until all is done with these hosts more.",
        "with_more_hosts.eta_words": "The same in words.",
        "failed_if": "Conditions of `--fail-if` that hold.",
    },
    "watch": {
        "at": "When this was so, in seconds since 1970.",
        "counted": "How old `total` and `counts` are, in seconds; null while the first count goes on.",
        "total": "How many orders there are.",
        "counts": COUNTS,
        "running": "Orders whose command runs.",
        "claimed": "Orders that a waiter has taken and not begun.",
        "waiters": "Waiters at work.",
        "rate": "Orders a second in the last minute.",
        "eta": "Seconds until all is done: the soonest and the latest; null: unknown.",
        **COST,
        "last_hour.done": "Orders that were delivered in the last hour; among tens of thousands an estimate.",
        "last_hour.failed": "Orders that failed in it.",
        "last_hour.mean": "Seconds that they took; null: there were none.",
        "failures[].group": "A group of failures, for `--like`.",
        "failures[].count": "How many orders failed in this way.",
        "failures[].message": "One of them in a line.",
    },
    "errors": {
        "groups[].group": "The group's id, for `--like`.",
        "groups[].count": "How many orders failed in this way.",
        "groups[].share": "That as a share of all failures, 0 to 1.",
        "groups[].message": "One of them in a line.",
        "groups[].exit_code": "The exit code of the example.",
        "groups[].signal": "The signal that ended it.",
        "groups[].reason": "The reason of it, as in [orders](orders.md).",
        "groups[].hosts": "Hosts on which it happened.",
        "groups[].only_host": "The one host that has all of them while others deliver, else null.",
        "groups[].first": f"The first such failure ({TIME}).",
        "groups[].last": "The last.",
        "groups[].example": "The id of an order of the group.",
        "groups[].last_lines": "The last lines of its output.",
    },
    "waiters": {
        "waiters[].waiter": "Its name.",
        "waiters[].host": "Its host.",
        "waiters[].pid": "Its process there.",
        "waiters[].state": "alive, late, lost, paused, draining or left.",
        "waiters[].pause_reason": "Why it is paused.",
        "waiters[].since": f"When it checked in ({TIME}).",
        "waiters[].heartbeat": "Its last heartbeat.",
        "waiters[].heartbeat_age_s": "Seconds since then.",
        "waiters[].slots": "Its slots.",
        "waiters[].busy": "Slots in use.",
        "waiters[].claimed": "Orders that it has taken and not begun.",
        "waiters[].rate": "Orders a second in the last minute.",
        "waiters[].delivered": "Orders that it delivered.",
        "waiters[].failed": "Orders that failed with it.",
        "waiters[].memory": "Bytes of memory of the waiter itself.",
        "waiters[].load": "The load average of its host.",
        "waiters[].waits_for": "Why it starts nothing; null if it does.",
        "waiters[].running": "The ids of orders that run.",
        "waiters[].command": "Its command.",
        "waiters[].command_hash": "The version of the command.",
        "waiters[].version": "The version of Waiter, where that is not this one.",
    },
    "batches": {
        "batches[].id": "The batch's id.",
        "batches[].name": "Its name.",
        "batches[].source": "What it was loaded from.",
        "batches[].command": "The words of its command; null: none as yet.",
        "batches[].is_reserved": "Whether the command was named with `--for` or `batch bind`.",
        "batches[].weight": "Its share beside others; null: 1.",
        "batches[].paused": "Why it is paused; null if it is not.",
        "batches[].after": "Ids of batches whose orders must be DONE first.",
        "batches[].after_any": "Ids of batches that must have ended first.",
        "batches[].after_row": "The id of the batch that it follows row by row.",
        "batches[].waiting": "Why it waits; null if it does not.",
        "batches[].loaded_at": f"When it was loaded ({TIME}).",
        "batches[].is_complete": "Whether its load came to an end.",
        "batches[].counts": COUNTS,
        "batches[].running": "Orders whose command runs.",
        "batches[].claimed": "Orders that a waiter has taken and not begun.",
        "batches[].rate": "Orders a second lately.",
        "batches[].eta": "Seconds until it is done: the soonest and the latest; null: unknown.",
    },
    "runs": {
        "runs[].kitchen": "The file with its orders, for `-k`.",
        "runs[].input": "What it read.",
        "runs[].command": "The words of its command.",
        "runs[].folder": "Where it was started.",
        "runs[].begun": f"When it began ({TIME}).",
        "runs[].age_s": "Seconds since then.",
        "runs[].kept_until": "When the file may be removed.",
        "runs[].is_at_work": "Whether it runs now.",
        "runs[].total": "How many orders it has.",
        "runs[].counts": COUNTS,
    },
    "load": {
        "batch": "The batch's id.",
        "source": "What was read.",
        "rows": "Rows that are orders, new or known.",
        "new": "Orders that were added.",
        "known": "Rows that were orders already.",
        "blank": "Blank rows that were skipped.",
        "bad": "Rows that `--skip-bad` left out.",
        "bad_rows": "The first of them, with their numbers and what is wrong.",
        "changed": "The batch of an earlier load of this file with other rows.",
        "header_like": "The first row, if it looks like a header and is an order.",
    },
    "pilot": {
        "orders": "Orders that were delivered for it.",
        "failed": "How many of them failed.",
        "failure_rate": "That as a share, 0 to 1.",
        "failure_range": "Between which shares that of all orders lies (95 %).",
        "seconds.mean": "Seconds that an order takes.",
        "seconds.p50": "The median.",
        "seconds.p95": "95 % take no longer.",
        "seconds.max": "The longest.",
        "peak_memory": "Bytes of memory of the largest.",
        "left": "Orders that are left.",
        "projected[].hosts": "So many hosts …",
        "projected[].slots": "… with so many slots each.",
        "projected[].eta": "Seconds until all is done: the soonest and the latest.",
        "projected[].cost": "What that costs, with `--price`.",
    },
    "wait": _END,
    "notify": {
        **_END,
        "report": "The path of the report that `--report` wrote.",
        "link": "The address that `--link` gave.",
    },
    "try": {
        "order": "The order's id.",
        "argv": "The words that were run.",
        "exit_code": "The command's exit code.",
        "seconds": "How long it took.",
        "result": "What it wrote to `$WAITER_RESULT`.",
        "error": "What it wrote to `$WAITER_ERROR`.",
    },
    "reset": {"reset": "Orders that are READY again.", "reclaimed": "Orders of dead waiters that are."},
    "cancel": {
        "cancelled": "Orders that were cancelled.",
        "ready": "Those of them that waited.",
        "running": "Those that ran: their waiters stop them.",
    },
    "priority": {"changed": "Orders whose priority changed.", "priority": "The new one."},
    "pause": {"paused": "Waiters or batches that were paused."},
    "resume": {"resumed": "Waiters or batches that go on."},
    "drain": {"draining": "Waiters that were told to leave."},
    "clean": {"deleted": "Orders that were deleted."},
}
"""Not here: `orders` and `show`, whose keys are the columns of orders, and `batch`, which says what it changed."""

OF_HOSTS: Mapping[str, str] = {
    "verb": "The verb.",
    "ok": "Whether all went well on all hosts.",
    "hosts[].host": "The host's name.",
    "hosts[].address": "What was connected to.",
    "hosts[].ok": "Whether all went well there.",
    "hosts[].outcome": "What the table says under OUTCOME.",
    "hosts[].remarks": "What to know although it went well.",
    "hosts[].troubles[].trouble": "What is wrong.",
    "hosts[].troubles[].detail": "More of it.",
    "hosts[].troubles[].fix": "The line that fixes it.",
}
"""The fields that all verbs of the fleet have; each adds facts of its own to a host."""


def keys(value: object, at: str = "") -> Iterator[str]:
    """The fields of a JSON value as they are called here; of counts and the like only the whole."""
    if isinstance(value, dict) and not at.endswith(("counts", "commands")):
        for key, each in value.items():
            yield from keys(each, f"{at}.{key}".removeprefix("."))
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        for each in value:
            yield from keys(each, f"{at}[]")
    else:
        yield at


def page() -> Iterator[str]:
    """The page's lines."""
    yield from (
        "With `--json` a verb writes one JSON value to stdout (`watch` one a line), and what it says to people goes to "
        'stderr. An error is `{"error": "…"}`, with the same exit code. `orders` and `show` have the columns of '
        "[orders](orders.md). Fields may be added in later versions.",
        "",
        "`a.b` is the key b of the object at a, `a[].b` that of each object in the list at a.",
    )
    for verb, fields in FIELDS.items():
        yield from ("", f"## waiter {verb} --json", "", *_table(fields))
    yield from ("", "## waiter fleet VERB --json", "", *_table(OF_HOSTS))


def _table(fields: Mapping[str, str]) -> Iterator[str]:
    yield from ("| field | what it is |", "|---|---|")
    yield from (f"| `{name}` | {words} |" for name, words in fields.items())
