"""From what somebody typed to what the fleet's actions take: the command and its files, the settings, Waiter itself."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from waiter.cli.delivery_options import delivery_options
from waiter.cli.fleet.options import DeliveryRequest, KitchenNames
from waiter.cli.options import resolve_settings
from waiter.delivery.function_names import own_settings
from waiter.delivery.options import Until
from waiter.errors import UsageError
from waiter.kitchen import kind_of

if TYPE_CHECKING:
    from waiter.fleet.actions import Payload, StartRequest
    from waiter.fleet.protocol import HostSettings
    from waiter.fleet.tunnel import Passage
    from waiter.fleet.zipapp import Bundle, PackedCommand


def packed_command(delivery: DeliveryRequest) -> PackedCommand:
    from waiter.fleet.zipapp import pack_command

    is_line = bool(delivery.flags["shell"])
    return pack_command(delivery.cmd or "", shell=is_line, files=delivery.files, folders=delivery.folders)


def reachable(names: KitchenNames) -> str:
    """The kitchen's URL for hosts. Raises UsageError for one that exists on this machine only."""
    if names.there is None:
        raise UsageError("which kitchen? Hosts need one they can all reach: --kitchen mongodb://HOST/")
    is_for_hosts = names.there != names.here
    if problem := kind_of(names.there).why_not_from_hosts(names.there, is_for_hosts):
        raise UsageError(problem)
    return names.there


def passage_of(delivery: DeliveryRequest) -> Passage | None:
    """Where tunnels are to lead, if there are to be some. Raises UsageError."""
    from waiter.fleet.tunnel import Passage

    if not delivery.tunnel:
        if delivery.tunnel_port is not None:
            raise UsageError("--tunnel-port says which port --tunnel is to use: give both")
        return None
    here = delivery.kitchen.here
    if here is None:
        raise UsageError(
            "--tunnel leads to a kitchen here, and none is named\nhint: give --kitchen mongodb://localhost/"
        )
    if delivery.kitchen.there != here:
        raise UsageError("--tunnel and --kitchen-from-hosts exclude each other\nhint: give one of them")
    kind = kind_of(here)
    _, target = kind.through_tunnel(here, 0)
    port = delivery.tunnel_port or port_for(target)
    return Passage(port, target, kind.through_tunnel(here, port)[0])


def port_for(target: tuple[str, int]) -> int:
    """The same for the same kitchen, user and machine: what is started anew finds its own tunnel's port again."""
    words = f"{socket.gethostname()} {os.getuid()} {target[0]} {target[1]}"
    return 20_000 + int(hashlib.sha256(words.encode()).hexdigest()[:8], 16) % 10_000


def with_command(delivery: DeliveryRequest, words: Sequence[str]) -> DeliveryRequest:
    """The same with a command that was typed bare, in words. Raises UsageError where --cmd was typed too."""
    if not words:
        return delivery
    if delivery.own_commands:
        raise UsageError(f"{words[0]} and --own-commands exclude each other\nhint: give one of them")
    if click.get_current_context().get_parameter_source("cmd") is ParameterSource.COMMANDLINE:
        raise UsageError(f"two commands: --cmd {delivery.cmd}, and {words[0]}\nhint: give one of them")
    if len(words) == 1 and " " in words[0] and not delivery.flags["shell"] and not Path(words[0]).exists():
        raise UsageError(f"{words[0]}: no such command\nhint: drop the quotes, or --cmd {shlex.quote(words[0])}")
    return replace(delivery, cmd=" ".join(words) if delivery.flags["shell"] else shlex.join(words))


def payload(bundle: Bundle | None, *, is_any: bool = False) -> Payload:
    from waiter.fleet.actions import Payload
    from waiter.fleet.zipapp import build_zipapp

    return Payload(build_zipapp(), bundle, is_any)


def start_request(delivery: DeliveryRequest, packed: PackedCommand | None) -> StartRequest:
    """What hosts are to do; without a packed command, what they did the last time."""
    from waiter.fleet.actions import StartRequest

    settings = host_settings(delivery, packed) if packed else None
    return StartRequest(settings, kitchen_for_hosts(delivery, is_needed=packed is not None), delivery.boot)


def kitchen_for_hosts(delivery: DeliveryRequest, *, is_needed: bool) -> str | None:
    """The kitchen's URL for hosts; None where nobody named one, and hosts may know it already."""
    if (passage := passage_of(delivery)) is not None:
        return passage.kitchen
    return None if delivery.kitchen.there is None and not is_needed else reachable(delivery.kitchen)


def host_settings(delivery: DeliveryRequest, packed: PackedCommand) -> HostSettings:
    """How hosts are to deliver: the flags, [fleet], [deliver]; but how many slots never comes from [deliver].

    Those are this machine's; a host has one for each of its own CPUs. Waiters stay, unless somebody says until when:
    orders may come later than they.
    """
    from waiter.delivery.executors import check_values
    from waiter.fleet.protocol import HostSettings

    own = own_settings(packed.words, shell=bool(delivery.flags["shell"]))
    flags = {**delivery.flags, "jobs": delivery.flags["jobs"] or own.get("jobs", "auto")}
    table = {"until": Until.STOPPED.value, **resolve_settings(None, None).deliver}
    options = delivery_options(flags, table, delivery.name, own=own)
    check_values(options)
    bundle = packed.bundle.digest if packed.bundle else None
    return HostSettings(packed.words, json.loads(options.to_json()), delivery.kitchen.db, bundle, packed.script)


def files_in(bundle: Bundle | None) -> list[str]:
    return [f"with {name}" for name in bundle.files] if bundle else []


def plan_of(request: StartRequest, packed: PackedCommand | None) -> list[str]:
    """What `start` and `restart` would have hosts do."""
    from waiter.fleet.protocol import OWN_COMMANDS

    if request.settings is None or packed is None:
        return ["what each host ran the last time"]
    words = " ".join(request.settings.words) or OWN_COMMANDS
    return [f"{words} (jobs: {request.settings.options['jobs']})", *files_in(packed.bundle)]


def batch_size(word: str, hosts: int) -> int:
    """How many hosts `3` or `25%` are; at least one."""
    number = word.removesuffix("%")
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise UsageError(f"--batch {word}: not a number of hosts\nhint: give 3, or 25%")
    return max(1, int(number) * hosts // 100) if word.endswith("%") else int(number)
