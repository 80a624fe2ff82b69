"""A command whose first orders all fail is stopped; one that ever delivered is not."""

from __future__ import annotations

from waiter.delivery.brake import Brake, Braked
from waiter.orders import Order, Outcome, Reason, Status


def ended(number: int, status: Status, reason: Reason | None = None) -> tuple[Order, Outcome]:
    order = Order(f"b-{number}", "b", number, (str(number),), None)
    return order, Outcome(order.id, 1, status, start=0.0, stop=1.0, reason=reason, error=f"no {number}")


def test_it_stops_a_command_when_all_of_the_first_orders_failed():
    brake = Brake(3)

    seen = [brake.saw("c", *ended(n, Status.ERROR, Reason.EXIT)) for n in (1, 2, 3, 4)]

    assert seen[:2] == [None, None]
    assert seen[2] == Braked(3, ended(1, Status.ERROR)[0], "no 1", ("b",))
    assert seen[3] is None  # it is said once


def test_tries_of_one_order_count_once():
    brake = Brake(2)

    assert [brake.saw("c", *ended(1, Status.READY, Reason.EXIT)) for _ in range(5)] == [None] * 5
    assert brake.saw("c", *ended(2, Status.READY, Reason.EXIT)) is not None


def test_a_command_that_delivered_once_goes_on():
    brake = Brake(2)
    brake.saw("c", *ended(1, Status.DONE))

    assert [brake.saw("c", *ended(n, Status.ERROR, Reason.EXIT)) for n in range(2, 9)] == [None] * 7


def test_what_is_not_the_commands_fault_does_not_count():
    brake = Brake(1)

    for reason in (Reason.INTERRUPTED, Reason.CANCELLED, Reason.LOST):
        assert brake.saw("c", *ended(1, Status.READY, reason)) is None


def test_each_command_has_a_brake_of_its_own_and_none_stops_nothing():
    brake, none = Brake(2), Brake(0)

    assert brake.saw("a", *ended(1, Status.ERROR, Reason.EXIT)) is None
    assert brake.saw("b", *ended(2, Status.ERROR, Reason.EXIT)) is None
    assert [none.saw("a", *ended(n, Status.ERROR, Reason.EXIT)) for n in range(50)] == [None] * 50
