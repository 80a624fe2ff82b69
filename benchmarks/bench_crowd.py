"""A hundred real waiters on one machine, all started at once: whether the books agree, and what it costs.

    python benchmarks/bench_crowd.py [--waiters 100] [--orders 3000] [--sqlite] [--mongod PATH]

Each is a `waiter deliver` of two slots, a process of its own. Each order's command writes its name into a file, which
is what really happened; the kitchen says what it believes. Goals: both name every order once, every waiter ends with 0,
and none reports trouble with the kitchen. Ends with exit code 1 if one is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from own_mongod import add_mongod_option, server

from waiter.kitchen import open_kitchen
from waiter.orders import Batch, Selector

SLOTS = "2"
TROUBLE = ("did not answer", "rejects requests", "is locked", "Traceback")


def load(url: str, orders: int) -> None:
    with open_kitchen(url) as kitchen:
        kitchen.open_batch(Batch("b", "b", "bench", "b", orders, orders, 0, kitchen.now(), is_complete=True))
        kitchen.add("b", ((n, (f"{n}",), None) for n in range(1, orders + 1)))


def crowd(url: str, waiters: int, folder: Path) -> list[int]:
    """Start them all, and wait for them: their exit codes."""
    command = ["sh", "-c", f'echo "$WAITER_ORDER" >> {folder}/really', "sh"]
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parent.parent)}
    crew = []
    for number in range(waiters):
        log = (folder / f"{number}.log").open("wb")
        words = [sys.executable, "-m", "waiter", "deliver", "-k", url, "-n", f"w{number}", "-j", SLOTS, *command]
        crew.append(subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env))
    return [waiter.wait() for waiter in crew]


def check(url: str, orders: int, folder: Path, codes: list[int]) -> list[str]:
    """What is not as it should be."""
    begun = Counter((folder / "really").read_text().split())
    with open_kitchen(url) as kitchen:
        believed = Counter((order.status.value, order.attempt, order.losses) for order in kitchen.find(Selector()))
    said = "".join(log.read_text(errors="replace") for log in folder.glob("*.log"))
    wrong = [f"{n} begun {times} times" for n, times in begun.items() if times != 1]
    wrong += [] if len(begun) == orders else [f"{len(begun)} of {orders} were delivered"]
    wrong += [] if believed == {("DONE", 1, 0): orders} else [f"the kitchen says {dict(believed)}"]
    if any(codes):
        last = (folder / f"{codes.index(max(codes))}.log").read_text(errors="replace").splitlines()[-2:]
        wrong.append(f"{len(codes) - codes.count(0)} waiters failed, one with: {' '.join(last)}")
    return wrong + [f"{said.count(word)} times: {word}" for word in TROUBLE if word in said]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--waiters", type=int, default=100)
    parser.add_argument("--orders", type=int, default=3000)
    parser.add_argument("--sqlite", action="store_true", help="on a file, not on MongoDB")
    add_mongod_option(parser)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-crowd-")))
        mongod = None if options.sqlite else stack.enter_context(server(options.mongod))[0]
        url = f"{mongod}/bench" if mongod else str(folder / "kitchen.sqlite")
        load(url, options.orders)
        before, began = os.times(), time.monotonic()
        codes = crowd(url, options.waiters, folder)
        took, after = time.monotonic() - began, os.times()
        wrong = check(url, options.orders, folder, codes)
        used = after.children_user + after.children_system - before.children_user - before.children_system
    print(
        f"{options.waiters} waiters, {options.orders:,} orders: {took:.0f} s, {used:.0f} s of processor time;"
        f" {'; '.join(wrong) or 'every order once, no trouble'}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
