"""What an address asks of the kitchen: the selector in its query, and orders and failures as the verbs find them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from waiter.durations import parse_duration
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen, Position, position_of
from waiter.orders import FailureGroup, Order, Selector, Shift, Status
from waiter.report.dashboard import Seen
from waiter.report.formatting import truncate
from waiter.report.run_view import Aspect
from waiter.report.selection import Selection, resolve_selector
from waiter.report.waiting import WaitingBatch, waiting_among

SORTS = ("age", "-age", "start", "-start", "stop", "-stop", "duration", "-duration")
COLUMNS = (
    ("Order", "", ("age", "-age")),
    ("Status", "", ()),
    ("Started", "wide", ("-start",)),
    ("Ended", "wide", ("-stop",)),
    ("Took", "number", ("-duration",)),
    ("Waiter", "wide", ()),
    ("Arguments", "", ()),
)
"""Of the list of orders: title, class, and the sorts that it offers, those that an index answers, or nearly."""

MOST = 1000
"""So many orders stand on one page at most."""

LONGEST_S = 10 * 366 * 86_400.0

USUAL = 100
LISTS = {"id": "ids", "status": "statuses"}
DURATIONS = ("since", "longer-than")
TEXTS = ("batch", "waiter", "host", "match", "like", "except-command")


def refuse_unknown(query: QueryParams, known: Iterable[str]) -> None:
    """Raise UsageError for what nobody reads: a link shows what it says, or says why not."""
    if unknown := set(query) - set(known):
        raise UsageError(f"unknown in the address: {truncate(', '.join(sorted(unknown)), 200)}")
    if twice := [name for name in query if name not in LISTS and len(list(filter(None, query.getlist(name)))) > 1]:
        raise UsageError(f"more than once in the address: {', '.join(twice)}")


def selection_from(query: QueryParams, others: Iterable[str] = ("sort", "limit", "after")) -> Selection:
    """The options of `waiter orders` as the query of an address, which may have others. Raises UsageError."""
    refuse_unknown(query, (*LISTS, *DURATIONS, *TEXTS, *others))
    values: dict[str, object] = {into: tuple(filter(None, query.getlist(name))) for name, into in LISTS.items()}
    values |= {name.replace("-", "_"): parse_duration(query[name]) for name in DURATIONS if query.get(name)}
    values |= {name.replace("-", "_"): query[name] for name in TEXTS if query.get(name)}
    return Selection(**values)  # type: ignore[arg-type]


def aspect_from(query: QueryParams) -> Aspect:
    """What the page of the run is to show: `batch`, and `last`, a duration, of its charts. Raises UsageError."""
    refuse_unknown(query, ("batch", "last"))
    last_s = parse_duration(query["last"]) if query.get("last") else None
    if last_s is not None and not 0 < last_s <= LONGEST_S:
        raise UsageError(f"last: {query['last'][:40]} is not between 0 and ten years")
    return Aspect(query.get("batch") or None, last_s)


def query_of(aspect: Aspect) -> dict[str, str]:
    """The same as the query of an address."""
    facts = {"batch": aspect.batch, "last": None if aspect.last_s is None else f"{aspect.last_s:g}"}
    return {name: value for name, value in facts.items() if value}


def sort_from(query: QueryParams) -> str:
    if (sort := query.get("sort") or "age") not in SORTS:
        raise UsageError(f"sort: {sort} is none of {', '.join(SORTS)}")
    return sort


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column of the list of orders."""

    title: str
    css: str
    aria: str  # ascending or descending, if the list is sorted by it
    query: str | None  # of the list sorted by it, or the other way round; None: it is not offered


def list_heads(query: QueryParams) -> list[Head]:
    """The columns, those that an index sorts with the address of such a list. Raises UsageError."""
    sort = sort_from(query)
    kept = [(name, value) for name, value in query.multi_items() if value and name not in ("after", "sort")]

    def head(title: str, css: str, sorts: Sequence[str]) -> Head:
        is_by_it = bool(sorts) and sort.removeprefix("-") == sorts[0].removeprefix("-")
        aria = "" if not is_by_it else "descending" if sort.startswith("-") else "ascending"
        other = next((one for one in sorts if one != sort), None)
        return Head(title, css, aria, other and urlencode([*kept, ("sort", other)]))

    return [head(*column) for column in COLUMNS]


