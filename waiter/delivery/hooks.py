"""`--on-done` and `--on-error`: a shell line after each order, with the order's facts in its environment."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping

from waiter.delivery.environment import inherited
from waiter.delivery.options import DeliveryOptions
from waiter.orders import Order, Outcome, Status

AT_ONCE = 4
"""So many hooks run at the same time; the waiter waits for one of them before it starts another."""

ROOM_WAIT_S = 60.0
"""How long it waits. Then the oldest is ended: a hook that hangs must not hold up the orders for ever."""

FAREWELL_S = 10.0
"""How long a waiter that leaves waits for its last hooks."""

VARIABLE_BYTES = 128 * 1024 - 1
"""How long NAME=VALUE may be on Linux."""


def facts(order: Order, outcome: Outcome) -> dict[str, bytes]:
    """What a hook sees, as WAITER_… variables. Arguments are a JSON list.

    What is longer than the kernel takes is left out, and a NUL, which it does not take either, is shown as U+FFFD.
    """
    values: dict[str, object] = {
        "ORDER": order.id,
        "ATTEMPT": order.attempt,
        "BATCH": order.batch,
        "STATUS": outcome.status,
        "ARGUMENTS": json.dumps(list(order.arguments)),
        "REASON": outcome.reason,
        "EXIT_CODE": outcome.exit_code,
        "SIGNAL": outcome.signal,
        "SECONDS": f"{outcome.duration_s:.3f}",
        "ERROR_TEXT": outcome.error,
        "RESULT_TEXT": outcome.result,
    }
    said = {f"WAITER_{name}": _bytes(str(value)) for name, value in values.items() if value is not None}
    return {name: value for name, value in said.items() if len(name) + 1 + len(value) <= VARIABLE_BYTES}


def _bytes(text: str) -> bytes:
    text = text.replace("\0", "\ufffd")
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # surrogates of a Python function's making
        return text.encode("utf-8", "replace")


class Hooks:
    """The hooks of one waiter. Whatever fails here changes nothing of an order, and stops no work."""

    def __init__(
        self,
        options: DeliveryOptions,
        note: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        room_wait_s: float = ROOM_WAIT_S,
        farewell_s: float = FAREWELL_S,
    ) -> None:
        """`note` is told, once for each cause, that a hook could not be started."""
        self._note = note
        self._room_wait_s = room_wait_s
        self._farewell_s = farewell_s
        self._said: set[int | None] = set()
        lines = {Status.DONE: options.on_done, Status.ERROR: options.on_error}
        self._lines = {status: line for status, line in lines.items() if line is not None}
        self._env = inherited(os.environ if env is None else env)
        self._running: list[subprocess.Popen[bytes]] = []

    def call(self, order: Order, outcome: Outcome) -> None:
        """Start the hook for this outcome, if there is one."""
        line = self._lines.get(outcome.status) if self._lines else None
        if line is None:
            return
        self._wait_for_room()
        env: dict[str, str | bytes] = {**self._env, **facts(order, outcome)}
        try:
            self._running.append(subprocess.Popen(["/bin/sh", "-c", line], env=env, stdin=subprocess.DEVNULL))
        except OSError as error:
            if error.errno not in self._said:
                self._note(f"The hook after {order.id} cannot be started: {error.strerror}. Continuing without it.")
            self._said.add(error.errno)

    def _wait_for_room(self) -> None:
        ends = time.monotonic() + self._room_wait_s
        while len(self._alive()) >= AT_ONCE:
            if time.monotonic() >= ends:
                self._running[0].kill()
            time.sleep(0.01)

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        self._running = [hook for hook in self._running if hook.poll() is None]
        return self._running

    def close(self) -> None:
        """Wait for the last ones; what takes too long is ended."""
        ends = time.monotonic() + self._farewell_s
        for hook in self._running:
            try:
                hook.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                hook.kill()
                hook.wait()
