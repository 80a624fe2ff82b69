"""What `scale` is asked for: a number of machines, or what the number is to follow from."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click
from click.core import ParameterSource

from waiter.cli.options import Duration, gathered
from waiter.errors import UsageError


class Moment(click.ParamType):  # type: ignore[type-arg] # generic only since Click 8.5
    """A moment, in local time: `18:00` is the next one."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        now = datetime.now()
        with suppress(ValueError):
            of_day = datetime.strptime(str(value), "%H:%M")
            at = now.replace(hour=of_day.hour, minute=of_day.minute, second=0, microsecond=0)
            return (at if at > now else at + timedelta(days=1)).timestamp()
        with suppress(ValueError):
            return datetime.fromisoformat(str(value)).timestamp()
        raise click.BadParameter(f"{value}: not a time\nhint: write 18:00, or 2026-11-28T06:00", ctx, param)


@dataclass(frozen=True, slots=True)
class Goal:
    """What `scale` is asked for: a number, or what the number is to follow from."""

    count: int | None
    by: float | None
    budget: float | None
    most: int | None
    is_watching: bool
    every_s: float

    def __post_init__(self) -> None:
        by_figures = self.by is not None or self.budget is not None or self.most is not None
        if self.count is None and not by_figures:
            raise UsageError("how many machines? Give --count N, or --by 18:00, --budget 40, --max N")
        if self.count is not None and (by_figures or self.is_watching):
            raise UsageError(
                "--count says how many machines; with --by, --budget, --max and --watch the kitchen's figures say it\n"
                "hint: leave --count out"
            )


_GOALS = (
    click.option("--count", type=click.IntRange(0), metavar="N", help="So many machines, those that live included."),
    click.option("--by", type=Moment(), metavar="TIME", help="As many as it takes until then: 18:00."),
    click.option(
        "--budget", type=click.FloatRange(0, min_open=True), metavar="USD", help="Spend no more, with what was spent."
    ),
    click.option("--max", "most", type=click.IntRange(1), metavar="N", help="No more machines than this."),
    click.option("--watch", "is_watching", is_flag=True, help="Go on until all is done, and end all machines then."),
    click.option("--every", "every_s", type=Duration(), default=20.0, help="How often --watch looks (20s)."),
)


def _goal(**given: Any) -> Goal:
    """The goal; what is typed comes before the other way of saying it in waiter.toml."""
    source = click.get_current_context().get_parameter_source
    typed = {name for name in given if source(name) is ParameterSource.COMMANDLINE}
    if "count" not in typed and typed & {"by", "budget", "most", "is_watching"}:
        given["count"] = None
    if "count" in typed and not typed & {"by", "budget", "most"}:
        given |= dict.fromkeys(("by", "budget", "most"))
    return Goal(**given)


def with_goal(function: Any) -> Any:
    """The options that say how many machines: the command gets one `goal` value."""
    command = gathered(("count", "by", "budget", "most", "is_watching", "every_s"), _goal, "goal")(function)
    for option in reversed(_GOALS):
        command = option(command)
    return command
