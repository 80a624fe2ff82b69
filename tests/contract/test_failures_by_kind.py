"""Failures by kind: how many, where, when and an example, the same in whichever way a kitchen finds them."""

from __future__ import annotations

from collections.abc import Iterable

import pymongo
import pytest

from tests.conftest import check_in, fill, outcome
from waiter.kitchen.contract import FailureGroup, Kitchen
from waiter.kitchen.mongo import failures
from waiter.orders import Order, Reason, Selector, Status

KINDS = {"a": ("shared", "of-a"), "b": ("shared", "of-b"), "c": ("of-c",)}
"""What the orders of each batch failed of."""


@pytest.fixture
def failed(kitchen: Kitchen) -> Kitchen:
    """Three batches on three hosts; some stopped at the same moment, some succeeded, some kinds have one host."""
    for batch in KINDS:
        fill(kitchen, [[str(n)] for n in range(20)], batch=batch)
    now, number = kitchen.now(), 0
    for name in ("x", "y", "z"):
        shift, ends = check_in(kitchen, name), []
        for order in kitchen.claim(shift, limit=18):
            number += 1
            kinds = KINDS[order.batch]
            at = {"start": now - 200, "stop": now - 90 + number * 7 % 11}
            facts = {"exit_code": 3, "reason": Reason.EXIT, "error": f"no {order.id}"}
            bad = {**facts, "error_group": kinds[number % len(kinds)]}
            ends.append(outcome(order, Status.ERROR, **at, **bad) if number % 4 else outcome(order, **at))
        kitchen.finish(shift, ends)
    return kitchen


def by_hand(kitchen: Kitchen, batch: str | None) -> list[FailureGroup]:
    kinds: dict[str, list[Order]] = {}
    for order in kitchen.find(Selector(batch=batch, statuses=(Status.ERROR,))):
        kinds.setdefault(order.error_group, []).append(order)
    return sorted((group(kind, orders) for kind, orders in kinds.items()), key=lambda one: (-one.count, one.group))


def group(kind: str, orders: Iterable[Order]) -> FailureGroup:
    by_stop = sorted(orders, key=lambda order: (order.stop, order.host, order.id))
    first, last, hosts = by_stop[0], by_stop[-1], {order.host for order in by_stop}
    return FailureGroup(
        kind, len(by_stop), last.error, 3, None, Reason.EXIT, tuple(sorted(hosts)), first.stop, last.stop, last.id
    )


@pytest.mark.parametrize(("kinds", "hosts"), [(50, 100), (0, 100), (50, 1)])
def test_failures_are_told_as_they_are(failed, monkeypatch, kinds, hosts):
    monkeypatch.setattr(failures, "FEW_KINDS", kinds)
    monkeypatch.setattr(failures, "FEW_HOSTS", hosts)

    for batch in (None, *KINDS):
        told = failed.failure_groups(Selector(batch=batch))
        assert [(one.group, one.count, one.hosts, one.first, one.last) for one in told] == [
            (one.group, one.count, one.hosts, one.first, one.last) for one in by_hand(failed, batch)
        ]
        for one in told:
            (example,) = failed.find(Selector(ids=(one.example,)))
            assert (example.error_group, example.stop, example.error) == (one.group, one.last, one.message)
            assert batch in (None, example.batch)


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_who_may_only_read_is_told_of_failures_without_the_newest_index(failed, kitchen_url):
    before = failed.failure_groups(), failed.failure_groups(Selector(batch="a"))
    with pymongo.MongoClient(kitchen_url) as client:
        client.get_default_database().orders.drop_index("kinds_by_age")

    assert (failed.failure_groups(), failed.failure_groups(Selector(batch="a"))) == before


@pytest.mark.parametrize("kitchen_url", ["mongodb"], indirect=True)
def test_of_few_kinds_keys_are_counted_and_few_orders_looked_at(failed, kitchen_url):
    with pymongo.MongoClient(kitchen_url) as client:
        database = client.get_default_database()
        database.command("profile", 2)
        failed.failure_groups(Selector(batch="c"))
        database.command("profile", 0)
        seen = [*database["system.profile"].find({"ns": f"{database.name}.orders"})]

    assert not [one for one in seen if "GROUP" in one.get("planSummary", "")]
    assert any(one.get("planSummary", "").startswith("COUNT_SCAN") for one in seen)
    assert sum(one.get("docsExamined", 0) for one in seen) < 12
