"""The waiter of a host at work. It holds the host's only `running` lock, tells who it is, delivers, keeps its log.

Asked to stop by signals that can be repeated without harm: USR1 drains, USR2 stops the commands. TERM, from systemd or
a hand, counts up as it does for `waiter deliver`.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from waiter import __version__
from waiter.delivery.executors import deliver
from waiter.delivery.function_names import names_function
from waiter.delivery.listener import Listener, Summary
from waiter.delivery.named_functions import with_site_packages
from waiter.delivery.options import DeliveryOptions
from waiter.delivery.shutdown import Shutdown, Stop
from waiter.errors import KitchenUnreachable, WaiterError
from waiter.host.sign_of_life import SignOfLife
from waiter.host.state_dir import KITCHEN, OVERTAKEN, SETTINGS, STATE, Home, process_start_id
from waiter.kitchen import open_kitchen
from waiter.orders import Order, Outcome, Shift, Status

LOG_BYTES = 10 * 1024 * 1024
LOGS_KEPT = 5

PARTING_S = 3.0
"""How long a waiter that finds another one here gives it to be gone: it may be doing its last."""


class Log(Listener):
    """Writes what happens into the daemon's own output, which is the log, and tells of the shift when it begins."""

    def __init__(self, home: Home, state: dict[str, Any], tell_fd: int | None) -> None:
        self._home, self._state, self._tell_fd = home, state, tell_fd
        self._writing = threading.Lock()
        self._sign = SignOfLife()

    def checked_in(self, shift: Shift) -> None:
        self._sign.lost_all()
        self._state.update(shift=shift.token, waiter=shift.waiter)
        self._home.write(STATE, json.dumps(self._state))
        self.noted(f"checked in as {shift.waiter}")
        self.tell({"shift": shift.token})

    def claimed(self, orders: Sequence[Order]) -> None:
        self._sign.took(order.id for order in orders)

    def given_back(self, order: Order) -> None:
        self._sign.ended(order.id)

    def draining(self, why: str) -> None:
        self._state["draining"] = why
        with suppress(OSError):  # a full disk costs that word, not the orders that still run
            self._home.write(STATE, json.dumps(self._state))

    def tell(self, word: dict[str, Any]) -> None:
        """Say one thing to the `start` that waits for it."""
        if self._tell_fd is not None:
            with suppress(BrokenPipeError):  # it waits no longer
                os.write(self._tell_fd, json.dumps(word).encode() + b"\n")
            os.close(self._tell_fd)
            self._tell_fd = None

    def output(self, order: Order, stream: int, chunk: bytes) -> None:  # noqa: ARG002
        self._add(chunk)

    def finished(self, order: Order, outcome: Outcome) -> None:
        self._sign.ended(order.id)
        what = "done" if outcome.status is Status.DONE else f"{outcome.status}: {outcome.error or outcome.reason}"
        self.noted(f"{' '.join(order.arguments)[:200]} ({order.id}, {outcome.duration_s:.3g} s) {what}")

    def late(self, order: Order, outcome: Outcome) -> None:  # noqa: ARG002
        self.noted(f"{order.id} came too late: its lease had expired and another waiter has it")

    def noted(self, message: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._add(f"{stamp} {' '.join(message.split())}\n".encode("utf-8", "surrogateescape"))

    def _add(self, content: bytes) -> None:
        with self._writing:
            write(content)
            rotate(self._home)


def write(content: bytes) -> None:
    """All of it, to the log. A full disk costs lines, not the waiter."""
    while content:
        try:
            content = content[os.write(1, content) :]
        except OSError:
            return


def run(home: Home, *, tell_fd: int | None = None, is_patient: bool = False, successor: str | None = None) -> int:
    """Deliver with the settings that lie in the home, and return the exit code.

    `tell_fd` hears one line of JSON when the shift has begun or could not begin. `is_patient` waits for a kitchen that
    is not there yet, as after a reboot. `successor` waits for the waiter that is leaving, however long that takes, and
    begins unless somebody has wanted something else since (`Home.new_intent`).
    """
    lock = os.open(home.own / "running", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if not _is_held(lock, None if successor else PARTING_S):
        Log(home, {}, tell_fd).tell({"error": "another waiter works here already. Run: waiter fleet stop"})
        return 1
    if successor and not home.is_current(successor):
        Log(home, {}, tell_fd).tell({"error": OVERTAKEN})
        return 1
    _redirect(home)
    settings = home.json(SETTINGS)
    if settings.get("path"):
        os.environ["PATH"] = settings["path"]
    state = {**described(settings), "pid": os.getpid(), "birth": process_start_id(os.getpid()), "since": time.time()}
    home.write(STATE, json.dumps(state))
    log = Log(home, state, tell_fd)
    try:
        summary = _delivered(home, settings, log, is_patient=is_patient)
    except WaiterError as error:
        log.noted(str(error))
        log.tell({"error": str(error)})
        home.write(STATE, json.dumps({**state, "left": {"error": str(error), "at": time.time()}}))
        return error.exit_code
    log.noted(f"left ({summary.left_because}): {summary.delivered} delivered, {summary.failed} failed")
    home.write(STATE, json.dumps({**state, "left": {**asdict(summary), "at": time.time()}}))
    return summary.exit_code


def _is_held(lock: int, within_s: float | None) -> bool:
    """Take the lock that only one waiter of this host has; False if another keeps it. None waits for ever."""
    if within_s is None:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def described(settings: dict[str, Any]) -> dict[str, Any]:
    """What a waiter with these settings tells of itself; nothing secret."""
    return {
        "version": __version__,
        "parcel": Path(sys.argv[0]).name,
        "words": settings.get("words", []),
        "jobs": settings.get("options", {}).get("jobs"),
        "bundle": settings.get("bundle"),
        "script": settings.get("script"),
        "settings": settings.get("digest"),
        "host": socket.gethostname(),
    }


def _delivered(home: Home, settings: dict[str, Any], log: Log, *, is_patient: bool) -> Summary:
    shutdown = Shutdown()
    signal.signal(signal.SIGUSR1, lambda *_: shutdown.request(Stop.DRAIN))
    signal.signal(signal.SIGUSR2, lambda *_: shutdown.request(Stop.NOW, "stopped"))
    words, options = command_of(home, settings)
    url = (home.read(KITCHEN) or "").strip()
    if not url:
        raise WaiterError("there is no kitchen on this host. Run: waiter fleet start")
    while True:
        try:
            return deliver(
                lambda: open_kitchen(url, settings["db"]),
                words,
                options,
                listener=log,
                shutdown=shutdown,
                state=home.path,
            )
        except KitchenUnreachable as error:
            if not is_patient or shutdown.level:
                raise
            log.noted(f"{error.sentence} Trying again.")
            time.sleep(random.uniform(2, 15))


def command_of(home: Home, settings: dict[str, Any]) -> tuple[Sequence[str], DeliveryOptions]:
    """The words to run and how. Without --cwd, commands run in their files' folder, or else in the user's home."""
    options = DeliveryOptions.from_json(json.dumps(settings["options"]))
    if options.name:
        options = replace(options, name=f"{options.name}/{socket.gethostname()}")  # one name for each waiter
    words = list(settings["words"])
    folder = home.bundle(settings["bundle"]) if settings.get("bundle") else home.path.parent
    if names_function(words, shell=options.shell) or not words:
        with_site_packages()
        sys.path.insert(0, str(folder))
    if options.cwd is None:
        return words, replace(options, cwd=str(folder))
    cwd = home.path.parent / Path(options.cwd).expanduser()
    if words and not options.shell and (folder / words[0]).is_file():
        words[0] = str(folder / words[0])
    return words, replace(options, cwd=str(cwd))


# The log.


def _redirect(home: Home) -> None:
    """Make the log this process's output, whoever started it: `start`, systemd or cron."""
    fd = home.open_log()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def rotate(home: Home) -> None:
    """Begin a new log when the present one is too long; a few old ones stay as waiter.log.1, .2, …"""
    try:
        if os.fstat(1).st_size < LOG_BYTES:
            return
        for number in range(LOGS_KEPT - 1, 0, -1):
            old = Path(f"{home.log}.{number}")
            if old.exists():
                old.replace(f"{home.log}.{number + 1}")
        home.log.replace(f"{home.log}.1")
        _redirect(home)
    except OSError:
        return  # a full disk: the old log goes on
