"""How fast Python functions are called: in threads and processes, one order or a hundred at a time.

    python benchmarks/bench_functions.py [--orders 6000] [--rounds 5]

Every round measures all ways one after the other, on an SQLite file, from the start of the first order to the end of
the last; the ratios are those of the same round, their medians are shown. Goals: two processes 1.8 times one where the
function needs the CPU, 3,000 empty calls a second in batches of 100.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import function_work

from waiter import DeliveryOptions, deliver_with, iter_orders, load_rows, open_kitchen

CPU_GOAL = 1.8
CALLS_GOAL = 3000
CPU_ORDERS = 200


@dataclass(frozen=True)
class Way:
    """One way of calling a function."""

    title: str
    function: Callable[..., Any]
    options: dict[str, Any]
    orders: int


def ways(orders: int) -> list[Way]:
    crunch, one, many = function_work.crunch, function_work.nothing, function_work.nothing_at_all
    two = {"jobs": 2, "processes": True}
    return [
        Way("CPU, 1 thread", crunch, {"jobs": 1}, CPU_ORDERS),
        Way("CPU, 1 process", crunch, {"jobs": 1, "processes": True}, CPU_ORDERS),
        Way("CPU, 2 processes", crunch, two, CPU_ORDERS),
        Way("empty, 2 threads", one, {"jobs": 2}, orders),
        Way("empty, 2 processes", one, two, orders),
        Way("empty, 2 threads, 100 a call", many, {"jobs": 2, "many": 100}, orders),
        Way("empty, 2 processes, 100 a call", many, {**two, "many": 100}, orders),
    ]


def rate(way: Way, folder: str) -> float:
    """Orders per second."""
    url = f"{folder}/{time.monotonic_ns()}.sqlite"
    with open_kitchen(url) as kitchen:
        load_rows(kitchen, [[str(number)] for number in range(way.orders)])
    summary = deliver_with(way.function, url, DeliveryOptions(**way.options))
    if summary.delivered != way.orders:
        raise RuntimeError(f"{way.title}: {summary}")
    with open_kitchen(url) as kitchen:
        times = [(order.start or 0.0, order.stop or 0.0) for order in iter_orders(kitchen)]
    return way.orders / (max(stop for _, stop in times) - min(start for start, _ in times))


def shown(rates: dict[str, list[float]]) -> int:
    """Print the table; 1 if a goal was missed."""
    for title, values in rates.items():
        print(f"{title:32} {statistics.median(values):8,.0f}/s   ({min(values):,.0f} to {max(values):,.0f})")
    ratios = [two / one for one, two in zip(rates["CPU, 1 process"], rates["CPU, 2 processes"], strict=True)]
    gain, calls = statistics.median(ratios), statistics.median(rates["empty, 2 processes, 100 a call"])
    print(f"2 processes are {gain:.2f} times 1 (goal {CPU_GOAL}); {calls:,.0f} empty calls/s (goal {CALLS_GOAL:,})")
    return 0 if gain >= CPU_GOAL and calls >= CALLS_GOAL else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--orders", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=5)
    said = parser.parse_args()
    rates: dict[str, list[float]] = {way.title: [] for way in ways(said.orders)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(said.rounds):
            for way in ways(said.orders):
                rates[way.title].append(rate(way, folder))
    return shown(rates)


if __name__ == "__main__":
    sys.exit(main())
