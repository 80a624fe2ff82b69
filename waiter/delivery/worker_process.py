"""The process of a worker: it reads the user's program, then calls the function for one job after the other.

`runner.workers` starts it and talks to it; what is left of it is the runner's to clear up.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from waiter.delivery import worker_setup
from waiter.delivery.call_environment import CallEnvironment
from waiter.delivery.calls import Call
from waiter.delivery.functions import calls
from waiter.delivery.named_functions import named_function
from waiter.delivery.peak_memory import PeakMemory
from waiter.delivery.runner.containment import bear
from waiter.delivery.runner.workers import SERVER, SOCKET
from waiter.delivery.worker import settings_of
from waiter.delivery.worker_setup import read_setup
from waiter.errors import UsageError
from waiter.orders import Order, Reason, Status

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from waiter.delivery.worker_process import main; main()"


_OURS = (__file__, worker_setup.__file__)

_LEFT_OUT = ("arguments", "history", "late")
_DEFAULTS = {name: field.default for name, field in Order.__dataclass_fields__.items() if name not in _LEFT_OUT}


def order_facts(order: Order) -> bytes:
    """What `order_from` makes an order of again, with its arguments."""
    facts = {name: value for name, default in _DEFAULTS.items() if (value := getattr(order, name)) != default}
    return json.dumps(facts).encode("ascii")


def order_from(arguments: Sequence[str], facts: Mapping[str, Any]) -> Order:
    values = dict(facts, arguments=tuple(arguments))
    if "names" in values:
        values["names"] = tuple(values["names"])
    if "earlier" in values:
        values["earlier"] = tuple(map(tuple, values["earlier"]))
    if "status" in values:
        values["status"] = Status(values["status"])
    if "reason" in values:
        values["reason"] = Reason(values["reason"])
    return Order(**values)


class _Runner:
    """The other end of the socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=SOCKET)
        self._socket.set_inheritable(False)
        self._received = b""
        self._files: list[int] = []  # that stdout and stderr are to go to from the next call on

    def listen(self) -> bytes:
        """The next message; empty when there will be none."""
        while b"\n" not in self._received:
            more, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 3)
            if not more:
                return b""
            self._received += more
            self._files += descriptors
        line, _, self._received = self._received.partition(b"\n")
        return line

    def take_files(self) -> None:
        """Let those that came with the last message take the place of stdout, stderr and the socket."""
        for number, descriptor in enumerate(self._files, 1):
            os.dup2(descriptor, number, inheritable=number != SOCKET)
        self.drop_files()

    def drop_files(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._files.clear()

    def tell(self, *words: object) -> None:
        self._socket.sendall(json.dumps(words).encode("ascii") + b"\n")


def main() -> None:
    """`ROOT [server]`: the folder or zipapp of the waiter package. The first message on the socket is the setup."""
    is_server = sys.argv[2:] == [SERVER]
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # what is printed before a crash is kept
    runner = _Runner()
    if not (setup := runner.listen()):
        return
    try:
        function, is_many = read_setup(setup.decode("ascii"))
    except BaseException as error:  # noqa: BLE001 - whatever a user's program raises
        runner.tell("refused", _why_unread(error))
        return
    runner.tell("ready")
    if is_server and not _forks(runner):
        return
    _serve(runner, function, is_many=is_many)


def once() -> None:
    """`ROOT FOLDER WORD ARGUMENT…`: call the named function for the order of which stdin tells the rest, and go."""
    folder, word, *arguments = sys.argv[2:]
    function = named_function(word, folder)
    order = order_from(arguments, json.load(sys.stdin))
    (end,) = calls(function, [order], is_many=settings_of(function).get("many") is not None)
    for variable, text in (("WAITER_RESULT", end.result), ("WAITER_ERROR", end.message)):
        if text is not None:
            Path(os.environ[variable]).write_text(text, encoding="utf-8", errors="surrogateescape")
    sys.stderr.write(end.tail.decode("utf-8", "replace"))
    sys.exit(end.exit_code)


def _forks(runner: _Runner) -> bool:
    """Fork a worker for each message. Returns True in a worker, and False at the end of all."""
    while line := runner.listen():
        number, env = json.loads(line)
        if not (between := os.fork()):
            between = os.getpid()
            if os.fork():
                os._exit(0)
            _begin_as_worker(runner, number, env, between)
            return True
        runner.drop_files()
        os.waitpid(between, 0)
    return False


def _begin_as_worker(runner: _Runner, number: int | None, env: Mapping[str, str], parent: int) -> None:
    os.setsid()
    bear(number)
    os.environ.update(env)
    runner.take_files()
    while os.getppid() == parent:  # until it is the runner's child: no number is told before
        time.sleep(0.0005)
    runner.tell("hello", os.getpid())
    runner.tell("ready")


def _why_unread(error: BaseException) -> str:
    """In one line and a hint: the runner's user has no other place to see it."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((one for one in reversed(frames) if not one.filename.startswith("<frozen")), None)
    where = f"{frame.filename}, line {frame.lineno}: " if frame and frame.filename not in _OURS else ""
    if isinstance(error, UsageError):
        return str(error)
    first, _, hint = f"{error}".partition("\n")
    return f"the worker process cannot begin: {where}{type(error).__name__}: {first}" + (f"\n{hint}" if hint else "")


def _serve(runner: _Runner, function: Callable[..., object], *, is_many: bool) -> None:
    own, memory, variables = os.getpid(), PeakMemory(), CallEnvironment()
    while line := runner.listen():
        jobs = json.loads(line)
        variables.begin([env for _, env, _ in jobs])
        runner.take_files()
        memory.forget()
        ends = calls(function, [order_from(argv, json.loads(facts)) for argv, _, facts in jobs], is_many=is_many)
        if os.getpid() != own:
            os._exit(0)  # a fork of the function's own that has come back: one answer is enough
        _flush()
        is_spent = any(end.is_spent for end in ends)
        runner.tell("ended", list(map(_words, ends)), is_spent, memory.peak())
        if is_spent:
            os._exit(0)  # at once, whatever threads the function has left


def _words(end: Call) -> tuple[object, ...]:
    return end.exit_code, end.message, end.result, end.cut_from, end.tail.decode("latin-1")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, or put aside, by the function
            continue
