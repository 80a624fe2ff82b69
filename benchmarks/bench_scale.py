"""What a fleet costs a MongoDB server: a simulated fleet of real waiters whose commands are left out.

    python benchmarks/bench_scale.py [--waiters 1000] [--fleet N] [--minutes 4] [--order-s 60] [--idle] [--replica-set]

Each waiter is `waiter.delivery.waiter.Delivery` with its own loop, heartbeat and kitchen, eight orders at a time, in a
thread of one of a few processes: its own code decides when to ask the server what. Only its runner is not real: it
sleeps until an order's time is over. After one minute the process with the last eight waiters is killed.

For each minute: the server's CPU (from /proc), its connections, claims and finishes a second, how long a claim took.
Then what each kind of call costs it, measured one after the other beside the fleet, and so what all of upkeep (whatever
is no claim and no finish) costs. `--fleet 10000` is for machines that cannot hold so many: the other waiters are
documents of the kitchen, each with eight orders, so that those who live ask as rarely as in such a fleet, and each call
costs what it costs there; what they ask is then counted for all. `--idle`: all but one order are done, and everybody
waits for it. Goals, with exit code 1 if one is missed: upkeep of 0.1 core with 1,000 waiters and
0.5 with 10,000, the orders of the dead back within 75 s and 5 minutes, two connections of a waiter to its server, no
error. `--replica-set`: of three members on this machine; what is measured is the primary.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from own_mongod import add_mongod_option, cpu_s, found, server
from pymongo import common

sys.path.insert(0, str(Path(__file__).parent.parent))

from waiter.delivery.batch_scope import BatchScope, wanted
from waiter.delivery.listener import Listener
from waiter.delivery.options import DeliveryOptions, Until
from waiter.delivery.runner.client import End, Ended, Event, Job
from waiter.delivery.shutdown import Shutdown
from waiter.delivery.spool import Spool
from waiter.delivery.waiter import Delivery
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.orders import Batch, Outcome, Status, Vitals
from waiter.processes import Place, boottime

DB = "bench_scale"
SLOTS = 8
OF_A_HOST = 8  # waiters
DIE_AFTER_S = 60.0
TICKS_PER_S = 800.0
"""Of the whole fleet. A real waiter looks around five times a second; here, where it costs the same CPU that the server
needs, less often the more there are. Questions are a matter of seconds."""

UPKEEP = ("check_in", "change_token", "heartbeat", "sweep", "is_only_running", "backlog", "batches")
GOALS = ((1000, 0.1, 75.0), (10_000, 0.5, 300.0))
OF_A_WAITER = 2
"""Connections to the server that takes writes. Besides those of the waiters there are ten of this program."""
OWN_CONNECTIONS = 10


class SleepingRunner:
    """Jobs that take their time and do nothing."""

    pid = None
    folder = None

    def __init__(self, order_s: float, tick_s: float) -> None:
        self._order_s, self._tick_s = order_s, tick_s
        self._ends: dict[str, tuple[float, float]] = {}
        self._rng = Random()

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            now = boottime()
            self._ends[job.id] = (now, now + self._order_s * self._rng.uniform(0.8, 1.2))

    def events(self, timeout_s: float) -> list[Event]:  # noqa: ARG002 - see TICKS_PER_S
        now = boottime()
        first = min((end for _, end in self._ends.values()), default=now + self._tick_s)
        time.sleep(max(0.001, min(self._tick_s, first - now)))
        over = [(name, began) for name, (began, end) in self._ends.items() if end <= boottime()]
        for name, _ in over:
            del self._ends[name]
        return [Ended(name, 1, began, boottime(), 0, None, End.EXITED) for name, began in over]

    def set_deadline(self, at: float) -> None: ...

    def set_timeout(self, timeout_s: float | None) -> None: ...

    def stop(self, ids: Sequence[str]) -> None: ...

    def leave(self) -> None: ...

    def give_back(self) -> None: ...

    def waiting(self) -> list[str]:
        return []

    def close(self) -> Collection[str]:
        return [*self._ends]


@dataclass(frozen=True, slots=True)
class SleepingCommand:
    """What the fleet delivers with."""

    order_s: float
    tick_s: float
    words = ("true",)
    title = "true"

    def check(self, orders: object) -> None: ...

    def job(self, order: Any) -> Job:
        return Job(order.id, ("true",))

    def start_runner(self) -> SleepingRunner:
        return SleepingRunner(self.order_s, self.tick_s)

    def version(self, order: object = None) -> str:  # noqa: ARG002
        return "0" * 12

    def missing(self, order: object) -> str | None:  # noqa: ARG002
        return None


calls: Counter[str] = Counter()
claims_s: deque[float] = deque(maxlen=200_000)
errors: Counter[str] = Counter()


class Counted(MongoKitchen):
    """Counts what is asked; a host for every eight waiters, as it were."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(url, DB)
        self._here = Place(f"host{number // OF_A_HOST}", f"boot{number // OF_A_HOST}", "1")

    def close(self) -> None: ...  # the process ends


