"""What the kitchen says before hosts get a command: whether it fits the orders, and which commands batches have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from waiter.cli.console import said_if_long, say
from waiter.cli.fleet.options import DeliveryRequest, KitchenNames
from waiter.cli.fleet.plan import packed_command
from waiter.delivery.batch_scope import unbound_words
from waiter.delivery.function_names import names_function
from waiter.delivery.options import DeliveryOptions, Until
from waiter.delivery.precheck import check_command
from waiter.errors import KitchenError, KitchenMissing, UsageError
from waiter.kitchen import open_kitchen
from waiter.kitchen.address import shown
from waiter.kitchen.contract import Kitchen

if TYPE_CHECKING:
    from waiter.fleet.protocol import HostSettings
    from waiter.fleet.zipapp import PackedCommand


@contextmanager
def _opened(names: KitchenNames) -> Iterator[Kitchen]:
    where = shown(names.here) if names.here else "the kitchen"
    with said_if_long(f"Waiting for {where} to answer…"):
        kitchen = open_kitchen(names.here, names.db, create=False)
    with kitchen:
        yield kitchen


def check_with_kitchen(delivery: DeliveryRequest, settings: HostSettings) -> None:
    """Say what is to be known before hosts get the command. Raises UsageError where it fits no order that waits."""
    if delivery.kitchen.here is None or not settings.words:
        return
    options = DeliveryOptions.from_json(json.dumps(settings.options))
    if names_function(settings.words, shell=options.shell):
        return
    try:
        with _opened(delivery.kitchen) as kitchen:
            notes = check_command(kitchen, settings.words, options)
    except KitchenMissing:
        stay = ": waiters stay, and wait for orders" if options.until is Until.STOPPED else ""
        notes = [f"Nothing is loaded yet{stay}"]
    except KitchenError as error:
        notes = [f"{error}\nThe command was not checked against the orders here; hosts check it"]
    for note in notes:
        say(note)


def packed_to_start(delivery: DeliveryRequest) -> PackedCommand:
    """The command with its files; without one, the files of all commands that batches are bound to. Raises UsageError,
    KitchenError."""
    if not delivery.own_commands and (delivery.cmd or delivery.kitchen.here is None):
        return packed_command(delivery)
    from waiter.fleet.zipapp import pack_own_commands

    try:
        with _opened(delivery.kitchen) as kitchen:
            batches = [batch for batch in kitchen.batches() if batch.command is not None]
    except KitchenMissing:
        batches = []
    if asked := delivery.flags.get("batch"):
        batches = [batch for batch in batches if batch.id in asked or batch.name in asked]
    if not batches:
        raise UsageError(
            'which command? Name it at the end of the line, or by --cmd "./crunch.sh --some-param x"\n'
            "hint: or put cmd = … under [fleet] in waiter.toml, or give each batch its own: waiter load --for"
        )
    commands = dict.fromkeys(batch.command for batch in batches if batch.command is not None)
    packed, notes = pack_own_commands(
        [unbound_words(words)[:2] for words in commands], delivery.files, delivery.folders
    )
    for note in notes:
        say(f"{note}\nhint: hosts that have it deliver its batch, others leave it alone")
    return packed
