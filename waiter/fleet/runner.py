"""One act on many hosts, a bounded number at a time: a report for each, whatever happens to the others."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waiter.fleet.host_output import NobodyReads
from waiter.fleet.inventory import Host
from waiter.fleet.problems import Finding, HostError, Problem, fix

if TYPE_CHECKING:
    from waiter.fleet.ssh.connection import Network

MOMENT_S = 0.2
"""How long nobody is told anything while no host answers."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a verb on one host. It went well if there are no findings."""

    host: Host
    outcome: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Finding, ...] = ()  # what its user should know although it went well

    @property
    def is_ok(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        troubles = [{"trouble": each.problem, "detail": each.detail, "fix": each.fix} for each in self.findings]
        return {
            **self.facts,
            "host": self.host.name,
            "address": self.host.address,
            "ok": self.is_ok,
            "outcome": self.outcome,
            **({"remarks": [each.detail for each in self.remarks]} if self.remarks else {}),
            "troubles": troubles,
        }


@dataclass(frozen=True, slots=True)
class FleetRunner:
    """How a verb goes over its hosts: how many at a time, how long each may take, and who hears of reports."""

    network: Network
    parallel: int = 32
    timeout_s: float = 60.0
    on_report: Callable[[Report | None], None] | None = None
    """Hears of each report as it comes, and of None again and again while none comes."""
    on_wait: Callable[[str], None] | None = None
    """Shows what machines that come up are waited for; None: nobody looks, and it is said in lines."""

    def hasty(self) -> FleetRunner:
        """The same for who comes again anyway: one try, and nobody is told of each host."""
        return replace(self, on_report=None, network=self.network.hasty())

    def each(self, hosts: Sequence[Host], act: Callable[[Host], Report]) -> list[Report]:
        """One report for each host, in the hosts' order. An exception on one host is that host's report."""
        reports: dict[str, Report] = {}
        for report in spread(hosts, act, self.parallel):
            if report is not None:
                reports[report.host.name] = report
            if self.on_report:
                self.on_report(report)
        return [reports[host.name] for host in hosts]


def spread(hosts: Sequence[Host], act: Callable[[Host], Report], parallel: int) -> Iterator[Report | None]:
    """Act on all hosts, `parallel` at a time. Yields reports as they come, None while none comes. Raises NobodyReads.

    The threads are daemons: an interrupted laptop does not wait for silent hosts.
    """
    waiting: queue.SimpleQueue[Host] = queue.SimpleQueue()
    done: queue.SimpleQueue[Report | NobodyReads] = queue.SimpleQueue()
    for host in hosts:
        waiting.put(host)

    def work() -> None:
        while True:
            try:
                host = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put(guarded(host, act))
            except NobodyReads as end:
                done.put(end)

    for _ in range(min(parallel, len(hosts))):
        threading.Thread(target=work, daemon=True).start()
    left = len(hosts)
    while left:
        try:
            report = done.get(timeout=MOMENT_S)
        except queue.Empty:
            yield None
            continue
        if isinstance(report, NobodyReads):
            raise report
        left -= 1
        yield report


def guarded(host: Host, act: Callable[[Host], Report]) -> Report:
    """The act's report, or one that says why there is none."""
    try:
        return act(host)
    except HostError as error:
        return failed(host, error.finding(host))
    except NobodyReads:
        raise
    except Exception as error:  # noqa: BLE001  (a bug met on one host must not hide the other 49)
        where = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return failed(host, Finding(Problem.UNEXPECTED, words, fix(Problem.UNEXPECTED, host)))


def failed(host: Host, *findings: Finding, facts: Mapping[str, Any] | None = None) -> Report:
    return Report(host, str(findings[0].problem), facts or {}, findings)


def interrupted(host: Host) -> Report:
    """Nobody waited for this host's answer: it was asked or not, and may have done it or not."""
    return failed(host, Finding(Problem.INTERRUPTED, "", fix(Problem.INTERRUPTED, host)))
