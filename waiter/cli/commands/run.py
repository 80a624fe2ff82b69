"""Load inputs and deliver them with CMD, in one go. For those who would type xargs or parallel.

Interrupted and started again with the same input, command, folder, --cwd, --env, --shell, --stdin, --output and
environment (but for what a terminal or session sets), it goes on where it was, and tries again what failed.
If an --input FILE has grown or changed, only its new rows are done. Rows from stdin go on with a run that began with
the same rows; if all of those were done, they are done again.
Without --kitchen it keeps its orders in a file of its own. With one, it delivers all that is READY there.

\b
ls /dev | waiter run ./crunch.sh
waiter run -j4 --input orders.csv ./crunch.sh {1} --size {2}
waiter run pipeline.toml           several stages, see docs/stages.md
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path

import click

from waiter.cli.at_end import AtEnd, EndOptions, end_options
from waiter.cli.commands.deliver import is_interleaved, kitchen_words, lost_output, refuse_program_as_kitchen
from waiter.cli.commands.load import load_with_bar, opened_input, reading, tell_loaded, with_bar
from waiter.cli.console import say
from waiter.cli.delivery_options import delivery_options, options_for, with_run_flags
from waiter.cli.dry_run import WithDryRun, dry_run_option, show_lines
from waiter.cli.input_orders import orders_of
from waiter.cli.log_lines import for_person, log_as
from waiter.cli.options import COMMAND, complete_file, open_kitchen_or_exit, with_settings
from waiter.cli.pipeline import run_pipeline, show_stages
from waiter.cli.pipeline_file import named_file
from waiter.cli.printer import Printer, left_words
from waiter.delivery.executors import checked
from waiter.delivery.executors import deliver as deliver_orders
from waiter.delivery.listener import INTERRUPTED, KITCHEN_LOST, SUCCEEDED, Summary
from waiter.delivery.options import DeliveryOptions
from waiter.errors import ExitCode, UsageError
from waiter.intake import Input, argument_lists
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.loading import LoadOptions
from waiter.matching import BadRows
from waiter.notify.result import wait_result
from waiter.orders import Counts, Selector, Status
from waiter.reconciling import Reconciled, reconcile
from waiter.report.formatting import plural
from waiter.runs import RunFile, is_anybody_at_work, run_facts, run_file
from waiter.settings import Settings

CHECKED = 100
"""So many orders are looked at, before they are loaded, for what the command asks of them."""


_NO_COMMAND = "run: no command given\nhint: add one, for example: seq 100 | waiter run ./crunch.sh"


@click.command(help=__doc__, context_settings=COMMAND, cls=WithDryRun)
@dry_run_option
@click.option("--input", "source", metavar="FILE", default="-", help="Where the inputs are. Default: stdin.")
@reading
@with_run_flags
@end_options
@with_settings
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def run(settings: Settings, source: str, at_end: EndOptions, command: tuple[str, ...],
        load_options: LoadOptions, flags: Mapping[str, object], dry_run: bool, dry_run_all: bool) -> int:  # fmt: skip
    if not command:
        raise UsageError(_NO_COMMAND)
    if (file := named_file(command)) is not None:
        return _run_pipeline(file, settings, source, at_end, load_options, flags, dry_run, dry_run_all)
    command, lists = argument_lists.split(command)
    if not command:
        raise UsageError(_NO_COMMAND)
    if lists and source != "-":
        raise UsageError(
            f"--input {source}: the inputs stand behind {lists[0][0]} already\nhint: leave one of them out"
        )
    refuse_program_as_kitchen(settings)
    settings = _own_settings(settings)
    options = options_for(command, flags, settings)
    log_as(for_person(options.log_format))
    then = at_end.ready(settings)
    executor = checked(command, options)  # before millions of rows are loaded for it
    with ExitStack() as kept:
        with _opened(source, lists, load_options) as input:
            if dry_run or dry_run_all:
                on_bad = BadRows(is_skipping=load_options.skip_bad)
                return show_lines(executor, orders_of(input, on_bad), is_all=dry_run_all)
            executor.check(islice(orders_of(input, lambda _: None), CHECKED))
            work = _loaded(settings, input, command, load_options, options, kept)
        return 0 if work is None else _delivered(work, settings, command, options, then)


def _run_pipeline(
    file: Path, settings: Settings, source: str, at_end: EndOptions, reading: LoadOptions, flags: Mapping[str, object],
    dry_run: bool, dry_run_all: bool,
) -> int:  # fmt: skip
    """What `waiter run pipeline.toml` does. Raises UsageError for options that say what the file says."""
    if source != "-" or replace(reading, again=False) != LoadOptions():
        raise UsageError(
            f"run {file}: a pipeline takes no options of the input such as --header\n"
            "hint: write input = … and header = true into the [[stage]]"
        )
    settings = _own_settings(settings)
    log_as(for_person(delivery_options(flags, settings.deliver, settings.name, file=settings.file).log_format))
    if dry_run or dry_run_all:
        return show_stages(file, settings, flags, is_all=dry_run_all)
    return run_pipeline(file, settings, flags, at_end.ready(settings), is_anew=reading.again)


def _opened(source: str, lists: Sequence[Sequence[str]], reading: LoadOptions) -> AbstractContextManager[Input]:
    return argument_lists.typed_input(lists, reading.rows_each) if lists else opened_input(source, reading)


def _delivered(work: Work, settings: Settings, command: Sequence[str], options: DeliveryOptions, then: AtEnd) -> int:
    """Deliver, say how it went, and return the exit code."""
    printer = Printer(
        is_telling_each=False,
        tag=options.tag,
        names_orders=is_interleaved(options),
        keeps_order=options.keep_order,
        total=work.total,
        done=work.done,
    )
    with printer.bar():
        summary = deliver_orders(
            lambda: open_kitchen(work.kitchen, settings.db, create=False), command, options, listener=printer
        )
    is_by_itself_known = settings.is_kitchen_named and not settings.is_kitchen_said
    printer.summary(summary, f"waiter errors{'' if is_by_itself_known else kitchen_words(work.kitchen, settings.db)}")
    code = _exit_code(work, settings.db, summary)
    if code == 0 and summary.left_because == "done" and work.own is not None:
        work.own.delivered(summary.seconds)
    if then.is_asked and summary.left_because not in (INTERRUPTED, KITCHEN_LOST):
        code = _ended(then, work, settings.db, code, summary.left_because)
    return code or lost_output(printer)


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to deliver: a batch in a kitchen, where `done` of `total` orders are finished already."""

    kitchen: str | None
    batch: str | None  # None: all that is there
    total: int
    done: int
    own: RunFile | None  # if it has a file of its own


