"""Load inputs and deliver them with CMD, in one go. For those who would type xargs or parallel.

Interrupted and started again with the same input, command, folder, --cwd, --env, --shell, --stdin, --output and
environment (but for what a terminal or session sets), it goes on where it was, and tries again what failed; what
was delivered completely before is run anew. Without --kitchen it keeps its orders in a file of its own. With one,
it delivers all that is READY there, and nothing a second time unless --again says so.

\b
ls /dev | waiter run ./crunch.sh
waiter run -j4 --input orders.csv ./crunch.sh {1} --size {2}
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

import click

from waiter.cli.commands.deliver import is_interleaved, kitchen_words, lost_output, refuse_program_as_kitchen
from waiter.cli.commands.load import load_with_bar, opened_input, reading, tell_loaded
from waiter.cli.console import say
from waiter.cli.delivery_options import delivery_options, with_run_flags
from waiter.cli.exit_codes import INTERRUPTED
from waiter.cli.log_lines import for_person, log_as
from waiter.cli.options import COMMAND, complete_file, notify_option, open_kitchen_or_exit, with_settings
from waiter.cli.printer import Printer
from waiter.delivery.executors import checked
from waiter.delivery.executors import deliver as deliver_orders
from waiter.delivery.listener import KITCHEN_LOST, SUCCEEDED
from waiter.delivery.options import DeliveryOptions
from waiter.errors import UsageError
from waiter.intake import Input, argument_lists
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.loading import LoadOptions
from waiter.notify.notifier import Notifier, make_notifier, notify_and_exit_code
from waiter.notify.result import TIMED_OUT, wait_result
from waiter.orders import Selector, Status
from waiter.report.formatting import plural
from waiter.runs import RunFile, is_anybody_at_work, run_facts, run_file
from waiter.settings import Settings

LIMITS = ("max orders", "max time", "idle", "halted")
"""Why a run that was told how far to go leaves orders behind."""


@click.command(help=__doc__, context_settings=COMMAND)
@click.option("--input", "source", metavar="FILE", default="-", help="Where the inputs are. Default: stdin.")
@reading
@with_run_flags
@notify_option
@with_settings
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def run(settings: Settings, source: str, notify: str | None, command: tuple[str, ...],
        load_options: LoadOptions, flags: Mapping[str, object]) -> int:  # fmt: skip
    if not command:
        raise UsageError("run: no command given. Say what to run: seq 100 | waiter run ./crunch.sh")
    command, lists = argument_lists.split(command)
    if lists and source != "-":
        raise UsageError(
            f"--input {source}: the inputs stand behind {lists[0][0]} already\nhint: leave one of them out"
        )
    refuse_program_as_kitchen(settings)
    settings = _own_settings(settings)
    options = delivery_options(flags, settings.deliver, settings.name, file=settings.file)
    log_as(for_person(options.log_format))
    notifier = make_notifier(notify, say)
    checked(command, options)  # before millions of rows are loaded for it
    with ExitStack() as kept:
        input = argument_lists.typed_input(lists) if lists else opened_input(source, load_options)
        work = _loaded(settings, input, command, load_options, options, kept)
        return 0 if work is None else _delivered(work, settings, command, options, notifier)


def _delivered(
    work: Work, settings: Settings, command: Sequence[str], options: DeliveryOptions, notifier: Notifier | None
) -> int:
    """Deliver, say how it went, and return the exit code."""
    printer = Printer(
        is_telling_each=False,
        tag=options.tag,
        names_orders=is_interleaved(options),
        total=work.total,
        done=work.done,
    )
    with printer.bar():
        summary = deliver_orders(
            lambda: open_kitchen(work.kitchen, settings.db, create=False), command, options, listener=printer
        )
    is_by_itself_known = settings.is_kitchen_named and not settings.is_kitchen_said
    printer.summary(summary, f"waiter errors{'' if is_by_itself_known else kitchen_words(work.kitchen, settings.db)}")
    code = summary.exit_code or _exit_code(work, settings.db, summary.left_because)
    if code == 0 and summary.left_because == "done" and work.own is not None:
        work.own.keep_shortly()
    if notifier and summary.left_because not in ("interrupted", KITCHEN_LOST):
        code = _notify(notifier, work, settings.db, code, summary.left_because)
    return code or lost_output(printer)


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to deliver: a batch in a kitchen, where `done` of `total` orders are finished already."""

    kitchen: str | None
    batch: str
    total: int
    done: int
    own: RunFile | None  # if it has a file of its own


