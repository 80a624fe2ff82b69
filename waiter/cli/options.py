"""What all verbs share: which kitchen, which orders, and asking before something is changed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from waiter.cli import Told
from waiter.durations import seconds
from waiter.errors import UsageError, WaiterError
from waiter.kitchen import open_kitchen
from waiter.kitchen import selecting as kitchens
from waiter.kitchen.address import shown
from waiter.kitchen.contract import STATUS_WORDS, Kitchen
from waiter.orders import Selector, Status
from waiter.report.formatting import plain
from waiter.settings import Settings, settings

Function = TypeVar("Function", bound=Callable[..., Any])

PRIORITIES = click.IntRange(-(2**31), 2**31 - 1)
"""What a priority may be."""

PATIENCE_S = 1.0
"""How long a kitchen may take to answer before the user is told what is waited for. It gives up after some 10 s."""


TAB_S = 1.0
"""How long Tab may take. Later nobody waits for it any more."""


def say(message: str) -> None:
    """Talk: to stderr, so that stdout holds nothing but what was asked for. It does not matter if nobody listens.

    Whoever's words it holds, nothing in it makes a terminal obey.
    """
    with suppress(OSError):
        click.echo(plain(message), err=True)


def kitchen_options(function: Function) -> Function:
    """-k and --db, after the verb as well as before it."""
    function = click.option("--db", metavar="NAME", help="The database's name. Default: simplewaiter.")(function)
    return click.option(
        "-k", "--kitchen", metavar="URL", help="Where the orders are: a file, mongodb://…, or a MongoDB host."
    )(function)


def chosen(kitchen: str | None, db: str | None, name: str | None = None) -> Settings:
    """The settings, with what was said before the verb."""
    context = click.get_current_context(silent=True)
    told = (context.find_object(Told) if context else None) or Told()
    return settings(told.kitchen if kitchen is None else kitchen, told.db if db is None else db, name)


def opened(from_: Settings, *, create: bool = False) -> Kitchen:
    """The kitchen; a wait for it is bounded, and says what it is for. Only verbs that bring work `create` one."""
    where = shown(from_.kitchen) if from_.kitchen else "the kitchen"
    with said_if_long(f"Waiting for {where} to answer…"):
        return open_kitchen(from_.kitchen, from_.db, create=create)


@contextmanager
def said_if_long(message: str) -> Iterator[None]:
    """Say what is waited for, once that has taken a moment."""
    notice = threading.Timer(PATIENCE_S, say, (message,))
    notice.daemon = True
    with suppress(RuntimeError):  # a machine that starts no more threads
        notice.start()
    try:
        yield
    finally:
        notice.cancel()


class Duration(click.ParamType):  # type: ignore[type-arg] # generic only since Click 8.5
    """A duration: seconds, or with a unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return seconds(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


def status_from(word: str) -> Status:
    """The status of that name, in any case. Raises UsageError."""
    try:
        return Status(word.upper())
    except ValueError:
        raise UsageError(f"unknown status {word}. Known are {STATUS_WORDS}") from None


def _complete_status(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [status.value for status in Status if status.value.startswith(begun.upper())]


def _complete_batch(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names and ids of the batches; none when the kitchen does not answer soon: nobody can be told while typing."""
    before = context.parent.params if context.parent else {}
    said = {name: context.params.get(name) or before.get(name) for name in ("kitchen", "db")}
    words: list[str] = []

    def ask() -> None:
        with suppress(WaiterError):
            place = settings(said["kitchen"], said["db"])
            with open_kitchen(place.kitchen, place.db, create=False) as kitchen:
                words.extend(word for batch in kitchen.batches() for word in (batch.name, batch.id) if word)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(TAB_S)
    return [word for word in words if word.startswith(begun)]


def complete_file(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Lets the shell complete names of files, as it would without us."""
    return [CompletionItem(begun, type="file")]


def batch_option(help: str) -> Callable[[Function], Function]:
    """--batch, with completion."""
    return click.option("--batch", metavar="BATCH", help=help, shell_complete=_complete_batch)


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
    """The options that say which orders are meant; `selected` makes a value of them."""
    for option in reversed(SELECTING):
        function = option(function)
    return function


def selected(place: Kitchen, ids: Sequence[str] = (), **said: Any) -> Selector:
    """The selector that the options of `selecting` say. Raises UsageError for what they name and does not exist."""
    which = _selector(place.now(), ids, **said)
    if ids and (missing := set(ids) - {order.id for order in place.find(Selector(ids=tuple(ids)))}):
        raise UsageError(f"no such order: {', '.join(sorted(missing))}. See: waiter orders")
    group, version = which.error_group, which.except_command
    if group is not None and not any(place.find(Selector(error_group=group), limit=1)):
        raise UsageError(f"no order failed like this: {group}. See the groups: waiter errors")
    # A part of a hash would be another version than all that there are: every order would be meant.
    if version is not None and version not in (known := _versions(place)):
        there = f"There is {', '.join(known)}" if known else "There is none"
        raise UsageError(f"no such version of the command: {version}. {there}. See: waiter status")
    return which


def _versions(place: Kitchen) -> list[str]:
    """The hashes of commands that delivered something, or that waiters came with."""
    came = (shift.vitals.command_hash for shift in place.shifts(include_left=True))
    return list(dict.fromkeys((*place.commands(), *filter(None, came))))


def _selector(now: float, ids: Sequence[str], **said: Any) -> Selector:
    """The selector that these options say. `now` is the kitchen's clock. Raises UsageError."""
    return Selector(
        ids=tuple(ids),
        statuses=tuple(status_from(word) for word in said["statuses"]),
        batch=said["batch"],
        waiter=said["waiter"],
        host=said["host"],
        since=None if said["since"] is None else now - said["since"],
        longer_than_s=said["longer_than"],
        match=said["match"],
        error_group=said["like"],
        except_command=said["except_command"],
    )


def agreed(question: str, *, is_yes: bool) -> bool:
    """Whether to go on: asks on a terminal. Raises UsageError where nobody can be asked and --yes was not given."""
    if is_yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is nobody to ask here: say --yes.")
    is_agreed = click.confirm(question, err=True)
    if not is_agreed:
        say("Nothing was changed.")
    return is_agreed


def plural(count: int, noun: str) -> str:
    """`1 order`, `3,000 orders`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
