"""`--dry-run`: the command lines that would run, and nothing runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

import click

from waiter.cli.console import say
from waiter.cli.help_groups import GroupedOptions
from waiter.delivery.executors import Executor
from waiter.delivery.placeholders import NoSuchArgument
from waiter.orders import Order
from waiter.report.formatting import escape_control, plural

SHOWN = 10
"""So many command lines without =all."""


class WithDryRun(GroupedOptions):
    """A verb with --dry-run, to which =all may be attached.

    Click has no option with a value that may be left out and never is the next word: a command comes next.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._with_all_apart(ctx, args))

    def _with_all_apart(self, ctx: click.Context, args: list[str]) -> list[str]:
        for at, word in enumerate(args):
            if word == "--":
                break
            if word == "--dry-run=all":
                parted = [*args[:at], "--dry-run-all", *args[at + 1 :]]
                values, _, _ = self.make_parser(ctx).parse_args(list(parted))
                is_of_command = len(values["command"] or ()) >= len(args) - at
                return args if is_of_command else parted
        return args


def dry_run_option(function: Any) -> Any:
    """--dry-run, and --dry-run=all under the name that WithDryRun gives it."""
    function = click.option("--dry-run-all", is_flag=True, hidden=True)(function)
    return click.option(
        "--dry-run", is_flag=True, help=f"Print the first {SHOWN} command lines and run nothing; =all: all of them."
    )(function)


def show_lines(executor: Executor, orders: Iterable[Order], *, is_all: bool) -> int:
    """Print what would run for these orders: the first, or all. The exit code is 1 if one lacks an argument.

    Raises UsageError if all lack it.
    """
    coming = iter(orders)
    first = list(islice(coming, SHOWN))
    executor.check(first)
    is_shown = [_show(executor, order) for order in (chain(first, coming) if is_all else first)]
    sys.stdout.flush()
    if left := 0 if is_all else sum(1 for _ in coming):
        say(
            f"And {left:,} more order{'' if left == 1 else 's'}. Nothing was run.\n"
            "hint: --dry-run=all prints all of them"
        )
    else:
        say(f"{plural(len(is_shown), 'order')}. Nothing was run.")
    return 0 if all(is_shown) else 1


def _show(executor: Executor, order: Order) -> bool:
    """Print the order's line; else say what it lacks."""
    try:
        line = executor.line(order)
    except NoSuchArgument as error:
        say(f"row {order.row}: {error}")
        return False
    if sys.stdout.isatty():
        line = escape_control(line)
    sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")
    return True
