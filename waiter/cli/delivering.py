"""Delivering: `deliver`, and `run`, which loads before."""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from waiter.cli.asking import chosen, kitchen_options, opened, plural, say
from waiter.cli.bars import rows_bar
from waiter.cli.delivery_flags import delivery_flags, delivery_options
from waiter.cli.ordering import load_options, reading, tell_loaded
from waiter.cli.printer import Printer
from waiter.delivery.options import DeliveryOptions, Grouping, cpu_count, slots
from waiter.delivery.ware import deliver as deliver_orders
from waiter.errors import UsageError
from waiter.kitchen import default_path, open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.loading import load as load_input
from waiter.orders import Selector, Status
from waiter.settings import Settings

KEPT_DAYS = 30
"""How long the kitchen of a `run` is kept after it was last used."""

INTERRUPTED = 130

COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=COMMAND)
@delivery_flags
@kitchen_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="CMD…")
def deliver(kitchen: str | None, db: str | None, command: tuple[str, ...], **said: Any) -> int:
    """Take orders and run CMD with the arguments of each, until all are delivered.

    Everything after CMD belongs to CMD. The arguments are appended, or go where {}, {1} or {name} stand. Start it as
    often as you like, on as many machines as reach the kitchen. Ctrl-C once finishes what runs, twice stops it.

    \b
    waiter deliver ./crunch.sh --some-param some-value
    waiter deliver -j auto --retries 2 --timeout 5m convert {1} -resize 50% small/{2}
    """
    place = chosen(kitchen, db, said.pop("name"))
    options = delivery_options(said, place.deliver, place.name)
    with opened(place):
        pass  # a kitchen that does not answer is waited for here, and named
    printer = Printer(is_telling_each=_is_one_at_a_time(options), tag=options.tag)
    summary = deliver_orders(lambda: open_kitchen(place.kitchen, place.db), command, options, listener=printer)
    printer.summary(summary, f"waiter errors{_named(place.kitchen)}")
    return summary.exit_code


def _named(kitchen: str | None) -> str:
    """The option that names this kitchen again, without a password."""
    return f" -k {shlex.quote(re.sub('//[^/@]*@', '//', kitchen))}" if kitchen else ""


def _is_one_at_a_time(options: DeliveryOptions) -> bool:
    return slots(options.jobs, cpu_count()) == 1 and options.grouping in (Grouping.AUTO, Grouping.STREAM)


@click.command(context_settings=COMMAND)
@click.option("--input", "source", metavar="FILE", default="-", help="Where the inputs are. Default: stdin.")
@reading
@delivery_flags
@kitchen_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="CMD…")
def run(kitchen: str | None, db: str | None, source: str, command: tuple[str, ...], **said: Any) -> int:
    """Load inputs and deliver them with CMD, in one go: for those who would type xargs or parallel.

    Interrupted and started again with the same input and command in the same folder, it goes on where it was, and
    tries again what failed; what was delivered completely before is run anew. Without --kitchen it keeps its orders
    in a file of its own.

    \b
    ls /dev | waiter run ./crunch.sh
    waiter run -j4 --input orders.csv ./crunch.sh {1} --size {2}
    """
    if not command:
        raise UsageError("run: no command given. Say what to run: seq 100 | waiter run ./crunch.sh")
    place = chosen(kitchen, db, said.pop("name"))
    options = delivery_options(said, place.deliver, place.name)
    where = place.kitchen if place.is_kitchen_named else str(_run_file(command, source))
    with opened(Settings(kitchen=where, db=place.db)) as kitchen_:
        if not place.is_kitchen_named:
            _begin_anew_if_all_is_done(kitchen_)
        with rows_bar() as bar:
            loaded = load_input(kitchen_, source, load_options(said), bar)
        if not loaded.is_unchanged:
            tell_loaded(loaded)
        total, done = _go_on(kitchen_)
    printer = Printer(is_telling_each=False, tag=options.tag, total=total, done=done)
    with printer.bar():
        summary = deliver_orders(lambda: open_kitchen(where, place.db), command, options, listener=printer)
    printer.summary(summary, f"waiter errors{_named(where)}")
    if summary.exit_code == 0 and summary.delivered + done < total:
        say(f"{plural(total - summary.delivered - done, 'order')} left: start it again to go on.")
        return INTERRUPTED
    return summary.exit_code


def _run_file(command: Sequence[str], source: str) -> Path:
    """The kitchen of this run: the same for the same command and input in the same folder."""
    facts = "\0".join((str(Path.cwd()), source, *command)).encode("utf-8", "surrogateescape")
    folder = default_path("x").parent / "runs"
    if folder.is_dir():
        for file in folder.glob("*.sqlite*"):
            if time.time() - file.stat().st_mtime > KEPT_DAYS * 86_400:
                file.unlink(missing_ok=True)
    return folder / f"{hashlib.blake2b(facts, digest_size=6).hexdigest()}.sqlite"


def _begin_anew_if_all_is_done(kitchen: Kitchen) -> None:
    counts = kitchen.counts()
    if counts.total and counts[Status.DONE] == counts.total:
        kitchen.clean()


def _go_on(kitchen: Kitchen) -> tuple[int, int]:
    """Make READY what an earlier run left; returns how many orders there are, and how many are DONE."""
    kitchen.rescue()
    again = kitchen.reset(Selector(statuses=(Status.ERROR, Status.CANCELLED)))
    counts = kitchen.counts()
    if counts[Status.DONE] or again:
        parts = [f"{counts[Status.DONE]:,} of {plural(counts.total, 'order')} were delivered before"]
        parts += [f"{again:,} that failed are tried again"] if again else []
        say(f"Going on where it was: {', '.join(parts)}.")
    return counts.total, counts[Status.DONE]
