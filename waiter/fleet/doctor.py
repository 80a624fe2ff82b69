"""What would keep each host from working, and the line that fixes it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from waiter.fleet import actions
from waiter.fleet.actions import Payload
from waiter.fleet.drift import difference
from waiter.fleet.inventory import Host
from waiter.fleet.problems import Finding, Problem, fix
from waiter.fleet.protocol import HostSettings
from waiter.fleet.runner import FleetRunner, Report, failed

LOW_DISK_BYTES = 500 * 1024 * 1024
CLOCK_OFF_S = 5.0

NO_KITCHEN = Finding(
    Problem.KITCHEN,
    "no kitchen is named, so whether hosts reach it was not checked",
    "--kitchen URL, or WAITER_KITCHEN",
)
"""Said of hosts where nothing was started yet, which know of no kitchen themselves."""


def doctor(
    runner: FleetRunner,
    hosts: Sequence[Host],
    payload: Payload,
    *,
    kitchen: str | None,
    db: str,
    settings: HostSettings | None,
) -> list[Report]:
    """Look at each host from here and from there. Waiter's own file is sent to hosts that lack it.

    `settings` is what `start` would send now, None if no command is known.
    """

    def act(host: Host) -> Report:
        if host.state not in (None, "running"):
            line = fix(Problem.NOT_RUNNING, host)
            if host.state in ("terminated", "shutting-down"):
                line = "it is gone for good: launch another one"
            finding = Finding(Problem.NOT_RUNNING, f"the instance is {host.state}", line)
            return failed(host, finding)
        with runner.network.session(host) as session:
            actions.ask(session, payload, ["push"], timeout_s=runner.timeout_s)  # what follows is timed
            asked_at = time.time()
            reply = actions.ask(
                session, payload, ["check"], sent={"kitchen": kitchen, "db": db}, timeout_s=runner.timeout_s
            )
        findings = findings_of(host, reply, asked_at, time.time(), zipapp=payload.zipapp.name, settings=settings)
        if findings:
            return failed(host, *findings, facts=reply)
        remark = None if reply.get("kitchen") else NO_KITCHEN
        return Report(host, "fit", reply, remarks=(remark,) if remark else ())

    return runner.each(hosts, act)


def findings_of(
    host: Host, facts: Mapping[str, Any], asked_at: float, told_at: float, *, zipapp: str, settings: HostSettings | None
) -> tuple[Finding, ...]:
    """What the facts of a host mean. `asked_at` and `told_at` are this machine's clock around the question."""
    found: list[tuple[Problem, str]] = []
    kitchen = facts.get("kitchen")
    if kitchen and kitchen["error"]:
        found.append((Problem.KITCHEN, str(kitchen["error"]).replace("\nhint: ", "; ")))
    if (off_s := clock_off_s(facts, asked_at, told_at)) is not None:
        found.append((Problem.CLOCK, f"{abs(off_s):.0f} s {'ahead' if off_s > 0 else 'behind'}"))
    if facts["disk_free"] < LOW_DISK_BYTES:
        found.append((Problem.DISK, f"{facts['disk_free'] // 1_000_000} MB free"))
    if facts["outcome"] in ("running", "draining"):
        if facts.get("parcel") != zipapp:
            found.append((Problem.OLD_WAITER, f"it runs {facts.get('version')} ({facts.get('parcel')})"))
        if settings and (other := difference(facts, settings)):
            found.append(other)
    return tuple(Finding(problem, detail, fix(problem, host)) for problem, detail in found)


def clock_off_s(facts: Mapping[str, Any], asked_at: float, told_at: float) -> float | None:
    """How far the host's clock is off, if it is too far: against the kitchen's where both are known, else ours."""
    kitchen_now = (facts.get("kitchen") or {}).get("now")
    if kitchen_now is not None:
        off_s = float(facts["kitchen"]["host_now"]) - float(kitchen_now)
    else:
        # The host read its clock somewhere between question and answer.
        off_s = float(facts["now"]) - min(max(float(facts["now"]), asked_at), told_at)
    return off_s if abs(off_s) > CLOCK_OFF_S else None
