"""Looking at the work: orders, one order, failures, waiters. Nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from waiter.cli.options import SORTS, chosen, kitchen_options, opened, plural, say, selected, selecting
from waiter.cli.tables import shortened, show_json, show_table, write_line
from waiter.durations import words
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Event, FailureGroup, Order, Selector, Shift, Status
from waiter.report import columns
from waiter.report.capacity import average_rate, state, waiter_facts
from waiter.report.command_line import line_by_hand
from waiter.report.eta import shown_percent
from waiter.report.failures import group_facts, how, only_host
from waiter.report.formatting import clock_time, its_end, last_lines, per_second, plain, size

Function = TypeVar("Function", bound=Callable[..., Any])

LIGHT_COLUMNS = tuple(name for name in columns.COLUMNS if name not in columns.NEED_WHOLE)


def listing(default_limit: int, default_sort: str) -> Callable[[Function], Function]:
    """--sort and --limit."""

    def add(function: Function) -> Function:
        function = click.option(
            "--limit",
            type=click.IntRange(min=0),
            metavar="N",
            default=default_limit,
            show_default=True,
            help="At most so many.",
        )(function)
        return click.option(
            "--sort",
            type=click.Choice(SORTS),
            default=default_sort,
            show_default=True,
            metavar="KEY",
            help="age, start, stop or duration; with a minus the other way round, as in --sort=-stop.",
        )(function)

    return add


@click.command()
@selecting
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most so many groups. Default: 10; with --json, all."
)
@click.option(
    "--lines", type=click.IntRange(min=0), metavar="N", default=3, show_default=True, help="Last lines of each example."
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
def errors(kitchen: str | None, db: str | None, limit: int | None, lines: int, is_json: bool, **said: Any) -> int:
    """Failures, grouped by what went wrong. Times, numbers, ids, paths and names in the messages do not count.

    \b
    waiter errors
    waiter errors --since 10m --host ip-10-0-3-7
    waiter reset --like 3f9c2a1b           do the orders of one group again
    """
    with opened(chosen(kitchen, db)) as place:
        now = place.now()
        which = selected(place, **said)
        groups = place.failure_groups(which)
        shown = groups[: limit or (None if is_json else 10)]
        delivering = hosts_delivering(place, groups)
        ids = tuple(group.example for group in shown)
        examples = {order.id: order for order in place.find(Selector(ids=ids), is_whole=True)} if ids else {}
    total = sum(group.count for group in groups)
    if is_json:
        facts = [group_facts(group, total, delivering, examples.get(group.example), lines) for group in shown]
        show_json({"groups": facts})
        return 0
    if not groups:
        say("No failures.")
        return 0
    say(f"{plural(total, 'failure')} of {plural(len(groups), 'kind')}.")
    for group in shown:
        _show_group(group, total, delivering, examples.get(group.example), lines, now)
    if len(groups) > len(shown):
        say(f"{plural(len(groups) - len(shown), 'smaller group')} left out: --limit {len(groups)} shows all.")
    return 0


def hosts_delivering(place: Kitchen, groups: Iterable[FailureGroup] = ()) -> set[str]:
    """The hosts that take part: of waiters that are here or were, and of failures."""
    return {shift.host for shift in place.shifts(include_left=True)} | {h for group in groups for h in group.hosts}


def _show_group(
    group: FailureGroup, total: int, delivering: set[str], example: Order | None, lines: int, now: float
) -> None:
    ended = how(group.reason, group.exit_code, group.signal)
    write_line(f"{group.group}  {plural(group.count, 'order')} ({shown_percent(group.count, total)})  {ended}")
    write_line(f"  {shortened(plain(group.message), 78)}")
    if host := only_host(group, delivering):
        click.secho(plain(f"  all {group.count:,} on {host}"), bold=True)
    elif group.hosts:
        write_line(f"  on {shortened(', '.join(group.hosts), 60)}")
    first, last = clock_time(group.first, now), clock_time(group.last, now)
    when = first if first == last else f"{first} to {last}"
    write_line(f"  {when}, for example {group.example}")
    for line in last_lines(example.tail if example else None, lines):
        write_line(f"    | {shortened(line, 74)}")


@click.command()
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@listing(50, "age")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
def orders(kitchen: str | None, db: str | None, ids: tuple[str, ...], sort: str, limit: int, is_json: bool,
           **said: Any) -> int:  # fmt: skip
    """List orders. `extract` writes all of them to a file.

    \b
    waiter orders --status RUNNING --longer-than 10m
    waiter orders --status ERROR --host ip-10-0-3-7 --sort=-stop --limit 5
    """
    with opened(chosen(kitchen, db)) as place:
        now = place.now()
        found = list(place.find(selected(place, ids, **said), sort=sort, limit=limit if is_json else limit + 1))
    if is_json:
        show_json({"orders": [_clean(columns.record(order, LIGHT_COLUMNS)) for order in found]})
        return 0
    if not found:
        say("No such orders.")
        return 0
    show_table(["ORDER", "STATUS", "STARTED", "TOOK", "WAITER", "ARGUMENTS"], [_row(o, now) for o in found[:limit]])
    if len(found) > limit:
        say(f"The first {limit:,}; there are more: --limit shows them, `waiter extract` writes all.")
    return 0


def _row(order: Order, now: float) -> list[str]:
    arguments = " ".join(json.dumps(a, ensure_ascii=False) if _is_odd(a) else a for a in order.arguments)
    return [
        order.id,
        order.status.value,
        clock_time(order.start, now),
        took(order, now),
        its_end(order.waiter or "", 16),
        shortened(plain(arguments), 24),
    ]


def _is_odd(argument: str) -> bool:
    return not argument or any(character.isspace() for character in argument)


def took(order: Order, now: float) -> str:
    """How long it ran (the last time), or has been running."""
    if order.start is None:
        return ""
    return words(max(0.0, (now if order.status is Status.RUNNING else order.stop or order.start) - order.start))


def _clean(record: dict[str, object]) -> dict[str, object]:
    return {key: columns.printable(v) if isinstance(v, str) else v for key, v in record.items()}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ORDER]…")
@selecting
@listing(10, "age")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
def show(kitchen: str | None, db: str | None, ids: tuple[str, ...], sort: str, limit: int, is_json: bool,
         **said: Any) -> int:  # fmt: skip
    """Everything about one order: arguments, attempts, output, result, and how to try it by hand.

    \b
    waiter show 7f2e90c14ab3-17
    waiter show --status RUNNING --sort start --limit 1     the longest running
    """
    with opened(chosen(kitchen, db)) as place:
        now = place.now()
        which = selected(place, ids, **said)
        if which == Selector():
            raise UsageError("show: say which order, for example: waiter show --status ERROR --limit 1")
        found = list(place.find(which, sort=sort, limit=limit, is_whole=True))
        shifts = place.shifts(include_left=True)
    if is_json:
        facts = [order_facts(order, shifts) for order in found]
        show_json(facts[0] if len(ids) == 1 and len(facts) == 1 else {"orders": facts})
        return 0
    if not found:
        say("No such orders.")
    for number, order in enumerate(found):
        if number:
            write_line()
        _show_order(order, shifts, now)
    return 0


def order_facts(order: Order, shifts: Sequence[Shift]) -> dict[str, object]:
    """What `show --json` says: all columns of `extract`, and what does not fit into a table."""
    return {
        **_clean(columns.record(order, tuple(columns.COLUMNS))),
        "named": dict(order.named),
        "shift": order.shift,
        "is_cancel_asked": order.is_cancel_asked,
        "history": [event_facts(event) for event in order.history],
        "late": [event_facts(event) for event in order.late],
        "command_line": line_by_hand(order, shifts),
    }


def event_facts(event: Event) -> dict[str, object]:
    """An event as JSON; what does not apply is left out."""
    values: dict[str, object] = {name: getattr(event, name) for name in Event.__slots__}
    values |= {name: columns.timestamp(getattr(event, name)) for name in ("at", "start", "stop")}
    return {name: value for name, value in values.items() if value is not None}


def _show_order(order: Order, shifts: Sequence[Shift], now: float) -> None:
    write_line(f"{order.id}  {order.status.value}{', a cancel was asked' if order.is_cancel_asked else ''}")
    names = order.names or [str(number) for number in range(1, len(order.arguments) + 1)]
    for name, argument in zip(names, order.arguments, strict=True):
        write_line(f"  {name}: {argument}")
    for title, value in _facts(order, now):
        if value:
            write_line(f"{title + ':':<12}{value}")
    for title, events in (("history", order.history), ("late", order.late)):
        if events:
            write_line(f"{title}:")
        for event in events:
            write_line(f"  {_event_line(event, now)}")
    for heading, text in (("result", order.result), ("output", order.tail)):
        if text:
            write_line(f"{heading}:")
            for line in plain(text).splitlines():
                write_line(f"  | {line}")
    if by_hand := line_by_hand(order, shifts):
        write_line(f"by hand:    {by_hand}")


def _facts(order: Order, now: float) -> list[tuple[str, str]]:
    by = " on ".join(filter(None, (order.waiter, order.host)))
    counted = [f"{n} {what}" for n, what in ((order.failures, "failed"), (order.losses, "lost")) if n]
    return [
        ("batch", f"{order.batch}, row {order.row}"),
        ("priority", str(order.priority or "")),
        ("attempt", f"{order.attempt}{' (' + ', '.join(counted) + ')' if counted else ''}" if order.attempt else ""),
        ("due", f"in {words(order.due - now)}" if order.due and order.due > now else ""),
        ("waiter", by),
        ("started", clock_time(order.start, now)),
        ("stopped", clock_time(order.stop, now)),
        ("took", took(order, now)),
        ("ended", how(order.reason, order.exit_code, order.signal)),
        ("error", order.error or ""),
        ("group", order.error_group or ""),
        ("memory", size(order.peak_memory)),
        ("command", order.command or ""),
    ]


def _event_line(event: Event, now: float) -> str:
    if event.dropped is not None:
        return f"… {plural(event.dropped, 'event')} up to {clock_time(event.at, now)}: not kept"
    parts = [f"{clock_time(event.at, now)}  {event.what}, attempt {event.attempt}: {event.status.value}"]
    if event.error or (ended := how(event.reason, event.exit_code, event.signal)):
        parts.append(event.error or ended)
    if event.start is not None and event.stop is not None:
        parts.append(f"after {words(max(0.0, event.stop - event.start))}")
    if event.waiter and event.what in ("finish", "lost"):
        parts.append(f"{'by' if event.what == 'finish' else 'with'} {event.waiter}")
    return ", ".join(parts)


@click.command()
@click.option("--all", "is_all", is_flag=True, help="Those that went home as well.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
def waiters(kitchen: str | None, db: str | None, is_all: bool, is_json: bool) -> int:
    """Who is at work: alive, late (no heartbeat for 35 s), lost, paused or draining.

    \b
    waiter waiters
    waiter waiters --json | jq '.waiters[] | select(.state == "lost")'
    """
    with opened(chosen(kitchen, db)) as place:
        now = place.now()
        shifts = place.shifts(include_left=is_all)
    if is_json:
        show_json({"waiters": [waiter_facts(shift, now) for shift in shifts]})
        return 0
    if not shifts:
        say("No waiter is at work. Start one: waiter deliver CMD…")
        return 0
    header = ["WAITER", "STATE", "BUSY", "RATE", "DONE", "FAILED", "MEMORY", "LOAD"]
    rows = [_waiter_row(shift, now) for shift in shifts]
    versions = [shift.vitals.command_hash or "" for shift in shifts]
    if is_mixed := len(set(versions)) > 1:  # else a column would say the same in each line
        header, rows = [*header, "COMMAND"], [[*row, version] for row, version in zip(rows, versions, strict=True)]
    show_table(header, rows, right=(2, 3, 4, 5, 6, 7))
    if versions[0] and not is_mixed:
        say(f"Version of the command: {versions[0]}.")
    for shift in shifts:
        if shift.is_paused and shift.pause_reason:
            say(f"{shift.waiter} is paused: {shift.pause_reason}")
    return 0


def _waiter_row(shift: Shift, now: float) -> list[str]:
    vitals = shift.vitals
    return [
        its_end(shift.waiter, 22),
        state(shift, now),
        f"{vitals.busy}/{vitals.slots}",
        per_second(average_rate(shift, now)),
        f"{vitals.delivered:,}",
        f"{vitals.failed:,}",
        size(vitals.memory),
        f"{vitals.load:.1f}",
    ]
