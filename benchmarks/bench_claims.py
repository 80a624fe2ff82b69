"""How fast waiters claim and finish on MongoDB, against the original program's protocol, in one run.

    python benchmarks/bench_claims.py [--mongod PATH] [--seconds 4] [--rows 1000000]

Orders hold no work. Each waiter is a process of its own: threads would measure Python's lock. The original claimed
with one find_one_and_update and saved with one update, one order at a time, acknowledged from memory (w:1). Goals: at
least five times its rate with 8 waiters and seven times with 32, no order claimed twice, a claim among a million orders
at most 1.5 times one among a thousand, and a claim of one batch among 10,000, on both kitchens, at most 1.5 times one
of any. Ends with exit code 1 if one is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
from own_mongod import add_mongod_option, server

sys.path.insert(0, str(Path(__file__).parent.parent))

from waiter.kitchen.contract import ALL, CLAIM_LIMIT, Kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Batch, Order, Outcome, Scope, Status

DB = "bench"
ROUNDS = 3
BATCHES, ROWS_EACH = 10_000, 10
GOAL_FACTORS = {8: 5.0, 32: 7.0}
GOAL_GROWTH, GOAL_LOAD, GOAL_COUNTS_S = 1.5, 80_000, 0.4

Work = Callable[[str, float, Any], None]


def load(kitchen: MongoKitchen, name: str, rows: int) -> float:
    """Load so many orders; seconds it took."""
    began = time.perf_counter()
    kitchen.open_batch(Batch(name, name, "bench", name, rows, rows, 0, kitchen.now(), False))
    kitchen.add(name, ((n, (f"input-{n:08}.dat", "--level=3"), None) for n in range(1, rows + 1)))
    return time.perf_counter() - began


def ours(url: str, until: float, claims: Any) -> None:
    """One waiter: claim as many as a claim gives, finish them, tell which they were."""
    with MongoKitchen(url, DB) as kitchen:
        shift = kitchen.check_in("bench", "localhost", 1)
        mine: list[str] = []
        while time.time() < until and (orders := kitchen.claim(shift, CLAIM_LIMIT)):
            kitchen.finish(shift, [done(order) for order in orders])
            mine += [f"{order.id}/{order.attempt}" for order in orders]
        claims.put(mine)


def done(order: Order) -> Outcome:
    start = order.start or 0.0
    return Outcome(order.id, order.attempt, Status.DONE, start, start + 0.001, exit_code=0, command="0123abcd")


def original(url: str, until: float, claims: Any) -> None:
    """One waiter of 2014: find_and_modify, then save."""
    orders = pymongo.MongoClient(url, w=1)[DB]["old_orders"]
    mine: list[str] = []
    while time.time() < until:
        changes = {"$set": {"status": "RUNNING", "start": time.time(), "waiter": "bench/1"}}
        order = orders.find_one_and_update({"status": "READY"}, changes, return_document=True)
        if order is None:
            break
        order.update(status="DONE", stop=time.time())
        orders.replace_one({"_id": order["_id"]}, order, upsert=True)
        mine.append(str(order["_id"]))
    claims.put(mine)


def race(work: Work, url: str, waiters: int, seconds: float) -> tuple[float, int]:
    """Orders per second of so many waiters together, and how many orders were claimed twice."""
    claims: Any = multiprocessing.Queue()
    began = time.time() + 1.0 + waiters * 0.05
    until = began + seconds
    processes = [
        multiprocessing.Process(target=_wait_and, args=(work, url, began, until, claims)) for _ in range(waiters)
    ]
    for process in processes:
        process.start()
    seen = Counter(claim for _ in processes for claim in claims.get())
    for process in processes:
        process.join()
    return sum(seen.values()) / seconds, sum(n - 1 for n in seen.values())


def _wait_and(work: Work, url: str, began: float, until: float, claims: Any) -> None:
    time.sleep(max(0.0, began - time.time()))
    work(url, until, claims)


def race_both(url: str, waiters: int, seconds: float) -> tuple[float, float, int]:
    """The original's rate, ours, and orders that ours gave out twice.

    Medians of rounds that alternate, each on a fresh pile: a busy machine is then busy for both.
    """
    slow, fast, twice = [], [], 0
    for _ in range(ROUNDS):
        pile_for_original(url, int(5000 * seconds))
        slow.append(race(original, url, waiters, seconds)[0])
        pymongo.MongoClient(url).drop_database(DB)
        with MongoKitchen(url, DB) as kitchen:
            load(kitchen, "pile", int(30_000 * seconds))
        rate, repeated = race(ours, url, waiters, seconds)
        fast.append(rate)
        twice += repeated
    return statistics.median(slow), statistics.median(fast), twice


def pile_for_original(url: str, rows: int) -> None:
    """Its orders, with an index that makes its claims as cheap as they can be."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url)
    client.drop_database(DB)
    orders = client[DB]["old_orders"]
    orders.create_index("status")
    orders.insert_many([{"status": "READY", "arguments": [f"input-{n:08}.dat", "--level=3"]} for n in range(rows)])


