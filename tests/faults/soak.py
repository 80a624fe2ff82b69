"""Everything dies, freezes and gets lost at random for as long as one likes; then nothing may be missing.

Waiters, guards, runners and commands are killed or frozen; the MongoDB server is killed, frozen, and its replies get
lost on the way; the SQLite file is locked by somebody else. Among the orders are some that fail, leave daemons behind,
print much, or kill their runner.

`python -m tests.faults.soak --minutes 10 --seed 7`: half of the time on SQLite, half on MongoDB. Prints what was done
and what became of the orders; exit code 1 if a promise was broken. The seed repeats the choices, not the timing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from tests.conftest import fill
from tests.faults.floor import Floor, all_orders
from tests.mongod import Mongod, mongod_binary
from tests.proxy import Loss, Proxy
from waiter.kitchen.contract import Kitchen
from waiter.kitchen.mongo.kitchen import MongoKitchen
from waiter.kitchen.sqlite.kitchen import SqliteKitchen
from waiter.orders import Order, Reason, Selector, Status

CREW = 3
LEASE_S = 3.0
MAX_LOSSES = 3
"""The backoff after a loss doubles: with three, the end is not waited for longer than half a minute."""

ROWS_AT_ONCE = 40
SETTLES_WITHIN_S = 120.0
FATES = {
    "good": "true",
    "bad": "exit 1",
    "daemon": "setsid -f sleep 600",
    "loud": "head -c 300000 /dev/zero",
    "poison": "kill -9 $PPID; sleep 5",
}
"""What the command of an order does at its end. PPID is the runner."""

ODDS = {"good": 80, "bad": 10, "daemon": 5, "loud": 4, "poison": 1}
WORK = "sleep $1; case $2 in {}esac".format("".join(f"{fate}) {line};; " for fate, line in FATES.items()))

Process = subprocess.Popen[bytes]
Deed = Callable[[Process], None]
"""Something that is done to a waiter, or to what it depends on."""


class Soak:
    """One kitchen, its waiters, and the hand that hurts them."""

    def __init__(
        self, kitchen: Kitchen, floor: Floor, rng: random.Random, blows: Sequence[Deed], peace: Callable[[], None]
    ) -> None:
        """`blows` are what can be done to the kitchen itself; after `peace` nothing more befalls it."""
        self.kitchen = kitchen
        self.peace = peace
        self.floor = floor
        self.rng = rng
        self.loaded: dict[str, list[str]] = {}
        self.batches = 0
        self.deeds: Counter[str] = Counter()
        self.violations: list[str] = []
        self.frozen: list[threading.Timer] = []
        self.finished: dict[str, tuple[Status, int]] = {}  # what was seen at its end
        self.shot: set[str] = set()  # orders whose command was killed
        kills = [self.kill_waiter, self.kill_guard, self.kill_runner, self.kill_both, self.kill_command]
        others = [self.freeze_waiter, self.freeze_runner, self.drain, self.nothing, self.nothing]
        self.choices: list[Deed] = [*kills, *others, *blows]

    def run(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.keep_busy()
            self.look()
            self.hurt(self.rng.choice([w for w in self.floor.waiters if w.poll() is None]))
            time.sleep(self.rng.uniform(0.1, 0.8))
        self.settle()
        self.check()

    def keep_busy(self) -> None:
        if self.kitchen.counts()[Status.READY] < ROWS_AT_ONCE // 2:
            rows = [[f"{self.rng.uniform(0, 0.6):.2f}", self.some_fate()] for _ in range(ROWS_AT_ONCE)]
            self.batches += 1
            self.loaded |= dict(zip(fill(self.kitchen, rows, batch=f"b{self.batches}"), rows, strict=True))
        for _ in range(CREW - sum(waiter.poll() is None for waiter in self.floor.waiters)):
            self.start(until="stopped")

    def some_fate(self) -> str:
        return self.rng.choices(list(ODDS), list(ODDS.values()))[0]

    def start(self, **options: object) -> Process:
        settings = {"jobs": "2", "retries": 1, "backoff_s": 0.2, "pause_after": 0, "max_losses": MAX_LOSSES}
        waiter: Process = self.floor.start(work=WORK, lease_s=LEASE_S, **settings, **options)
        return waiter

    def look(self) -> None:
        for order in self.kitchen.find(Selector()):
            if order.status.is_final:
                self.finished[order.id] = (order.status, order.attempt)

    # What is done to them.

    def hurt(self, waiter: Process) -> None:
        deed = self.rng.choice(self.choices)
        with suppress(ProcessLookupError):  # it had just gone
            self.deeds[deed.__name__] += 1
            deed(waiter)

    def nothing(self, waiter: Process) -> None:
        """Some peace, in which orders get done."""

    def kill_waiter(self, waiter: Process) -> None:
        os.kill(waiter.pid, signal.SIGKILL)

    def kill_guard(self, waiter: Process) -> None:
        if guard := child_of(waiter.pid):
            os.kill(guard, signal.SIGKILL)

    def kill_runner(self, waiter: Process) -> None:
        if runner := runner_of(waiter):
            os.kill(runner, signal.SIGKILL)

    def kill_both(self, waiter: Process) -> None:
        self.kill_runner(waiter)
        self.kill_waiter(waiter)

    def kill_command(self, _: Process) -> None:
        over = {(order, attempt) for order, attempt, _ in self.floor.oracle("end")}
        running = [one for one in self.floor.oracle("begin") if one[:2] not in over and self.is_ours(one[2])]
        if running:
            order, _, pid = self.rng.choice(running)
            self.shot.add(order)
            os.kill(pid, signal.SIGKILL)

    def freeze_waiter(self, waiter: Process) -> None:
        self.freeze(waiter.pid)

    def freeze_runner(self, waiter: Process) -> None:
        if runner := runner_of(waiter):
            self.freeze(runner)

    def freeze(self, pid: int) -> None:
        """For a moment, or for longer than a lease."""
        os.kill(pid, signal.SIGSTOP)
        # By a timer: what is frozen may hold the lock of the file that this thread waits for.
        self.frozen.append(threading.Timer(self.rng.uniform(0.2, 2 * LEASE_S), thaw, [pid]))
        self.frozen[-1].start()

    def drain(self, waiter: Process) -> None:
        os.kill(waiter.pid, signal.SIGTERM)

    # The end.

    def settle(self) -> None:
        """Send everybody home, and let two waiters in peace deliver what is left."""
        self.peace()
        for timer in self.frozen:
            timer.join()
        for waiter in self.floor.waiters:
            if waiter.poll() is None:
                waiter.send_signal(signal.SIGTERM)
        self.wait_for([waiter for waiter in self.floor.waiters if waiter.poll() is None], "sent home")
        self.wait_for([self.start(), self.start()], "delivering what is left")

    def wait_for(self, waiters: list[Process], what: str) -> None:
        ends = time.monotonic() + SETTLES_WITHIN_S
        for waiter in waiters:
            try:
                waiter.wait(max(0.1, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.violations.append(f"a waiter {what} did not go: {self.floor.talk(waiter)[-500:]}")

    def check(self) -> None:
        orders = all_orders(self.kitchen)
        if {order.id for order in orders} != self.loaded.keys():
            self.violations.append(f"{len(self.loaded)} orders were loaded, {len(orders)} are there")
        ended = {(order, attempt) for order, attempt, _ in self.floor.oracle("end")}
        for order in orders:
            self.violations += [
                f"{why}: {order}" for why, is_broken in self.promises(order, ended).items() if is_broken
            ]
        for (order_id, attempt), times in Counter((o, a) for o, a, _ in self.floor.oracle("begin")).items():
            if times > 1:
                self.violations.append(f"attempt {attempt} at {order_id} began {times} times")
        self.violations += [f"process {pid} of a command lives on" for pid in self.survivors()]
        if left := list(self.floor.folder.glob("state/waiter/spool/*/*.json")):
            self.violations.append(f"outcomes are still on disk: {left}")

    def promises(self, order: Order, ended: set[tuple[str, int]]) -> dict[str, bool]:
        """Of each promise that can be read off an order, whether it is broken."""
        attempts = [event.attempt for event in order.history if event.what in ("finish", "lost")]
        delivered = [e.attempt for e in order.history if e.what == "finish" and e.status is Status.DONE]
        fate = self.loaded.get(order.id, ["", "bad"])[1]
        is_good = fate not in ("bad", "poison") and order.id not in self.shot
        is_lost = order.reason is Reason.LOST and order.losses >= MAX_LOSSES
        before = self.finished.get(order.id)
        return {
            "not at its end": not order.status.is_final,
            "a shift although it does not run [5]": order.shift is not None,
            "an outcome that was seen has changed [2]": before not in (None, (order.status, order.attempt)),
            "two outcomes of one attempt, or attempts that fall [3, 4]": attempts != sorted(set(attempts)),
            "DONE without an outcome [3]": (order.status is Status.DONE) != (len(delivered) == 1),
            "DONE, but the command did not end": any((order.id, attempt) not in ended for attempt in delivered),
            "good, and neither DONE nor lost too often": is_good and order.status is not Status.DONE and not is_lost,
            "bad, and yet DONE": fate == "bad" and order.status is Status.DONE,
            "poison, and not lost too often": fate == "poison" and not is_lost and order.id not in self.shot,
        }

    def survivors(self) -> list[int]:
        """What commands have started and lives on although no waiter does [10]."""
        return [
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self.is_ours(entry.name)
        ]

    def is_ours(self, pid: int) -> bool:
        """Whether it is, or comes from, the command of an order of this run."""
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
        home = f"HOME={self.floor.folder}".encode()
        return home in environment and any(word.startswith(b"WAITER_ORDER=") for word in environment)

    def report(self) -> str:
        orders = all_orders(self.kitchen)
        by_status = Counter(order.status.value for order in orders)
        facts = {
            "orders": dict(by_status),
            "waiters": len(self.floor.waiters),
            "commands begun": len(self.floor.oracle("begin")),
            "losses": sum(order.losses for order in orders),
            "late outcomes": sum(len(order.late) for order in orders),
            "deeds": dict(self.deeds),
            "violations": len(self.violations),
        }
        return "\n".join([*(f"  {name}: {value}" for name, value in facts.items()), *self.violations])


def thaw(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def runner_of(waiter: Process) -> int | None:
    """Under the waiter stands the guard, and under it the runner."""
    guard = child_of(waiter.pid)
    return child_of(guard) if guard else None


def child_of(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def soak(
    kind: str,
    url: str,
    kitchen: Kitchen,
    folder: Path,
    seconds: float,
    rng: random.Random,
    blows: Sequence[Deed],
    peace: Callable[[], None] = lambda: None,
) -> bool:
    """Whether every promise was kept."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WAITER_", "XDG_", "PYTEST"))}
    root = str(Path(__file__).parents[2])
    env = {**kept, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": root}
    floor = Floor(url, folder, env)
    run = Soak(kitchen, floor, rng, blows, peace)
    try:
        run.run(seconds)
    finally:
        for timer in run.frozen:
            timer.join()
        floor.close()
    print(f"{kind}:\n{run.report()}", flush=True)
    return not run.violations


def soak_sqlite(folder: Path, seconds: float, rng: random.Random) -> bool:
    file = folder / "kitchen.sqlite"

    def lock_kitchen(_: Process) -> None:
        with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as somebody_else:
            somebody_else.execute("BEGIN IMMEDIATE")
            time.sleep(rng.uniform(0.2, 2 * LEASE_S))

    with SqliteKitchen(file, lease_s=LEASE_S) as kitchen:
        return soak("SQLite", str(file), kitchen, folder, seconds, rng, [lock_kitchen])


def soak_mongodb(folder: Path, seconds: float, rng: random.Random) -> bool:
    binary = mongod_binary()
    if binary is None:
        print("MongoDB: no mongod here, left out")
        return True
    server = Mongod(binary)

    def kill_server(_: Process) -> None:
        server.kill()
        time.sleep(rng.uniform(0, 1))
        server.start()

    def freeze_server(_: Process) -> None:
        server.freeze()
        time.sleep(rng.uniform(0.2, 2 * LEASE_S))
        server.thaw()

    def lose_replies(_: Process) -> None:
        for _ in range(rng.randint(1, 3)):
            proxy.lose_reply_to(rng.choice(["update", "aggregate", "find"]), rng.choice(list(Loss)), rng.randint(1, 2))

    try:
        server.start()
        with closing(Proxy(server.port)) as proxy, MongoKitchen(f"{server.url}/soak", lease_s=LEASE_S) as kitchen:
            url = proxy.url.replace("/?", "/soak?")
            blows = [kill_server, freeze_server, lose_replies]
            return soak("MongoDB", url, kitchen, folder, seconds, rng, blows, proxy.lose_nothing_more)
    finally:
        server.remove()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    print(f"Seed {asked.seed}.", flush=True)
    is_kept = []
    for one in (soak_sqlite, soak_mongodb):
        folder = Path(tempfile.mkdtemp(prefix="waiter-soak-"))
        is_kept.append(one(folder, asked.minutes * 30, random.Random(asked.seed)))
        if is_kept[-1]:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"what was left behind: {folder}")
    return 0 if all(is_kept) else 1


if __name__ == "__main__":
    sys.exit(main())
