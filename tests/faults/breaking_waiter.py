"""A waiter in which something breaks that nobody expected: `URL LEASE_S OPTIONS_JSON WHAT CMD…`.

WHAT is a method of the kitchen, or of the listener. It raises once there is a file named `break` in the working folder.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from waiter.delivery.executors import deliver
from waiter.delivery.listener import Listener
from waiter.delivery.options import DeliveryOptions
from waiter.kitchen.contract import Kitchen


class Fragile:
    """Does what the thing inside does, but for one method."""

    def __init__(self, inside: object, what: str) -> None:
        self._inside = inside
        self._what = what

    def __getattr__(self, name: str) -> Any:
        if name == self._what and Path("break").exists():
            raise RuntimeError(f"{name} is broken")
        return self._beside if name == "beside" else getattr(self._inside, name)

    def _beside(self) -> Any:
        """The heartbeat's kitchen breaks as the loop's does."""
        inside: Any = self._inside
        kitchen = inside.beside()
        return kitchen and Fragile(kitchen, self._what)


def main() -> int:
    url, lease_s, options, what, *command = sys.argv[1:]

    def open_kitchen() -> Kitchen:
        if url.startswith("mongodb://"):
            from waiter.kitchen.mongo.kitchen import MongoKitchen

            return Fragile(MongoKitchen(url, lease_s=float(lease_s)), what)  # type: ignore[return-value]
        from waiter.kitchen.sqlite.kitchen import SqliteKitchen

        return Fragile(SqliteKitchen(Path(url), lease_s=float(lease_s)), what)  # type: ignore[return-value]

    listener: Listener = Fragile(Listener(), what)  # type: ignore[assignment]
    return deliver(
        open_kitchen, command, replace(DeliveryOptions.from_json(options), any_command=True), listener=listener
    ).exit_code


if __name__ == "__main__":
    sys.exit(main())