def counted(name: str) -> Callable[..., Any]:
    real = getattr(MongoKitchen, name)

    def ask(self: Counted, *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return real(self, *arguments, **named)
        except Exception as error:
            errors[f"{name}: {str(error)[:100]}"] += 1
            raise
        finally:
            calls[name] += 1
            if name == "claim":
                claims_s.append(time.perf_counter() - began)

    return ask


for _name in ("claim", "finish", *UPKEEP):
    setattr(Counted, _name, counted(_name))


def crew(url: str, numbers: range, fleet: Any, told: Any, args: argparse.Namespace) -> None:
    """One process of waiters, each a thread with its own heartbeat. Tells what it has counted every 5 s."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.stack_size(512 * 1024)
    common.KILL_CURSOR_FREQUENCY = 60  # else the driver looks after its pool each second, for each of hundreds
    sys.setswitchinterval(0.02)  # else each of dozens of threads that wait for the lock asks for it every 5 ms
    command = SleepingCommand(args.order_s, max(0.2, args.waiters / TICKS_PER_S))
    kitchens = [Counted(url, number) for number in numbers]
    state = Path(tempfile.mkdtemp(dir=args.folder))
    fleet.wait()
    for number, kitchen in zip(numbers, kitchens, strict=True):
        deliver = partial(deliver_one, kitchen, number, command, state, args)
        threading.Thread(target=deliver, daemon=True).start()
    while True:
        time.sleep(5)
        told.put((os.getpid(), dict(calls), [claims_s.popleft() for _ in range(len(claims_s))], dict(errors)))


def deliver_one(kitchen: Counted, number: int, command: SleepingCommand, state: Path, args: argparse.Namespace) -> None:
    until = Until.DONE if args.idle else Until.STOPPED
    try:
        Delivery(
            lambda: kitchen,
            command,  # type: ignore[arg-type]
            DeliveryOptions(until=until, name=f"w{number}", brake=0),
            slots=SLOTS,
            spool=lambda kitchen: Spool(kitchen.id, kitchen.url, state),
            scope=lambda kitchen: BatchScope(kitchen, command.words, wanted(DeliveryOptions())),
            shutdown=Shutdown(),
            listener=Listener(),
        ).run()
    except Exception as error:  # noqa: BLE001 - a waiter that ended is what is measured here
        errors[f"a waiter ended: {type(error).__name__} {str(error)[:100]}"] += 1


@contextmanager
def replica_set(mongod: str | None) -> Iterator[tuple[str, int]]:
    """Three members, and the pid of their primary."""
    from tests.mongod import ReplicaSet

    replicas = ReplicaSet(found(mongod), election_ms=10_000)  # MongoDB's own: a busy primary is no dead one
    try:
        replicas.start()
        process = replicas.primary()._process
        assert process is not None
        yield replicas.url, process.pid
    finally:
        replicas.remove()


def load(kitchen: MongoKitchen, rows: int) -> None:
    kitchen.open_batch(Batch("b", "b", "bench", "b", rows, rows, 0, kitchen.now(), is_complete=True))
    kitchen.add("b", ((n, (f"input-{n:08}.dat",), None) for n in range(1, rows + 1)))


def load_others(kitchen: MongoKitchen, count: int) -> None:
    """Shifts that do nothing, and never die, with eight RUNNING orders each."""
    rows, now = count * SLOTS, kitchen.now()
    kitchen.open_batch(Batch("others", None, "bench", "others", rows, rows, 0, now, is_complete=True))
    kitchen.add("others", ((n, (f"input-{n:08}.dat",), None) for n in range(1, rows + 1)))
    name = {"$concat": ["other", {"$toString": {"$floor": {"$divide": ["$row", SLOTS]}}}]}
    taken = {"status": "RUNNING", "shift": name, "waiter": name, "host": name, "start": now, "attempt": 1}
    with kitchen._to.patiently():
        kitchen._to.orders.update_many({"batch": "others"}, [{"$set": taken}])
    names = [f"other{n}" for n in range(count + 1)]
    facts = {"is_open": True, "lease_until": now + 1e6, "heartbeat_at": now, "since": now, "pid": 1, "vitals": {}}
    shifts = [
        {"_id": name, "waiter": name, "host": name, "boot": f"other{n // OF_A_HOST}", **facts}
        for n, name in enumerate(names)
    ]
    kitchen._to.shifts.insert_many(shifts)
    kitchen._to.state.update_one({"_id": "news"}, {"$set": {"shifts": count}})


def cost_ms(pid: int, ask: Callable[[], object], times: int = 300) -> float:
    """The server's CPU for one such call, with nobody else at work."""
    before = cpu_s(pid)
    for _ in range(times):
        ask()
    return 1000 * (cpu_s(pid) - before) / max(1, times)  # with --idle there is nothing to finish


def costs(kitchen: MongoKitchen, pid: int) -> dict[str, float]:
    """What each kind of call costs in a kitchen that the fleet has just left, its shifts and orders still there."""
    shift = kitchen.check_in("bench", "bench", 1)
    taken = []

    def claim() -> None:
        taken.extend(kitchen.claim(shift, 1))

    def finish() -> None:
        order = taken.pop()
        kitchen.finish(shift, [Outcome(order.id, order.attempt, Status.DONE, start=0.0, stop=1.0)])

    return {
        "claim": cost_ms(pid, claim),
        "finish": cost_ms(pid, finish, min(300, len(taken))),
        "change_token": cost_ms(pid, kitchen.change_token, 1000),
        "heartbeat": cost_ms(pid, lambda: kitchen.heartbeat(shift, Vitals())),
        "sweep": cost_ms(pid, kitchen.sweep),
        "is_only_running": cost_ms(pid, kitchen.is_only_running),
        "backlog": cost_ms(pid, kitchen.backlog),
        "batches": cost_ms(pid, kitchen.batches),
        "check_in": cost_ms(pid, lambda: kitchen.check_in("x", "x", 1), 100),
        "a whole sweep": cost_ms(pid, lambda: next_turn(kitchen), 50),
    }


def next_turn(kitchen: MongoKitchen) -> None:
    kitchen._to.state.update_one({"_id": "news"}, {"$unset": {"swept_at": 1}})
    kitchen.sweep()


class Books:
    """What the processes of the fleet told last."""

    def __init__(self, told: Any) -> None:
        self._told = told
        self._of: dict[int, dict[str, int]] = {}
        self._errors: dict[int, dict[str, int]] = {}
        self.claims_s: list[float] = []
        self.minutes: list[Counter[str]] = []
        self.connections = 0  # after the last minute: who waited for 2.5 s has one more for a minute

    def read(self) -> Counter[str]:
        while not self._told.empty():
            pid, counts, took, failed = self._told.get()
            self._of[pid], self._errors[pid] = counts, failed
            self.claims_s += took
        return sum(map(Counter, self._of.values()), Counter())

    @property
    def errors(self) -> Counter[str]:
        return sum(map(Counter, self._errors.values()), Counter())


def running_of(kitchen: MongoKitchen, names: Collection[str]) -> int:
    """How many orders of these waiters are RUNNING; an index answers, so that the question costs nothing."""
    with kitchen._to.patiently():
        tokens = kitchen._to.shifts.distinct("_id", {"waiter": {"$in": list(names)}})
        return kitchen._to.orders.count_documents({"shift": {"$in": tokens}})


def measure(args: argparse.Namespace) -> int:
    servers = replica_set(args.mongod) if args.replica_set else server(args.mongod, "--maxConns", "60000")
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder, servers as (url, pid):
        args.folder = folder
        kitchen = MongoKitchen(url, DB)
        rows = 1 if args.idle else int(args.waiters * SLOTS * (args.minutes * 60 / args.order_s + 2) * 1.3)
        load(kitchen, rows)
        if args.fleet > args.waiters:
            load_others(kitchen, args.fleet - args.waiters)
        told, fleet = multiprocessing.Queue(), multiprocessing.Event()
        books, each = Books(told), -(-args.waiters // args.processes)
        of = [range(at, min(at + each, args.waiters)) for at in range(0, args.waiters, each)]
        doomed = range(args.waiters, args.waiters + OF_A_HOST)
        crews = [
            multiprocessing.Process(target=crew, args=(url, numbers, fleet, told, args), daemon=True)
            for numbers in [*of, doomed]
        ]
        for process in crews:
            process.start()
        time.sleep(2 + args.waiters / 300)  # until they have opened their clients
        began = time.monotonic()
        fleet.set()
        try:
            back_s = watch(args, kitchen, pid, books, crews[:-1], crews[-1], [f"w{n}" for n in doomed], began)
        finally:
            for process in crews:
                process.kill()
                process.join()
        return report(args, kitchen, pid, books, back_s)


def watch(
    args: argparse.Namespace,
    kitchen: MongoKitchen,
    pid: int,
    books: Books,
    fleet: Sequence[multiprocessing.Process],
    doomed: multiprocessing.Process,
    names: list[str],
    began: float,
) -> float | None:
    """Print each minute; kill the doomed. How long their orders were gone; None if they are still."""
    print(f"{args.waiters} waiters of {SLOTS} slots, of a fleet of {args.fleet}; orders of {args.order_s:g} s")
    print("  min  core  connections  claims/s  finishes/s  p50 ms  p99 ms   news/s  beats/s  sweeps/s  looks/s  shifts")
    died_at, back_s, killed = None, None, False
    before, cpu, minute = Counter[str](), cpu_s(pid), 0
    while minute < args.minutes:
        time.sleep(1)
        if not all(process.is_alive() for process in fleet):
            raise RuntimeError("a process of the fleet ended: nothing can be measured")
        now = time.monotonic() - began
        if not killed and now >= DIE_AFTER_S and not args.idle:
            doomed.kill()
            killed, died_at = True, time.monotonic()
        if died_at is not None and back_s is None and not running_of(kitchen, names):
            back_s = time.monotonic() - died_at
        if now >= 60 * (minute + 1):
            minute, counts, used = minute + 1, books.read(), cpu_s(pid)
            connections = kitchen._to._client.admin.command("serverStatus")["connections"]["current"]
            books.connections = connections
            line(minute, (used - cpu) / 60, connections, kitchen, counts - before, books.claims_s)
            before, cpu, books.claims_s = counts, used, []
            books.minutes.append(counts)
    return back_s


def line(
    minute: int, core: float, connections: int, kitchen: MongoKitchen, of: Counter[str], claims: list[float]
) -> None:
    p50, p99 = (statistics.quantiles(claims, n=100)[at] * 1000 for at in (49, 98)) if len(claims) > 1 else (0.0, 0.0)
    shifts = kitchen._to.shifts.count_documents({"is_open": True})
    print(
        f"{minute:5} {core:5.2f} {connections:12}"
        f" {of['claim'] / 60:9.1f} {of['finish'] / 60:11.1f}"
        f" {p50:7.1f} {p99:7.1f} {of['change_token'] / 60:8.1f} {of['heartbeat'] / 60:8.1f} {of['sweep'] / 60:9.1f}"
        f" {(of['backlog'] + of['is_only_running']) / 60:8.1f} {shifts:7}",
        flush=True,
    )


def report(args: argparse.Namespace, kitchen: MongoKitchen, pid: int, books: Books, back_s: float | None) -> int:
    time.sleep(2)
    each, counts = costs(kitchen, pid), books.minutes
    last = counts[-1] - counts[-2] if len(counts) > 1 else counts[-1]
    all_of_them = max(1.0, args.fleet / args.waiters)
    for name in UPKEEP:
        last[name] = round(last[name] * all_of_them)
    last["a whole sweep"] = 6  # of whichever fleet
    print(f"server CPU of the last minute, by kind of call (upkeep: of all {args.fleet}):")
    upkeep = 0.0
    for name, cost in each.items():
        core = last[name] * cost / 60_000
        upkeep += 0.0 if name in ("claim", "finish") else core
        print(f"  {name:14} {last[name] / 60:8.1f}/s x {cost:6.3f} ms = {core:.3f} core")
    print(f"upkeep: {upkeep:.3f} core; orders of the dead were back after {back_s and round(back_s)} s")
    most_connections = OF_A_WAITER * (args.waiters + OF_A_HOST) + OWN_CONNECTIONS
    print(f"connections: {books.connections} of {most_connections}; errors: {dict(books.errors) or 'none'}")
    if books.connections > most_connections or books.errors:
        return 1
    for waiters, most, soon_s in GOALS:
        if args.fleet == waiters and (upkeep > most or (not args.idle and not (back_s or 1e9) <= soon_s)):
            print(f"missed: {most} core, {soon_s:g} s")
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, default=1000)
    parser.add_argument("--minutes", type=int, default=4)
    parser.add_argument("--order-s", type=float, default=60.0)
    parser.add_argument("--fleet", type=int, default=0, help="waiters of which the others are documents")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--idle", action="store_true", help="everybody waits for the last order")
    parser.add_argument("--replica-set", action="store_true", help="of three members")
    add_mongod_option(parser)
    args = parser.parse_args()
    if args.idle:
        args.order_s = 3600.0
    args.fleet = max(args.fleet, args.waiters)
    multiprocessing.set_start_method("fork")
    return measure(args)


if __name__ == "__main__":
    sys.exit(main())
