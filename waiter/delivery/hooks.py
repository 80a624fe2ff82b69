"""`--on-done` and `--on-error`: a shell line after each order, with the order's facts in its environment."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping

from waiter.delivery.environment import inherited
from waiter.delivery.options import DeliveryOptions
from waiter.orders import Order, Outcome, Status

AT_ONCE = 4
"""So many hooks run at the same time; the waiter waits for one of them before it starts another."""

PATIENCE_S = 60.0
"""How long it waits. Then the oldest is ended: a hook that hangs must not hold up the orders for ever."""

FAREWELL_S = 10.0
"""How long a waiter that goes home waits for its last hooks."""


def facts(order: Order, outcome: Outcome) -> dict[str, str]:
    """What a hook sees, as WAITER_… variables. Arguments are a JSON list."""
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
    return {f"WAITER_{name}": str(value) for name, value in values.items() if value is not None}


class Hooks:
    """The hooks of one waiter. A hook that fails changes nothing of its order."""

    def __init__(self, options: DeliveryOptions, env: Mapping[str, str] | None = None) -> None:
        self._lines = {Status.DONE: options.on_done, Status.ERROR: options.on_error}
        self._env = inherited(os.environ if env is None else env)
        self._running: list[subprocess.Popen[bytes]] = []

    def call(self, order: Order, outcome: Outcome) -> None:
        """Start the hook for this outcome, if there is one."""
        line = self._lines.get(outcome.status)
        if line is None:
            return
        self._wait_for_room()
        self._running.append(
            subprocess.Popen(
                ["/bin/sh", "-c", line], env={**self._env, **facts(order, outcome)}, stdin=subprocess.DEVNULL
            )
        )

    def _wait_for_room(self) -> None:
        ends = time.monotonic() + PATIENCE_S
        while len(self._alive()) >= AT_ONCE:
            if time.monotonic() >= ends:
                self._running[0].kill()
            time.sleep(0.01)

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        self._running = [hook for hook in self._running if hook.poll() is None]
        return self._running

    def close(self) -> None:
        """Wait for the last ones; what takes too long is ended."""
        ends = time.monotonic() + FAREWELL_S
        for hook in self._running:
            try:
                hook.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                hook.kill()
                hook.wait()
