"""The Python API: what `from waiter import …` gives.

from waiter import Waiter, load_rows, open_kitchen

class Cruncher(Waiter):
    def deliver(self, order):
        return sum(map(int, order.arguments))

with open_kitchen("numbers.sqlite") as kitchen:
    load_rows(kitchen, [["1", "2"], ["3", "4"]])
Cruncher("numbers.sqlite").run()
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from waiter.delivery.functions import Deliver, FunctionWare
from waiter.delivery.listener import Listener, Summary
from waiter.delivery.options import DeliveryOptions, cpu_count, slots
from waiter.delivery.spool import Spool
from waiter.delivery.stopping import Stopping
from waiter.delivery.waiter import Delivery
from waiter.kitchen import absolute, open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector


def iter_orders(kitchen: Kitchen, selector: Selector | None = None) -> Iterator[Order]:
    """The orders that match, with everything that is known of them, oldest first, in flat memory."""
    return kitchen.find(selector or Selector(), is_whole=True)


def deliver_with(
    function: Deliver,
    kitchen: str | None = None,
    options: DeliveryOptions | None = None,
    *,
    db: str = "simplewaiter",
    listener: Listener | None = None,
    state: Path | None = None,
) -> Summary:
    """Deliver orders by calling the function with each, in as many threads as `options.jobs` says.

    What it returns is the order's result, lists and dictionaries as JSON; an exception makes the order fail. A function
    may be `async def`; each slot runs a loop of its own. `kitchen` is what `--kitchen` takes. The
    options of the command line that concern a process (timeout's TERM, cwd, env, output) do not apply.
    """
    options = options or DeliveryOptions()
    kitchen = absolute(kitchen)
    count = slots(options.jobs, cpu_count())
    stopping = Stopping()
    with stopping.by_signals():
        return Delivery(
            lambda: open_kitchen(kitchen, db),
            FunctionWare(function, slots=count, version=_version(function)),
            options,
            slots=count,
            spool=lambda kitchen: Spool(kitchen.id, kitchen.url, state),
            stopping=stopping,
            listener=listener or Listener(),
        ).run()


_NOT_OVERRIDDEN = "override deliver(order) in a subclass of Waiter"


class Waiter:
    """A waiter to subclass: override `deliver`."""

    def __init__(self, kitchen: str | None = None, options: DeliveryOptions | None = None, *, db: str = "simplewaiter"):
        self.kitchen = absolute(kitchen)
        self.options = options or DeliveryOptions()
        self.db = db

    def deliver(self, order: Order) -> object:
        """Do the work of one order. What it returns is its result, see `deliver_with`; raise to make it fail."""
        raise NotImplementedError(_NOT_OVERRIDDEN)

    def run(self) -> Summary:
        """Deliver until `options.until`."""
        if getattr(self.deliver, "__func__", None) is Waiter.deliver:  # at no order's cost
            raise NotImplementedError(_NOT_OVERRIDDEN)
        return deliver_with(self.deliver, self.kitchen, self.options, db=self.db)


def _version(function: Deliver) -> str:
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        source = repr(getattr(function, "__code__", function))
    return hashlib.blake2b(source.encode(), digest_size=6).hexdigest()
