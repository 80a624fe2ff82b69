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
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from waiter.cli.delivery_options import delivery_options, with_delivery_flags
from waiter.cli.log_lines import for_service, log_as
from waiter.cli.options import COMMAND, complete_file, open_kitchen_or_exit, with_settings
from waiter.cli.printer import Printer
from waiter.delivery.executors import deliver as deliver_orders
from waiter.delivery.options import DeliveryOptions, Grouping, cpu_count, slots
from waiter.errors import UsageError
from waiter.kitchen import DEFAULT_DB, absolute, kind_of, open_kitchen
from waiter.kitchen.address import shown
from waiter.kitchen.contract import Kitchen
from waiter.settings import Settings


@click.command(help=__doc__, context_settings=COMMAND)
@with_delivery_flags
@with_settings
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def deliver(settings: Settings, command: tuple[str, ...], flags: Mapping[str, object]) -> int:
    refuse_program_as_kitchen(settings)
    options = delivery_options(flags, settings.deliver, settings.name, file=settings.file)
    log_as(for_service(options.log_format))
    printer = Printer(is_telling_each=is_one_at_a_time(options), tag=options.tag, names_orders=is_interleaved(options))
    summary = deliver_orders(kitchen_opener(settings), command, options, listener=printer)
    printer.summary(
        summary, f"waiter errors{kitchen_words(settings.kitchen, settings.db) if settings.is_kitchen_said else ''}"
    )
    return summary.exit_code or lost_output(printer)


def kitchen_opener(settings: Settings) -> Callable[[], Kitchen]:
    """What opens the kitchen. The first time it is open already: one that does not answer was waited for, and named."""
    first, where = [open_kitchen_or_exit(settings, create=True)], absolute(settings.kitchen)
    return lambda: first.pop() if first else open_kitchen(where, settings.db, create=False)


def refuse_program_as_kitchen(settings: Settings) -> None:
    """Raise UsageError for `run -k echo …`: GNU parallel's -k takes no value, and ours names the kitchen."""
    name = settings.kitchen or ""
    if settings.is_kitchen_said and name.isidentifier() and not Path(name).exists() and shutil.which(name):
        raise UsageError(
            f"-k {name}: -k names the kitchen here, and {name} is a command\n"
            f"hint: leave -k out; for a MongoDB on a host of that name write -k mongodb://{name}"
        )


def kitchen_words(kitchen: str | None, db: str) -> str:
    """The options that name this kitchen again, without a password."""
    words = f" -k {shlex.quote(shown(kitchen))}" if kitchen else ""
    return words if db == DEFAULT_DB or (kitchen and kind_of(kitchen).is_local) else f"{words} --db {shlex.quote(db)}"


def is_one_at_a_time(options: DeliveryOptions) -> bool:
    """Whether each order is announced: one slot, whose output streams."""
    return slots(options.jobs, cpu_count()) == 1 and options.grouping in (Grouping.AUTO, Grouping.STREAM)


def is_interleaved(options: DeliveryOptions) -> bool:
    """Whether lines of several orders are mixed."""
    return slots(options.jobs, cpu_count()) > 1 and options.grouping in (Grouping.LINE, Grouping.STREAM)


def lost_output(printer: Printer) -> int:
    """The exit code of who delivered all, but could not show what the commands wrote."""
    return 1 if printer.is_output_lost else 0
