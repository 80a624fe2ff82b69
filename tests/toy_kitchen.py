"""A third kitchen, as somebody else might write one: all its orders in one pickled file, `toy:///path`."""

from __future__ import annotations

import fcntl
import pickle
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from waiter.errors import KitchenMissing, NoSuchBatch, ShiftLost
from waiter.kitchen.contract import ALL, MAX_LOSSES, Reclaimed, Row
from waiter.kitchen.defaults import KitchenDefaults, new_order, new_shift
from waiter.kitchen.kinds import KitchenKind
from waiter.orders import Batch, FinishResult, Notice, Order, Outcome, Scope, Shift, Status, Vitals, is_in_scope


class Stored:
    """What the file holds."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(16)
        self.batches: dict[str, Batch] = {}
        self.orders: dict[str, Order] = {}
        self.shifts: dict[str, Shift] = {}

    def put(self, order: Order, **facts: object) -> None:
        self.orders[order.id] = replace(order, **facts)

    def lives(self, token: str | None, now: float) -> bool:
        shift = self.shifts.get(token or "")
        return shift is not None and shift.left_at is None and shift.lease_until > now


class ToyKitchen(KitchenDefaults):
    def __init__(self, url: str, db: str, *, create: bool) -> None:  # noqa: ARG002 - one file, one kitchen
        self.path = Path(url.removeprefix("toy://"))
        if not create and not self.path.exists():
            raise KitchenMissing(f"{url}: there is no kitchen")

    @property
    def url(self) -> str:
        return f"toy://{self.path}"

    @contextmanager
    def _changing(self) -> Iterator[Stored]:
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            stored = pickle.loads(content) if content else Stored()
            yield stored
            file.truncate(0)
            file.write(pickle.dumps(stored))

    @property
    def id(self) -> str:
        with self._changing() as stored:
            return stored.id

    def orders(self) -> Iterable[Order]:
        with self._changing() as stored:
            return list(stored.orders.values())

    def batches(self) -> list[Batch]:
        with self._changing() as stored:
            return list(stored.batches.values())

    def open_batch(self, batch: Batch) -> None:
        with self._changing() as stored:
            stored.batches[batch.id] = batch

    def add(self, batch_id: str, rows: Iterable[Row], priority: int = 0) -> int:
        with self._changing() as stored:
            if batch_id not in stored.batches:
                raise NoSuchBatch(f"no such batch: {batch_id}")
            before = len(stored.orders)
            for row in rows:
                stored.orders.setdefault(f"{batch_id}-{row[0]}", new_order(batch_id, row, priority))
            return len(stored.orders) - before

    def check_in(self, waiter: str, host: str, pid: int, vitals: Vitals | None = None) -> Shift:
        shift = new_shift(waiter, host, pid, vitals, self.now(), self.lease_s)
        with self._changing() as stored:
            return stored.shifts.setdefault(shift.token, shift)

    def heartbeat(self, shift: Shift, vitals: Vitals) -> Notice:
        now = self.now()
        with self._changing() as stored:
            if is_here := stored.lives(shift.token, now):
                renewed = {"lease_until": now + self.lease_s, "heartbeat_at": now, "vitals": vitals}
                stored.shifts[shift.token] = replace(stored.shifts[shift.token], **renewed)
            return Notice(is_lost=not is_here)

    def check_out(self, shift: Shift, vitals: Vitals | None = None) -> None:
        self.release(shift, self.held(shift))
        with self._changing() as stored:
            stored.shifts[shift.token] = replace(shift, left_at=self.now(), vitals=vitals or shift.vitals)

    def shifts(self, include_left: bool = False) -> list[Shift]:
        with self._changing() as stored:
            return [shift for shift in stored.shifts.values() if include_left or shift.left_at is None]

    def claim(self, shift: Shift, limit: int, exclude: Sequence[str] = (), scope: Scope = ALL) -> list[Order]:
        now = self.now()
        with self._changing() as stored:
            if not stored.lives(shift.token, now):
                raise ShiftLost(shift.waiter)
            ready = (order for order in stored.orders.values() if order.status is Status.READY)
            mine = (order for order in ready if is_in_scope(order, scope) and order.id not in exclude)
            due = (order for order in mine if (order.due or 0) <= now)
            chosen = sorted(due, key=lambda order: -order.priority)[:limit]
            taken = {"status": Status.RUNNING, "shift": shift.token, "waiter": shift.waiter, "host": shift.host}
            for order in chosen:
                stored.put(order, **taken, attempt=order.attempt + 1, start=now, stop=None)
            return [stored.orders[order.id] for order in chosen]

    def finish(self, shift: Shift, outcomes: Sequence[Outcome]) -> list[FinishResult]:
        with self._changing() as stored:
            return [self._finish(stored, shift, outcome) for outcome in outcomes]

    def _finish(self, stored: Stored, shift: Shift, outcome: Outcome) -> FinishResult:
        order = stored.orders.get(outcome.order_id)
        if order is None or (order.shift, order.attempt) != (shift.token, outcome.attempt):
            return FinishResult.LATE
        told = {field: getattr(outcome, field) for field in Outcome.__slots__ if hasattr(order, field)}
        stored.put(order, **told, shift=None, due=self.now() + outcome.delay_s)
        return FinishResult.ACCEPTED

    def release(self, shift: Shift, orders: Sequence[Order]) -> int:
        with self._changing() as stored:
            held = [order for order in orders if stored.orders[order.id].shift == shift.token]
            for order in held:
                stored.put(order, status=Status.READY, attempt=order.attempt - 1, shift=None, waiter=None, start=None)
        return len(held)

    def reclaim(self, max_losses: int = MAX_LOSSES) -> Reclaimed:
        with self._changing() as stored:
            ends = []
            for order in list(stored.orders.values()):
                if order.status is Status.RUNNING and not stored.lives(order.shift, self.now()):
                    ends.append(Status.READY if order.losses + 1 < max_losses else Status.ERROR)
                    stored.put(order, status=ends[-1], losses=order.losses + 1, shift=None)
            return Reclaimed(ends.count(Status.READY), ends.count(Status.ERROR))


TOY = KitchenKind(schemes=("toy",), open=ToyKitchen, is_local=True)
