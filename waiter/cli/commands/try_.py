"""Run CMD here with the arguments of one order. The kitchen never hears of it. Ends with CMD's exit code.

\b
waiter try 7f2e90c14ab3-17 ./crunch.sh --verbose
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from waiter.cli.console import say
from waiter.cli.options import COMMAND, complete_file, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json
from waiter.delivery.command import command
from waiter.delivery.environment import inherited
from waiter.delivery.executors import stdin_json
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.placeholders import refuse_if_none_fits
from waiter.durations import format_duration
from waiter.errors import UsageError
from waiter.orders import Order, Selector
from waiter.settings import Settings


@click.command("try", help=__doc__, context_settings=COMMAND)
@click.option("--shell", is_flag=True, help="The command is a line for sh; {1} or $1 is one word.")
@click.option("--stdin", type=click.Choice(["none", "json"]), default="none", help="json: the arguments as JSON.")
@click.option("--cwd", metavar="DIR", help="Where the command runs.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object; the command's output goes to stderr.")
@with_settings
@click.argument("order_id", metavar="ORDER")
@click.argument("words_", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…", required=True)
def try_(settings: Settings, order_id: str, words_: tuple[str, ...], shell: bool, stdin: str,
         cwd: str | None, is_json: bool) -> int:  # fmt: skip
    with open_kitchen_or_exit(settings) as kitchen:
        order = next(kitchen.find(Selector(ids=(order_id,)), limit=1), None)
    if order is None:
        raise UsageError(f"no such order: {order_id}. See: waiter orders")
    template = command(words_, shell=shell, cwd=cwd)
    refuse_if_none_fits(template.argv, [order])
    argv = template.argv(order)
    options = DeliveryOptions(cwd=cwd, stdin=stdin)
    code, seconds_, result, message = _tried(order, argv, template.program, options, is_json)
    if is_json:
        facts = {"order": order.id, "argv": list(argv), "exit_code": code, "seconds": round(seconds_, 3)}
        show_json({**facts, "result": result, "error": message})
        return code
    say(f"{order.id}: exit code {code} after {format_duration(seconds_)}.")
    for title, text in (("Result", result), ("Error", message)):
        if text:
            say(f"{title}: {text}")
    return code


def _tried(
    order: Order, argv: Sequence[str], program: str, options: DeliveryOptions, is_json: bool
) -> tuple[int, float, str | None, str | None]:
    """Exit code as a shell gives it, seconds, result and message of the command."""
    with tempfile.TemporaryDirectory(prefix="waiter-try-") as folder:
        files = {"WAITER_RESULT": Path(folder, "result"), "WAITER_ERROR": Path(folder, "error")}
        env = inherited(os.environ)
        env |= {"WAITER_ORDER": order.id, "WAITER_ATTEMPT": str(order.attempt + 1), "WAITER_SLOT": "1"}
        env |= {"WAITER_NAME": "try", **{key: str(file) for key, file in files.items()}}
        given: dict[str, Any] = (
            {"input": stdin_json(order)} if options.stdin == "json" else {"stdin": subprocess.DEVNULL}
        )
        began = time.monotonic()
        try:
            out = 2 if is_json else None
            done = subprocess.run(argv, executable=program, env=env, cwd=options.cwd, stdout=out, check=False, **given)
        except (OSError, ValueError) as error:
            raise UsageError(f"{order.id}: the command cannot be started with these arguments: {error}") from None
        seconds_ = time.monotonic() - began
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        result, message = (file.read_text(errors="replace") if file.exists() else None for file in files.values())
    return code, seconds_, result, message
