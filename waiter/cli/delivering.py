"""Delivering: `deliver`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import click

from waiter.cli.delivery_options import delivery_flags, delivery_options
from waiter.cli.options import chosen, complete_file, kitchen_options, opened
from waiter.cli.printer import Printer
from waiter.delivery.executors import deliver as deliver_orders
from waiter.delivery.options import DeliveryOptions, Grouping, cpu_count, slots
from waiter.kitchen import DEFAULT_DB, absolute, is_file, open_kitchen
from waiter.kitchen.address import shown
from waiter.kitchen.contract import Kitchen
from waiter.settings import Settings

COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=COMMAND)
@delivery_flags
@kitchen_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def deliver(kitchen: str | None, db: str | None, command: tuple[str, ...], **said: Any) -> int:
    """Take orders and run CMD with the arguments of each, until all are delivered.

    Everything after CMD belongs to CMD. The arguments are appended, or go where {}, {1} or {name} stand; {{1}} is {1}
    itself. Start it as often as you like, on as many machines as reach the kitchen. Ctrl-C once finishes what runs,
    twice stops it.

    \b
    waiter deliver ./crunch.sh --some-param some-value
    waiter deliver -j auto --retries 2 convert {1} -resize 50% small/{2}
    """
    place = chosen(kitchen, db, said.pop("name"))
    options = delivery_options(said, place.deliver, place.name, file=place.file)
    printer = Printer(is_telling_each=is_one_at_a_time(options), tag=options.tag)
    summary = deliver_orders(kitchens(place), command, options, listener=printer)
    printer.summary(summary, f"waiter errors{named(place.kitchen, place.db) if place.is_kitchen_said else ''}")
    return summary.exit_code or lost_output(printer)


def kitchens(place: Settings) -> Callable[[], Kitchen]:
    """What opens the kitchen. The first time it is open already: one that does not answer was waited for, and named."""
    first, where = [opened(place, create=True)], absolute(place.kitchen)
    return lambda: first.pop() if first else open_kitchen(where, place.db, create=False)


def named(kitchen: str | None, db: str) -> str:
    """The options that name this kitchen again, without a password."""
    named = f" -k {shlex.quote(shown(kitchen))}" if kitchen else ""
    return named if db == DEFAULT_DB or (kitchen and is_file(kitchen)) else f"{named} --db {shlex.quote(db)}"


def is_one_at_a_time(options: DeliveryOptions) -> bool:
    """Whether each order is announced: one slot, whose output streams."""
    return slots(options.jobs, cpu_count()) == 1 and options.grouping in (Grouping.AUTO, Grouping.STREAM)


def lost_output(printer: Printer) -> int:
    """The exit code of who delivered all, but could not show what the commands wrote."""
    return 1 if printer.is_output_lost else 0
