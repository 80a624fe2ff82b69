"""`run`: load and deliver in one go. Apart from `deliver`, which need not wait for what reads inputs to be imported."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from waiter.cli.asking import chosen, complete_file, kitchen_options, opened, plural, say
from waiter.cli.delivering import COMMAND, lost_output, named
from waiter.cli.delivery_flags import delivery_flags, delivery_options
from waiter.cli.ending import INTERRUPTED
from waiter.cli.notifying import Tell, ended, notify_option, teller, told
from waiter.cli.ordering import load_options, load_with_bar, reading, tell_loaded
from waiter.cli.printer import Printer
from waiter.delivery.ware import checked
from waiter.delivery.ware import deliver as deliver_orders
from waiter.errors import UsageError
from waiter.intake import Input
from waiter.intake import opened as opened_input
from waiter.kitchen import default_path, open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.loading import LoadOptions
from waiter.orders import Selector, Status
from waiter.settings import Settings

KEPT_S = 30 * 86_400.0
"""How long the kitchen of a `run` is kept after it was last used."""

KEPT_WHEN_DONE_S = 86_400.0
"""The same, if all of it was delivered: a day to look at results."""


@click.command(context_settings=COMMAND)
@click.option("--input", "source", metavar="FILE", default="-", help="Where the inputs are. Default: stdin.")
@reading
@delivery_flags
@notify_option
@kitchen_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def run(kitchen: str | None, db: str | None, source: str, notify: str | None, command: tuple[str, ...],
        **said: Any) -> int:  # fmt: skip
    """Load inputs and deliver them with CMD, in one go: for those who would type xargs or parallel.

    Interrupted and started again with the same input and command in the same folder, it goes on where it was, and
    tries again what failed; what was delivered completely before is run anew. Without --kitchen it keeps its orders
    in a file of its own. With one, it delivers all that is READY there, and nothing a second time.

    \b
    ls /dev | waiter run ./crunch.sh
    waiter run -j4 --input orders.csv ./crunch.sh {1} --size {2}
    """
    if not command:
        raise UsageError("run: no command given. Say what to run: seq 100 | waiter run ./crunch.sh")
    place = chosen(kitchen, db, said.pop("name"))
    options = delivery_options(said, place.deliver, place.name, file=place.file)
    tell = teller(notify)
    checked(command, options)  # before millions of rows are loaded for it
    work = _loaded(place, source, command, load_options(said))
    if work is None:
        return 0
    printer = Printer(is_telling_each=False, tag=options.tag, total=work.total, done=work.done)
    with printer.bar():
        summary = deliver_orders(lambda: open_kitchen(work.kitchen, place.db), command, options, listener=printer)
    printer.summary(summary, f"waiter errors{named(work.kitchen, place.db)}")
    code = summary.exit_code or _verdict(work, place.db)
    if code == 0 and not place.is_kitchen_named:
        _keep_shortly(Path(str(work.kitchen)))
    if tell and summary.left_because not in ("interrupted", "kitchen lost"):
        code = _told(tell, work, place.db, code)
    return code or lost_output(printer)


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to deliver: a batch in a kitchen, where `done` of `total` orders are finished already."""

    kitchen: str | None
    batch: str
    total: int
    done: int


def _loaded(place: Settings, source: str, command: Sequence[str], reading: LoadOptions) -> Work | None:
    """Load the input; None if it is empty."""
    with opened_input(source, reading.format, header=reading.header) as input:
        where = place.kitchen if place.is_kitchen_named else str(_run_file(command, input, reading))
        with opened(Settings(kitchen=where, db=place.db)) as kitchen:
            if not place.is_kitchen_named:
                _begin_anew_if_all_is_done(kitchen)
            loaded = load_with_bar(kitchen, input, reading)
            if not loaded.is_unchanged:
                tell_loaded(loaded)
            return None if loaded.batch is None else _go_on(kitchen, where, loaded.batch)


def _run_file(command: Sequence[str], input: Input, reading: LoadOptions) -> Path:
    """The kitchen of this run: the same for the same command and input in the same folder.

    By what the input holds, not by its name: most are stdin, and two runs at once must not meet.
    """
    how = (input.format, str(input.header), str(reading.skip_bad), str(reading.unique))
    facts = "\0".join((str(Path.cwd()), _digest(input.file), *how, *command)).encode("utf-8", "surrogateescape")
    folder = default_path("x").parent / "runs"
    if folder.is_dir():
        for file in folder.glob("*.sqlite*"):
            with suppress(FileNotFoundError):  # another run was faster
                if time.time() - file.stat().st_mtime > KEPT_S:
                    file.unlink()
    return folder / f"{hashlib.blake2b(facts, digest_size=6).hexdigest()}.sqlite"


def _digest(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _keep_shortly(file: Path) -> None:
    """Let the kitchen of a run that delivered everything go after KEPT_WHEN_DONE_S."""
    used = time.time() - KEPT_S + KEPT_WHEN_DONE_S
    os.utime(file, (used, used))


def _begin_anew_if_all_is_done(kitchen: Kitchen) -> None:
    counts = kitchen.counts()
    if counts.total and counts[Status.DONE] == counts.total:
        kitchen.clean()


def _go_on(kitchen: Kitchen, where: str | None, batch: str) -> Work:
    """Make READY what an earlier run of this batch left."""
    kitchen.rescue()
    again = kitchen.reset(Selector(statuses=(Status.ERROR, Status.CANCELLED), batch=batch))
    own, all_ = kitchen.counts(Selector(batch=batch)), kitchen.counts()
    if own[Status.DONE] or again:
        parts = [f"{own[Status.DONE]:,} of {plural(own.total, 'order')} were delivered before"]
        parts += [f"{again:,} that failed are tried again"] if again else []
        say(f"Going on where it was: {', '.join(parts)}.")
    return Work(where, batch, all_.total, all_.finished)


def _verdict(work: Work, db: str) -> int:
    """The exit code, by what became of the batch: others may have delivered some of it, or failed to."""
    with open_kitchen(work.kitchen, db) as kitchen:
        counts = kitchen.counts(Selector(batch=work.batch))
    if left := counts.total - counts.finished:
        say(f"{plural(left, 'order')} left: start it again to go on.")
        return INTERRUPTED
    return 0 if counts[Status.DONE] == counts.total else 1


def _told(tell: Tell, work: Work, db: str, code: int) -> int:
    with open_kitchen(work.kitchen, db) as kitchen:
        ending = ended(kitchen, work.batch, code)
    how_told = told(tell, ending)
    return code or how_told