def claim_ms(url: str, limit: int) -> float:
    """Median milliseconds of one claim; what it takes is given back."""
    with MongoKitchen(url, DB) as kitchen:
        shift = kitchen.check_in("bench", "localhost", 1)
        took = []
        for _ in range(60):
            began = time.perf_counter()
            orders = kitchen.claim(shift, limit)
            took.append(time.perf_counter() - began)
            kitchen.release(shift, orders)
        return statistics.median(took) * 1000


def growth(url: str, rows: int) -> list[tuple[str, str, bool]]:
    """What a claim costs among a thousand and among `rows` orders, and how fast those are loaded and counted."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(url)
    client.drop_database(DB)
    with MongoKitchen(url, DB) as kitchen:
        load(kitchen, "few", 1000)
        few = {limit: claim_ms(url, limit) for limit in (1, CLAIM_LIMIT)}
        rate = rows / load(kitchen, "many", rows)
        began = time.perf_counter()
        kitchen.counts()
        counted = time.perf_counter() - began
    lines = [
        (f"load {rows:,} orders", f"{rate:,.0f}/s", rate >= GOAL_LOAD),
        (f"counts of {rows:,}", f"{counted:.2f} s", counted <= GOAL_COUNTS_S),
    ]
    for limit, before in few.items():
        after = claim_ms(url, limit)
        text = f"{before:.2f} ms → {after:.2f} ms"
        lines.append((f"claim of {limit}: 1,000 → {rows:,}", text, after <= before * GOAL_GROWTH))
    return lines


def by_batch(name: str, kitchen: Kitchen) -> list[tuple[str, str, bool]]:
    """What a claim of one batch's orders costs, and one of half of all batches, beside a claim of any; in turns."""
    for number in range(BATCHES):
        batch = f"b{number:05}"
        kitchen.open_batch(Batch(batch, batch, batch, batch, ROWS_EACH, ROWS_EACH, 0, kitchen.now(), True))
        kitchen.add(batch, ((n, (str(n),), None) for n in range(1, ROWS_EACH + 1)))
    scopes = {
        "any": ALL,
        "one batch": Scope((f"b{BATCHES // 2:05}",)),
        "half of the batches": Scope(tuple(f"b{number:05}" for number in range(BATCHES // 2, BATCHES))),
    }
    shift = kitchen.check_in("bench", "localhost", 1)
    took: dict[str, list[float]] = {what: [] for what in scopes}
    for _ in range(60):
        for what, scope in scopes.items():
            began = time.perf_counter()
            orders = kitchen.claim(shift, 1, scope=scope)
            took[what].append(time.perf_counter() - began)
            kitchen.release(shift, orders)
    medians = {what: statistics.median(times) * 1000 for what, times in took.items()}
    return [
        (
            f"{name}: claim of any → of {what}",
            f"{medians['any']:.2f} ms → {medians[what]:.2f} ms",
            medians[what] <= medians["any"] * GOAL_GROWTH,
        )
        for what in list(scopes)[1:]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_mongod_option(parser)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    lines: list[tuple[str, str, bool]] = []
    with server(options.mongod) as (url, _):
        for waiters, goal in GOAL_FACTORS.items():
            slow, fast, twice = race_both(url, waiters, options.seconds)
            text = f"{slow:,.0f}/s → {fast:,.0f}/s, {fast / slow:.1f} times, {twice} twice"
            lines.append((f"{waiters} waiters: original → waiter", text, fast >= slow * goal and not twice))
        lines += growth(url, options.rows)
        pymongo.MongoClient(url).drop_database(DB)
        with MongoKitchen(url, DB) as mongo:
            lines += by_batch("MongoDB", mongo)
    with tempfile.TemporaryDirectory(prefix="bench-claims-") as folder, SqliteKitchen(Path(folder, "k")) as sqlite:
        lines += by_batch("SQLite", sqlite)
    for name, text, is_met in lines:
        print(f"{name:<48} {text:<44} {'ok' if is_met else 'MISSED'}")
    return 0 if all(is_met for _, _, is_met in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
