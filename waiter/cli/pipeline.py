"""`waiter run pipeline.toml`: load the stages of a file, deliver them all at once, and say how each of them went.

What is kept of it is kept as `waiter run` keeps a run: in a file of its own for each pipeline, unless a kitchen is
named. Started again, it goes on where it was.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from waiter.cli.at_end import AtEnd
from waiter.cli.commands.deliver import kitchen_words
from waiter.cli.commands.load import load_with_bar, tell_loaded
from waiter.cli.console import say
from waiter.cli.delivery_options import delivery_options
from waiter.cli.dry_run import show_lines
from waiter.cli.options import open_kitchen_or_exit
from waiter.cli.pipeline_file import Stage, read_pipeline
from waiter.cli.pipeline_lines import naming_stage, stage_orders
from waiter.cli.printer import Printer, left_words
from waiter.delivery.executors import checked
from waiter.delivery.function_names import own_settings
from waiter.delivery.listener import INTERRUPTED, KITCHEN_LOST, Summary
from waiter.delivery.options import DeliveryOptions, Grouping
from waiter.delivery.together import Part, deliver_together
from waiter.errors import ExitCode
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.light_dataclass import dataclass
from waiter.notify.result import KINDS_TOLD, WaitResult, wait_result
from waiter.orders import Counts, Selector, Status
from waiter.report.formatting import plural
from waiter.report.waiting import counts_by_word, waiting_batches
from waiter.runs import RunFile, is_anybody_at_work, pipeline_facts, run_file
from waiter.settings import Settings

Batches = Mapping[str, str]
"""The ids of the stages' batches by their names."""


def show_stages(file: Path, settings: Settings, flags: Mapping[str, object], *, is_all: bool) -> int:
    """Print what would run for the first orders of each stage, or for all; returns the exit code."""
    stages = read_pipeline(file)
    code = 0
    for stage in stages:
        with naming_stage(stage, file), stage_orders(stage, stages, file) as orders:
            executor = checked(stage.words, _options(stage, file, settings, flags))
            say(f"Stage {stage.name}:")
            code = max(code, show_lines(executor, orders, is_all=is_all))
    return code


def run_pipeline(file: Path, settings: Settings, flags: Mapping[str, object], then: AtEnd, *, is_anew: bool) -> int:
    """Load and deliver all stages of the file; returns the exit code. `is_anew`: forget what was delivered before."""
    stages = read_pipeline(file)
    options = {stage.name: _options(stage, file, settings, flags) for stage in stages}
    for stage in stages:
        with naming_stage(stage, file):
            checked(stage.words, options[stage.name])  # before millions of rows are loaded for it
    with ExitStack() as kept:
        own = None
        if not settings.is_kitchen_named:
            own = kept.enter_context(run_file(pipeline_facts(file), say))
        where = settings.kitchen if own is None else str(own.path)
        with open_kitchen_or_exit(Settings(kitchen=where, db=settings.db), create=True) as kitchen:
            if own is not None and own.is_joined:
                say("Another run of the same is at work: this one helps it.")
            elif own is not None and is_anew and not is_anybody_at_work(kitchen):
                kitchen.clean()
            batches = _load(kitchen, stages, file, own)
            counts = _go_on(kitchen, file, batches, is_joined=own is not None and own.is_joined)
        if own is not None:
            own.share()
        work = _Work(where, settings, batches, counts, own)
        parts = [Part(stage.words, replace(options[stage.name], batch=(batches[stage.name],))) for stage in stages]
        code, left_because = (ExitCode.OK, "done") if counts[Status.DONE] == counts.total else _deliver(parts, work)
        if not then.is_asked or left_because in (INTERRUPTED, KITCHEN_LOST):
            return code
        with work.opened() as kitchen:
            result = then.result(kitchen, _result(kitchen, batches, code))
        code_of_telling = then.told(result)
        return code or code_of_telling


def _result(kitchen: Kitchen, batches: Batches, code: int) -> WaitResult:
    """How all stages stand, for who is told; `code` is what the run ends with."""
    stages = [wait_result(kitchen, batch, code) for batch in batches.values() if batch]
    counts = Counts({status: sum(one.counts[status] for one in stages) for status in Status})
    failures = sorted((group for one in stages for group in one.failures), key=lambda group: -group.count)
    gave_up = code if counts.finished < counts.total else 0
    return WaitResult(kitchen.url, None, counts, gave_up, tuple(failures[:KINDS_TOLD]), kitchen.now())


def _options(stage: Stage, file: Path, settings: Settings, flags: Mapping[str, object]) -> DeliveryOptions:
    values = {**flags, **stage.flags}
    cwd = values.get("cwd") or settings.deliver.get("cwd") or (None if file.parent == Path() else file.parent)
    folder = None if cwd is None else str(cwd)
    with naming_stage(stage, file):
        own = own_settings(stage.words, folder, shell=stage.is_shell)
    options = delivery_options(values, settings.deliver, settings.name, file=settings.file, own=own)
    name = None if options.name is None else f"{options.name}/{stage.name}"
    # Of several stages' output none is to end up within a line of another's.
    grouping = Grouping.GROUP if options.grouping is Grouping.AUTO else options.grouping
    return replace(options, name=name, grouping=grouping, cwd=options.cwd or folder)


