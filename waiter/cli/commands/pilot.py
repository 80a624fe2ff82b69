"""Deliver a random sample, and estimate what the rest takes.

It projects time, memory and cost of all the others.

They are real deliveries: what is DONE stays done. Failures are not tried again.

\b
waiter pilot -n 20 ./crunch.sh
waiter pilot -n 50 -j4 --hosts 40 --slots 8 --price 0.17 ./crunch.sh
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

import click

from waiter.cli.console import say
from waiter.cli.delivery_options import choosing_orders, options_for, saying_needs
from waiter.cli.help_groups import GroupedOptions
from waiter.cli.options import COMMAND, Duration, complete_file, open_kitchen_or_exit, with_settings
from waiter.cli.tables import show_json, write_line
from waiter.delivery.batch_scope import BatchScope, bound_words, wanted
from waiter.delivery.executors import deliver as deliver_orders
from waiter.delivery.listener import Listener, Summary
from waiter.delivery.options import Grouping, Until, slots
from waiter.durations import format_duration
from waiter.errors import UsageError
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Outcome, Reason, Scope, Selector, Shift, Status, is_in_scope
from waiter.report.eta import Eta
from waiter.report.formatting import escape_control, plural, size, truncate
from waiter.report.projection import Sample, cost, projected
from waiter.settings import Settings

FIRST = 2**31 - 1
"""The priority of a pilot's orders while it runs."""


class Observer(Listener):
    """Remembers how attempts ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def checked_in(self, shift: Shift) -> None:
        if shift.is_paused:
            say("All waiters are paused, this one too. Run: waiter resume")

    def finished(self, order: Order, outcome: Outcome) -> None:
        if outcome.reason not in (Reason.INTERRUPTED, Reason.CANCELLED):
            self.outcomes.append(outcome)

    def noted(self, message: str) -> None:
        say(message)

    def sample(self) -> Sample:
        """What was measured."""
        memories = [o.peak_memory for o in self.outcomes if o.peak_memory is not None]
        return Sample(
            seconds=tuple(sorted(o.duration_s for o in self.outcomes)),
            failed=sum(o.reason is not None for o in self.outcomes),
            peak_memory=max(memories, default=None),
        )


@click.command(help=__doc__, context_settings=COMMAND, cls=GroupedOptions)
@click.option(
    "-n", "--orders", "count", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="How many."
)
@click.option("-j", "--jobs", metavar="N", help="Slots here: a number, auto, or 50% of the CPUs. Default: 1.")
@click.option("--hosts", type=click.IntRange(min=1), metavar="N", help="Estimate for N hosts.")
@click.option(
    "--slots",
    "per_host",
    type=click.IntRange(min=1),
    metavar="N",
    help="Slots of each of these hosts. Default: as here.",
)
@click.option("--price", type=click.FloatRange(min=0), metavar="PRICE", help="What one host costs per hour.")
@click.option("--shell", is_flag=True, default=None, help="The command is a line for sh; {1} or $1 is one word.")
@click.option("--timeout", type=Duration(), help="Stop an order that runs longer.")
@choosing_orders
@saying_needs
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@with_settings
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def pilot(settings: Settings, count: int, hosts: int | None, per_host: int | None,
          price: float | None, is_json: bool, command: tuple[str, ...],
          jobs: str | None, shell: bool | None, timeout: float | None,
          choice: Mapping[str, object], needed: Mapping[str, object]) -> int:  # fmt: skip
    flags = {
        **choice,
        **needed,
        "jobs": jobs,
        "shell": shell,
        "timeout": None if timeout is None else str(timeout),
        "retries": 0,
    }
    flags |= {"max_orders": count, "until": Until.EMPTY.value, "grouping": Grouping.NONE.value}
    options = options_for(command, flags, settings)
    here = slots(options.jobs)
    observer = Observer()
    with open_kitchen_or_exit(settings) as kitchen:
        scope = BatchScope(kitchen, bound_words(command, shell=options.shell, literal=options.literal), wanted(options))
        scope.check()
        scope.refuse_if_all_are_others()
        picked = sample_orders(kitchen, count, random.Random(), scope.all())
        if not picked:
            raise UsageError("pilot: no order is READY\nhint: load some: waiter load FILE")
        with _put_first(kitchen, picked):
            summary = deliver_orders(
                lambda: open_kitchen(settings.kitchen, settings.db, create=False), command, options, listener=observer
            )
        left = kitchen.counts()[Status.READY]
    if not observer.outcomes:
        say("No order was delivered: other waiters took them, or the waiters are paused.")
        return summary.ending(0) or 1
    sample = observer.sample()
    places = [(1, here)] + ([(hosts or 1, per_host or here)] if hosts or per_host else [])
    if is_json:
        show_json(_pilot_facts(sample, left, places, price))
    else:
        _tell_pilot(sample, observer.outcomes, left, places, price)
    return _exit_code(sample, summary)


def _exit_code(sample: Sample, summary: Summary) -> int:
    """Not a limit that was reached: that is what a pilot is."""
    code = summary.ending(summary.left if summary.signal else 0)
    return code or (1 if sample.failed else 0)


def sample_orders(kitchen: Kitchen, count: int, rng: random.Random, scope: Scope) -> list[Order]:
    """Up to `count` random READY orders of the scope.

    Guesses ids, which name batch and row, so that a million orders need not be read; goes through all READY ones
    when few are left among many.
    """
    every = kitchen.batches()
    batches = [batch for batch in every if batch.rows and (scope.batches is None or batch.id in scope.batches)]
    found: dict[str, Order] = {}
    for _ in range(10 if batches else 0):
        guesses = rng.choices(batches, weights=[batch.rows for batch in batches], k=max(100, 2 * count))
        ids = tuple({f"{batch.id}-{rng.randint(1, batch.rows + 1)}" for batch in guesses})
        guessed = kitchen.find(Selector(ids=ids, statuses=(Status.READY,)))
        found |= {order.id: order for order in guessed if is_in_scope(order, scope)}
        if len(found) >= count:
            return rng.sample(list(found.values()), count)
    ready = kitchen.find(Selector(statuses=(Status.READY,)))
    return _reservoir((order for order in ready if is_in_scope(order, scope)), count, rng)


def _reservoir(orders: Iterator[Order], count: int, rng: random.Random) -> list[Order]:
    """`count` of a stream of unknown length, each equally likely (Vitter's algorithm R)."""
    kept = list(islice(orders, count))
    for number, order in enumerate(orders, len(kept)):
        if (index := rng.randint(0, number)) < count:
            kept[index] = order
    return kept


@contextmanager
def _put_first(kitchen: Kitchen, picked: Sequence[Order]) -> Iterator[None]:
    """Inside, these orders go before all others; afterwards those that are still READY have their priority again."""
    kitchen.set_priority(Selector(ids=tuple(order.id for order in picked)), FIRST)
    try:
        yield
    finally:
        for priority in {order.priority for order in picked}:
            ids = tuple(order.id for order in picked if order.priority == priority)
            kitchen.set_priority(Selector(ids=ids), priority)


def _pilot_facts(
    sample: Sample, left: int, places: Sequence[tuple[int, int]], price: float | None
) -> dict[str, object]:
    low, high = sample.failure_interval()
    return {
        "orders": sample.count,
        "failed": sample.failed,
        "failure_rate": sample.failed / sample.count,
        "failure_range": [low, high],
        "seconds": {
            "mean": sample.mean_s,
            "p50": sample.quantile(0.5),
            "p95": sample.quantile(0.95),
            "max": sample.seconds[-1],
        },
        "peak_memory": sample.peak_memory,
        "left": left,
        "projected": [
            {
                "hosts": hosts,
                "slots": slots_,
                "eta": [end.soonest_s, end.latest_s],
                "cost": None if price is None else list(cost(end, hosts, price)),
            }
            for hosts, slots_, end in _ends(sample, left, places)
        ],
    }


def _ends(sample: Sample, left: int, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, Eta]]:
    for hosts, slots_ in places:
        if end := projected(sample, left, hosts * slots_):
            yield hosts, slots_, end


