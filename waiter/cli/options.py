"""Options that verbs share, and the values that commands get of them: which kitchen, which orders, how long to wait."""

from __future__ import annotations

import functools
import shlex
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from waiter.cli import KITCHEN_HELP, CliState
from waiter.cli.console import said_if_long, say
from waiter.durations import parse_duration
from waiter.errors import KitchenMissing, UsageError, WaiterError
from waiter.kitchen import open_kitchen
from waiter.kitchen import selecting as kitchens
from waiter.kitchen.address import shown, weaker_writes
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.stages import batch_named as batch_of
from waiter.light_dataclass import dataclass
from waiter.orders import Batch
from waiter.report.formatting import truncate
from waiter.report.selection import STATUS_WORDS
from waiter.report.selection import Selection as Selection
from waiter.report.selection import resolve_selector as resolve_selector
from waiter.report.selection import status_from as status_from
from waiter.settings import Settings, settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Function = TypeVar("Function", bound=Callable[..., Any])

PRIORITIES = click.IntRange(-(2**31), 2**31 - 1)
"""What a priority may be."""

TAB_S = 1.0
"""How long Tab may take. Later nobody waits for it any more."""


def kitchen_options(function: Function) -> Function:
    """-k and --db, after the verb as well as before it."""
    function = click.option("--db", metavar="NAME", help="The database's name. Default: simplewaiter.")(function)
    return click.option("-k", "--kitchen", metavar="URL", help=KITCHEN_HELP)(function)


def with_settings(function: Function) -> Function:
    """-k and --db; the command gets one `settings` value, with what was said before the verb and in waiter.toml."""
    names = ("kitchen", "db", "name", "require")
    return require_option(kitchen_options(gathered(names, _settings_with_kitchen, "settings")(function)))


def require_option(function: Function) -> Function:
    """--require-kitchen."""
    return click.option(
        "--require-kitchen", "require", is_flag=True, help="Refuse the default kitchen where none is named."
    )(function)


def _settings_with_kitchen(kitchen: str | None, db: str | None, name: str | None = None, *, require: bool) -> Settings:
    return resolve_settings(kitchen, db, name, require=require).with_kitchen()


def gathered(names: Sequence[str], make: Callable[..., object], into: str) -> Callable[[Function], Function]:
    """Gives a command one argument `into`, which `make` builds from those of the options `names` that it has."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(**values: Any) -> Any:
            made = make(**{name: values.pop(name) for name in names if name in values})
            return function(**values, **{into: made})

        return cast(Function, call)

    return decorate


def resolve_settings(
    kitchen: str | None,
    db: str | None,
    name: str | None = None,
    *,
    kitchen_from_hosts: str | None = None,
    require: bool = False,
) -> Settings:
    """The settings, with what was said before the verb. Raises UsageError."""
    context = click.get_current_context(silent=True)
    state = (context.find_object(CliState) if context else None) or CliState()
    kitchen, db = state.kitchen if kitchen is None else kitchen, state.db if db is None else db
    return settings(kitchen, db, name, kitchen_from_hosts=kitchen_from_hosts, require=require or state.require)


def open_kitchen_or_exit(settings: Settings, *, create: bool = False) -> Kitchen:
    """The kitchen; a wait for it is bounded, and says what it is for. Only verbs that bring work `create` one."""
    where = shown(settings.kitchen) if settings.kitchen else "the kitchen"
    if create and settings.kitchen and (asked := weaker_writes(settings.kitchen)):
        say(f"{asked} of the kitchen's address changes nothing: writes wait for a majority and its journal.")
    try:
        with said_if_long(f"Waiting for {where} to answer…"):
            return open_kitchen(settings.kitchen, settings.db, create=create)
    except KitchenMissing as error:
        raise KitchenMissing(f"{error}{_hint_of_run(settings)}") from None


def _hint_of_run(settings: Settings) -> str:
    """Where to look who named no kitchen, and whose latest run is in a file of its own."""
    # Runs know the whole of loading, and few verbs end here.
    from waiter.delivery.batch_scope import command_line
    from waiter.past_runs import latest_run

    run = None if settings.is_kitchen_named else latest_run()
    context = click.get_current_context(silent=True)
    if run is None or context is None:
        return ""
    what = f" ({truncate(command_line(run.notes.command), 40)})" if run.notes.command else ""
    verb = f"waiter {context.info_name} -k {shlex.quote(str(run.path))}"
    return f"\nhint: the latest run{what} has a file of its own: {verb}"


class Duration(click.ParamType):  # type: ignore[type-arg] # generic only since Click 8.5
    """A duration: seconds, or with a unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


