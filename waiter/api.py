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
import os
from collections.abc import Iterator
from pathlib import Path

from waiter.delivery.batch_scope import BatchScope, wanted
from waiter.delivery.functions import Deliver, FunctionExecutor
from waiter.delivery.listener import Listener, Summary
from waiter.delivery.options import DeliveryOptions, cpu_count, slots
from waiter.delivery.shutdown import Shutdown
from waiter.delivery.spool import Spool
from waiter.delivery.waiter import Delivery
from waiter.errors import UsageError
from waiter.kitchen import absolute
from waiter.kitchen import open_kitchen as open_named
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector
from waiter.report.columns import typed_record
from waiter.report.survey import OrderFinder, find_columns
from waiter.settings import settings


def open_kitchen(url: str | os.PathLike[str] | None = None, db: str | None = None, *, create: bool = True) -> Kitchen:
    """The kitchen that the command line would have: `url` is what `--kitchen` takes, None what WAITER_KITCHEN or
    waiter.toml name, else the usual file.

    Who only looks says `create=False`. Raises UsageError and KitchenError.
    """
    place, db = _place(url, db)
    return open_named(place, db, create=create)


def _place(named: str | os.PathLike[str] | None, db: str | None) -> tuple[str | None, str]:
    """A kitchen's address, wherever this process goes later, and the database's name."""
    url = None if named is None else os.fspath(named)
    found = settings(url, db).with_kitchen()
    return absolute(found.kitchen if url is None else url), found.db


def iter_orders(kitchen: Kitchen, selector: Selector | None = None) -> Iterator[Order]:
    """The orders that match, with everything that is known of them, oldest first, in flat memory."""
    return kitchen.find(selector or Selector(), with_details=True)


def iter_rows(
    kitchen: Kitchen, columns: str = "_id,status,*", selector: Selector | None = None
) -> Iterator[dict[str, object]]:
    """The orders that match as rows of a table: `columns` is what `extract --columns` takes.

    Arguments are text, times are `datetime`, what stands under a key of a result, and `result`, is what its JSON stands
    for. In flat memory; the orders are read twice where the columns follow from them. Raises UsageError.
    """
    finder = OrderFinder(kitchen, selector or Selector())
    names = tuple(find_columns(columns, finder))
    return (typed_record(order, names) for order in finder.find(names))


def deliver_with(
    function: Deliver,
    kitchen: str | os.PathLike[str] | None = None,
    options: DeliveryOptions | None = None,
    *,
    db: str | None = None,
    listener: Listener | None = None,
    state: Path | None = None,
) -> Summary:
    """Deliver orders by calling the function with each, in as many threads as `options.jobs` says.

    What it returns is the order's result, as JSON but for text (`Order.value` reads it back); an exception makes the
    order fail. A function may be `async def`; each slot runs a loop of its own. `kitchen` and `db` are as
    `open_kitchen` takes them. The options of the command line that concern a process (timeout's TERM, cwd, env, output)
    do not apply.
    """
    options = options or DeliveryOptions()
    if not callable(function):  # at no order's cost
        raise UsageError(f"{function!r} is no function\nhint: to run a command: deliver(open_kitchen, ['./crunch.sh'])")
    place, db = _place(kitchen, db)
    count = slots(options.jobs, cpu_count())
    shutdown = Shutdown()
    executor = FunctionExecutor(function, slots=count, version=_version(function))
    with shutdown.by_signals():
        return Delivery(
            lambda: open_named(place, db),
            executor,
            options,
            slots=count,
            spool=lambda kitchen: Spool(kitchen.id, kitchen.url, state),
            scope=lambda kitchen: BatchScope(kitchen, executor.words, wanted(options)),
            shutdown=shutdown,
            listener=listener or Listener(),
        ).run()


_NOT_OVERRIDDEN = "override deliver(order) in a subclass of Waiter"


class Waiter:
    """A waiter to subclass: override `deliver`."""

    def __init__(
        self,
        kitchen: str | os.PathLike[str] | None = None,
        options: DeliveryOptions | None = None,
        *,
        db: str | None = None,
    ):
        self.kitchen, self.db = _place(kitchen, db)
        self.options = options or DeliveryOptions()

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
