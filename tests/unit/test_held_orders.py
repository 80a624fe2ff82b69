"""The orders that a waiter holds: which run, which wait until nothing else does, which somebody cancelled."""

from __future__ import annotations

from waiter.delivery.held_orders import ALONE_FROM_LOSSES, HeldOrder, HeldOrders
from waiter.orders import Order, Shift, Status

SHIFT = Shift("t", "w", "h", 1, since=0.0, lease_until=60.0, heartbeat_at=0.0)


def held(name: str, *, losses: int = 0, is_alone: bool = False) -> HeldOrder:
    order = Order(name, "b", 0, (), None, Status.RUNNING, attempt=1, losses=losses)
    return HeldOrder(order, SHIFT, None if is_alone else ("true",), 0.0)


def holding(*orders: HeldOrder) -> HeldOrders:
    all_of_them = HeldOrders()
    for one in orders:
        all_of_them.add(one)
    return all_of_them


def test_what_the_runner_has_not_begun_is_claimed_but_does_not_run():
    orders = holding(held("a"), held("b"), held("c"), held("d", is_alone=True))
    orders.note_queue(["c"])

    assert orders.running(2) == (["a", "b"], 2)


def test_no_more_orders_run_than_there_are_slots():
    assert holding(held("a"), held("b")).running(1) == (["a"], 1)


def test_a_cancellation_is_news_once_and_only_for_what_is_held():
    orders = holding(held("a"), held("b"))

    assert orders.cancel(("a", "somebody else's")) == ["a"]
    assert orders.cancel(("a", "b")) == ["b"]


def test_an_order_that_comes_back_is_not_cancelled_any_more():
    orders = holding(held("a"))
    orders.cancel(["a"])
    orders.remove("a")
    orders.add(held("a"))

    assert not orders.is_cancelled("a")


def test_an_order_that_waits_alone_is_next_once_nothing_else_is_held():
    orders = holding(held("a"), held("b", is_alone=True), held("c", is_alone=True))
    assert orders.next_alone() is None

    orders.remove("a")

    assert orders.next_alone() == held("b").order


def test_nothing_is_next_where_nothing_is_held():
    assert HeldOrders().next_alone() is None


def test_an_order_that_was_lost_often_may_be_poison():
    assert not holding(held("a", losses=ALONE_FROM_LOSSES - 1)).holds_poison_order()
    assert holding(held("a"), held("b", losses=ALONE_FROM_LOSSES)).holds_poison_order()


def test_removing_what_is_not_held_is_fine():
    assert HeldOrders().remove("a") is None


def test_orders_are_known_to_be_poison_or_to_wait_alone_as_long_as_they_are_held():
    orders = holding(held("a", is_alone=True), held("b", losses=ALONE_FROM_LOSSES))
    assert orders.waiting_alone() == ["a"]
    assert orders.holds_poison_order()

    orders.add(held("a"))  # it is started
    orders.remove("b")

    assert orders.waiting_alone() == []
    assert not orders.holds_poison_order()
