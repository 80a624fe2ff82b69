"""How orders, shifts and batches look as MongoDB documents: the only place that knows the fields' shape.

A field that is None is left out. Three fields have no counterpart in `orders.Order`: `seq` (the batch's number and the
row in one integer, so that age is one key of an index), `took` (`stop` less `start`, so that an index has the longest)
and `raw` (the arguments' bytes as Latin-1 text for searches, only where some are no UTF-8). `due` is 0 where an order
may go at once: null would cost the index its exact bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bson.binary import Binary

from waiter.kitchen.contract import Row
from waiter.kitchen.printable import printable
from waiter.orders import BINDING, USUAL_LEASE_S, Batch, Event, Order, Reason, Shift, Status, Vitals
from waiter.typed_arguments import kinds_of

Document = dict[str, Any]

ROWS = 1 << 40
"""How many rows of one batch `seq` has room for."""

AT_ONCE = 0.0
"""`due` of an order that waits for nothing."""

BULKY = ("tail", "result", "history", "late", "raw")
"""Fields that lists leave out."""

_SEARCHED = 1 << 20
"""How many characters of arguments `raw` may repeat: it takes up to two bytes for each of theirs."""


def raw(argument: str) -> str:
    """The argument's bytes as Latin-1 text: a regular expression finds any of them, UTF-8 or not."""
    return argument.encode("utf-8", "surrogatepass").decode("latin-1")


def argument_document(argument: str) -> str | Binary:
    """A string, or bytes where it holds surrogates, which BSON strings refuse."""
    if argument.isascii():
        return argument
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        return Binary(argument.encode("utf-8", "surrogatepass"))
    return argument


def _argument(stored: str | bytes) -> str:
    return stored.decode("utf-8", "surrogatepass") if isinstance(stored, bytes) else stored


def new_order(batch: str, number: int, row: Row, priority: int, due: float = AT_ONCE) -> Document:
    """The document of a row that becomes an order."""
    at, arguments, names = row
    is_ascii = all(map(str.isascii, arguments))  # millions are loaded, and most of them are
    order: Document = {
        "_id": f"{batch}-{at}",
        "batch": batch,
        "row": at,
        "seq": number * ROWS + at,
        "arguments": [*arguments] if is_ascii else [argument_document(argument) for argument in arguments],
        "status": "READY",
        "priority": priority,
        "due": due,
        "attempt": 0,
        "failures": 0,
        "losses": 0,
    }
    if names is not None:
        order["names"] = [argument_document(name) for name in names]
    if (kinds := kinds_of(arguments)) is not None:
        order["kinds"] = kinds
    if is_ascii:
        return order
    if any(isinstance(argument, bytes) for argument in order["arguments"]) and sum(map(len, arguments)) <= _SEARCHED:
        order["raw"] = [raw(argument) for argument in arguments]
    return order


def order_from(stored: Mapping[str, Any]) -> Order:
    names = stored.get("names")
    return Order(
        id=stored["_id"],
        batch=stored["batch"],
        row=stored["row"],
        arguments=tuple(map(_argument, stored["arguments"])),
        names=None if names is None else tuple(map(_argument, names)),
        status=Status(stored["status"]),
        priority=stored["priority"],
        attempt=stored["attempt"],
        failures=stored["failures"],
        losses=stored["losses"],
        due=stored["due"] or None,
        waiter=stored.get("waiter"),
        host=stored.get("host"),
        shift=stored.get("shift"),
        is_cancel_asked=stored.get("is_cancel_asked", False),
        start=stored.get("start"),
        stop=stored.get("stop"),
        exit_code=stored.get("exit_code"),
        signal=stored.get("signal"),
        reason=_reason(stored.get("reason")),
        error=stored.get("error"),
        error_group=stored.get("error_group"),
        tail=stored.get("tail"),
        result=stored.get("result"),
        command=stored.get("command"),
        peak_memory=stored.get("peak_memory"),
        history=tuple(map(_event_from, stored.get("history", ()))),
        late=tuple(map(_event_from, stored.get("late", ()))),
        kinds=stored.get("kinds"),
    )


