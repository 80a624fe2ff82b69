"""Waiter spreads one command over a pile of inputs, on one machine or a fleet.

The names of the Python API are loaded when they are asked for: the runner process and `waiter --help` start from this
package, and must start light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

if TYPE_CHECKING:
    from waiter.api import Waiter, deliver_with, iter_orders, open_kitchen
    from waiter.delivery.executors import deliver
    from waiter.delivery.options import DeliveryOptions
    from waiter.loading import LoadOptions, load, load_rows
    from waiter.orders import Order, Selector, Status

_HOMES = {
    "DeliveryOptions": "waiter.delivery.options",
    "LoadOptions": "waiter.loading",
    "Order": "waiter.orders",
    "Selector": "waiter.orders",
    "Status": "waiter.orders",
    "Waiter": "waiter.api",
    "deliver": "waiter.delivery.executors",
    "deliver_with": "waiter.api",
    "iter_orders": "waiter.api",
    "load": "waiter.loading",
    "load_rows": "waiter.loading",
    "open_kitchen": "waiter.api",
}

__all__ = [
    "DeliveryOptions",
    "LoadOptions",
    "Order",
    "Selector",
    "Status",
    "Waiter",
    "deliver",
    "deliver_with",
    "iter_orders",
    "load",
    "load_rows",
    "open_kitchen",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'waiter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
