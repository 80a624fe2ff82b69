"""What a kitchen gets by naming `KitchenDefaults` as its base: all that follows from its orders, batches and shifts.

For kitchens that are new, or small: each answer reads every order, and what a kitchen cannot do says so. One that has
to hold millions answers from indexes of its own, as those in `sqlite` and `mongo` do.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NoReturn, Self

from waiter.errors import KitchenError
from waiter.kitchen.answers import own_window
from waiter.kitchen.contract import (
    ALL,
    CLAIM_LIMIT,
    LEASE_S,
    MAX_LOSSES,
    UNCHANGED,
    Backlog,
    Durations,
    FailureGroup,
    Kitchen,
    Position,
    Reclaimed,
    Row,
    Throughput,
    Timeline,
    Told,
    Unchanged,
)
from waiter.kitchen.selecting import sort_of, unknown_batch
from waiter.kitchen.timeline import Ended, Window, read_timeline
from waiter.orders import Batch, BatchProgress, Counts, Order, Scope, Selector, Shift, Status, Vitals, is_in_scope
from waiter.typed_arguments import kinds_of


def new_order(batch_id: str, row: Row, priority: int) -> Order:
    """What a row becomes when it is added."""
    number, arguments, names = row
    named = None if names is None else tuple(names)
    kinds = kinds_of(arguments)
    return Order(f"{batch_id}-{number}", batch_id, number, tuple(arguments), named, priority=priority, kinds=kinds)


def new_shift(waiter: str, host: str, pid: int, vitals: Vitals | None, now: float, lease_s: float) -> Shift:
    """A shift that begins now, with a random token."""
    token = os.urandom(16).hex()
    return Shift(token, waiter, host, pid, now, lease_until=now + lease_s, heartbeat_at=now, vitals=vitals or Vitals())


class KitchenDefaults(Kitchen):
    """A kitchen that has `orders()`; it still needs what loads, claims, finishes and takes back."""

    lease_s = LEASE_S

    def orders(self) -> Iterable[Order]:
        """Every order, whole, oldest first."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open between two calls."""

    def beside(self) -> Kitchen | None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def now(self) -> float:
        return time.time()

    # Loading

    def batch(self, batch_id: str) -> Batch | None:
        return next((batch for batch in self.batches() if batch.id == batch_id), None)

    def batches_of(self, digests: Collection[str]) -> list[Batch]:
        return [batch for batch in self.batches() if not {batch.digest, *batch.earlier}.isdisjoint(digests)]

    def batch_lengths(self, above: int, up_to: int) -> list[int]:
        return sorted({batch.orders for batch in self.batches() if above < batch.orders <= up_to})

    def latest_batch(self, source: str) -> Batch | None:
        return next((batch for batch in reversed(self.batches()) if batch.source == source), None)

    def renew_batch(self, batch: Batch) -> None:
        self._batch(batch.id)
        self.open_batch(batch)

    def add_portions(self, batch_id: str, portions: Iterable[Sequence[Row]], priority: int = 0) -> Iterator[int]:
        for rows in portions:
            yield self.add(batch_id, rows, priority) if rows else 0

    def bind_batch(
        self, batch_id: str, command: Sequence[str], instead_of: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        batch = self._batch(batch_id)
        if batch.command in (None, None if instead_of is None else tuple(instead_of)):
            self.open_batch(replace(batch, command=tuple(command)))
        return self._batch(batch_id).command or ()

    def amend_batch(
        self,
        batch_id: str,
        *,
        name: str | Unchanged | None = UNCHANGED,
        command: Sequence[str] | Unchanged | None = UNCHANGED,
        weight: int | Unchanged | None = UNCHANGED,
        pause_reason: str | Unchanged | None = UNCHANGED,
        after: Sequence[str] | Unchanged = UNCHANGED,
        after_any: Sequence[str] | Unchanged = UNCHANGED,
        after_row: Unchanged | None = UNCHANGED,
    ) -> None:
        facts = {"name": name, "command": command, "weight": weight, "pause_reason": pause_reason}
        facts |= {"after": after, "after_any": after_any, "after_row": after_row}
        changed: dict[str, Any] = {key: value for key, value in facts.items() if not isinstance(value, Unchanged)}
        if "command" in changed:
            changed["is_reserved"] = command is not None
        self.open_batch(replace(self._batch(batch_id), **changed))

    def _batch(self, batch_id: str) -> Batch:
        batch = self.batch(batch_id)
        if batch is None:
            raise unknown_batch(batch_id, [(other.id, other.name) for other in self.batches()])
        return batch

    # Shifts

    def change_token(self) -> object:
        """Another one each time: waiters ask for work as often as they ask for this."""
        return object()

    def knows(self, token: str) -> bool:
        return any(shift.token == token for shift in self.shifts(include_left=True))

    def peek(self, scope: Scope = ALL) -> Order | None:
        now = self.now()
        ready = (order for order in self.orders() if order.status is Status.READY and (order.due or 0) <= now)
        return max((o for o in ready if is_in_scope(o, scope)), key=lambda order: order.priority, default=None)

    def held(self, shift: Shift) -> list[Order]:
        return [order for order in self.orders() if order.status is Status.RUNNING and order.shift == shift.token]

    def sweep(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        return self.reclaim(max_losses)

    # Rows of one batch after those of another: a kitchen may do without.

    def release_rows(self) -> int:
        self._cannot("join batches row by row")

    def held_rows(self) -> dict[str, int]:
        return dict(Counter(order.batch for order in self.orders() if order.is_held))

    # Seeing

    def find(
        self, selector: Selector, *, sort: str = "age", limit: int | None = None, with_details: bool = False
    ) -> Iterator[Order]:
        by, is_descending = sort_of(sort)
        now, batch = self.now(), self._batch_id(selector.batch)
        chosen = [order for order in self.orders() if _matches(order, selector, batch, now)]
        if by == "age":
            chosen = chosen[::-1] if is_descending else chosen
        else:
            chosen.sort(key=lambda order: _number(order, by, now), reverse=is_descending)
        return iter(chosen[:limit])

    def page(self, selector: Selector, *, sort: str, limit: int, after: Position | None = None) -> list[Order]:
        """Behind the order of the position, where it stands now; nothing if it does not match any more."""
        found = self.find(selector, sort=sort)
        if after is not None:
            any(order.id == after.order_id for order in found)  # reads up to it
        return list(islice(found, limit))

    def _batch_id(self, wanted: str | None) -> set[str]:
        """The ids of the batches with that id or name. Raises NoSuchBatch."""
        batches = [] if wanted is None else self.batches()
        chosen = {batch.id for batch in batches if wanted in (batch.id, batch.name)}
        if wanted is not None and not chosen:
            raise unknown_batch(wanted, [(batch.id, batch.name) for batch in batches])
        return chosen

    def counts(self, selector: Selector | None = None) -> Counts:
        return Counts(Counter(order.status for order in self.find(selector or Selector())))

    def backlog(self, scope: Scope = ALL) -> Backlog:
        now, orders = self.now(), [order for order in self.orders() if is_in_scope(order, scope)]
        ready = [order for order in orders if order.status is Status.READY]
        due = [order.due for order in ready if order.due is not None and order.due > now]
        running = sum(order.status is Status.RUNNING for order in orders)
        return Backlog(
            min(len(ready) - len(due), CLAIM_LIMIT), min(due) - now if due else None, min(running, CLAIM_LIMIT)
        )

    def is_only_running(self, scope: Scope = ALL) -> bool:
        return self.backlog(scope).is_only_running

    def throughput(self, window_s: float) -> Throughput:
        return _throughput(self.orders(), self.now(), window_s)

    def durations(self, since: float, bounds: Sequence[float]) -> Durations:
        ended = [order for order in self.orders() if order.status in (Status.DONE, Status.ERROR)]
        ended = [order for order in ended if order.stop is not None and order.stop > since]
        took = [max(0.0, _number(order, "duration", 0.0)) for order in ended]
        by_bound = Counter(bisect_left(bounds, seconds) for seconds in took)
        counts = tuple(by_bound[number] for number in range(len(bounds) + 1))
        return Durations(counts, sum(order.status is Status.ERROR for order in ended), sum(took))

    def timeline(
        self, since: float | None = None, step_s: float | None = None, batch: str | None = None, *, not_begun: int = 0
    ) -> Timeline:
        return read_timeline(_Listed(list(self.find(Selector(batch=batch)))), self.now(), since, step_s, not_begun)

    def batch_progress(self, window_s: float) -> dict[str, BatchProgress]:
        of: dict[str, list[Order]] = {batch.id: [] for batch in self.batches()}
        for order in self.orders():
            of[order.batch].append(order)
        counts = {batch: Counts(Counter(order.status for order in orders)) for batch, orders in of.items()}
        now = self.now()
        own_s = {
            batch: own_window([now - (order.start or now) for order in _lately(orders, now, window_s)], window_s)
            for batch, orders in of.items()
        }
        return {batch: BatchProgress(counts[batch], _throughput(of[batch], now, own_s[batch])) for batch in of}

    def failure_groups(self, selector: Selector | None = None) -> list[FailureGroup]:
        groups = defaultdict[str, list[Order]](list)
        for order in self.find(selector or Selector()):
            if order.status is Status.ERROR:
                groups[order.error_group or ""].append(order)
        return [_group(name, groups[name]) for name in sorted(groups, key=lambda name: -len(groups[name]))]

    def commands(self, selector: Selector | None = None) -> dict[str, int]:
        ended = (order for order in self.find(selector or Selector()) if order.status in (Status.DONE, Status.ERROR))
        return dict(Counter(order.command for order in ended if order.command).most_common())

    # Steering: a kitchen may do without.

    def remove_batch(self, batch_id: str) -> int:
        self._cannot("remove a batch")

    def reset(self, selector: Selector, *, from_living: bool = False, told: Told | None = None) -> int:
        self._cannot("reset orders")

    def cancel(self, selector: Selector, *, told: Told | None = None) -> int:
        self._cannot("cancel orders")

    def set_priority(self, selector: Selector, priority: int, *, told: Told | None = None) -> int:
        self._cannot("change priorities")

    def pause(self, waiter: str | None = None, reason: str | None = None) -> int:
        self._cannot("pause waiters")

    def resume(self, waiter: str | None = None) -> int:
        self._cannot("resume waiters")

    def drain(self, waiter: str) -> int:
        self._cannot("drain waiters")

    def clean(self, selector: Selector | None = None, *, told: Told | None = None) -> int:
        self._cannot("delete orders")

    def _cannot(self, what: str) -> NoReturn:
        raise KitchenError(f"{self.url}: this kind of kitchen cannot {what}.")

    # The ledger of machines

    def ledger(self, prefix: str = "") -> dict[str, str]:
        return {}

    def enter(self, key: str, text: str, *, instead_of: str | None = None) -> bool:
        self._cannot("keep a ledger of machines: launch the fleet for another kitchen")


def _lately(orders: Iterable[Order], now: float, window_s: float) -> list[Order]:
    """Those that ended in the last so many seconds, or are ahead of now by no more than that."""
    ended = [order for order in orders if order.status in (Status.DONE, Status.ERROR)]
    return [order for order in ended if order.stop is not None and abs(now - order.stop) <= window_s]


def _throughput(orders: Iterable[Order], now: float, window_s: float) -> Throughput:
    ended = _lately(orders, now, window_s)
    done = sum(order.status is Status.DONE for order in ended)
    took = [order.stop - order.start for order in ended if order.stop is not None and order.start is not None]
    return Throughput(window_s, done, len(ended) - done, sum(took) / len(took) if took else None)


def _matches(order: Order, selector: Selector, batch: set[str], now: float) -> bool:
    """Whether every field of the selector that is set holds; `batch` are the ids that its batch stands for."""
    took_s = _number(order, "duration", now)
    return not (
        (selector.ids and order.id not in selector.ids)
        or not _stands_right(order, selector)
        or (selector.batch is not None and order.batch not in batch)
        or (selector.waiter is not None and order.waiter != selector.waiter)
        or (selector.host is not None and order.host != selector.host)
        or (selector.since is not None and max(order.start or 0, order.stop or 0) < selector.since)
        or (selector.longer_than_s is not None and took_s <= selector.longer_than_s)
        or (selector.match is not None and not any(selector.match in argument for argument in order.arguments))
        or (selector.error_group is not None and order.error_group != selector.error_group)
        or (selector.except_command is not None and order.command in (None, selector.except_command))
    )


def _stands_right(order: Order, selector: Selector) -> bool:
    if selector.waiting is None:
        return not selector.statuses or order.status in selector.statuses
    waits = order.status is Status.READY and (order.is_held or order.batch in selector.waiting)
    return waits or order.status in selector.statuses


def _number(order: Order, by: str, now: float) -> float:
    """What the order is sorted by; below everything where it has no such thing."""
    stop = now if order.status is Status.RUNNING else order.stop
    start = order.start
    duration = None if start is None or stop is None else stop - start
    value = {"start": start, "stop": order.stop, "duration": duration}[by]
    return float("-inf") if value is None else value


def _group(name: str, orders: list[Order]) -> FailureGroup:
    orders.sort(key=lambda order: order.stop or 0.0)
    last = orders[-1]
    hosts = tuple(sorted({order.host for order in orders if order.host}))
    first_stop, last_stop = orders[0].stop or 0.0, last.stop or 0.0
    message = last.error or ""
    return FailureGroup(
        name, len(orders), message, last.exit_code, last.signal, last.reason, hosts, first_stop, last_stop, last.id
    )


class _Listed:
    """The orders that a timeline is made of, all at hand; see `timeline.Source`."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._ended: list[Ended] = [
            (order.stop, order.status.value, order.start, order.peak_memory, order.batch)
            for order in orders
            if order.stop is not None and order.start is not None
        ]
        self._running = [o.start for o in orders if o.status is Status.RUNNING and o.start is not None]
        self.most = max(1, len(orders))

    def size(self) -> int:
        return len(self._ended)

    def span(self) -> Window | None:
        stops = sorted((one[0], one[2]) for one in self._ended)
        return (stops[0][1], stops[-1][0]) if stops else None

    def last_stop(self) -> float | None:
        return max((one[0] for one in self._ended), default=None)

    def ended(self, windows: Sequence[Window], limit: int) -> list[Ended]:
        within = (one for one in self._ended if any(since <= one[0] < until for since, until in windows))
        return list(within)[:limit]

    def ids(self, batches: Iterable[int | str]) -> Mapping[int | str, str]:
        return {batch: str(batch) for batch in batches}

    def running(self) -> tuple[Sequence[float], int]:
        return self._running, len(self._running)
