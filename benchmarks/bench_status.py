"""How long a question takes, start-up included: `waiter status` among a million orders, and `waiter --help`.

    python benchmarks/bench_status.py [--mongod PATH] [--rows 1000000]

Three of four orders are delivered: what `status` counts of those, the command's versions, is the most. Ends with exit
code 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pymongo
from bench_claims import load
from own_mongod import add_mongod_option, server

sys.path.insert(0, str(Path(__file__).parent.parent))

from waiter.kitchen import open_kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Batch

ROUNDS = 7
GOAL_SQLITE_S, GOAL_MONGO_S, GOAL_HELP_S = 0.5, 0.8, 0.15
DELIVERED = {"status": "DONE", "attempt": 1, "waiter": "bench/1", "host": "bench", "start": 1.7e9, "stop": 1.7e9 + 1}
DELIVERED |= {"command": "0123456789ab", "exit_code": 0, "tail": "all is well\n" * 5}


def delivered_in_sqlite(path: Path, rows: int) -> None:
    with open_kitchen(str(path)) as kitchen:
        kitchen.open_batch(Batch("pile", "pile", "bench", "pile", rows, rows, 0, kitchen.now(), True))
        kitchen.add("pile", ((n, (f"input-{n:08}.dat", "--level=3"), None) for n in range(1, rows + 1)))
    db = sqlite3.connect(path)
    sets = ", ".join(f"{field} = :{field}" for field in DELIVERED)
    db.execute(f"UPDATE orders SET {sets} WHERE seq % 4", DELIVERED)
    db.commit()
    db.close()


def delivered_in_mongodb(url: str, rows: int) -> None:
    with MongoKitchen(url, "bench") as kitchen:
        load(kitchen, "pile", rows)
    pymongo.MongoClient(url).bench.orders.update_many({"seq": {"$not": {"$mod": [4, 0]}}}, {"$set": DELIVERED})


def seconds(*arguments: str) -> float:
    """Median seconds that `waiter` takes."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "waiter", *arguments], check=True, capture_output=True)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_mongod_option(parser)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    lines = [("waiter --help", seconds("--help"), GOAL_HELP_S)]
    with tempfile.TemporaryDirectory(prefix="bench-status-") as name:
        path = Path(name, "kitchen.sqlite")
        delivered_in_sqlite(path, options.rows)
        lines.append((f"SQLite: status of {options.rows:,}", seconds("status", "-k", str(path)), GOAL_SQLITE_S))
    with server(options.mongod) as (url, _):
        delivered_in_mongodb(url, options.rows)
        lines.append((f"MongoDB: status of {options.rows:,}", seconds("status", "-k", f"{url}/bench"), GOAL_MONGO_S))
    for what, took, goal in lines:
        print(f"{what:<36} {took:.2f} s of {goal:g}{'':<12} {'ok' if took <= goal else 'MISSED'}")
    return 0 if all(took <= goal for _, took, goal in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
