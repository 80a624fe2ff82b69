"""How long the pages of `waiter serve` take among a million orders of which 200,000 failed, and how much memory.

    python benchmarks/bench_page.py [--rows 1000000] [--mongod PATH]

A real server is asked over HTTP, each page several times; the first answer and the median of the others are printed.
Goals: 0.3 s on SQLite, 0.5 s on MongoDB, and no more memory after all of it than after the first look, but for what the
allocator keeps. Ends with exit code 1 if one is missed.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pymongo
from bench_claims import load
from own_mongod import add_mongod_option, server

sys.path.insert(0, str(Path(__file__).parent.parent))

from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import position_of
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Batch, Selector

ROUNDS = 5
SETTLED_S = 10.0
"""After so long the server has looked at all that it was asked for."""

GOAL_SQLITE_S, GOAL_MONGO_S, GOAL_GROWTH_MB = 0.3, 0.5, 30
ROW = 2**32 - 1
"""What of an order's seq is its row."""

SORTS = ("age", "-age", "-start", "-stop", "-duration")
"""Those that the page offers."""

AT_FIRST = {
    "the very first page": "/",
    "the first of a batch": "/?batch=pile",
    "the first failures of a batch": "/failures?batch=pile",
}
"""What is asked once, while nothing is known of it yet; the batch is all there is, and so costs the most."""

PAGES = {
    "the run": "/",
    "a batch": "/?batch=pile",
    "failures": "/failures",
    "waiters": "/waiters",
    "one order": "/orders/pile-3",
    **{f"orders by {sort}": f"/orders?sort={sort}" for sort in SORTS},
    "failures, latest first": "/orders?status=ERROR&sort=-stop",
    "failures, longest first": "/orders?status=ERROR&sort=-duration",
    "orders of a group": "/orders?status=ERROR&like=00000003&sort=-stop",
    "orders of a host": "/orders?host=host-3",
    "longest running": "/orders?status=RUNNING&sort=start",
    "/api/errors": "/api/errors",
    "/api/status": "/api/status",
    "/api/status of a batch": "/api/status?batch=pile",
    "/metrics": "/metrics",
}

# The last tenth is READY. Of the others two in ten failed in 25 ways on 20 hosts; orders took up to 10 s.
FACTS = {
    "status": "CASE WHEN row % 10 IN (3, 7) THEN 'ERROR' ELSE 'DONE' END",
    "attempt": "1",
    "waiter": "'bench/' || (row % 50)",
    "host": "'host-' || (row % 20)",
    "start": ":now - 100000 + row * 0.09",
    "stop": ":now - 100000 + row * 0.09 + (row * 7919 % 1000) / 100.0",
    "command": "'0123456789ab'",
    "tail": "'first line' || char(10) || 'last line'",
    "exit_code": "CASE WHEN row % 10 IN (3, 7) THEN 3 ELSE 0 END",
    "reason": "CASE WHEN row % 10 IN (3, 7) THEN 'exit' END",
    "error": "CASE WHEN row % 10 IN (3, 7) THEN 'exit code 3: no such tile ' || row END",
    "error_group": "CASE WHEN row % 10 IN (3, 7) THEN printf('%08x', row % 25) END",
}


