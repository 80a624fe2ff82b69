"""A fleet's verb as a command: its options have their defaults in waiter.toml, under [fleet] and [fleet.launch]."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from waiter.cli.help_groups import HOST_GROUPS, GroupedOptions
from waiter.errors import UsageError
from waiter.settings import settings


class FleetCommand(GroupedOptions):
    """A verb whose options have their defaults in waiter.toml, under [fleet]."""

    groups = HOST_GROUPS
    of: click.Group | None = None
    """All verbs of the fleet, whose flags may be keys: Fabric's tasks have no parent that would say so."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        found = settings()
        table, own = dict(found.fleet), {}
        if self.of is not None:
            own = self._own_table(table, self.of, str(found.file))
            check_table(table, self.of.commands.values(), str(found.file))
        extra["default_map"] = {**defaults_for(self, {**table, **own}), **(extra.get("default_map") or {})}
        return super().make_context(info_name, args, parent, **extra)

    def _own_table(self, table: dict[str, Any], group: click.Group, file: str) -> dict[str, Any]:
        """Take [fleet.launch], a table of one verb's own, out of [fleet]; return it if this verb goes by it."""
        if not isinstance(table.get(LAUNCH), Mapping) or LAUNCH not in group.commands:
            return {}
        own = dict(table.pop(LAUNCH))
        check_table(own, [group.commands[LAUNCH]], file, name=f"fleet.{LAUNCH}")
        for key in own:
            if key.replace("-", "_") in _KITCHENS:
                raise UsageError(
                    f"{file}, [fleet.{LAUNCH}]: {key} is the same for all verbs\nhint: put it under [fleet]"
                )
        return own if self.name in ROOMS_OF_LAUNCH else {}


LAUNCH = "launch"
ROOMS_OF_LAUNCH = (LAUNCH, "scale", "terminate", "leftovers")
"""The verbs of a fleet's life, which go by [fleet.launch]."""


def check_table(table: Mapping[str, Any], commands: Iterable[click.Command], file: str, *, name: str = "fleet") -> None:
    """Raise UsageError for a key of [fleet] that is no long flag of any verb, and for a value that no flag can have."""
    flags = {name.lstrip("-"): flag for command in commands for flag in command.params for name in flag.opts}
    for key, value in table.items():
        flag = flags.get(key.replace("_", "-"))
        if flag is None:
            raise UsageError(
                f"{file}, [{name}]: unknown key {key}. The keys are the long flags of `waiter fleet` verbs"
            )
        if not fits(flag, value):
            raise UsageError(f"{file}, [{name}] {key}: {value} is not a valid value. See: waiter fleet start --help")


def fits(flag: click.Parameter, value: Any) -> bool:
    """Whether a value of waiter.toml has the shape that this flag takes."""
    if isinstance(value, bool):
        return isinstance(flag, click.Option) and flag.is_flag
    if isinstance(value, Mapping):
        return flag.name == "env"
    if isinstance(value, list):
        return bool(getattr(flag, "multiple", False)) and all(isinstance(each, (str, int, float)) for each in value)
    return not (isinstance(flag, click.Option) and flag.is_flag)


_KITCHENS = ("kitchen", "db", "kitchen_from_hosts")
"""Keys of [fleet] before which a variable comes."""

_OTHER_MEANING = {("logs", "follow")}
"""Flags of a verb that share a key's name and not its meaning: `follow` is who comes later, and no log's end."""


def defaults_for(command: click.Command, table: Mapping[str, Any]) -> dict[str, Any]:
    """The table's values by the command's parameters, but for those of the kitchen."""
    words = {key.replace("-", "_"): value for key, value in table.items()}
    kept = {key: words[key] for key in words if key not in _KITCHENS and (command.name, key) not in _OTHER_MEANING}
    values: dict[str, Any] = {}
    for parameter in command.params:
        for name in (name.lstrip("-").replace("-", "_") for name in parameter.opts):
            if name in kept and (meant := meant_by(parameter, kept[name])) is not None:
                values[str(parameter.name)] = meant
    return values


def meant_by(parameter: click.Parameter, value: Any) -> Any:
    """What a flag's parameter is set to by its value in waiter.toml; None: that leaves it alone."""
    if getattr(parameter, "multiple", False):
        return many(value)
    if isinstance(parameter, click.Option) and parameter.is_flag and not parameter.is_bool_flag:  # --line-buffer
        return parameter.flag_value if value else None
    return value


def many(value: Any) -> list[Any]:
    """What a flag that may be repeated is given by one value of waiter.toml: a list, a table of variables, or one."""
    if isinstance(value, Mapping):
        return [f"{name}={inner}" for name, inner in value.items()]
    return value if isinstance(value, list) else [value]
