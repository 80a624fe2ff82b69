"""Whether a waiter stays as it is: its rate and memory over many orders, and what it asks of the kitchen.

    python benchmarks/bench_endurance.py [--orders 100000] [--seconds 60] [--mongod PATH]

On both kitchens, `waiter deliver -j2 /bin/true` in a process of its own. Goals: 100,000 orders are delivered at 0.9 of
the rate of 3,000 or faster (median of three before and after); the resident memory of waiter, guard and runner together
(the sum of their RSS) stays below 40 MB on SQLite and 60 MB on MongoDB, with at most 5 % more in the last quarter than
in the second; no descriptor more at the end than in the first quarter. Then a waiter without work and one whose 16
slots are busy with long orders, side by side for a minute: their operations on the kitchen (calls of its contract)
differ by 2 at most. Ends with exit code 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from bench_delivery import prepared
from own_mongod import add_mongod_option, server

from waiter.kitchen import open_kitchen
from waiter.orders import Status

GOAL_RATE, GOAL_GROWTH, GOAL_DIFFERENCE = 0.9, 1.05, 2
GOAL_MB = {"SQLite": 40.0, "MongoDB": 60.0}
FEW, EVERY_S, SETTLED_S = 3000, 0.5, 5.0

COUNTING = """
import signal
from waiter.cli import main
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.kitchen.sqlite.kitchen import SqliteKitchen

operations = 0
ASKED = "check_in heartbeat change_token check_out shifts claim held finish release reclaim backlog".split()

def counted(method):
    def ask(*words, **options):
        global operations
        operations += 1
        return method(*words, **options)
    return ask

for kitchen in (SqliteKitchen, MongoKitchen):
    for name in ASKED:
        setattr(kitchen, name, counted(getattr(kitchen, name)))
signal.signal(signal.SIGUSR1, lambda *_: print(operations, flush=True))
main()
"""
"""`waiter` that counts what it asks of its kitchen, and prints the count at each SIGUSR1."""


def family(pid: int) -> list[int]:
    """The waiter, its guard and its runner: the first child of each."""
    found = [pid]
    for _ in range(2):
        try:
            children = Path(f"/proc/{found[-1]}/task/{found[-1]}/children").read_text().split()
        except OSError:
            break
        if not children:
            break
        found.append(int(children[0]))
    return found


def megabytes(pids: Sequence[int]) -> float:
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids) / 2**20


def descriptors(pids: Sequence[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def deliver(url: str, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "waiter", "deliver", "-k", url, "-j2", *words]
    return subprocess.Popen(command, cwd=Path(__file__).parent.parent, stderr=subprocess.DEVNULL)


def few(url: str) -> float:
    """Orders per second over FEW orders."""
    prepared(url, FEW)
    began = time.perf_counter()
    if deliver(url, "/bin/true").wait() != 0:
        raise RuntimeError("the waiter failed")
    return FEW / (time.perf_counter() - began)


def many(url: str, orders: int) -> tuple[float, list[float], list[int]]:
    """Orders per second, and samples of memory (MB) and of open descriptors while they were delivered."""
    prepared(url, orders)
    began = time.perf_counter()
    waiter = deliver(url, "/bin/true")
    memory, open_files = [], []
    while waiter.poll() is None:
        try:
            if len(pids := family(waiter.pid)) == 3:
                memory.append(megabytes(pids))
                open_files.append(descriptors(pids))
        except OSError:
            pass  # it is just going
        time.sleep(EVERY_S)
    return orders / (time.perf_counter() - began), memory, open_files


def quarter(samples: Sequence[float], number: int) -> float:
    """The median of the first (1) to last (4) quarter."""
    size = max(1, len(samples) // 4)
    return statistics.median(samples[(number - 1) * size : number * size] or samples[-1:])


def operations(url: str, seconds: float) -> dict[str, int]:
    """What a waiter without work and one with 16 long orders ask of their kitchens in so many seconds."""
    loads, waiters = {"idle": 0, "busy": 16}, {}
    for name, orders in loads.items():
        place = f"{url}-{name}"
        prepared(place, orders)
        words = ["deliver", "-k", place, "-j16", "--until", "stopped", "sh", "-c", "sleep 1000"]
        command = [sys.executable, "-c", COUNTING, *words]
        waiters[name] = subprocess.Popen(
            command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    with open_kitchen(f"{url}-busy") as kitchen:
        while kitchen.counts()[Status.RUNNING] < loads["busy"]:
            time.sleep(0.1)
    time.sleep(SETTLED_S)
    before = {name: count(waiter) for name, waiter in waiters.items()}
    time.sleep(seconds)
    asked = {name: count(waiter) - before[name] for name, waiter in waiters.items()}
    for waiter in waiters.values():
        waiter.kill()
        waiter.communicate()
    return asked


def count(waiter: subprocess.Popen[str]) -> int:
    waiter.send_signal(signal.SIGUSR1)
    assert waiter.stdout is not None
    return int(waiter.stdout.readline())


def measure(kind: str, url: str, orders: int, seconds: float) -> bool:
    """Print what was measured; whether a goal was missed."""
    before = [few(url) for _ in range(3)]
    rate, memory, open_files = many(url, orders)
    short = statistics.median([*before, *(few(url) for _ in range(3))])
    growth = quarter(memory, 4) / quarter(memory, 2)
    asked = operations(url, seconds)
    checks = [
        (f"rate of {orders:,} to that of {FEW:,}", rate / short, rate / short >= GOAL_RATE),
        (f"memory, MB (goal {GOAL_MB[kind]:g})", max(memory), max(memory) <= GOAL_MB[kind]),
        ("memory, last quarter to second", growth, growth <= GOAL_GROWTH),
        (
            "descriptors, last to first",
            open_files[-1] - open_files[0],
            quarter(open_files, 4) <= quarter(open_files, 1),
        ),
        ("operations a minute, idle", asked["idle"] * 60 / seconds, True),
        (
            "operations a minute, busy",
            asked["busy"] * 60 / seconds,
            abs(asked["busy"] - asked["idle"]) * 60 / seconds <= GOAL_DIFFERENCE,
        ),
    ]
    for what, figure, is_met in checks:
        print(f"{kind:<8} {what:<36} {figure:>10.2f}" + ("" if is_met else "  MISSED"), flush=True)
    return not all(is_met for *_, is_met in checks)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    add_mongod_option(parser)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(said.mongod) as (mongodb, _):
        missed = [
            measure("SQLite", f"{folder}/kitchen", said.orders, said.seconds),
            measure("MongoDB", f"{mongodb}/bench", said.orders, said.seconds),
        ]
    return int(any(missed))


if __name__ == "__main__":
    sys.exit(main())