def claimed_order(stored: Mapping[str, Any], mine: Mapping[str, Any]) -> Order:
    """An order just claimed: its document from before, and what the claim gives all orders alike."""
    names = stored.get("names")
    return Order(
        id=stored["_id"],
        batch=stored["batch"],
        row=stored["row"],
        arguments=tuple(map(_argument, stored["arguments"])),
        names=None if names is None else tuple(map(_argument, names)),
        priority=stored["priority"],
        attempt=stored["attempt"] + 1,
        failures=stored["failures"],
        losses=stored["losses"],
        kinds=stored.get("kinds"),
        **mine,
    )


def _reason(stored: str | None) -> Reason | None:
    return None if stored is None else Reason(stored)


def _event_from(stored: Mapping[str, Any]) -> Event:
    return Event(
        what=stored["what"],
        at=stored["at"],
        status=Status(stored["status"]),
        attempt=stored["attempt"],
        shift=stored.get("shift"),
        waiter=stored.get("waiter"),
        start=stored.get("start"),
        stop=stored.get("stop"),
        exit_code=stored.get("exit_code"),
        signal=stored.get("signal"),
        reason=_reason(stored.get("reason")),
        error=stored.get("error"),
        command=stored.get("command"),
        dropped=stored.get("dropped"),
    )


def vitals_document(vitals: Vitals) -> Document:
    stored = asdict(vitals)
    for field in ("command", "command_hash", "version", "waits_for"):
        stored[field] = printable(stored[field])
    return stored | {"running": list(vitals.running)}


def shift_from(stored: Mapping[str, Any]) -> Shift:
    vitals = stored["vitals"]
    return Shift(
        token=stored["_id"],
        waiter=stored["waiter"],
        host=stored["host"],
        pid=stored["pid"],
        since=stored["since"],
        lease_until=stored["lease_until"],
        heartbeat_at=stored["heartbeat_at"],
        lease_s=stored.get("lease_s", USUAL_LEASE_S),
        left_at=stored.get("left_at"),
        lost_at=stored.get("lost_at"),
        is_paused=stored.get("is_paused", False),
        pause_reason=stored.get("pause_reason"),
        is_draining=stored.get("is_draining", False),
        vitals=Vitals(**{**vitals, "running": tuple(vitals["running"])}),
    )


def batch_document(batch: Batch) -> Document:
    stored = asdict(batch)
    for field in ("id", *BINDING):  # what binds it, `open_batch` leaves as it is
        del stored[field]
    return stored | {"name": printable(batch.name), "source": printable(batch.source)}


def after_document(batch: Batch) -> Document:
    """The fields of a batch that say for what its orders wait."""
    facts: Document = {"after": list(batch.after), "after_any": list(batch.after_any), "after_row": batch.after_row}
    facts["needs_from"] = printable(batch.needs_from)
    return {name: value for name, value in facts.items() if value}


def batch_from(stored: Mapping[str, Any]) -> Batch:
    left_out = ("id", "earlier", *BINDING)
    facts = {field: stored[field] for field in Batch.__dataclass_fields__ if field not in left_out}
    return Batch(
        id=stored["_id"],
        earlier=tuple(stored.get("earlier", ())),
        command=batch_command(stored),
        is_reserved=stored.get("is_reserved", False),
        weight=stored.get("weight"),
        pause_reason=stored.get("pause_reason"),
        after=tuple(stored.get("after") or ()),
        after_any=tuple(stored.get("after_any") or ()),
        after_row=stored.get("after_row"),
        needs_from=stored.get("needs_from"),
        **facts,
    )


def batch_command(stored: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The words of the command that the batch is for."""
    words = stored.get("command")
    return None if words is None else tuple(map(_argument, words))


def rows_of(number: int) -> Document:
    """What `seq` is for the orders of the batch with that number."""
    return {"$gte": number * ROWS, "$lt": (number + 1) * ROWS}


def seqs_of(documents: Sequence[Mapping[str, Any]]) -> list[int]:
    return [document["seq"] for document in documents]


def ids_of(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    return [document["_id"] for document in documents]
