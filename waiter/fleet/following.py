"""Hosts that come and go while somebody looks on: look by look, who was given a waiter, and who went away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from waiter.fleet.inventory import Host, NoHosts
from waiter.fleet.life.arrival import what_is_waited_for
from waiter.fleet.runner import Report


@dataclass(frozen=True, slots=True)
class Changes:
    """What one look brought."""

    came: tuple[Report, ...] = ()  # hosts that have a waiter now
    went: tuple[str, ...] = ()  # names of those that are gone, with the reason where somebody knows it
    waiting: str = ""  # what keeps others from being at work
    notes: tuple[str, ...] = ()  # what was launched
    late: tuple[str, ...] = ()  # who never came up
    is_over: bool = False  # somebody has ended all of it


@dataclass(slots=True)
class FollowedHosts:
    """The hosts of a selection. `find` selects anew, `start` has a waiter on each; both may raise FleetError."""

    find: Callable[[], Sequence[Host]]
    start: Callable[[Sequence[Host]], Sequence[Report]]
    here: dict[str, Host] = field(default_factory=dict)  # those of the last look
    met: set[str] = field(default_factory=set)  # those among them that have been started

    def began(self, hosts: Sequence[Host], reports: Sequence[Report]) -> None:
        """What was done before the first look."""
        self.here = {identity(host): host for host in hosts}
        self.met |= {identity(report.host) for report in reports if is_at_work(report)}

    def look(self) -> Changes:
        try:
            found = self.find()
        except NoHosts:
            found = ()
        before, self.here = self.here, {identity(host): host for host in found}
        self.met &= self.here.keys()  # whoever comes again is new: its waiter is gone
        reports = self.start([host for id_, host in self.here.items() if id_ not in self.met])
        came = [report for report in reports if is_at_work(report)]
        self.met |= {identity(report.host) for report in came}
        return Changes(
            came=tuple(came),
            went=tuple(host.name for id_, host in before.items() if id_ not in self.here),
            waiting=what_is_waited_for([report for report in reports if not is_at_work(report)]),
        )


def identity(host: Host) -> str:
    """What stays the same of a host, though another one may get its name or address."""
    return host.instance_id or host.name


def is_at_work(report: Report) -> bool:
    """Whether a waiter runs there; one that runs something else is left alone."""
    return report.is_ok or report.outcome == "already running"
