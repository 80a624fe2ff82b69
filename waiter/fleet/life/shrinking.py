"""Which machines a fleet that has too many can do without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from waiter.fleet import actions
from waiter.fleet.inventory import Host
from waiter.fleet.life.arrival import Arrival, learn_keys
from waiter.fleet.life.launching import Account
from waiter.fleet.runner import FleetRunner, Report
from waiter.orders import Selector, Status


def least_needed(
    account: Account, runner: FleetRunner, hosts: Sequence[Host], arrival: Arrival, count: int
) -> list[Host]:
    """So many of the hosts: those that do not run yet or any more, then those with fewest orders, the oldest first,
    whose longest life ends first; those that cannot be asked come last."""
    askable = [host for host in hosts if host.state == "running" and host.address]
    for host in askable:
        learn_keys(account, host)
    reports = {each.host.name: each for each in actions.status(runner, askable, arrival.payload)}
    held = held_by_shift(account)
    launched = {machine.id: machine.launched_at for call in account.ledger.calls() for machine in call.machines}

    def need(host: Host) -> tuple[int, float]:
        return busy(reports.get(host.name), held), launched.get(str(host.instance_id), 0.0)

    return sorted(hosts, key=need)[:count]


def held_by_shift(account: Account) -> Mapping[str, int]:
    """How many orders each waiter has, by its shift's token: those of this moment, and not of its last heartbeat."""
    running = account.ledger.kitchen.find(Selector(statuses=(Status.RUNNING,)))
    return Counter(str(order.shift) for order in running)


def busy(report: Report | None, held: Mapping[str, int]) -> int:
    """How many orders a host has, as far as somebody can tell."""
    if report is None:
        return -1  # the machine does not run
    if not report.is_ok:
        return 1_000_000
    if report.outcome != "running":
        return 0
    return held.get(str(report.facts.get("shift")), 0)
