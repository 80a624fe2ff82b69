"""Ending machines: only ours, by id, and no busy one unless somebody says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from waiter.errors import FleetError
from waiter.fleet import actions
from waiter.fleet.actions import Payload
from waiter.fleet.inventory import Host
from waiter.fleet.life import cloud
from waiter.fleet.life.arrival import Arrival, host_named, learn_keys
from waiter.fleet.life.launching import Account, FleetState, look
from waiter.fleet.problems import Finding
from waiter.fleet.runner import FleetRunner, Report, failed

NEVER_CAME = "it never came up"
"""Why a machine was ended whose waiter was not at work in time."""


@dataclass(frozen=True, slots=True)
class Drain:
    """How waiters are asked to leave before their machines end."""

    payload: Payload
    arrival: Arrival
    grace_s: float


def hosts_of(account: Account, state: FleetState, arrival: Arrival, ids: Sequence[str]) -> list[Host]:
    """The machines as hosts, those that EC2 does not show without an address."""
    hosts = []
    for id_ in ids:
        instance = state.instances.get(id_)
        if instance is None:
            hosts.append(Host(name=id_, address="", instance_id=id_, region=account.ec2.region))
        else:
            hosts.append(host_named(state.machines[id_], instance, arrival, account.ec2.region))
    return hosts


def end(account: Account, hosts: Sequence[Host], why: str) -> None:
    """End these machines, which are the ledger's, and write down why. Raises FleetError."""
    ids = [str(host.instance_id) for host in hosts]
    checked(account, ids)
    cloud.end_machines(account.ec2, ids)
    account.ledger.note_ended(dict.fromkeys(ids, why), account.now)


def checked(account: Account, ids: Sequence[str]) -> None:
    """Raise FleetError for a machine that is not one of the ledger, or that EC2 shows without our tags."""
    ledger = account.ledger
    calls = ledger.calls()
    named = {machine.id for call in calls for machine in call.machines}
    shown = cloud.instances_named(account.ec2, ids)
    tokens = {call.token for call in calls}
    for id_ in ids:
        instance = shown.get(id_)
        is_ours = instance is None or cloud.is_made_by(instance, ledger.kitchen.id, ledger.fleet, tokens)
        if id_ not in named or not is_ours:
            raise FleetError(
                f"{id_} was not launched by this fleet, and is left alone\nhint: end it where it was launched"
            )


def drain_and_end(
    account: Account, runner: FleetRunner, hosts: Sequence[Host], drain: Drain, why: str, *, is_patient: bool
) -> list[Report]:
    """Let each waiter finish and leave, then end its machine. One that still works stays, and so does, if `is_patient`,
    one that cannot be asked."""
    for host in hosts:
        if host.state == "running":
            learn_keys(account, host)
    askable = [host for host in hosts if host.state == "running" and host.address]
    quiet = replace(runner, on_report=None)
    reports = {
        each.host.name: each
        for each in actions.stop(quiet, askable, drain.payload, grace_s=drain.grace_s, is_now=False)
    }
    ended: list[Host] = []
    results: list[Report] = []
    for host in hosts:
        report = reports.get(host.name)
        if report is not None and not report.is_ok and (is_patient or is_still_at_work(report)):
            results.append(report)
            continue
        ended.append(host)
        results.append(ending_of(host, report))
    if ended:
        end(account, ended, why)
    for result in results:
        if runner.on_report:
            runner.on_report(result)
    return results


def is_still_at_work(report: Report) -> bool:
    return report.outcome == "still draining"


def ending_of(host: Host, report: Report | None) -> Report:
    """A machine that was ended, with what its waiter said at last, or that it could not be asked."""
    if report is None or report.is_ok:
        facts: Mapping[str, Any] = report.facts if report is not None else {}
        return Report(host, "ended", facts)
    remark = Finding(report.findings[0].problem, f"ended without being asked: {report.findings[0]}", "")
    return Report(host, "ended", report.facts, remarks=(remark,))


def end_now(account: Account, runner: FleetRunner, hosts: Sequence[Host], why: str) -> list[Report]:
    """End machines whatever they do; their orders go back to the kitchen when their leases run out."""
    end(account, hosts, why)
    reports = [Report(host, "ended") for host in hosts]
    for report in reports:
        if runner.on_report:
            runner.on_report(report)
    return reports


def end_what_never_came(account: Account, reports: Sequence[Report]) -> list[Report]:
    """The same reports, after the machines that never came up were ended: they cost money and do nothing."""
    lost = [report.host for report in reports if report.facts.get("never_up")]
    if lost:
        alive = look(account).machines
        end(account, [host for host in lost if host.instance_id in alive], NEVER_CAME)
    return [
        failed(
            report.host,
            *(replace(each, detail=f"{each.detail}; it was ended") for each in report.findings),
            facts=report.facts,
        )
        if report.facts.get("never_up")
        else report
        for report in reports
    ]