def worked_in_sqlite(path: Path, rows: int) -> None:
    with open_kitchen(str(path)) as kitchen:
        kitchen.open_batch(Batch("pile", "pile", "bench", "pile", rows, rows, 0, kitchen.now(), True))
        kitchen.add("pile", ((n, (f"input-{n:08}.dat", "--level=3"), None) for n in range(1, rows + 1)))
        now = kitchen.now()
    db = sqlite3.connect(path)
    sets = ", ".join(f"{field} = {value.replace('row', f'(seq & {ROW})')}" for field, value in FACTS.items())
    db.execute(f"UPDATE orders SET {sets} WHERE (seq & {ROW}) <= :worked", {"now": now, "worked": rows * 9 // 10})
    db.commit()
    db.close()


def worked_in_mongodb(url: str, rows: int) -> None:
    """The same, of numbers that the server computes."""
    with MongoKitchen(url, "bench") as kitchen:
        load(kitchen, "pile", rows)
        now = kitchen.now()
    failed = {"$in": [{"$mod": ["$row", 10]}, [3, 7]]}

    def text(word: str, number: object) -> object:
        return {"$concat": [word, {"$toString": number}]}

    start = {"$add": [now - 100000, {"$multiply": ["$row", 0.09]}]}
    took = {"$divide": [{"$mod": [{"$multiply": ["$row", 7919]}, 1000]}, 100]}
    facts = {
        "status": {"$cond": [failed, "ERROR", "DONE"]},
        "attempt": 1,
        "waiter": text("bench/", {"$mod": ["$row", 50]}),
        "host": text("host-", {"$mod": ["$row", 20]}),
        "start": start,
        "stop": {"$add": [start, took]},
        "took": {"$subtract": [{"$add": [start, took]}, start]},
        "command": "0123456789ab",
        "tail": "first line\nlast line",
        "exit_code": {"$cond": [failed, 3, 0]},
    }
    group = {
        "$concat": [
            "000000",
            {"$cond": [{"$lt": [{"$mod": ["$row", 25]}, 10]}, "0", ""]},
            text("", {"$mod": ["$row", 25]}),
        ]
    }
    why = {"reason": "exit", "error": text("exit code 3: no such tile ", "$row"), "error_group": group}
    orders = pymongo.MongoClient(url).bench.orders
    orders.update_many({"row": {"$lte": rows * 9 // 10}}, [{"$set": facts}])
    orders.update_many({"status": "ERROR"}, [{"$set": why}])


@contextmanager
def serving(url: str) -> Iterator[tuple[str, dict[str, str], int]]:
    """A server: its address, the headers that let in, and its pid."""
    words = [sys.executable, "-m", "waiter", "-k", url, "serve", "--listen", "127.0.0.1:0"]
    page = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = urlsplit(page.stdout.readline() if page.stdout else "")
        yield address.netloc, {"Authorization": f"Bearer {address.query.removeprefix('token=').strip()}"}, page.pid
    finally:
        page.send_signal(signal.SIGINT)
        page.wait()


def memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def deep(url: str) -> dict[str, str]:
    """Pages far back in the list: the addresses that following their links leads to."""
    pages = {}
    with open_kitchen(url) as kitchen:
        middle = next(kitchen.find(Selector(ids=("pile-501",))))
        for sort in ("age", "-stop"):
            at = position_of(middle, sort, kitchen.now())
            value = "" if at.value is None else repr(at.value)
            pages[f"orders by {sort}, far back"] = f"/orders?sort={sort}&after={value}~{at.order_id}"
    return pages


def lines(name: str, url: str, goal: float) -> list[tuple[str, str, bool]]:
    found = []
    with serving(url) as (address, headers, pid):
        connection = http.client.HTTPConnection(address, timeout=120)

        def ask(path: str) -> float:
            began = time.perf_counter()
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, (path, answer.status)
            return time.perf_counter() - began

        for page, path in AT_FIRST.items():
            took = ask(path)
            found.append((f"{name}: {page}", f"{took * 1000:.0f} ms", took <= goal))
        connection.close()  # the server ends what is idle for so long; the next question opens it anew
        time.sleep(SETTLED_S)
        before = memory_mb(pid)
        for page, path in (PAGES | deep(url)).items():
            first, *others = (ask(path) for _ in range(ROUNDS))
            usual = statistics.median(others)
            found.append((f"{name}: {page}", f"{usual * 1000:.0f} ms, at first {first * 1000:.0f}", usual <= goal))
        after = memory_mb(pid)
        found.append((f"{name}: memory", f"{before:.0f} MB, then {after:.0f}", after - before <= GOAL_GROWTH_MB))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    add_mongod_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-page-") as folder:
        path = Path(folder, "kitchen.sqlite")
        worked_in_sqlite(path, options.rows)
        found = lines("SQLite", str(path), GOAL_SQLITE_S)
    with server(options.mongod) as (url, _):
        worked_in_mongodb(url, options.rows)
        found += lines("MongoDB", f"{url}/bench", GOAL_MONGO_S)
    for what, text, is_met in found:
        print(f"{what:<40} {text:<32} {'ok' if is_met else 'MISSED'}")
    return 0 if all(is_met for _, _, is_met in found) else 1


if __name__ == "__main__":
    sys.exit(main())
