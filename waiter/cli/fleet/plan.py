"""From what somebody typed to what the fleet's actions take: the command and its files, the settings, Waiter itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from waiter.cli.delivery_options import delivery_options
from waiter.cli.fleet.options import KitchenNames, reachable
from waiter.cli.options import resolve_settings
from waiter.errors import UsageError

if TYPE_CHECKING:
    from waiter.fleet.actions import Shipment, Work
    from waiter.fleet.protocol import Settings
    from waiter.fleet.zipapp import Bundle, Packed


def packed_command(said: dict[str, Any]) -> Packed:
    from waiter.fleet.zipapp import packed

    return packed(said["cmd"] or "", shell=bool(said["shell"]), files=said["files"], folders=said["folders"])


def shipment(bundle: Bundle | None, *, is_any: bool = False) -> Shipment:
    from waiter.fleet.actions import Shipment
    from waiter.fleet.zipapp import parcel

    return Shipment(parcel(), bundle, is_any)


def work_of(said: dict[str, Any], names: KitchenNames, packed: Packed | None) -> Work:
    """What hosts are to do; without a packed command, what they did the last time."""
    from waiter.fleet.actions import Work

    settings = settings_of(said, names, packed) if packed else None
    kitchen = None if packed is None and names.there is None else reachable(names)
    return Work(settings, kitchen, said["boot"])


def settings_of(said: dict[str, Any], names: KitchenNames, packed: Packed) -> Settings:
    """How hosts are to deliver: the flags, [fleet], [deliver]; but how many slots never comes from [deliver].

    Those are this machine's; a host has one for each of its own CPUs.
    """
    from waiter.delivery.executors import check_values
    from waiter.fleet.protocol import Settings

    options = delivery_options(
        {**said, "jobs": said["jobs"] or "auto"}, resolve_settings(None, None).deliver, said["name"]
    )
    check_values(options)
    bundle = packed.bundle.digest if packed.bundle else None
    return Settings(packed.words, json.loads(options.to_json()), names.db, bundle)


def files_in(bundle: Bundle | None) -> list[str]:
    return [f"with {name}" for name in bundle.files] if bundle else []


def plan_of(work: Work, packed: Packed | None) -> list[str]:
    """What `start` and `restart` would have hosts do."""
    if work.settings is None or packed is None:
        return ["what each host ran the last time"]
    return [f"{' '.join(work.settings.words)} (jobs: {work.settings.options['jobs']})", *files_in(packed.bundle)]


def batch_size(word: str, hosts: int) -> int:
    """How many hosts `3` or `25%` are; at least one."""
    number = word.removesuffix("%")
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise UsageError(f"--batch {word}: not a number of hosts. Give 3, or 25%")
    return max(1, int(number) * hosts // 100) if word.endswith("%") else int(number)
