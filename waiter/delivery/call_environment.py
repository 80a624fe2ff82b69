"""The variables that a worker process has during one call: those of its orders, and nothing of the call before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

_LISTS = ("WAITER_GPU", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_SUMS = ("WAITER_CPUS", "WAITER_MEMORY")


class CallEnvironment:
    """This process's variables, as far as calls change them."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}  # what the last call has changed

    def begin(self, orders: Sequence[Mapping[str, str]]) -> None:
        """Set what the orders of the next call are told."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        env = together(orders)
        self._before = {name: os.environ.get(name) for name in env}
        os.environ.update(env)


def together(orders: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Of one call: what was granted to all of its orders, and else what the first one is told."""
    env = dict(orders[0])
    if len(orders) > 1:
        for name in _LISTS:
            if granted := [one[name] for one in orders if name in one]:
                env[name] = ",".join(filter(None, granted))
        for name in _SUMS:
            if granted := [one[name] for one in orders if name in one]:
                env[name] = f"{sum(map(float, granted)):.15g}"
    return env