def _tell_pilot(
    sample: Sample,
    outcomes: Sequence[Outcome],
    left: int,
    places: Sequence[tuple[int, int]],
    price: float | None,
) -> None:
    low, high = sample.failure_interval()
    write_line(f"delivered:  {plural(sample.count, 'order')}")
    write_line(f"failed:     {sample.failed} ({sample.failed / sample.count:.0%}); of all, {low:.0%} to {high:.0%}")
    kinds = Counter(outcome.error_group for outcome in outcomes if outcome.reason is not None)
    for group, number in kinds.most_common(5):
        message = next(outcome.error or "" for outcome in outcomes if outcome.error_group == group)
        write_line(f"            {number} {truncate(escape_control(message), 60)}")
    times = [format_duration(value) for value in (sample.quantile(0.5), sample.quantile(0.95), sample.seconds[-1])]
    write_line(f"time:       {times[0]} median, {times[1]} for 95 %, {times[2]} at most")
    if sample.peak_memory is not None:
        at_once = size(sample.peak_memory * places[-1][1])
        write_line(f"memory:     {size(sample.peak_memory)} at most; {at_once} for {plural(places[-1][1], 'slot')}")
    write_line(f"left:       {plural(left, 'READY order')}")
    for number, (hosts, slots_, end) in enumerate(_ends(sample, left, places)):
        where = "here" if not number else plural(hosts, "host")
        costs = ""
        if price is not None:
            least, most = (f"{value:,.2f}" for value in cost(end, hosts, price))
            range_ = least if least == most else f"{least} to {most}"
            costs = f", cost {'under 0.01' if most == '0.00' and price else range_}"
        write_line(f"all done:   {end} ({where}, {plural(slots_, 'slot')}{' each' if hosts > 1 else ''}){costs}")
