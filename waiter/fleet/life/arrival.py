"""From a call's answer to waiters at work: each machine is pushed to and started as soon as it can be reached.

A machine's SSH key is learnt from its console, which only EC2 can show, before anybody connects to it. Whoever does not
come up in time is named with what the last try said.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from waiter.errors import FleetError
from waiter.fleet import actions
from waiter.fleet.actions import Payload, StartRequest
from waiter.fleet.aws import Ec2
from waiter.fleet.inventory import AddressKind, Host, host_of
from waiter.fleet.life import cloud
from waiter.fleet.life.launching import Account, FleetState, look
from waiter.fleet.life.plan import TAG_CALL
from waiter.fleet.problems import Finding, HostError, Problem
from waiter.fleet.runner import FleetRunner, Report, failed
from waiter.fleet.ssh import known_hosts
from waiter.fleet.ssh.host_keys import launched_keys
from waiter.machines import Machine

PAUSE_S = 2.0
"""Between two looks at machines that are not there yet."""

NOTE_EVERY_S = 30.0
"""How often somebody is told what is waited for, while that stays the same."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How machines are met."""

    payload: Payload
    request: StartRequest
    address: AddressKind
    user: str | None
    within_s: float


def host_named(machine: Machine, instance: Mapping[str, Any], arrival: Arrival, region: str) -> Host:
    """A machine as a host, by its id: names are no names where they are all the same."""
    return replace(host_of(instance, region, arrival.address), name=machine.id, user=arrival.user)


@dataclass(slots=True)
class WaitingNotes:
    """Tells what machines that come up are waited for: in the runner's bar, else in lines, when it is news."""

    runner: FleetRunner
    hear: Callable[[str], None]
    _told: str = ""
    _told_at: float = 0.0

    def tell(self, words: str) -> None:
        if self.runner.on_wait:
            self.runner.on_wait(words)
        elif words != self._told or time.monotonic() - self._told_at > NOTE_EVERY_S:
            self._told, self._told_at = words, time.monotonic()
            self.hear(words)


def bring_up(
    account: Account, runner: FleetRunner, arrival: Arrival, hosts: Sequence[Host], hear: Callable[[str], None]
) -> list[Report]:
    """Start a waiter on each of these machines, as they come up. A report for each; `hear` is told what is waited for,
    unless the runner shows it."""
    until = time.monotonic() + arrival.within_s
    done: dict[str, Report] = {}
    why = {host.name: unseen(host) for host in hosts}
    once, notes = runner.hasty(), WaitingNotes(runner, hear)
    while True:
        reports = met(account, look(account), once, arrival, done, why)
        waiting = {name: report for name, report in why.items() if name not in done | {r.host.name: r for r in reports}}
        if is_late := time.monotonic() > until:
            reports += [too_late(report, arrival.within_s) for report in waiting.values()]
        for report in reports:
            done[report.host.name] = report
            if runner.on_report:
                runner.on_report(report)
        if is_late or not waiting:
            return list(done.values())
        notes.tell(what_is_waited_for(list(waiting.values())))
        time.sleep(PAUSE_S)


def met(
    account: Account,
    state: FleetState,
    runner: FleetRunner,
    arrival: Arrival,
    done: Mapping[str, Report],
    why: dict[str, Report],
) -> list[Report]:
    """One round: reports of machines that are started, or gone. `why` is what keeps the others."""
    ended = {machine.id: machine for call in state.calls for machine in call.machines if not machine.is_living}
    finals = [
        failed(why[name].host, Finding(Problem.NOT_RUNNING, str(ended[name].why_ended), "it is gone: launch again"))
        for name in why
        if name in ended and name not in done
    ]
    ready: list[Host] = []
    for id_, machine in state.machines.items():
        if id_ in done or id_ not in why:
            continue
        host, problem = reachable(account, machine, state.instances.get(id_), arrival)
        if problem is None:
            ready.append(host)
        else:
            why[id_] = failed(host, problem)
    for report in actions.start(runner, ready, arrival.payload, arrival.request):
        why[report.host.name] = report
        if report.is_ok:
            finals.append(report)
    return finals


def unseen(host: Host) -> Report:
    """What is known of a machine before the first look."""
    return failed(host, Finding(Problem.NOT_RUNNING, "nobody has looked yet", ""))


def note_up(account: Account, reports: Sequence[Report]) -> None:
    """Remember which machines are at work, and since when, so that boots are known to last. None of them leaves."""
    up, now = {report.host.name for report in reports if report.is_ok}, account.now

    def noted(machine: Machine) -> Machine:
        return replace(machine, up_at=machine.up_at or now, leaving_at=None)

    account.ledger.note(up, noted)


def reachable(
    account: Account, machine: Machine, instance: Mapping[str, Any] | None, arrival: Arrival
) -> tuple[Host, Finding | None]:
    """The machine as a host, and what is still missing before anybody can connect."""
    if instance is None:
        host = Host(name=machine.id, address="", instance_id=machine.id, region=account.ec2.region)
        return host, Finding(Problem.NOT_RUNNING, "EC2 does not show it yet", "")
    host = host_named(machine, instance, arrival, account.ec2.region)
    if host.state != "running":
        return host, Finding(Problem.NOT_RUNNING, f"the instance is {host.state}", "")
    if not host.address and arrival.address is not AddressKind.ID:
        return host, Finding(Problem.NO_ADDRESS, "it has no such address yet", "--address private, or another subnet")
    if not learn_keys(account, host):
        words = "its console does not show its SSH keys yet"
        return host, Finding(Problem.HOST_KEY_UNKNOWN, words, "an image with cloud-init writes them there")
    return host, None


def learn_all_keys(hosts: Sequence[Host], profile: str | None, note: Callable[[str], None]) -> None:
    """Have the SSH keys of all launched machines among the hosts, as far as consoles show them."""
    there = known_hosts.read([known_hosts.fleet_file()])
    new = [host for host in hosts if TAG_CALL in host.tags and not known_hosts.keys_of(str(host.instance_id), there)]
    regions = {region: Ec2(profile, region, note) for region in {host.region for host in new}}

    def learn(host: Host) -> None:
        with suppress(FleetError):  # no permission, say: then SSH tells that the key is unknown
            _learn(regions[host.region], str(host.instance_id))

    with ThreadPoolExecutor(max_workers=8) as pool:
        for _ in pool.map(learn, new):
            pass


def learn_keys(account: Account, host: Host) -> bool:
    """Have the machine's SSH keys from its console, unless they are known. Whether they are."""
    name = str(host.instance_id)
    return bool(launched_keys(name)) or _learn(account.ec2, name)


def _learn(ec2: Ec2, name: str) -> bool:
    try:
        keys = cloud.host_keys(ec2, name)
        for kind, key in keys:
            known_hosts.remember(known_hosts.fleet_file(), name, kind, base64.b64decode(key))
    except ValueError:
        return False
    except OSError as error:
        raise FleetError(f"{known_hosts.fleet_file()}: {error}") from error
    return bool(keys)


def what_is_waited_for(reports: Sequence[Report]) -> str:
    """Why machines are not at work yet, in one line."""
    times = Counter(str(report.findings[0]) for report in reports if report.findings)
    return "; ".join(f"{count}: {words}" for words, count in times.most_common(4))


def too_late(report: Report, within_s: float) -> Report:
    """The last that was heard of a machine that never came up."""
    last = report.findings[0] if report.findings else HostError(Problem.TIMEOUT).finding(report.host)
    words = f"not up within {within_s:.0f} s: {last.detail or last.problem}"
    return failed(report.host, Finding(last.problem, words, last.fix), facts={"never_up": True})
