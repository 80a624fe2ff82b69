"""How fast a CSV file of many rows becomes orders, and in how much memory, in one run.

    python benchmarks/bench_load.py [--rows 1000000] [--mongod PATH]

Each load is a process of its own. The floors beside it do the least that one could: csv.reader and insertion by the
thousand into a bare table or collection, unchecked, unhashed, in one pass. Goals: 200,000 rows/s into SQLite, 80,000
into MongoDB, at most 100 MB and no more than that for ten times the rows, and the same file again in less time than
it took to load. Ends with exit code 1 if one is missed. `--rows 10000` for a quick look.
"""

from __future__ import annotations

import argparse
import csv
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pymongo
from own_mongod import add_mongod_option, server

sys.path.insert(0, str(Path(__file__).parent.parent))

from waiter.kitchen import open_kitchen
from waiter.loading import load

GOAL_SQLITE, GOAL_MONGO, GOAL_MEMORY_MB = 200_000, 80_000, 100
GROWTH = 1.1
"""How much more memory ten times the rows may seem to take: pages that the allocator kept."""

CHUNK = 5000


def write_rows(path: Path, rows: int) -> Path:
    with path.open("w") as file:
        file.writelines(f"input-{n:08}.dat\n" for n in range(rows))
    return path


def load_here(url: str, path: str) -> None:
    """What the child does: load, and print its rate and peak memory."""
    began = time.perf_counter()
    with open_kitchen(url) as kitchen:
        loaded = load(kitchen, path)
    seconds = time.perf_counter() - began
    print(json.dumps({"rate": loaded.rows / seconds, "new": loaded.new, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    # Not getrusage: its maximum counts the parent before exec too.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def loaded(url: str, path: Path) -> tuple[float, int, float]:
    """Rows per second, new orders and peak memory in MB of one load in its own process."""
    argv = [sys.executable, __file__, "--child", url, str(path)]
    said = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return said["rate"], said["new"], said["peak_mb"]


def chunks(path: Path) -> Iterator[list[list[str]]]:
    with path.open(newline="") as file:
        reader = csv.reader(file)
        while chunk := list(islice(reader, CHUNK)):
            yield chunk


def floor_sqlite(path: Path, at: Path) -> float:
    """Rows per second into a bare table with an index on status."""
    rows = 0
    began = time.perf_counter()
    db = sqlite3.connect(at, isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, arguments TEXT, status TEXT);"
        "CREATE INDEX by_status ON orders (status);"
    )
    for chunk in chunks(path):
        db.execute("BEGIN")
        db.executemany("INSERT INTO orders (arguments, status) VALUES (?, 'READY')", chunk)
        db.execute("COMMIT")
        rows += len(chunk)
    db.close()
    return rows / (time.perf_counter() - began)


def floor_mongo(path: Path, url: str) -> float:
    """Rows per second into a bare collection with an index on status."""
    rows = 0
    began = time.perf_counter()
    orders = pymongo.MongoClient(url, w="majority")["floor"]["orders"]
    orders.create_index("status")
    for chunk in chunks(path):
        orders.insert_many([{"arguments": cells, "status": "READY"} for cells in chunk], ordered=False)
        rows += len(chunk)
    return rows / (time.perf_counter() - began)


def lines_for(name: str, url: str, few: Path, many: Path, floor: float, goal: int) -> list[tuple[str, str, bool]]:
    rate, _, peak = loaded(url, few)
    again, new, _ = loaded(url, few)
    ten_rate, _, ten_peak = loaded(url, many)
    return [
        (f"{name}: load", f"{rate:,.0f} rows/s, {rate / floor:.2f} of the floor's {floor:,.0f}", rate >= goal),
        (f"{name}: the same again", f"{again:,.0f} rows/s, {new} new", again > rate and new == 0),
        (f"{name}: ten times the rows", f"{ten_rate:,.0f} rows/s", ten_rate >= goal),
        (f"{name}: memory", f"{peak:.0f} MB, {ten_peak:.0f} MB for ten times the rows", fits(peak, ten_peak)),
    ]


def fits(peak: float, ten_peak: float) -> bool:
    return ten_peak <= GOAL_MEMORY_MB and ten_peak <= peak * GROWTH


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    add_mongod_option(parser)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        load_here(*options.child)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-load-") as name:
        folder = Path(name)
        few = write_rows(folder / "few.csv", options.rows)
        many = write_rows(folder / "many.csv", options.rows * 10)
        floor = floor_sqlite(few, folder / "floor.sqlite")
        lines = lines_for("SQLite", str(folder / "kitchen.sqlite"), few, many, floor, GOAL_SQLITE)
        with server(options.mongod) as (url, _):
            lines += lines_for("MongoDB", f"{url}/bench", few, many, floor_mongo(few, url), GOAL_MONGO)
    for what, text, is_met in lines:
        print(f"{what:<30} {text:<52} {'ok' if is_met else 'MISSED'}")
    return 0 if all(is_met for _, _, is_met in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
