"""What the verbs that report print with --json, and the page answers under /api: the same values, asked for here.

`status_facts` in `status` is the one of `status`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from waiter.kitchen.contract import Kitchen
from waiter.orders import FailureGroup, Order, Selector, Status
from waiter.report import columns
from waiter.report.batches import RECENT_S, batch_facts
from waiter.report.capacity import waiter_facts
from waiter.report.claimed import claimed_by_batch
from waiter.report.failures import group_facts
from waiter.report.order import LIGHT_COLUMNS, order_facts, printable_record
from waiter.report.waiting import waiting_batches

Answer = dict[str, Any]

LATEST_BATCHES = 20
"""So many of the latest batches are told of unless all are asked for."""


def orders_answer(orders: Iterable[Order]) -> Answer:
    """Of `orders`."""
    return {"orders": [printable_record(columns.record(order, LIGHT_COLUMNS)) for order in orders]}


def show_answer(kitchen: Kitchen, orders: Iterable[Order], *, is_one: bool) -> Answer:
    """Of `show`; the one order that was named stands for itself. The orders are whole."""
    shifts = kitchen.shifts(include_left=True)
    facts = [order_facts(order, shifts) for order in orders]
    return facts[0] if is_one and len(facts) == 1 else {"orders": facts}


def hosts_delivering(kitchen: Kitchen, groups: Iterable[FailureGroup] = ()) -> set[str]:
    """The hosts that take part: of waiters that are here or were, and of failures."""
    return {shift.host for shift in kitchen.shifts(include_left=True)} | {h for group in groups for h in group.hosts}


def errors_answer(kitchen: Kitchen, selector: Selector, limit: int | None, lines: int) -> Answer:
    """Of `errors`, with so many last lines of each example."""
    groups = kitchen.failure_groups(selector)
    delivering, total = hosts_delivering(kitchen, groups), sum(group.count for group in groups)
    shown = groups[:limit]
    ids = tuple(group.example for group in shown)
    examples = {order.id: order for order in kitchen.find(Selector(ids=ids), with_details=True)} if ids else {}
    return {"groups": [group_facts(group, total, delivering, examples.get(group.example), lines) for group in shown]}


def waiters_answer(kitchen: Kitchen, *, is_all: bool) -> Answer:
    """Of `waiters`; `is_all`: of those that have left, too."""
    now = kitchen.now()
    return {"waiters": [waiter_facts(shift, now) for shift in kitchen.shifts(include_left=is_all)]}


def batches_answer(kitchen: Kitchen, *, is_all: bool) -> Answer:
    """Of `batches`, oldest first; the latest unless `is_all`."""
    progress = kitchen.batch_progress(RECENT_S)
    found, now, shifts = kitchen.batches(), kitchen.now(), kitchen.shifts()
    waiting = {one.id: one for one in waiting_batches(kitchen)}
    claimed = claimed_by_batch({id: one.counts[Status.RUNNING] for id, one in progress.items()}, shifts, now)
    facts = (
        batch_facts(batch, progress.get(batch.id), claimed.get(batch.id, 0), waiting.get(batch.id))
        for batch in (found if is_all else found[-LATEST_BATCHES:])
    )
    return {"batches": list(facts)}
