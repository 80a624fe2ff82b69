"""The fleet's verbs for Fabric and Invoke, made from the commands of `waiter fleet`: one definition for all three."""

from __future__ import annotations

from invoke.collection import Collection

from waiter.cli.fleet import fleet
from waiter.tasks import as_task


def fleet_tasks() -> Collection:
    """`fleet.start`, `fleet.status` and all the others.

    Fabric keeps what stands after `--` to itself, so a command to run is one text, a line for the hosts' shell.
    """
    collection = Collection("fleet")
    for command in fleet.commands.values():
        collection.add_task(as_task(command, called=f"fab fleet.{command.name}", is_line=True))
    return collection