def _own_settings(settings: Settings) -> Settings:
    """For a run inside an order of another waiter, whose kitchen its environment names: there it would wait for the end
    of the order that it is part of."""
    return replace(settings, kitchen=None, is_kitchen_named=False) if settings.is_kitchen_handed_on else settings


def _loaded(
    settings: Settings,
    input: Input,
    command: Sequence[str],
    reading: LoadOptions,
    options: DeliveryOptions,
    kept: ExitStack,
) -> Work | None:
    """Load the input; None if it is empty. A file of the run's own is `kept` for it."""
    own = None
    if not settings.is_kitchen_named:
        how = (input.format, input.header, input.delimiter, input.rows_each, reading.skip_bad, reading.unique)
        own = kept.enter_context(run_file(run_facts(command, input, how, options), say))
        _tell_of(own, command)
    where = settings.kitchen if own is None else str(own.path)
    with open_kitchen_or_exit(Settings(kitchen=where, db=settings.db), create=True) as kitchen:
        found = _brought_in(kitchen, input, reading, own)
        if found.loaded.batch is None and not found.loaded.bad:
            say(f"No rows in {input.name}: nothing to do.")
        elif not found.loaded.is_unchanged:
            tell_loaded(found.loaded)
        if found.loaded.batch is None:
            return None
        work = _go_on(kitchen, where, found, own)
    if own is not None:
        own.share()
    return work


def _brought_in(kitchen: Kitchen, input: Input, reading: LoadOptions, own: RunFile | None) -> Reconciled:
    """Load the rows that are to be delivered. A kitchen of the run's own holds the input's rows and no others."""
    if own is not None and not own.is_joined:
        _begin_anew(kitchen, own, is_wanted=reading.again)
    batches = kitchen.batches() if own is not None and not reading.again else []
    if own is not None and batches and (own.is_of_file or own.is_grown or len(batches) > 1):
        return with_bar(reconcile, kitchen, input, reading)
    return Reconciled(load_with_bar(kitchen, input, reading), 0, 0)


