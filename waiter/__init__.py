"""Waiter spreads one command over a pile of inputs, on one machine or a fleet.

The names of the Python API are loaded when they are asked for: the runner process and `waiter --help` start from this
package, and must start light. Type checkers read the first list of names, Python the second; a test compares them with
each other, with the modules and with docs/python.md.
"""

from __future__ import annotations

__version__ = "1.0.0"

TYPE_CHECKING = False  # `typing` itself would be a tenth of the runner's start

if TYPE_CHECKING:
    from waiter.api import Waiter as Waiter
    from waiter.api import deliver_many as deliver_many
    from waiter.api import deliver_with as deliver_with
    from waiter.api import iter_orders as iter_orders
    from waiter.api import iter_rows as iter_rows
    from waiter.api import open_kitchen as open_kitchen
    from waiter.delivery.executors import deliver as deliver
    from waiter.delivery.listener import Listener as Listener
    from waiter.delivery.listener import Summary as Summary
    from waiter.delivery.options import DeliveryOptions as DeliveryOptions
    from waiter.delivery.worker import Worker as Worker
    from waiter.delivery.worker import main as main
    from waiter.delivery.worker import worker as worker
    from waiter.errors import BadRow as BadRow
    from waiter.errors import CommandUnstartable as CommandUnstartable
    from waiter.errors import FileUnusable as FileUnusable
    from waiter.errors import FleetError as FleetError
    from waiter.errors import InputUnreadable as InputUnreadable
    from waiter.errors import KitchenDamaged as KitchenDamaged
    from waiter.errors import KitchenError as KitchenError
    from waiter.errors import KitchenHindered as KitchenHindered
    from waiter.errors import KitchenMissing as KitchenMissing
    from waiter.errors import KitchenUnreachable as KitchenUnreachable
    from waiter.errors import NoSuchBatch as NoSuchBatch
    from waiter.errors import NotificationFailed as NotificationFailed
    from waiter.errors import ShiftLost as ShiftLost
    from waiter.errors import UsageError as UsageError
    from waiter.errors import WaiterError as WaiterError
    from waiter.kitchen.contract import Kitchen as Kitchen
    from waiter.loading import Loaded as Loaded
    from waiter.loading import LoadOptions as LoadOptions
    from waiter.loading import load as load
    from waiter.loading import load_rows as load_rows
    from waiter.orders import Order as Order
    from waiter.orders import Selector as Selector
    from waiter.orders import Status as Status
else:  # hidden from type checkers, for which any name would exist otherwise
    _NAMES = {
        "waiter.api": "Waiter deliver_many deliver_with iter_orders iter_rows open_kitchen",
        "waiter.delivery.executors": "deliver",
        "waiter.delivery.listener": "Listener Summary",
        "waiter.delivery.options": "DeliveryOptions",
        "waiter.delivery.worker": "Worker main worker",
        "waiter.errors": "WaiterError UsageError NoSuchBatch BadRow InputUnreadable FileUnusable KitchenError "
        "KitchenUnreachable KitchenMissing KitchenHindered KitchenDamaged ShiftLost CommandUnstartable "
        "NotificationFailed FleetError",
        "waiter.kitchen.contract": "Kitchen",
        "waiter.loading": "Loaded LoadOptions load load_rows",
        "waiter.orders": "Order Selector Status",
    }
    _HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
    __all__ = list(_HOMES)

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'waiter' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
