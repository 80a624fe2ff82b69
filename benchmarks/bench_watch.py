"""What looking costs: the CPU time that the live view takes of a kitchen with a million orders.

    python benchmarks/bench_watch.py [--rows 1000000] [--seconds 60] [--mongod PATH]

Most orders are READY; 60,000 were just delivered, 6,000 of them failed in 30 ways, 800 run in the slots of 100 waiters.
`waiter watch` draws on a terminal of 80 by 24. Goal: less than 5 % of one core of the kitchen, from the view's first
second on: on MongoDB the CPU time of mongod beyond what it takes by itself, on SQLite, which has no process of its
own, that of `watch` (after its start, with all that it draws). CPU time, not wall time: a busy machine changes
nothing. Ends with exit code 1 if the goal is missed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from own_mongod import add_mongod_option, cpu_s, server

from waiter.failure_groups import error_group
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import CLAIM_LIMIT
from waiter.orders import Batch, Order, Outcome, Reason, Status, Vitals

GOAL = 0.05
DELIVERED, WAITERS, SLOTS, KINDS = 60_000, 100, 8, 30


def fill(url: str, rows: int) -> None:
    """A million orders in the middle of their delivery."""
    with open_kitchen(url) as kitchen:
        kitchen.open_batch(Batch("pile", "pile", "bench", "pile", rows, rows, 0, kitchen.now(), True))
        kitchen.add("pile", ((n, (f"input-{n:08}.dat", "--level=3"), None) for n in range(1, rows + 1)))
        vitals = Vitals(slots=SLOTS, busy=SLOTS, command="./crunch.sh", command_hash="0123456789ab")
        shifts = [kitchen.check_in(f"ip-10-0-0-{n}/{n}", f"ip-10-0-0-{n}", 1, vitals) for n in range(WAITERS)]
        for turn in range(min(DELIVERED, rows // 2) // CLAIM_LIMIT):
            shift = shifts[turn % WAITERS]
            kitchen.finish(shift, [ended(order) for order in kitchen.claim(shift, CLAIM_LIMIT)])
        for shift in shifts:
            kitchen.claim(shift, SLOTS)


def ended(order: Order) -> Outcome:
    """One in ten fails."""
    start = order.start or 0.0
    if order.row % 10:
        return Outcome(order.id, order.attempt, Status.DONE, start, start + 1, exit_code=0, command="0123456789ab")
    message = f"tile {order.row}: no such layer: {chr(97 + order.row // 10 % KINDS)}"
    group = error_group(message, Reason.EXIT, 3, None)
    return Outcome(
        order.id, order.attempt, Status.ERROR, start, start + 1, 3, None, Reason.EXIT, 0.0, message, group, message
    )


def watch(url: str) -> tuple[subprocess.Popen[bytes], threading.Event]:
    """The live view on a terminal, and the event that it has drawn something."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "waiter", "watch", "-k", url]
    env = {**os.environ, "TERM": "xterm-256color"}
    view = subprocess.Popen(
        command, cwd=Path(__file__).parent.parent, env=env, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    has_drawn = threading.Event()

    def read() -> None:
        try:
            while os.read(controller, 65536):
                has_drawn.set()
        except OSError:
            pass  # the view has gone

    threading.Thread(target=read, daemon=True).start()
    return view, has_drawn


def measure(kind: str, url: str, rows: int, seconds: float, kitchen_pid: int | None) -> bool:
    """Print what was measured; whether the goal was missed."""
    fill(url, rows)
    time.sleep(5)
    alone = 0.0
    if kitchen_pid is not None:
        before = cpu_s(kitchen_pid)
        time.sleep(seconds)
        alone = cpu_s(kitchen_pid) - before
    server_before = cpu_s(kitchen_pid) if kitchen_pid is not None else 0.0
    view, has_drawn = watch(url)
    try:
        has_drawn.wait(120)
        view_before = cpu_s(view.pid)
        time.sleep(seconds)
        view_s = cpu_s(view.pid) - view_before
        used = view_s if kitchen_pid is None else cpu_s(kitchen_pid) - server_before - alone
    finally:
        view.kill()
        view.wait()
    share = used / seconds
    text = f"{share:.1%} of one core" + ("" if kitchen_pid is None else f" (by itself {alone / seconds:.1%})")
    print(f"{kind:<8} {rows:,} orders: watch takes {text}; its own {view_s / seconds:.1%}", end="")
    print("" if share < GOAL else "  MISSED", flush=True)
    return share >= GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    add_mongod_option(parser)
    said = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        missed.append(measure("SQLite", f"{folder}/kitchen.sqlite", said.rows, said.seconds, None))
    with server(said.mongod) as (url, pid):
        missed.append(measure("MongoDB", f"{url}/bench", said.rows, said.seconds, pid))
    return int(any(missed))


if __name__ == "__main__":
    sys.exit(main())
