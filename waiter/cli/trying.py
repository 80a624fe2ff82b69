"""Trying things out before it costs: `pilot` delivers a few orders and reckons with them, `try` runs one aside."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click

from waiter.cli.delivery_options import delivery_options
from waiter.cli.options import Duration, chosen, complete_file, kitchen_options, opened, plural, say
from waiter.cli.tables import shortened, show_json, write_line
from waiter.delivery.command import command
from waiter.delivery.environment import inherited
from waiter.delivery.executors import deliver as deliver_orders
from waiter.delivery.executors import stdin_json
from waiter.delivery.listener import Listener, Summary
from waiter.delivery.options import DeliveryOptions, Grouping, Until, cpu_count, slots
from waiter.delivery.placeholders import refuse_if_none_fits
from waiter.durations import words
from waiter.errors import UsageError
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.orders import Order, Outcome, Reason, Selector, Shift, Status
from waiter.report.eta import Eta
from waiter.report.formatting import plain, size
from waiter.report.projection import Sample, cost, projected

FIRST = 2**31 - 1
"""The priority of a pilot's orders while it runs."""

COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}


class Observer(Listener):
    """Remembers how attempts ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def checked_in(self, shift: Shift) -> None:
        if shift.is_paused:
            say("All waiters are paused, and so is this one. Let them go on: waiter resume")

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


@click.command(context_settings=COMMAND)
@click.option(
    "-n", "--orders", "count", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="How many."
)
@click.option("-j", "--jobs", metavar="N", help="Slots here: a number, auto, or 50% of the CPUs. Default: 1.")
@click.option("--hosts", type=click.IntRange(min=1), metavar="N", help="Reckon for so many hosts …")
@click.option(
    "--slots", "per_host", type=click.IntRange(min=1), metavar="N", help="… with so many slots each. Default: as here."
)
@click.option("--price", type=click.FloatRange(min=0), metavar="PRICE", help="What one host costs per hour.")
@click.option("--shell", is_flag=True, default=None, help="The command is a line for sh; {1} or $1 is one word.")
@click.option("--timeout", type=Duration(), help="Stop an order that runs longer.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@kitchen_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…")
def pilot(kitchen: str | None, db: str | None, count: int, hosts: int | None, per_host: int | None,
          price: float | None, is_json: bool, command: tuple[str, ...], **said: Any) -> int:  # fmt: skip
    """Deliver a few random orders here, then say what all the others will take, and cost.

    They are real deliveries: what is DONE stays done. Failures are not tried again.

    \b
    waiter pilot -n 20 ./crunch.sh
    waiter pilot -n 50 -j4 --hosts 40 --slots 8 --price 0.17 ./crunch.sh
    """
    settings = chosen(kitchen, db)
    timeout = None if said["timeout"] is None else str(said["timeout"])
    flags = {**said, "timeout": timeout, "retries": 0, "max_orders": count}
    flags |= {"until": Until.EMPTY.value, "grouping": Grouping.NONE.value}
    options = delivery_options(flags, settings.deliver, settings.name, file=settings.file)
    here = slots(options.jobs, cpu_count())
    observer = Observer()
    with opened(settings) as place:
        picked = drawn(place, count, random.Random())
        if not picked:
            raise UsageError("pilot: no order is READY. Load some: waiter load FILE")
        with _put_first(place, picked):
            summary = deliver_orders(
                lambda: open_kitchen(settings.kitchen, settings.db, create=False), command, options, listener=observer
            )
        left = place.counts()[Status.READY]
    if not observer.outcomes:
        say("No order was delivered: others were faster, or the waiters are paused.")
        return summary.exit_code or 1
    sample = observer.sample()
    places = [(1, here)] + ([(hosts or 1, per_host or here)] if hosts or per_host else [])
    if is_json:
        show_json(_pilot_facts(sample, left, places, price))
    else:
        _tell_pilot(sample, observer.outcomes, left, places, price)
    return _exit_code(sample, summary)


def _exit_code(sample: Sample, summary: Summary) -> int:
    return summary.exit_code or (1 if sample.failed else 0)


def drawn(place: Kitchen, count: int, rng: random.Random) -> list[Order]:
    """Up to `count` random READY orders.

    Guesses ids, which name batch and row, so that a million orders need not be read; goes through all READY ones
    when few are left among many.
    """
    batches = [batch for batch in place.batches() if batch.rows]
    found: dict[str, Order] = {}
    for _ in range(10 if batches else 0):
        guesses = rng.choices(batches, weights=[batch.rows for batch in batches], k=max(100, 2 * count))
        ids = tuple({f"{batch.id}-{rng.randint(1, batch.rows + 1)}" for batch in guesses})
        found |= {order.id: order for order in place.find(Selector(ids=ids, statuses=(Status.READY,)))}
        if len(found) >= count:
            return rng.sample(list(found.values()), count)
    return _reservoir(place.find(Selector(statuses=(Status.READY,))), count, rng)


def _reservoir(orders: Iterator[Order], count: int, rng: random.Random) -> list[Order]:
    """`count` of a stream of unknown length, each equally likely (Vitter's algorithm R)."""
    kept = list(islice(orders, count))
    for number, order in enumerate(orders, len(kept)):
        if (place := rng.randint(0, number)) < count:
            kept[place] = order
    return kept


@contextmanager
def _put_first(place: Kitchen, picked: Sequence[Order]) -> Iterator[None]:
    """Inside, these orders go before all others; afterwards those that are still READY have their priority again."""
    place.set_priority(Selector(ids=tuple(order.id for order in picked)), FIRST)
    try:
        yield
    finally:
        for priority in {order.priority for order in picked}:
            ids = tuple(order.id for order in picked if order.priority == priority)
            place.set_priority(Selector(ids=ids), priority)


def _pilot_facts(
    sample: Sample, left: int, places: Sequence[tuple[int, int]], price: float | None
) -> dict[str, object]:
    low, high = sample.failing()
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
    low, high = sample.failing()
    write_line(f"delivered:  {plural(sample.count, 'order')}")
    write_line(f"failed:     {sample.failed} ({sample.failed / sample.count:.0%}); of all, {low:.0%} to {high:.0%}")
    kinds = Counter(outcome.error_group for outcome in outcomes if outcome.reason is not None)
    for group, number in kinds.most_common(5):
        message = next(outcome.error or "" for outcome in outcomes if outcome.error_group == group)
        write_line(f"            {number} {shortened(plain(message), 60)}")
    times = [words(value) for value in (sample.quantile(0.5), sample.quantile(0.95), sample.seconds[-1])]
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


@click.command("try", context_settings=COMMAND)
@click.option("--shell", is_flag=True, help="The command is a line for sh; {1} or $1 is one word.")
@click.option("--stdin", type=click.Choice(["none", "json"]), default="none", help="json: the arguments as JSON.")
@click.option("--cwd", metavar="DIR", help="Where the command runs.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object; the command's output goes to stderr.")
@kitchen_options
@click.argument("order_id", metavar="ORDER")
@click.argument("words_", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_file, metavar="CMD…", required=True)
def try_(kitchen: str | None, db: str | None, order_id: str, words_: tuple[str, ...], shell: bool, stdin: str,
         cwd: str | None, is_json: bool) -> int:  # fmt: skip
    """Run CMD here with the arguments of one order. The kitchen never hears of it. Ends with CMD's exit code.

    \b
    waiter try 7f2e90c14ab3-17 ./crunch.sh --verbose
    """
    with opened(chosen(kitchen, db)) as place:
        order = next(place.find(Selector(ids=(order_id,)), limit=1), None)
    if order is None:
        raise UsageError(f"no such order: {order_id}. See: waiter orders")
    template = command(words_, shell=shell, cwd=cwd)
    refuse_if_none_fits(template.argv, [order])
    argv = template.argv(order)
    options = DeliveryOptions(cwd=cwd, stdin=stdin)
    code, seconds_, result, message = _tried(order, argv, template.program, options, is_json)
    if is_json:
        facts = {"order": order.id, "argv": list(argv), "exit_code": code, "seconds": round(seconds_, 3)}
        show_json({**facts, "result": result, "error": message})
        return code
    say(f"{order.id}: exit code {code} after {words(seconds_)}.")
    for title, text in (("Result", result), ("Error", message)):
        if text:
            say(f"{title}: {text}")
    return code


def _tried(
    order: Order, argv: Sequence[str], program: str, options: DeliveryOptions, is_json: bool
) -> tuple[int, float, str | None, str | None]:
    """Exit code as a shell gives it, seconds, result and message of the command."""
    with tempfile.TemporaryDirectory(prefix="waiter-try-") as folder:
        files = {"WAITER_RESULT": Path(folder, "result"), "WAITER_ERROR": Path(folder, "error")}
        env = inherited(os.environ)
        env |= {"WAITER_ORDER": order.id, "WAITER_ATTEMPT": str(order.attempt + 1), "WAITER_SLOT": "1"}
        env |= {"WAITER_NAME": "try", **{key: str(file) for key, file in files.items()}}
        given: dict[str, Any] = (
            {"input": stdin_json(order)} if options.stdin == "json" else {"stdin": subprocess.DEVNULL}
        )
        began = time.monotonic()
        try:
            out = 2 if is_json else None
            done = subprocess.run(argv, executable=program, env=env, cwd=options.cwd, stdout=out, check=False, **given)
        except (OSError, ValueError) as error:
            raise UsageError(f"{order.id}: the command cannot be started with these arguments: {error}") from None
        seconds_ = time.monotonic() - began
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        result, message = (file.read_text(errors="replace") if file.exists() else None for file in files.values())
    return code, seconds_, result, message
