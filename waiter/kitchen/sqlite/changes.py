"""The changes of `transitions` as SQL: each is the SET of an UPDATE, with `:now` and what is given as parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from waiter.kitchen.transitions import Change, Given, IfCancelAsked, Now, Own, Plus, Record, Value
from waiter.orders import Status

_NOTHING = {"is_cancel_asked": "0"}
"""How a field is written that has nothing, where that is not NULL."""


def update(change: Change, *, hint: str = "", event: str | None = None, source: str = "") -> str:
    """An UPDATE of the orders that may change so; the caller goes on with AND. `event`: SQL for the event, as JSON;
    `source`: FROM, and what the values come from if they are no parameters."""
    sets = [f"{name} = {_sql(value, _NOTHING.get(name, 'NULL'))}" for name, value in change.fields.items()]
    if change.record is not None:
        sets.append(f"history = {_history(change.record, event or _event(change.record))}")
    return f"UPDATE orders {hint} SET {', '.join(sets)} {source} WHERE {_is_one_of(change.origin)}"


def by_place(sql: str, names: Sequence[str], place: str) -> str:
    """The statement with its named values as those in a place, such as ?1: to bind a mapping takes twice as long."""
    return re.sub(":([a-z_]+)", lambda name: f"{place}{names.index(name[1]) + 1}", sql)


def _is_one_of(statuses: Sequence[Status]) -> str:
    words = [f"'{status.value}'" for status in statuses]
    return f"status = {words[0]}" if len(words) == 1 else f"status IN ({', '.join(words)})"


def _history(record: Record, event: str) -> str:
    appended = f"iif(history IS NULL, '[' || {event} || ']', appended(history, {event}))"  # the first costs no Python
    return f"iif(is_cancel_asked, {appended}, history)" if record.is_if_cancel_asked else appended


def _event(record: Record) -> str:
    facts = {"at": Now(), "status": record.status, "attempt": Own("attempt"), "waiter": Own("waiter"), **record.facts}
    pairs = ", ".join(f"'{name}', {_sql(value)}" for name, value in facts.items())
    return f"json_object('what', '{record.what}', {pairs})"


def _sql(value: Value, nothing: str = "NULL") -> str:
    match value:
        case None:
            return nothing
        case Now():
            return ":now"
        case Given(name):
            return f":{name}"
        case Own(field):
            return field
        case Plus(field, by):
            return f"{field} + {_sql(by)}"
        case IfCancelAsked(then, otherwise):
            return f"iif(is_cancel_asked, {_sql(then, nothing)}, {_sql(otherwise, nothing)})"
        case int():
            return str(int(value))
    return "'" + value.replace("'", "''") + "'"