def _load(kitchen: Kitchen, stages: list[Stage], file: Path, own: RunFile | None) -> Batches:
    """Load each stage, and let it wait for those that it comes after."""
    batches: dict[str, str] = {}
    for stage in stages:
        reading = replace(stage.reading, after_row=batches[stage.after_row] if stage.after_row else None)
        loaded = load_with_bar(kitchen, str(file.parent / stage.input), replace(reading, command=stage.bound_to))
        if not loaded.is_unchanged:
            tell_loaded(loaded)
        batch = batches[stage.name] = loaded.batch or ""
        if batch:
            after, after_any = ([batches[one] for one in names] for names in (stage.after, stage.after_any))
            kitchen.amend_batch(batch, command=stage.bound_to, after=after, after_any=after_any, pause_reason=None)
        _forget_others(kitchen, stage, batch, own)
    return batches


def _forget_others(kitchen: Kitchen, stage: Stage, batch: str, own: RunFile | None) -> None:
    """Delete what the stage was of other rows: its input, or that of the stage it is joined to, has changed."""
    others = [one for one in kitchen.batches() if one.name == stage.name and one.id != batch]
    for other in others if own is not None else ():
        say(f"Stage {stage.name} has other rows than before: what was delivered of those is forgotten.")
        kitchen.remove_batch(other.id)


def _go_on(kitchen: Kitchen, file: Path, batches: Batches, *, is_joined: bool) -> Counts:
    """Make READY what an earlier run left. What failed in one that is still at work is left to it."""
    kitchen.reclaim()
    again = 0
    for batch in [] if is_joined else filter(None, batches.values()):
        again += kitchen.reset(Selector(statuses=(Status.ERROR, Status.CANCELLED), batch=batch))
    counts = _counts(kitchen, batches)
    once_more = f"\nhint: to deliver all of them once more: waiter run --again {shlex.quote(str(file))}"
    if counts.total and counts[Status.DONE] == counts.total:
        all_ = plural(counts.total, "order")
        say(f"Nothing to do: all {all_} were delivered before.{once_more}")
    elif counts[Status.DONE] or again:
        parts = [f"{counts[Status.DONE]:,} of {plural(counts.total, 'order')} were delivered before"]
        parts += [f"{again:,} that failed {'is' if again == 1 else 'are'} tried again"] if again else []
        say(f"Going on where it was: {', '.join(parts)}.{once_more}")
    return counts


def _counts(kitchen: Kitchen, batches: Batches) -> Counts:
    """Of all stages."""
    parts = [kitchen.counts(Selector(batch=batch)) for batch in batches.values() if batch]
    return Counts({status: sum(part[status] for part in parts) for status in Status})


@dataclass(frozen=True, slots=True)
class _Work:
    """Where the stages are, and how far."""

    where: str | None
    settings: Settings
    batches: Batches
    counts: Counts
    own: RunFile | None  # if it has a file of its own

    def opened(self) -> Kitchen:
        return open_kitchen(self.where, self.settings.db, create=False)


def _deliver(parts: list[Part], work: _Work) -> tuple[int, str]:
    """Deliver, say how it went, and return the exit code, and why it ended."""
    printer = Printer(
        is_telling_each=False,
        tag=any(part.options.tag for part in parts),
        keeps_order_of=[batch for part in parts if part.options.keep_order for batch in part.options.batch],
        total=work.counts.total,
        done=work.counts.finished,
    )
    with printer.bar():
        summary = deliver_together(work.opened, parts, printer)
    is_known = work.settings.is_kitchen_named and not work.settings.is_kitchen_said
    printer.summary(summary, f"waiter errors{'' if is_known else kitchen_words(work.where, work.settings.db)}")
    if summary.left is None:  # its kitchen is away
        return summary.ending(None, is_service=False), summary.left_because
    with work.opened() as kitchen:
        _tell_stages(kitchen, work.batches)
        counts = _counts(kitchen, work.batches)
    code = _exit_code(counts, summary)
    if code == ExitCode.OK and work.own is not None:
        work.own.delivered(summary.seconds)
    return code or (ExitCode.FAILED if printer.is_output_lost else ExitCode.OK), summary.left_because


def _tell_stages(kitchen: Kitchen, batches: Batches) -> None:
    """How far each stage is, and for what it waits."""
    waiting = {one.id: one for one in waiting_batches(kitchen)}
    for name, batch in batches.items():
        own = [waiting[batch]] if batch in waiting else []
        words = counts_by_word(kitchen.counts(Selector(batch=batch)), own) if batch else {}
        told = ", ".join(f"{n:,} {word}" for word, n in words.items() if n) or "nothing to do"
        say(f"  {name}: {told}" + "".join(f"; {one.why}" for one in own))


def _exit_code(counts: Counts, summary: Summary) -> ExitCode:
    left = counts.total - counts.finished
    if left:
        say(left_words(left, summary.left_because))
    if counts[Status.ERROR] and summary.left_because == "done":
        return ExitCode.FAILED  # what is left waits for what failed
    code = summary.ending(left, is_service=False)
    return code if code or left or counts[Status.DONE] == counts.total else ExitCode.FAILED