def limit_from(query: QueryParams, usual: int = USUAL) -> int:
    return number_from(query, "limit", usual, least=1) or usual


def number_from(query: QueryParams, name: str, usual: int | None, *, least: int = 0) -> int | None:
    """The number of that name, no more than MOST; `usual` if there is none. Raises UsageError."""
    if not (word := query.get(name)):
        return usual
    if not (word.isascii() and word.isdigit() and len(word) < 9 and least <= int(word) <= MOST):
        raise UsageError(f"{name}: {word} is not a number from {least} to {MOST:,}")
    return int(word)


def position_from(query: QueryParams) -> Position | None:
    """Where the page begins: what is sorted by, a tilde, and the id of the last order of the page before."""
    if not (word := query.get("after")):
        return None
    value, tilde, order_id = word.partition("~")
    try:
        number = float(value) if value else None
    except ValueError:
        number = nan
    if not tilde or (number is not None and not isfinite(number)):
        raise UsageError(f"after: {word} is no position\nhint: begin again with the first page")
    return Position(number, order_id)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of orders that match."""

    now: float
    orders: list[Order]
    waiting: Mapping[str, WaitingBatch]  # batches that wait, by their ids
    more: str | None  # the query of the next page; None: this is the last one


def find_orders(query: QueryParams, usual: int = USUAL) -> Callable[[Kitchen], Found]:
    """Raises UsageError."""
    selection, sort, limit = selection_from(query), sort_from(query), limit_from(query, usual)
    after = position_from(query)

    def ask(kitchen: Kitchen) -> Found:
        selector, now = resolve_selector(kitchen, selection), kitchen.now()
        # One more tells whether there are more.
        found = kitchen.page(selector, sort=sort, limit=limit + 1, after=after)
        more = _query_of_next(query, position_of(found[limit - 1], sort, now)) if len(found) > limit else None
        ready = {order.batch for order in found if order.status is Status.READY}
        return Found(now, found[:limit], {one.id: one for one in waiting_among(kitchen, ready)}, more)

    return ask


def _query_of_next(query: QueryParams, after: Position) -> str:
    kept = [(name, value) for name, value in query.multi_items() if value and name != "after"]
    value = "" if after.value is None else repr(after.value)
    return urlencode([*kept, ("after", f"{value}~{after.order_id}")])


@dataclass(frozen=True, slots=True)
class OneOrder:
    """An order with all its details, and who could have delivered it."""

    now: float
    order: Order | None
    shifts: list[Shift]
    waiting: Mapping[str, WaitingBatch]


def find_order(order_id: str) -> Callable[[Kitchen], OneOrder]:
    def ask(kitchen: Kitchen) -> OneOrder:
        order = next(iter(kitchen.find(Selector(ids=(order_id,)), limit=1, with_details=True)), None)
        waiting = waiting_among(kitchen, (order.batch,)) if order and order.status is Status.READY else ()
        return OneOrder(kitchen.now(), order, kitchen.shifts(include_left=True), {one.id: one for one in waiting})

    return ask


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures by kind, with an example of each."""

    now: float
    groups: Sequence[FailureGroup]
    delivering: Collection[str]
    examples: Mapping[str, Order] = field(default_factory=dict)


def find_failures(seen: Seen | None, most: int, batch: str | None = None) -> Callable[[Kitchen], Failures]:
    """The failures that were seen, or those that there are, with an example of each of the `most` largest groups."""

    def ask(kitchen: Kitchen) -> Failures:
        groups = seen.failures if seen else kitchen.failure_groups(Selector(batch=batch))
        delivering = seen.delivering if seen else {shift.host for shift in kitchen.shifts(include_left=True)}
        ids = tuple(group.example for group in groups[:most])
        found = kitchen.find(Selector(ids=ids), with_details=True) if ids else ()
        everywhere = {*delivering, *(host for group in groups for host in group.hosts)}
        return Failures(kitchen.now(), groups, everywhere, {order.id: order for order in found})

    return ask
