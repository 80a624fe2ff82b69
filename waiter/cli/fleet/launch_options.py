"""The options that say what machines a fleet is made of, and the plan made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from waiter.cli.fleet.options import RunnerOptions
from waiter.cli.options import Duration, gathered
from waiter.errors import UsageError
from waiter.fleet.life.guard import ARRIVAL_S
from waiter.fleet.life.plan import LaunchPlan, check
from waiter.machines import Market

Option = Callable[[Any], Any]

_MACHINES: Sequence[Option] = (
    click.option("--type", "kinds", multiple=True, metavar="A,B", help="Instance types; any of them will do."),
    click.option("--subnet", "subnets", multiple=True, metavar="A,B", help="Subnets; any of them will do."),
    click.option("--ami", metavar="ID", help="The image: ami-…, or resolve:ssm:PARAMETER."),
    click.option("--launch-template", "template", metavar="NAME", help="Your template; its user-data stays."),
    click.option("--spot", is_flag=True, help="Spot machines only."),
    click.option("--on-demand", is_flag=True, help="On-demand machines only (default)."),
    click.option("--spot-then-on-demand", is_flag=True, help="Spot; on demand what spot does not have."),
    click.option(
        "--max-price", type=click.FloatRange(0, min_open=True), metavar="USD", help="Per spot machine and hour."
    ),
    click.option("--key", metavar="NAME", help="EC2 key pair to log in with."),
    click.option("--security-group", "groups", multiple=True, metavar="A,B", help="Security groups, by id."),
    click.option("--profile-arn", metavar="ARN", help="Instance profile. Waiter needs none."),
    click.option(
        "--idle", "idle_s", type=Duration(), default=600.0, help="Machines without work for so long end (10m)."
    ),
    click.option(
        "--max-life", "max_life_s", type=Duration(), default=43_200.0, help="They end so long after boot (12h)."
    ),
    click.option(
        "--arrival", "arrival_s", type=Duration(), default=ARRIVAL_S, help="… and if nobody came by then (20m)."
    ),
)


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """What machines were asked for, before anybody knows where."""

    facts: dict[str, Any]

    @property
    def market(self) -> Market:
        return Market(self.facts["market"])

    def plan(self, fleet: str, region: str) -> LaunchPlan:
        """Raises UsageError for what is missing."""
        return check(LaunchPlan(fleet=fleet, region=region, **self.facts))


def with_machines(function: Any) -> Any:
    """The options that say what machines: the command gets one `machines` value."""
    names = ("kinds", "subnets", "ami", "template", "spot", "on_demand", "spot_then_on_demand", "max_price", "key")
    names += ("groups", "profile_arn", "idle_s", "max_life_s", "arrival_s")  # type: ignore[assignment]
    command = gathered(names, _request, "machines")(function)
    for option in reversed(_MACHINES):
        command = option(command)
    return command


_MARKETS = {"spot": Market.SPOT, "on_demand": Market.ON_DEMAND, "spot_then_on_demand": Market.SPOT_THEN_ON_DEMAND}


def _request(*, spot: bool, on_demand: bool, spot_then_on_demand: bool, **facts: Any) -> MachineRequest:
    given = {"spot": spot, "on_demand": on_demand, "spot_then_on_demand": spot_then_on_demand}
    source = click.get_current_context().get_parameter_source
    typed = [name for name in given if source(name) is ParameterSource.COMMANDLINE]
    said = [_MARKETS[name] for name in typed or given if given[name]]  # what is typed comes before waiter.toml
    if len(said) > 1:
        raise UsageError(f"--{said[0]}, and --{said[1]}: two wishes\nhint: give one of them")
    lists = {key: _parted(facts[key]) for key in ("kinds", "subnets", "groups")}
    return MachineRequest({**facts, **lists, "market": said[0] if said else Market.ON_DEMAND})


def _parted(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for text in given for word in text.split(",") if word.strip()))


def one_region(options: RunnerOptions) -> str | None:
    """The region that was said. Raises UsageError for several."""
    regions = options.selection.regions
    if len(regions) > 1:
        raise UsageError(f"--region {', '.join(regions)}: a fleet is launched in one region\nhint: give one of them")
    return regions[0] if regions else None
