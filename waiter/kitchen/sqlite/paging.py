"""A page of orders of an SQLite kitchen. What is sorted is small, and an index has it where there is one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from waiter.kitchen.paging import FEW
from waiter.kitchen.selecting import sort_of
from waiter.kitchen.sqlite.rows import FROM, LIGHT, Condition, duration, order_by, order_from
from waiter.light_dataclass import dataclass
from waiter.orders import Order, Selector, Status

Read = Callable[..., list[sqlite3.Row]]

_BY_TABLE = "orders NOT INDEXED"
_BY_STATUS = "orders INDEXED BY by_status"
_BY_STOP = "orders INDEXED BY by_stop"
_INDEXED = {
    "-stop": _BY_STOP,
    "-duration": "(SELECT seq, status, start, stop FROM orders INDEXED BY by_stop WHERE stop IS NOT NULL UNION ALL "
    "SELECT seq, status, start, stop FROM orders INDEXED BY running WHERE status = 'RUNNING')",
}
_INDEXED_HAS = {"-stop": "stop IS NOT NULL", "-duration": "start IS NOT NULL"}
_BY_GROUP = "orders INDEXED BY failures"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind this value of what is sorted by, and this seq."""

    value: float | None
    seq: int


def page(
    read: Read, selector: Selector, where: Condition, sort: str, now: float, limit: int, after: Place | None
) -> list[Order]:
    """The first orders that match, behind `after` if it is given."""
    by, is_descending = sort_of(sort)
    what = {"age": "seq", "duration": duration(now)}.get(by, by)
    behind = "1" if after is None else _behind(what, is_descending, after)
    values = {**where.values, "value": after and after.value, "after": after and after.seq}
    matching = f"{where.sql} AND {behind}"

    def found(tables: str, matching: str) -> list[Order]:
        places = f"SELECT seq FROM {tables} WHERE {matching} ORDER BY {order_by(sort, now)} LIMIT {limit}"
        # One statement: whatever changes, what is shown matched.
        rows = read(f"SELECT {LIGHT} {FROM} WHERE seq IN ({places}) ORDER BY {order_by(sort, now)}", values)
        return [order_from(row) for row in rows]

    tables = _tables(read, selector, by)
    if tables != _BY_TABLE:
        # SQLite takes the index of failures only where the status is said as the index says it.
        return found(tables, f"status = 'ERROR' AND {matching}" if tables == _BY_GROUP else matching)
    is_at_null = after is not None and after.value is None
    if sort in _INDEXED and not is_at_null and selector == Selector(statuses=selector.statuses):
        # Those that have no such thing come last: an index has all others, in order or small.
        later = "1" if after is None else _later(what, "<")
        orders = found(_INDEXED[sort], f"{_INDEXED_HAS[sort]} AND {where.sql} AND {later}")
        if len(orders) == limit:
            return orders
    if is_descending and by != "age":
        # Late orders started late: read from the end, few of them take the place of others among the first.
        columns = "seq, status, start, stop"
        backwards = f"(SELECT {columns} FROM {_BY_TABLE} WHERE {matching} ORDER BY seq DESC LIMIT -1)"
        return found(backwards, "1")
    return found(_BY_TABLE, matching)


def _behind(what: str, is_descending: bool, after: Place) -> str:
    """The condition of what comes later; NULL is less than any value."""
    beyond = "<" if is_descending else ">"
    if what == "seq":
        return f"seq {beyond} :after"
    if after.value is None:
        return f"({what} IS NULL AND seq < :after)" if is_descending else f"({what} IS NOT NULL OR seq > :after)"
    return f"({what} IS NULL OR {_later(what, beyond)})" if is_descending else _later(what, beyond)


def _later(what: str, beyond: str) -> str:
    return f"({what} {beyond}= :value AND ({what} {beyond} :value OR seq {beyond} :after))"


def _tables(read: Read, selector: Selector, by: str) -> str:
    """What to go through."""
    if selector.ids:
        return "orders"
    if selector.error_group is not None and (selector.statuses, selector.waiting) == ((Status.ERROR,), None):
        return _BY_GROUP
    if not selector.statuses or selector.waiting is not None:
        return _BY_TABLE
    if by == "age" and len(selector.statuses) == 1:
        return _BY_STATUS  # which has those of one status by age
    words = ", ".join(repr(status.value) for status in selector.statuses)
    few = f"SELECT 1 FROM orders INDEXED BY by_status WHERE status IN ({words}) LIMIT {FEW}"
    is_few = read(f"SELECT count(*) AS n FROM ({few})")[0]["n"] < FEW
    return _BY_STATUS if is_few else _BY_TABLE
