"""Functions that worker processes call in tests; and a waiter that calls one: `python -m … KITCHEN PROCESSES`."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from pathlib import Path

from waiter import DeliveryOptions, deliver_with


def work(order):
    what, *rest = order.arguments
    return globals()[what](order, *rest)


def work_named(order):
    named = dict(order.named)
    named.pop("needs")
    return globals()[named.pop("what")](order, **named)


def well(order):
    return {"pid": os.getpid(), "slot": os.environ["WAITER_SLOT"], "order": os.environ["WAITER_ORDER"]}


def types(order):
    return [type(value).__name__ for value in order.typed_arguments]


def fault(order):
    print("before the fault")
    ctypes.string_at(0)


def leave(order, code):
    os._exit(int(code))


def say_goodbye(order, code):
    sys.exit(int(code))


def hang(order):
    time.sleep(600)


def come_back_twice(order):
    os.fork()
    return "once"


def leave_a_daemon(order, file):
    if os.fork() == 0:
        os.setsid()
        Path(f"{file}.new").write_text(str(os.getpid()))
        Path(f"{file}.new").rename(file)
        time.sleep(600)
    while not Path(file).exists():
        time.sleep(0.01)
    os._exit(7)


def take_all_memory(order):
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    return len(bytearray(1 << 31))


def hang_with_a_daemon(order, file):
    daemon = os.fork()
    if daemon == 0:
        os.setsid()
        time.sleep(600)
    Path(file).write_text(f"{os.getpid()} {daemon}")
    time.sleep(600)


def kill_the_server(order):
    """Kill what workers are forked from, the oldest child of their runner, and then this one."""
    runner = os.getppid()
    os.kill(min(map(int, Path(f"/proc/{runner}/task/{runner}/children").read_text().split())), 9)
    os._exit(8)


def eat(order, megabytes):
    held = b"x" * (int(megabytes) << 20)
    time.sleep(1)
    return len(held)


def show_grant(order, folder):
    """Hold the GPUs for a moment: two that have the same one find its folder."""
    gpus = os.environ.get("WAITER_GPU")
    for gpu in filter(None, (gpus or "").split(",")):
        Path(folder, gpu).mkdir()
        time.sleep(0.05)
        Path(folder, gpu).rmdir()
    return {"gpus": gpus}


def grants(orders):
    return [os.environ["CUDA_VISIBLE_DEVICES"] + " " + os.environ["WAITER_MEMORY"] for _ in orders]


def tell(order):
    print(f"{Path.cwd().name} {os.environ['COLOUR']} {order.named['what']}")
    print("mind", file=sys.stderr)


def each(orders):
    Path("calls").open("a").write(f"{len(orders)}\n")
    if any(order.arguments[0] == "fault" for order in orders):
        ctypes.string_at(0)
    return [ValueError("odd") if int(order.arguments[0]) % 2 else int(order.arguments[0]) for order in orders]


if __name__ == "__main__":
    deliver_with(work, sys.argv[1], DeliveryOptions(processes=sys.argv[2], jobs=2))
