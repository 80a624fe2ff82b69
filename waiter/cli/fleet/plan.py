"""From what somebody typed to what the fleet's actions take: the command and its files, the settings, Waiter itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from waiter.cli.delivery_options import delivery_options
from waiter.cli.fleet.options import DeliveryRequest, reachable
from waiter.cli.options import resolve_settings
from waiter.errors import UsageError

if TYPE_CHECKING:
    from waiter.fleet.actions import Payload, StartRequest
    from waiter.fleet.protocol import HostSettings
    from waiter.fleet.zipapp import Bundle, PackedCommand


def packed_command(delivery: DeliveryRequest) -> PackedCommand:
    from waiter.fleet.zipapp import pack_command

    is_line = bool(delivery.flags["shell"])
    return pack_command(delivery.cmd or "", shell=is_line, files=delivery.files, folders=delivery.folders)


def payload(bundle: Bundle | None, *, is_any: bool = False) -> Payload:
    from waiter.fleet.actions import Payload
    from waiter.fleet.zipapp import build_zipapp

    return Payload(build_zipapp(), bundle, is_any)


def start_request(delivery: DeliveryRequest, packed: PackedCommand | None) -> StartRequest:
    """What hosts are to do; without a packed command, what they did the last time."""
    from waiter.fleet.actions import StartRequest

    settings = host_settings(delivery, packed) if packed else None
    kitchen = None if packed is None and delivery.kitchen.there is None else reachable(delivery.kitchen)
    return StartRequest(settings, kitchen, delivery.boot)


def host_settings(delivery: DeliveryRequest, packed: PackedCommand) -> HostSettings:
    """How hosts are to deliver: the flags, [fleet], [deliver]; but how many slots never comes from [deliver].

    Those are this machine's; a host has one for each of its own CPUs.
    """
    from waiter.delivery.executors import check_values
    from waiter.fleet.protocol import HostSettings

    flags = {**delivery.flags, "jobs": delivery.flags["jobs"] or "auto"}
    options = delivery_options(flags, resolve_settings(None, None).deliver, delivery.name)
    check_values(options)
    bundle = packed.bundle.digest if packed.bundle else None
    return HostSettings(packed.words, json.loads(options.to_json()), delivery.kitchen.db, bundle)


def files_in(bundle: Bundle | None) -> list[str]:
    return [f"with {name}" for name in bundle.files] if bundle else []


def plan_of(request: StartRequest, packed: PackedCommand | None) -> list[str]:
    """What `start` and `restart` would have hosts do."""
    if request.settings is None or packed is None:
        return ["what each host ran the last time"]
    return [f"{' '.join(request.settings.words)} (jobs: {request.settings.options['jobs']})", *files_in(packed.bundle)]


def batch_size(word: str, hosts: int) -> int:
    """How many hosts `3` or `25%` are; at least one."""
    number = word.removesuffix("%")
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise UsageError(f"--batch {word}: not a number of hosts. Give 3, or 25%")
    return max(1, int(number) * hosts // 100) if word.endswith("%") else int(number)
