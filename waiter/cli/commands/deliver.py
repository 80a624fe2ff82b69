"""Take orders and run CMD with the arguments of each.

It leaves when all are delivered.

Everything after CMD belongs to CMD. The arguments are appended, or go where {}, {1} or {name} stand; {{1}} is {1}
itself. Start it as often as you like, on as many machines as reach the kitchen. Ctrl-C once finishes what runs,
twice stops it.

\b
waiter deliver ./crunch.sh --some-param some-value
waiter deliver -j auto --retries 2 convert {1} -resize 50% small/{2}
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from waiter.cli.console import say
from waiter.cli.delivery_options import options_for, with_delivery_flags
from waiter.cli.dry_run import WithDryRun, dry_run_option, show_lines
from waiter.cli.log_lines import for_service, log_as
from waiter.cli.options import COMMAND, complete_file, open_kitchen_or_exit, with_settings
from waiter.cli.printer import Printer, left_words
from waiter.delivery.executors import deliver as deliver_orders
from waiter.delivery.executors import orders_to_come
from waiter.delivery.options import DeliveryOptions, Grouping, slots
from waiter.errors import KitchenUnreachable, UsageError
from waiter.kitchen import DEFAULT_DB, absolute, kind_of, open_kitchen
from waiter.kitchen.address import shown
from waiter.kitchen.contract import Kitchen
from waiter.report.formatting import plural
from waiter.settings import Settings


@click.command(help=__doc__, context_settings=COMMAND, cls=WithDryRun)
@dry_run_option
@with_delivery_flags
@with_settings
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def deliver(settings: Settings, command: tuple[str, ...], flags: Mapping[str, object],
            dry_run: bool, dry_run_all: bool) -> int:  # fmt: skip
    refuse_program_as_kitchen(settings)
    options = options_for(command, flags, settings)
    log_as(for_service(options.log_format))
    if dry_run or dry_run_all:
        with open_kitchen_or_exit(settings) as kitchen:
            return show_lines(*orders_to_come(kitchen, command, options), is_all=dry_run_all)
    printer = Printer(
        is_telling_each=is_one_at_a_time(options),
        tag=options.tag,
        names_orders=is_interleaved(options),
        keeps_order=options.keep_order,
    )
    summary = deliver_orders(kitchen_opener(settings), command, options, listener=printer)
    where = kitchen_words(settings.kitchen, settings.db) if settings.is_kitchen_said else ""
    printer.summary(summary, f"waiter errors{where}")
    if summary.in_error and summary.left_because == "done":
        say(
            f"Nothing to deliver: {plural(summary.in_error, 'order')} in ERROR, which nobody tries again by itself\n"
            f"hint: waiter errors{where} says why; waiter reset --status ERROR{where} makes them READY again"
        )
    elif summary.left and summary.left_because != "done":
        say(left_words(summary.left, summary.left_because))
    return summary.exit_code or lost_output(printer)


def kitchen_opener(settings: Settings) -> Callable[[], Kitchen]:
    """What opens the kitchen, while the runner starts. The first time it is made if it is not there."""
    where = absolute(settings.kitchen)
    first = [lambda: open_kitchen_or_exit(settings, create=True), lambda: open_kitchen(where, settings.db, create=True)]

    def opened() -> Kitchen:
        if not first:
            return open_kitchen(where, settings.db, create=False)
        try:
            kitchen = first[0]()
        except KitchenUnreachable:
            del first[:-1]  # what is said of the address is said once
            raise
        first.clear()
        return kitchen

    return opened


def refuse_program_as_kitchen(settings: Settings) -> None:
    """Raise UsageError for `run -k echo …`: GNU parallel's -k takes no value, and ours names the kitchen."""
    name = settings.kitchen or ""
    if not settings.is_kitchen_said or not name.isidentifier() or Path(name).exists():
        return
    from shutil import which  # most kitchens are no plain words

    if which(name):
        raise UsageError(
            f"-k {name}: -k names the kitchen here, and {name} is a command\n"
            f"hint: leave -k out, or write --keep-order; for a MongoDB on that host: -k mongodb://{name}"
        )


def kitchen_words(kitchen: str | None, db: str) -> str:
    """The options that name this kitchen again, without a password."""
    words = f" -k {shlex.quote(shown(kitchen))}" if kitchen else ""
    return words if db == DEFAULT_DB or (kitchen and kind_of(kitchen).is_local) else f"{words} --db {shlex.quote(db)}"


def is_one_at_a_time(options: DeliveryOptions) -> bool:
    """Whether each order is announced: one slot, whose output streams."""
    return slots(options.jobs) == 1 and options.grouping in (Grouping.AUTO, Grouping.STREAM) and not options.keep_order


def is_interleaved(options: DeliveryOptions) -> bool:
    """Whether lines of several orders are mixed."""
    return slots(options.jobs) > 1 and options.grouping in (Grouping.LINE, Grouping.STREAM)


def lost_output(printer: Printer) -> int:
    """The exit code of who delivered all, but could not show what the commands wrote."""
    return 1 if printer.is_output_lost else 0
