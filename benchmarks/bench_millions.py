"""What people ask of ten million orders, and how long each takes: every verb that looks, and those that change many.

    python benchmarks/bench_millions.py [--orders 10000000] [--only sqlite|mongodb] [--folder DIR] [--keep]

Ten batches; the first eight have ended, one order of four in ERROR in ten ways, the last two are READY but for 800
that run. Each verb is a process of its own, its start included; `by the server` is the processor time of mongod.
What is long says what it does: goal, with exit code 1 if one is missed, is an answer or words within 4 s; a verb that
changes orders looks first, and may take that long twice. `watch` looks for a minute: at least nine looks in ten
seconds, 10 % of one core at most, for in its first minute it asks everything twice. With `--folder` and `--keep` the
kitchens stay for the next time. 10,000,000 orders take 2 GB of disk for each kind, and ten minutes to make.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from bench_page import serving
from own_mongod import add_mongod_option, cpu_s, server

from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.mongo import batches as mongo_batches
from waiter.orders import Batch, Vitals

BATCHES, ENDED, KINDS = 10, 8, 10
WAITERS, SLOTS = 100, 8
GOAL_S = 4.0
GOAL_LOOKS, GOAL_SHARE = 0.9, 0.1
CHANGES = ("priority", "cancel", "reset", "clean")
ERROR_AT = 4  # of so many orders one is in ERROR
GROUP = "0000000{}"

VERBS = (
    "status",
    "status",
    "status --batch b3",
    "status --batch b9",
    "batches",
    "waiters",
    "errors",
    "errors --json",
    "errors --batch b3",
    "orders",
    "orders --status ERROR",
    "orders --status READY --sort=-age",
    "orders --like 00000003 --sort=-stop",
    "orders --sort=-duration",
    "orders --match input-00000777",
    "orders --match input-09999999",
    "extract --limit 10",
    "extract --status ERROR --limit 10",
    "extract --match input-09999999 --limit 10",
    "show b7-77",
    "watch",
    "pages",
    "priority 5 --batch b9",
    "cancel --yes --batch b9",
    "reset --yes --like 00000003",
    "status",
    "status",
    "watch",
    "errors",
    "clean --yes --like 00000004",
    "clean --yes --batch b2",
    "clean --yes",
)
LISTS = ("/orders", "/orders?status=ERROR&sort=-stop", "/orders?sort=-duration")
PAGES = ("/", "/failures", "/waiters", *LISTS, "/metrics")


@dataclass(frozen=True, slots=True)
class Place:
    """A kitchen, and the process that keeps it: None, if it is whoever asks."""

    kind: str
    url: str
    pid: int | None


def facts_of(at: int, number: int, now: float) -> dict[str, Any]:
    """What has become of the order in that row of a batch that has ended."""
    start = now - 100_000 + number * 10_000 + at * 0.01
    facts = {
        "status": "DONE",
        "attempt": 1,
        "waiter": f"host-{at % 20}/{at % 100}",
        "host": f"host-{at % 20}",
        "start": start,
        "stop": start + (at * 7919 % 1000) / 100,
        "command": "0123456789ab",
        "exit_code": 0,
        "tail": None,
        "reason": None,
        "error": None,
        "error_group": None,
    }
    if at % ERROR_AT == 0:
        facts |= {"status": "ERROR", "exit_code": 3, "tail": "first line\nlast line", "reason": "exit"}
        facts |= {"error": f"exit code 3: no such tile {at}", "error_group": GROUP.format(at // ERROR_AT % KINDS)}
    return facts


def add(kitchen: Kitchen, number: int, rows: int) -> str:
    """One of the batches, as `load` adds it."""
    name = f"b{number}"
    kitchen.open_batch(Batch(name, name, "bench", name, rows, rows, 0, kitchen.now(), is_complete=True))
    kitchen.add(name, ((n, (f"input-{number * rows + n:08}.dat", "--level=3"), None) for n in range(1, rows + 1)))
    return name


def worked_in_sqlite(path: str, rows: int) -> None:
    for number in range(BATCHES):
        with open_kitchen(path) as kitchen:
            now = kitchen.now()
            add(kitchen, number, rows)
        if number < ENDED:
            _end_in_sqlite(path, number, now)
        print(f"  {(number + 1) * rows:,} orders", file=sys.stderr, flush=True)


def _end_in_sqlite(path: str, number: int, now: float) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.create_function("fact", 2, lambda name, row: memo(row)[name])
    last: dict[int, dict[str, Any]] = {}

    def memo(row: int) -> dict[str, Any]:
        if row not in last:
            last.clear()
            last[row] = facts_of(row, number, now)
        return last[row]

    (first,) = db.execute("SELECT number << 32 FROM batches WHERE id = ?", (f"b{number}",)).fetchone()
    sets = ", ".join(f"{name} = fact('{name}', seq - {first})" for name in facts_of(1, 0, 0.0))
    db.execute(f"UPDATE orders SET {sets} WHERE seq BETWEEN {first} AND {first + (1 << 32) - 1}")
    db.close()


def worked_in_mongodb(url: str, rows: int) -> None:
    """`load` with orders that have ended already: the server writes each once."""
    usual = mongo_batches.new_order
    with open_kitchen(url) as kitchen:
        now = kitchen.now()
        for number in range(BATCHES):

            def ended(*of: Any, number: int = number) -> dict[str, Any]:
                order = usual(*of)
                facts = facts_of(order["row"], number, now) if number < ENDED else {}
                if facts:
                    facts["took"] = facts["stop"] - facts["start"]
                return order | {name: value for name, value in facts.items() if value is not None}

            mongo_batches.new_order = ended
            add(kitchen, number, rows)
            print(f"  {(number + 1) * rows:,} orders", file=sys.stderr, flush=True)
    mongo_batches.new_order = usual


def at_work(url: str) -> None:
    """Waiters in the middle of it, with a lease of a day."""
    with open_kitchen(url) as kitchen:
        for number in range(WAITERS):
            vitals = Vitals(slots=SLOTS, busy=SLOTS, command="./crunch.sh", command_hash="0123456789ab")
            shift = kitchen.check_in(f"ip-10-0-0-{number}/1", f"ip-10-0-0-{number}", os.getpid(), vitals)
            kitchen.heartbeat(shift, vitals, 86_400.0)
            kitchen.claim(shift, SLOTS)


def asked(place: Place, verb: str) -> bool:
    """Run it, print what it took; whether it met its goal."""
    began, before = time.perf_counter(), cpu_s(place.pid)
    words = [sys.executable, "-m", "waiter", *verb.split(), "-k", place.url]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        said: list[tuple[float, str]] = []

        def listen() -> None:
            said.extend((time.perf_counter() - began, line.decode().strip()) for line in process.stderr or ())

        listener = threading.Thread(target=listen)
        listener.start()
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        took = time.perf_counter() - began
        listener.join()
    first_s, first = next(((at, line) for at, line in said if "…" in line), (took, ""))
    is_met = min(took, first_s) <= GOAL_S * (2 if verb.startswith(CHANGES) else 1) and process.returncode == 0
    own = used.ru_utime + used.ru_stime
    print(
        f"{place.kind:<8} {verb:<42} {took:7.2f} s  own {own:6.2f}  server {cpu_s(place.pid) - before:7.2f}"
        f"  {f'after {first_s:.1f} s: {first}' if first else ''}{'' if is_met else f'  MISSED {said[-1:]}'}",
        flush=True,
    )
    return is_met


def watched(place: Place, seconds: float) -> bool:
    """Look for a while; whether it looked often enough, and cost little enough."""
    words = [sys.executable, "-m", "waiter", "watch", "--json", "-k", place.url]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as view:
        looks: list[dict[str, Any]] = []

        def listen() -> None:
            looks.extend(json.loads(line) for line in view.stdout or ())

        threading.Thread(target=listen).start()
        _until(lambda: bool(looks), 60)
        server_before, own_before, had = cpu_s(place.pid), cpu_s(view.pid), len(looks)
        time.sleep(seconds)
        kitchen_s, own_s = cpu_s(place.pid) - server_before, cpu_s(view.pid) - own_before
        mine, last = looks[had:], looks[-1]
        view.terminate()
    ages = [look["counted"] for look in mine if look["counted"] is not None]
    share = (kitchen_s if place.pid else own_s) / seconds
    is_met = len(mine) >= GOAL_LOOKS * seconds and last["waiters"] >= WAITERS and share <= GOAL_SHARE
    print(
        f"{place.kind:<8} watch, {seconds:g} s: {len(mine)} looks, {last['waiters']} waiters, counts of"
        f" {max(ages, default=-1):.0f} s ago at most, {share:.1%} of a core; its own {own_s / seconds:.1%}"
        f"{'' if is_met else '  MISSED'}",
        flush=True,
    )
    return is_met


def _until(holds: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not holds() and time.monotonic() < ends:
        time.sleep(0.05)


def pages(place: Place) -> bool:
    """The pages of `waiter serve`, first and second time."""
    import http.client

    slow = []
    with serving(place.url) as (address, headers, _):
        connection = http.client.HTTPConnection(address, timeout=300)
        for path in PAGES:
            took = []
            for _ in range(2):
                began = time.perf_counter()
                connection.request("GET", path, headers=headers)
                status = connection.getresponse()
                status.read()
                took.append(time.perf_counter() - began)
            print(f"{place.kind:<8} page {path:<37} {took[1]:7.2f} s  at first {took[0]:.2f}  ({status.status})")
            slow += [path] * (took[1] > GOAL_S or status.status != 200)
    return not slow


def measure(place: Place, options: argparse.Namespace) -> list[bool]:
    at_work(place.url)
    met = []
    for verb in options.verbs or VERBS:
        if options.keep and not options.verbs and verb.startswith(CHANGES):
            break
        if verb == "watch":
            met.append(watched(place, options.seconds))
        elif verb == "pages":
            met.append(pages(place))
        else:
            met.append(asked(place, verb))
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_mongod_option(parser)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "mongodb"))
    parser.add_argument("--folder", type=Path, help="where the kitchens are made, or found")
    parser.add_argument("--keep", action="store_true", help="change nothing, and leave them there")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long `watch` looks")
    parser.add_argument("verbs", nargs="*", help="only these")
    options = parser.parse_args()
    met: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="bench-millions-", dir="/var/tmp") as own:
        folder = options.folder or Path(own)
        if options.only != "mongodb":
            path = folder / "kitchen.sqlite"
            if not path.exists():
                worked_in_sqlite(str(path), options.orders // BATCHES)
            met += measure(Place("SQLite", str(path), None), options)
        if options.only != "sqlite":
            is_there = (folder / "mongod").exists()
            with server(options.mongod, "--wiredTigerCacheSizeGB", "2", folder=folder / "mongod") as (mongodb, pid):
                url = f"{mongodb}/bench?serverSelectionTimeoutMS=60000"
                if not is_there:
                    worked_in_mongodb(url, options.orders // BATCHES)
                met += measure(Place("MongoDB", url, pid), options)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
