"""How fast orders of no work are delivered, against xargs, GNU parallel and HyperQueue, in one run.

    python benchmarks/bench_delivery.py [--orders 3000] [--rounds 5] [--mongod PATH]

`/bin/true N`, two at a time; output captured, outcomes durable and fenced. Every round runs all of them one after
the other; the figures are medians of the rounds, the ratios those of the same round. Goals: 0.9 of xargs on SQLite,
0.8 on MongoDB, 5 times GNU parallel with --joblog, 2.5 times HyperQueue. A peer that is not installed is left out,
and named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from own_mongod import add_mongod_option, server

from waiter.kitchen import open_kitchen
from waiter.loading import load_rows

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed Waiter is compiled; here the first round compiles it
os.environ["TQDM_DISABLE"] = "1"  # the bar that HyperQueue draws

SLOTS = 2
Runner = Callable[[int], None]


def with_xargs(orders: int) -> None:
    subprocess.run(f"seq {orders} | xargs -P{SLOTS} -n1 /bin/true", shell=True, check=True)


def with_parallel(orders: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        line = f"seq {orders} | parallel -j{SLOTS} --joblog {folder}/log /bin/true"
        subprocess.run(line, shell=True, check=True, env={**os.environ, "HOME": folder}, stderr=subprocess.DEVNULL)


def with_hyperqueue(orders: int) -> None:
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with tempfile.TemporaryDirectory() as folder, LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=SLOTS))
        client = cluster.client()
        job = Job()
        for number in range(orders):
            job.program(["/bin/true", str(number)], cwd=folder)  # where it keeps the output of each
        began = time.perf_counter()
        client.wait_for_jobs([client.submit(job)])
        with_hyperqueue.seconds = time.perf_counter() - began  # type: ignore[attr-defined] # without starting the cluster


def with_waiter(url: str) -> Runner:
    def run(orders: int) -> None:
        command = [sys.executable, "-m", "waiter", "deliver", "-k", url, f"-j{SLOTS}", "/bin/true"]
        said = subprocess.run(command, check=True, cwd=Path(__file__).parent.parent, stderr=subprocess.PIPE, text=True)
        if f"{orders:,} orders delivered" not in said.stderr:
            raise RuntimeError(said.stderr)

    return run


def prepared(url: str, orders: int) -> None:
    with open_kitchen(url) as kitchen:
        kitchen.clean()
        load_rows(kitchen, ([str(number)] for number in range(orders)))


def seconds(run: Runner, orders: int) -> float:
    began = time.perf_counter()
    run(orders)
    taken = time.perf_counter() - began
    return getattr(run, "seconds", taken)


def rounds(runners: dict[str, tuple[Runner, str | None]], orders: int, count: int) -> dict[str, list[float]]:
    """Orders per second of each runner, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(count):
        for name, (run, url) in runners.items():
            if url is not None:
                prepared(url, orders)
            rates[name].append(orders / seconds(run, orders))
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--orders", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    add_mongod_option(parser)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(said.mongod) as (mongodb, _):
        sqlite, mongo = f"{folder}/kitchen.sqlite", f"{mongodb}/bench"
        runners: dict[str, tuple[Runner, str | None]] = {"xargs": (with_xargs, None)}
        if shutil.which("parallel"):
            runners["GNU parallel"] = (with_parallel, None)
        if shutil.which("hq") or _has("hyperqueue"):
            runners["HyperQueue"] = (with_hyperqueue, None)
        runners["Waiter, SQLite"] = (with_waiter(sqlite), sqlite)
        runners["Waiter, MongoDB"] = (with_waiter(mongo), mongo)
        rates = rounds(runners, said.orders, said.rounds)
    return shown(rates)


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def shown(rates: dict[str, list[float]]) -> int:
    """Print the table; 1 if a goal was missed."""
    goals = [
        ("Waiter, SQLite", "xargs", 0.9),
        ("Waiter, MongoDB", "xargs", 0.8),
        ("Waiter, SQLite", "GNU parallel", 5.0),
        ("Waiter, SQLite", "HyperQueue", 2.5),
    ]
    for name, series in rates.items():
        print(f"{name:<18} {statistics.median(series):>8,.0f} orders/s")
    is_missed = False
    for ours, peer, goal in goals:
        if peer not in rates:
            print(f"{ours} / {peer}: not measured, {peer} is not installed")
            continue
        ratio = statistics.median(a / b for a, b in zip(rates[ours], rates[peer], strict=True))
        is_missed |= ratio < goal
        print(f"{ours} / {peer}: {ratio:.2f} (goal {goal})" + (" MISSED" if ratio < goal else ""))
    return int(is_missed)


if __name__ == "__main__":
    sys.exit(main())
