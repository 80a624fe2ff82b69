"""A waiter whose lease and patience are short, so that a test can see them run out: `URL LEASE_S OPTIONS_JSON CMD…`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from waiter.delivery.executors import deliver
from waiter.delivery.listener import Listener
from waiter.delivery.options import DeliveryOptions
from waiter.errors import WaiterError
from waiter.kitchen.contract import Kitchen

KITCHEN_WAIT_S = 2.0
"""With a kitchen that does not answer, or that somebody else has locked."""


class Talk(Listener):
    def noted(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def main() -> int:
    url, lease_s, options, *command = sys.argv[1:]

    def open_kitchen() -> Kitchen:
        if url.startswith("mongodb://"):
            from waiter.kitchen.mongo.kitchen import MongoKitchen

            return MongoKitchen(url, lease_s=float(lease_s), timeout_s=KITCHEN_WAIT_S)
        from waiter.kitchen.sqlite import file as sqlite_file
        from waiter.kitchen.sqlite.kitchen import SqliteKitchen

        sqlite_file.BUSY_S = KITCHEN_WAIT_S
        return SqliteKitchen(Path(url), lease_s=float(lease_s))

    try:
        summary = deliver(
            open_kitchen, command, replace(DeliveryOptions.from_json(options), any_command=True), listener=Talk()
        )
    except WaiterError as error:
        print(f"waiter: {error}", file=sys.stderr)
        return error.exit_code
    print(summary, file=sys.stderr)
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