def _own_settings(settings: Settings) -> Settings:
    """For a run inside an order of another waiter, whose kitchen its environment names: there it would wait for the end
    of the order that it is part of."""
    return replace(settings, kitchen=None, is_kitchen_named=False) if settings.is_kitchen_handed_on else settings


def _loaded(
    settings: Settings,
    opening: AbstractContextManager[Input],
    command: Sequence[str],
    reading: LoadOptions,
    options: DeliveryOptions,
    kept: ExitStack,
) -> Work | None:
    """Load the input; None if it is empty. A file of the run's own is `kept` for it."""
    with opening as input:
        own = None
        if not settings.is_kitchen_named:
            how = (input.format, input.header, input.delimiter, reading.skip_bad, reading.unique)
            own = kept.enter_context(run_file(run_facts(command, input, how, options), say))
            _tell_of(own, command)
        where = settings.kitchen if own is None else str(own.path)
        with open_kitchen_or_exit(Settings(kitchen=where, db=settings.db), create=True) as kitchen:
            if own is not None and not own.is_joined:
                _begin_anew(kitchen, is_wanted=reading.again)
            loaded = load_with_bar(kitchen, input, reading)
            if not loaded.is_unchanged:
                tell_loaded(loaded)
            if loaded.batch is None:
                return None
            work = _go_on(kitchen, where, loaded.batch, own)
    if own is not None:
        own.share()
    return work


def _tell_of(own: RunFile, command: Sequence[str]) -> None:
    """Say who else is at work here, or was with another environment."""
    if own.is_joined:
        say("Another run of the same is at work: this one helps it.")
    for other in own.relatives:
        done, total = other.counts[Status.DONE], other.counts.total
        say(
            f"This is a run of its own. Of the same input and command, {done:,} of {plural(total, 'order')} were "
            f"delivered before, with another {', '.join(other.differing[:5]) or 'environment'}."
        )
        there = f"-k {shlex.quote(str(other.path))}"
        say(f"hint: to go on there: waiter reset --yes {there} && waiter deliver {there} {shlex.join(command)}")


def _begin_anew(kitchen: Kitchen, *, is_wanted: bool) -> None:
    """Forget what an earlier run of the same did, if it is asked for, or if that was all."""
    counts = kitchen.counts()
    is_over = counts.total and counts[Status.DONE] == counts.total
    if (is_over or is_wanted) and not is_anybody_at_work(kitchen):
        kitchen.clean()


def _go_on(kitchen: Kitchen, where: str | None, batch: str, own: RunFile | None) -> Work:
    """Make READY what an earlier run of this batch left. What failed in one that is still at work is left to it."""
    kitchen.reclaim()
    left = Selector(statuses=(Status.ERROR, Status.CANCELLED), batch=batch)
    again = 0 if own is not None and own.is_joined else kitchen.reset(left)
    of_batch, all_ = kitchen.counts(Selector(batch=batch)), kitchen.counts()
    if of_batch[Status.DONE] or again:
        parts = [f"{of_batch[Status.DONE]:,} of {plural(of_batch.total, 'order')} were delivered before"]
        parts += [f"{again:,} that failed are tried again"] if again else []
        say(f"Going on where it was: {', '.join(parts)}. --again delivers all of them once more.")
    return Work(where, batch, all_.total, all_.finished, own)


def _exit_code(work: Work, db: str, left_because: str) -> int:
    """The exit code, by what became of the batch: others may have delivered some of it, or failed to."""
    with open_kitchen(work.kitchen, db, create=False) as kitchen:
        counts = kitchen.counts(Selector(batch=work.batch))
    left = counts.total - counts.finished
    if left_because == SUCCEEDED:
        say(f"Enough were delivered, {plural(left, 'order')} left.")
        return 0
    if left:
        say(f"{plural(left, 'order')} left: start it again to go on.")
        return TIMED_OUT if left_because in LIMITS else INTERRUPTED
    return 0 if counts[Status.DONE] == counts.total else 1


def _notify(notifier: Notifier, work: Work, db: str, code: int, left_because: str) -> int:
    with open_kitchen(work.kitchen, db, create=False) as kitchen:
        result = wait_result(kitchen, work.batch, code)
    if left_because == SUCCEEDED:
        result = replace(result, is_enough=True)
    code_of_telling = notify_and_exit_code(notifier, result, say)
    return code or code_of_telling