def _tell_of(own: RunFile, command: Sequence[str]) -> None:
    """Say who else is at work here, or was with another environment."""
    if own.is_joined:
        say("Another run of the same is at work: this one helps it.")
    for other in own.relatives:
        done, total = other.counts[Status.DONE], other.counts.total
        say(
            f"This is a new run. {done:,} of {plural(total, 'order')} were delivered before with another "
            f"{', '.join(other.differing[:5]) or 'environment'}."
        )
        there = f"-k {shlex.quote(str(other.path))}"
        say(f"hint: to go on there: waiter reset --yes {there} && waiter deliver {there} {shlex.join(command)}")


def _begin_anew(kitchen: Kitchen, own: RunFile, *, is_wanted: bool) -> None:
    """Forget what an earlier run of the same did, if it is asked for. Of an input without a name also if that was all:
    who pipes the same rows once more wants them done once more."""
    counts = kitchen.counts()
    is_over = counts.total and counts[Status.DONE] == counts.total and not (own.is_of_file or own.is_grown)
    if (is_over or is_wanted) and not is_anybody_at_work(kitchen):
        kitchen.clean()


def _go_on(kitchen: Kitchen, where: str | None, found: Reconciled, own: RunFile | None) -> Work:
    """Make READY what an earlier run of this input left. What failed in one that is still at work is left to it."""
    kitchen.reclaim()
    is_all_its = own is not None and len(kitchen.batches()) > 1
    batch = None if is_all_its else found.loaded.batch
    left = Selector(statuses=(Status.ERROR, Status.CANCELLED), batch=batch)
    is_for_others = own is not None and own.is_joined
    again = kitchen.reset(left) if not is_for_others and kitchen.counts(left).total else 0
    of_batch, all_ = kitchen.counts(Selector(batch=batch)), kitchen.counts()
    if of_batch[Status.DONE] or again or found.taken_out:
        say(_words_of_rest(of_batch, again, found, own))
    return Work(where, batch, all_.total, all_.finished, own)


def _words_of_rest(counts: Counts, again: int, found: Reconciled, own: RunFile | None) -> str:
    """What is done of this input, and what is to be done now."""
    where = "" if own is None else f" ({own.path})"
    if counts[Status.DONE] == counts.total:
        parts = [f"Nothing to do{where}: all {plural(counts.total, 'order')} were delivered before"]
    else:
        done = f"{counts[Status.DONE]:,} of {plural(counts.total, 'order')} were delivered before"
        parts = [f"Going on where it was{where}: {done}"]
    parts += [f"{again:,} that failed {'is' if again == 1 else 'are'} tried again"] if again else []
    new = found.loaded.new if own is not None and found.loaded.is_grown else 0
    parts += [f"{plural(new, 'row')} new"] if new else []
    parts += [f"{plural(found.kept, 'result')} kept of rows that are gone"] if found.kept else []
    parts += [f"{plural(found.taken_out, 'row')} gone before delivery, and taken out"] if found.taken_out else []
    return f"{', '.join(parts)}.\nhint: to deliver all of them once more: --again before the command"


def _exit_code(work: Work, db: str, summary: Summary) -> int:
    """The exit code, by what became of the batch: others may have delivered some of it, or failed to."""
    if summary.left is None:  # its kitchen is away
        return summary.ending(None, is_service=False)
    with open_kitchen(work.kitchen, db, create=False) as kitchen:
        counts = kitchen.counts(Selector(batch=work.batch))
    left = counts.total - counts.finished
    if left:
        enough = "Enough orders are delivered, " if summary.left_because == SUCCEEDED else ""
        say(f"{enough}{left_words(left, summary.left_because)}")
    code = summary.ending(left, is_service=False)
    if code or left or summary.left_because == SUCCEEDED:
        return code
    return ExitCode.OK if counts[Status.DONE] == counts.total else ExitCode.FAILED


def _ended(then: AtEnd, work: Work, db: str, code: int, left_because: str) -> int:
    with open_kitchen(work.kitchen, db, create=False) as kitchen:
        result = then.result(kitchen, wait_result(kitchen, work.batch, code))
    if left_because == SUCCEEDED:
        result = replace(result, is_enough=True)
    code_of_telling = then.told(result)
    return code or code_of_telling
