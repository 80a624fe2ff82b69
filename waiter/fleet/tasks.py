"""The fleet's verbs for Fabric and Invoke, made from the commands of `waiter fleet`: one definition for all three."""

from __future__ import annotations

import shlex
import sys

from invoke.collection import Collection
from invoke.exceptions import Exit

from waiter.cli.fleet.commands import fleet
from waiter.tasks import as_task, end_with_its_reader, words_after_dashes


def fleet_tasks() -> Collection:
    """`fleet.start`, `fleet.status` and all the others.

    Fabric keeps what stands after `--` to itself, and fails for want of `-H`: so a command to run is one text, a line
    for the hosts' shell. Raises Exit for `fab fleet.run -- CMD`.
    """
    end_with_its_reader()
    if (words := words_after_dashes()) and "fleet.run" in sys.argv:
        line = words[0] if len(words) == 1 else shlex.join(words)
        raise Exit(f"fab keeps what stands after `--` to itself.\nhint: fab fleet.run {shlex.quote(line)}", 2)
    collection = Collection("fleet")
    for command in fleet.commands.values():
        collection.add_task(as_task(command, called=f"fab fleet.{command.name}", is_line=True))
    return collection
