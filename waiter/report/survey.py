"""Which columns a table of orders has, and of what type: one look through the orders before they are written.

It is taken only where something follows from the orders: what `*`, `arguments.*` and `result.*` stand for, whether an
argument or a result has the name that is asked for (then it ends as soon as one has it), and the types of results.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector
from waiter.report.columns import (
    ALL,
    ALL_ARGUMENTS,
    ALL_KEYS,
    ARGUMENT,
    COLUMNS,
    KEY,
    TIMES,
    argument_column,
    columns,
    is_argument,
    needs_details,
    result_object,
)

NUMBERS = ("row", "priority", "attempt", "failures", "losses", "exit_code", "signal", "peak_memory")

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class OrderFinder:
    """The orders of a table, read anew each time."""

    kitchen: Kitchen
    selector: Selector = field(default_factory=Selector)
    sort: str = "age"
    limit: int | None = None

    def find(self, names: Collection[str]) -> Iterator[Order]:
        """The orders, with what these columns need."""
        return self.kitchen.find(
            self.selector, sort=self.sort, limit=self.limit, with_details=needs_details(tuple(names))
        )


def find_columns(words: str | None, finder: OrderFinder, *, has_types: bool = False) -> dict[str, str]:
    """The columns that `--columns` means for these orders, each with its type.

    It is bool, int64, double, string, time or texts; without `has_types` that of a result may be string all the same.
    Raises UsageError for an argument that no order of the kitchen has, and for a key that none of its results has.
    """
    names = columns(words)
    seen = survey(names, finder.find(names), has_types=has_types)
    if missing := [name for name in names if not seen.has(name)]:
        everywhere = survey(missing, finder.kitchen.find(Selector(), with_details=needs_details(missing)))
        for name in missing:
            if not everywhere.has(name):
                raise _no_such_key(name, everywhere) if name.startswith(KEY) else _unknown(name, everywhere)
    return column_types(names, seen)


@dataclass(slots=True)
class Survey:
    """What the orders have."""

    arguments: dict[str, None] = field(default_factory=dict)  # names, in the order of their appearance
    most: int = 0  # arguments that one order has
    most_unnamed: int = 0  # of those without names
    keys: dict[str, str] = field(default_factory=dict)  # of results, with the narrowest type that takes all values
    has_other_results: bool = False  # some are no JSON object

    def has(self, name: str) -> bool:
        """Whether some order has something for this column; where no result has keys yet, any may come to."""
        if name.startswith(KEY):
            return name.removeprefix(KEY) in self.keys or name == ALL_KEYS or not (self.keys or self.has_other_results)
        if not is_argument(name):
            return True
        word = name.removeprefix(ARGUMENT)
        return word in self.arguments or (word in map(str, range(1, self.most + 1)))

    def add(self, order: Order, *, with_result: bool) -> None:
        self.most = max(self.most, len(order.arguments))
        if order.names is None:
            self.most_unnamed = max(self.most_unnamed, len(order.arguments))
        else:
            self.arguments.update(dict.fromkeys(order.names))
        if with_result and order.result is not None:
            facts = result_object(order)
            self.has_other_results |= not facts
            for key, value in facts.items():
                before, kind = self.keys.setdefault(key, "null"), kind_of(value)
                self.keys[key] = wider(before, kind)


def survey(names: Sequence[str], orders: Iterable[Order], *, has_types: bool = False) -> Survey:
    """Look through the orders, no further than these columns need."""
    seen = Survey()
    keys = [name.removeprefix(KEY) for name in names if name.startswith(KEY)]
    is_whole = ALL in names or ALL_KEYS in names or ALL_ARGUMENTS in names or bool(has_types and keys)
    asked = [name for name in names if is_argument(name)]
    if not is_whole and not asked and not keys:
        return seen
    with_result = ALL in names or bool(keys)
    for order in orders:
        seen.add(order, with_result=with_result)
        if not is_whole and all(map(seen.has, asked)) and all(key in seen.keys for key in keys):
            break
    return seen


def column_types(names: Sequence[str], seen: Survey) -> dict[str, str]:
    """The columns with what stands for `*`, `arguments.*` and `result.*`, and their types."""
    keys = {f"{KEY}{key}": "string" if kind == "null" else kind for key, kind in seen.keys.items()}
    positions = map(str, range(1, seen.most_unnamed + 1))
    arguments = {argument_column(name): "string" for name in dict.fromkeys((*seen.arguments, *positions))}
    others = {"result": "string"} if seen.has_other_results else {}
    several = {ALL: arguments | keys | others, ALL_ARGUMENTS: arguments, ALL_KEYS: keys}
    types: dict[str, str] = {}
    for name in names:
        types |= several.get(name) or ({} if name in several else {name: keys.get(name) or _own_type(name)})
    return types


def _own_type(name: str) -> str:
    if name in NUMBERS:
        return "int64"
    return "time" if name in TIMES else {"arguments": "texts", "duration": "double"}.get(name, "string")


def _unknown(name: str, seen: Survey) -> UsageError:
    from difflib import get_close_matches  # here, because it is heavy and only a mistake needs it

    known = dict.fromkeys((*COLUMNS, *map(argument_column, seen.arguments)))
    near = get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? Known" if near else "known"
    return UsageError(
        f"--columns: unknown column {name}: no order has such an argument\n"
        f"hint: {meant} are {', '.join(known)}, 1, 2, … for arguments by position, and result.KEY"
    )


def _no_such_key(name: str, seen: Survey) -> UsageError:
    from difflib import get_close_matches

    known = [f"{KEY}{key}" for key in seen.keys]
    near = get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? Known" if near else "known"
    there = f"{meant} are {', '.join(known[:20])}" if known else "the results here are not JSON objects: take result"
    return UsageError(f"--columns: unknown column {name}: no result has such a key\nhint: {there}")


def kind_of(value: object) -> str:
    """The type of a value of JSON; null fits into all."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int64" if abs(value) <= _LARGEST else "string"
        case float():
            return "double"
    return "string"


def wider(one: str, other: str) -> str:
    """The narrowest type that takes the values of both."""
    if one == "null" or one == other:
        return other
    if other == "null":
        return one
    return "double" if {one, other} == {"int64", "double"} else "string"