def _complete_status(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [word for word in STATUS_WORDS.split(", ") if word.startswith(begun.upper())]


def _complete_batch(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names and ids of the batches; none when the kitchen does not answer soon: nobody can be told while typing."""
    before = context.parent.params if context.parent else {}
    given = {name: context.params.get(name) or before.get(name) for name in ("kitchen", "db")}
    words: list[str] = []

    def ask() -> None:
        with suppress(WaiterError):
            resolved = settings(given["kitchen"], given["db"])
            with open_kitchen(resolved.kitchen, resolved.db, create=False) as kitchen:
                words.extend(word for batch in kitchen.batches() for word in (batch.name, batch.id) if word)

    query = threading.Thread(target=ask, daemon=True)
    query.start()
    query.join(TAB_S)
    return [word for word in words if word.startswith(begun)]


def complete_file(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Lets the shell complete names of files, as it would without us."""
    from click.shell_completion import CompletionItem  # only Tab needs it

    return [CompletionItem(begun, type="file")]


def batch_option(help: str) -> Callable[[Function], Function]:
    """--batch, with completion."""
    return click.option("--batch", metavar="BATCH", help=help, shell_complete=_complete_batch)


def after_option(name: str, help: str, *, is_one: bool = False) -> Callable[[Function], Function]:
    """An option that names batches to wait for, or one of them, with completion."""
    return click.option(name, multiple=not is_one, metavar="BATCH", help=help, shell_complete=_complete_batch)


def batch_argument(function: Function) -> Function:
    """BATCH, with completion."""
    return click.argument("batch_name", metavar="BATCH", shell_complete=_complete_batch)(function)


def named_batch(kitchen: Kitchen, name: str) -> Batch:
    """The batch with that id, or the latest of that name. Raises NoSuchBatch."""
    return batch_of(kitchen.batches(), name)


def refuse_both(waiter: str | None, batch: str | None) -> None:
    """Raise UsageError where a waiter and a batch are named, and one of them is meant."""
    if waiter is not None and batch is not None:
        raise UsageError("a waiter, or --batch: not both")


SELECTING: Sequence[Callable[[Function], Function]] = (
    click.option(
        "--status",
        "statuses",
        multiple=True,
        metavar="STATUS",
        help=f"{STATUS_WORDS}. Repeatable.",
        shell_complete=_complete_status,
    ),
    batch_option("Orders of this batch: its id or name."),
    click.option("--waiter", metavar="NAME", help="Orders that this waiter has or had last."),
    click.option("--host", metavar="HOST", help="Orders delivered on this host."),
    click.option("--since", type=Duration(), help="Started or stopped within this time, e.g. 10m."),
    click.option("--longer-than", type=Duration(), help="Ran, or have been running, longer."),
    click.option("--match", metavar="TEXT", help="Some argument contains TEXT."),
    click.option("--like", metavar="GROUP", help="Failures of this group, as `waiter errors` names them."),
    click.option("--except-command", metavar="HASH", help="Delivered by another version of the command."),
)

SORTS = [sign + name for name in kitchens.SORTS for sign in ("", "-")]


def selecting(function: Function) -> Function:
    """The options that say which orders are meant, and the ids if the command takes some: one `selection` value."""
    function = gathered([field.name for field in fields(Selection)], Selection, "selection")(function)
    for option in reversed(SELECTING):
        function = option(function)
    return function


def listing(default_limit: int | None, default_sort: str) -> Callable[[Function], Function]:
    """--sort and --limit; a limit of None is none."""

    def add(function: Function) -> Function:
        function = click.option(
            "--limit",
            type=click.IntRange(min=0),
            metavar="N",
            default=default_limit,
            show_default=True,
            help="At most this many orders.",
        )(function)
        return click.option(
            "--sort",
            type=click.Choice(SORTS),
            default=default_sort,
            show_default=True,
            metavar="KEY",
            help="age, start, stop or duration; with a minus the other way round, as in --sort=-stop.",
        )(function)

    return add


def json_option(function: Any) -> Any:
    """--json."""
    return click.option("--json", "is_json", is_flag=True, help="One JSON object.")(function)


def check_waiter_is_at_work(kitchen: Kitchen, waiter: str | None) -> None:
    """Raise UsageError for a waiter that is not at work."""
    if waiter is None:
        return
    from waiter.report.capacity import at_work  # it is much, and few verbs need it

    here = sorted({shift.waiter for shift in at_work(kitchen.shifts(), kitchen.now())})
    if waiter not in here:
        who = f"At work are {', '.join(here[:10])}" if here else "Nobody is at work"
        raise UsageError(f"no such waiter: {waiter}. {who}. See: waiter waiters")


COMMAND = {"allow_interspersed_args": False}


@dataclass(frozen=True, slots=True)
class Wait:
    """For which orders to wait, and for how long."""

    batch: str | None = None
    timeout: float | None = None  # seconds; None: for ever
    unattended: float | None = None  # seconds without a waiter at work


def waiting_options(function: Any) -> Any:
    """For how long, and for which orders: one `wait_for` value."""
    function = gathered([field.name for field in fields(Wait)], Wait, "wait_for")(function)
    for option in (
        batch_option("Only for orders of this batch: its id or name."),
        click.option(
            "--unattended", type=Duration(), help="Give up (exit code 125) after so long without a waiter at work."
        ),
        click.option("--timeout", type=Duration(), help="Give up (exit code 124) after this time."),
    ):
        function = option(function)
    return function
