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

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from waiter.delivery.batch_scope import BatchScope, wanted
from waiter.delivery.calls import Deliver, DeliverMany
from waiter.delivery.function_choice import function_executor
from waiter.delivery.function_processes import ProcessExecutor
from waiter.delivery.listener import Listener, PassOn, Summary
from waiter.delivery.options import DeliveryOptions, slots
from waiter.delivery.shutdown import Shutdown
from waiter.delivery.spool import Spool
from waiter.delivery.waiter import Delivery
from waiter.delivery.worker import settings_of
from waiter.delivery.worker_setup import refuse_while_reading
from waiter.errors import UsageError
from waiter.kitchen import absolute
from waiter.kitchen import open_kitchen as open_named
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Selector
from waiter.report.columns import typed_record
from waiter.report.survey import OrderFinder, find_columns
from waiter.settings import settings

MANY = 100
"""So many orders are in one call of `deliver_many` unless somebody says another number."""


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

    Arguments are what they were in the row, times are `datetime`, what stands under a key of a result, and `result`, is
    what its JSON stands for. In flat memory; the orders are read twice where the columns follow from them. Raises
    UsageError.
    """
    finder = OrderFinder(kitchen, selector or Selector())
    names = tuple(find_columns(columns, finder))
    return (typed_record(order, names) for order in finder.find(names))


def deliver_with(
    function: Deliver | DeliverMany,
    kitchen: str | os.PathLike[str] | None = None,
    options: DeliveryOptions | None = None,
    *,
    db: str | None = None,
    listener: Listener | None = None,
    state: Path | None = None,
) -> Summary:
    """Deliver orders by calling the function with each, in as many threads as `options.jobs` says.

    With `options.processes` these are processes; an `async def` has as many calls in one event loop. Without options
    they are what the function's `@worker` says, and [deliver] in waiter.toml.

    What it returns is the order's result, as JSON but for text (`Order.value` reads it back); an exception makes the
    order fail. `kitchen` and `db` are as `open_kitchen` takes them. The options of the command line that concern a
    process (timeout's TERM, cwd, env, output) apply to processes alone; a timeout also to an `async def`.
    """
    refuse_while_reading()
    options = options or _own_options(function)
    if not callable(function):  # at no order's cost
        raise UsageError(f"{function!r} is no function\nhint: to run a command: deliver(open_kitchen, ['./crunch.sh'])")
    place, db = _place(kitchen, db)
    shutdown = Shutdown()
    executor = function_executor(function, options, slots=slots(options.jobs))
    with shutdown.by_signals():
        return Delivery(
            lambda: open_named(place, db),
            executor,
            options,
            slots=executor.slots,
            spool=lambda kitchen: Spool(kitchen.id, kitchen.url, state),
            scope=lambda kitchen: BatchScope(kitchen, executor.words, wanted(options)),
            shutdown=shutdown,
            listener=listener or (PassOn() if isinstance(executor, ProcessExecutor) else Listener()),
        ).run()


def deliver_many(
    function: DeliverMany,
    kitchen: str | os.PathLike[str] | None = None,
    options: DeliveryOptions | None = None,
    *,
    db: str | None = None,
    listener: Listener | None = None,
    state: Path | None = None,
) -> Summary:
    """The same with a function that is given a list of orders, `options.many` at most, 100 unless told.

    It returns a list with one result for each, where an exception makes its order fail; or None for no results. What it
    raises makes all of them fail.
    """
    options = options or _own_options(function)
    options = options if options.many else replace(options, many=MANY)
    return deliver_with(function, kitchen, options, db=db, listener=listener, state=state)


def _own_options(function: object) -> DeliveryOptions:
    """What the function's @worker says, else [deliver] in waiter.toml, as for `waiter deliver`."""
    own, found = settings_of(function), settings()
    if not found.deliver and not found.name:
        return DeliveryOptions(**own)  # type: ignore[arg-type] # `worker` has checked them
    from waiter.cli.delivery_options import delivery_options  # what reads that table

    return delivery_options({}, found.deliver, found.name, file=found.file, own=own)


_NOT_OVERRIDDEN = "override deliver(order) or deliver_many(orders) in a subclass of Waiter"


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
        self.options = options or _own_options(self)

    def deliver(self, order: Order) -> object:
        """Do the work of one order. What it returns is its result, see `deliver_with`; raise to make it fail."""
        raise NotImplementedError(_NOT_OVERRIDDEN)

    def deliver_many(self, orders: Sequence[Order]) -> object:
        """Do the work of several orders, `options.many` at most; see `deliver_many`. It comes before `deliver`."""
        raise NotImplementedError(_NOT_OVERRIDDEN)

    def run(self) -> Summary:
        """Deliver until `options.until`."""
        if getattr(self.deliver_many, "__func__", None) is not Waiter.deliver_many:
            return deliver_many(self.deliver_many, self.kitchen, self.options, db=self.db)
        if getattr(self.deliver, "__func__", None) is Waiter.deliver:  # at no order's cost
            raise NotImplementedError(_NOT_OVERRIDDEN)
        return deliver_with(self.deliver, self.kitchen, self.options, db=self.db)
