"""Help that can be read: verbs by what they are for, and the many options of delivery by what they are about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import click

VERB_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Deliver": ("run", "load", "deliver", "pilot", "try", "wait"),
    "See": ("status", "watch", "serve", "report", "orders", "show", "errors", "waiters", "batches", "runs", "extract"),
    "Steer": ("reset", "cancel", "priority", "pause", "resume", "drain", "batch", "clean", "notify"),
    "Fleet and settings": ("fleet", "init", "completion"),
}
"""The verbs in the order of `waiter --help`: each is a file in `commands`, but for `fleet`, a package of its own."""

OPTION_GROUPS: Mapping[str, tuple[str, ...]] = {
    "What runs": (
        "--dry-run",
        "--shell",
        "--literal",
        "--stdin",
        "--cwd",
        "--env",
        "--nice",
        "--processes",
        "--many",
        "--cmd",
        "--own-commands",
        "--file",
        "--dir",
    ),
    "Input": (
        "--input",
        "--header",
        "--format",
        "--delimiter",
        "--sheet",
        "--null",
        "--rows-each",
        "--needs-from",
        "--skip-bad",
        "--unique",
        "--again",
        "--priority",
        "--weight",
    ),
    "Which orders": ("--batch", "--match", "--priority-min", "--any-command"),
    "How many at a time": ("--jobs", "--needs", "--has", "--mem-limit", "--max-load", "--min-memory"),
    "When an order fails": (
        "--retries",
        "--backoff",
        "--retry-on",
        "--retry-mem",
        "--fail-on",
        "--timeout",
        "--grace",
        "--kill-grace",
        "--brake",
        "--halt",
        "--pause-after",
        "--max-losses",
        "--on-error",
    ),
    "Output": (
        "--tag",
        "--tag-output",
        "--keep-order",
        "--line-buffer",
        "--grouping",
        "--output",
        "--output-format",
        "--joblog",
        "--keep-output",
        "--log-format",
    ),
    "When to leave": ("--until", "--max-orders", "--max-time", "--idle-timeout", "--on-lost", "--spot"),
}
"""The options that several verbs of delivery share, the commonest first; a verb's help has those that it knows."""

FEW = 20
"""So many options, of verbs of the fleet say, are read in one list."""

HOST_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Which hosts": (
        "--tag",
        "--hosts",
        "--hosts-file",
        "--limit",
        "--region",
        "--profile",
        "--state",
        "--address",
        "--user",
        "--accept-new",
        "--parallel",
        "--host-timeout",
        "--connect-timeout",
    ),
    "How many machines": ("--count", "--by", "--budget", "--max", "--watch", "--every"),
    "Which machines": (
        "--type",
        "--subnet",
        "--ami",
        "--launch-template",
        "--spot",
        "--on-demand",
        "--spot-then-on-demand",
        "--max-price",
        "--key",
        "--security-group",
        "--profile-arn",
    ),
    "Going on": ("--follow",),
    "When machines end": ("--idle", "--max-life", "--arrival", "--come-up", "--now"),
    **OPTION_GROUPS,
}
"""The same for the fleet's verbs, whose --tag is EC2's."""

LOAD_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Input": tuple(name for name in OPTION_GROUPS["Input"] if name not in ("--priority", "--weight")),
    "The batch": ("--batch", "--for-command", "--priority", "--weight"),
    "Stages": ("--after", "--after-any", "--after-row"),
}
"""The same for `load`, whose --batch is a name."""

OTHERS = "Kitchen and others"

_BOUNDS = r"[^\[\];]*\bx\b[^\[\];]*"
_RANGE = rf"\s*\[{_BOUNDS}\]\Z|; {_BOUNDS}(?=\]\Z)|(?<=\[){_BOUNDS}; (?=[^\[\]]*\]\Z)"
"""What Click says of a number's range: bounds as large as numbers can be help nobody."""


class GroupedOptions(click.Command):
    """A verb whose help has its options in groups, if they are many."""

    groups = OPTION_GROUPS

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        records = {max(option.opts, key=len): _record(option, ctx) for option in options}
        shown = {name: record for name, record in records.items() if record is not None}
        if len(shown) < FEW:
            _write(formatter, "Options", shown.values())
            return
        for heading, names in self.groups.items():
            _write(formatter, heading, [shown.pop(name) for name in names if name in shown])
        _write(formatter, OTHERS, shown.values())


def _record(option: click.Parameter, ctx: click.Context) -> tuple[str, str] | None:
    record = option.get_help_record(ctx)
    return record and (record[0], re.sub(_RANGE, "", record[1]))


def _write(formatter: click.HelpFormatter, heading: str, records: Iterable[tuple[str, str]]) -> None:
    if records := list(records):
        with formatter.section(heading):
            formatter.write_dl(records)
