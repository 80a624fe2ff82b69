"""Run CMD here with the arguments of one order. Nothing is written to the kitchen. Ends with CMD's exit code.

\b
waiter try 7f2e90c14ab3-17 ./crunch.sh --verbose
waiter try 7f2e90c14ab3-17 python:crunch:square
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
from waiter.delivery.earlier import stages_named, with_earlier
from waiter.delivery.environment import inherited
from waiter.delivery.executors import stdin_json
from waiter.delivery.function_names import names_function, once_words
from waiter.delivery.named_functions import named_function
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.placeholders import refuse_if_none_fits
from waiter.delivery.runner.slot_mark import with_slot
from waiter.delivery.worker_process import order_facts
from waiter.durations import format_duration
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector
from waiter.settings import Settings


@click.command("try", help=__doc__, context_settings=COMMAND)
@click.option("--shell", is_flag=True, help="The command is a line for sh; {1} or $1 is one word.")
@click.option("--literal", is_flag=True, help="Braces in the command are plain text.")
@click.option("--stdin", type=click.Choice(["none", "json"]), default="none", help="json: the arguments as JSON.")
@click.option("--cwd", metavar="DIR", help="Where the command runs.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object; the command's output goes to stderr.")
@with_settings
@click.argument("order_id", metavar="ORDER")
@click.argument("words_", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…", required=True)
def try_(settings: Settings, order_id: str, words_: tuple[str, ...], shell: bool, literal: bool, stdin: str,
         cwd: str | None, is_json: bool) -> int:  # fmt: skip
    with open_kitchen_or_exit(settings) as kitchen:
        order = _order(kitchen, order_id, words_)
    fed = stdin_json(order) if stdin == "json" else None
    if names_function(words_, shell=shell):
        words_, literal, fed = _function_words(words_, cwd), True, order_facts(order)
    template = command(words_, shell=shell, literal=literal, cwd=cwd)
    refuse_if_none_fits(template.argv, [order])
    argv = with_slot(template.argv(order), 1)
    options = DeliveryOptions(cwd=cwd, env=template.variables(order))
    code, seconds_, result, message = _tried(order, argv, template.program, options, fed, is_json=is_json)
    if is_json:
        facts = {"order": order.id, "argv": list(argv), "exit_code": code, "seconds": round(seconds_, 3)}
        show_json({**facts, "result": result, "error": message})
        return code
    say(f"{order.id}: exit code {code} after {format_duration(seconds_)}.")
    for title, text in (("Result", result), ("Error", message)):
        if text:
            say(f"{title}: {text}")
    return code


def _order(kitchen: Kitchen, order_id: str, words: Sequence[str]) -> Order:
    """The order, with what the stages before have of its row where the command asks for it. Raises UsageError."""
    order = next(kitchen.find(Selector(ids=(order_id,)), limit=1), None)
    if order is None:
        raise UsageError(f"no such order: {order_id}. See: waiter orders")
    batches = {batch.id: batch for batch in kitchen.batches()}
    stages = stages_named(words, batches[order.batch], batches) if order.batch in batches else ()
    return next(with_earlier(kitchen, [order], stages))


def _function_words(words: Sequence[str], cwd: str | None) -> tuple[str, ...]:
    """The command that calls the function. Raises UsageError, and CommandUnstartable where there is none."""
    if len(words) > 1:
        raise UsageError(f"{words[0]}: a function takes an order, and no words behind it: {' '.join(words[1:])}")
    named_function(words[0], cwd)
    return once_words(words[0], cwd)


def _tried(
    order: Order, argv: Sequence[str], program: str, options: DeliveryOptions, fed: bytes | None, *, is_json: bool
) -> tuple[int, float, str | None, str | None]:
    """Exit code as a shell gives it, seconds, result and message of the command."""
    with tempfile.TemporaryDirectory(prefix="waiter-try-") as folder:
        files = {"WAITER_RESULT": Path(folder, "result"), "WAITER_ERROR": Path(folder, "error")}
        env = inherited(os.environ)
        env |= {"WAITER_ORDER": order.id, "WAITER_ATTEMPT": str(order.attempt + 1), "WAITER_SLOT": "1"}
        env |= options.env
        env |= {"WAITER_NAME": "try", **{key: str(file) for key, file in files.items()}}
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if fed is None else {"input": fed}
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
