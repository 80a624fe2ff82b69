"""Whether a command fits the orders that wait for it, found out before anybody delivers with it, or has its program."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from waiter.delivery.batch_scope import BatchScope, bound_words, wanted
from waiter.delivery.claims import LOOKED_AT
from waiter.delivery.command import Command
from waiter.delivery.earlier import with_earlier
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.output_names import stem
from waiter.delivery.placeholders import refuse_if_none_fits
from waiter.errors import UsageError
from waiter.kitchen.contract import Kitchen
from waiter.orders import Batch, Order, Selector, Status

BATCHES_LOOKED_AT = 100
"""So many batches with work, the latest first."""


def check_command(kitchen: Kitchen, words: Sequence[str], options: DeliveryOptions) -> list[str]:
    """What to know before waiters of this kitchen get this command, which need not be on this machine.

    Batches of which no order has what the command asks for are named. A batch that another command only failed with
    goes over to this one, as it does when a waiter starts. Raises UsageError where no batch that waits for the command
    fits, and for a batch that is asked for and not there.
    """
    bound = bound_words(words, shell=options.shell, literal=options.literal)
    command = Command(tuple(words), "", options.shell, options.literal)
    scope = BatchScope(kitchen, bound, wanted(options))
    scope.check()
    notes = []
    try:
        scope.refuse_if_all_are_others()
    except UsageError as error:
        notes.append(str(error))  # waiters that stay find what comes later

    def fill(order: Order) -> object:
        name = stem(options.output_format, order) if options.output else None
        return command.argv(order), command.variables(order), name

    fits, unfit = 0, list[UsageError]()
    for batch in islice(_with_work(kitchen, scope), BATCHES_LOOKED_AT):
        orders = kitchen.find(Selector(batch=batch.id), limit=LOOKED_AT)
        first = next(kitchen.find(Selector(batch=batch.id), limit=1))
        try:
            refuse_if_none_fits(fill, with_earlier(kitchen, orders, scope.stages_before(first, bound)))
            fits += 1
        except UsageError as error:
            unfit.append(error)
            notes.append(f"Batch {batch.name or batch.id} will be left alone: {error}")
    if unfit and not fits:
        raise unfit[0]
    return notes


def _with_work(kitchen: Kitchen, scope: BatchScope) -> list[Batch]:
    mine = [batch for batch in kitchen.batches() if scope.takes(batch.id)]
    latest = sorted(mine, key=lambda batch: batch.loaded_at, reverse=True)
    return [batch for batch in latest if any(kitchen.find(Selector(statuses=(Status.READY,), batch=batch.id), limit=1))]
