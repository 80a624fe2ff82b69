"""A verb on hosts: what is asked of each, over SSH, and one report for each, whatever happens to the others."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waiter.fleet import protocol
from waiter.fleet.drift import difference, remark_on_script
from waiter.fleet.host_output import Lines, OnLine
from waiter.fleet.inventory import Host
from waiter.fleet.masking import masked, password_of
from waiter.fleet.problems import Finding, HostError, Problem, fix
from waiter.fleet.protocol import HostSettings, UploadedFile
from waiter.fleet.replies import MOST_BYTES, senseless
from waiter.fleet.runner import FleetRunner, Report, failed
from waiter.fleet.ssh.session import Session
from waiter.fleet.zipapp import Bundle, Zipapp

# Asking a host's Waiter.


@dataclass(frozen=True, slots=True)
class Payload:
    """What a host needs before it can do a verb. `is_any`: any version of Waiter that lies there will do."""

    zipapp: Zipapp
    bundle: Bundle | None = None
    is_any: bool = False


def ask(
    session: Session,
    payload: Payload,
    words: Sequence[str],
    *,
    sent: Mapping[str, Any] | None = None,
    timeout_s: float,
) -> dict[str, Any]:
    """Have the host's Waiter do a verb, sending first what the host says is missing. Raises HostError.

    One round trip when everything is there; else the reply's `files` are the names of what was sent. A host may send
    back what was sent, as a login script does that records its stdin: a password in it is not shown.
    """
    password = password_of((sent or {}).get("kitchen"))
    try:
        reply = _asked(session, payload, words, sent, timeout_s)
    except HostError as error:
        raise HostError(error.problem, masked(error.detail, password), error.fix) from error
    return {name: masked(value, password) for name, value in reply.items()}


def _asked(
    session: Session, payload: Payload, words: Sequence[str], sent: Mapping[str, Any] | None, timeout_s: float
) -> dict[str, Any]:
    stdin = json.dumps(sent or {}).encode()
    bundle = payload.bundle
    needs = [f"bundles/{bundle.digest}"] if bundle else []
    asked = protocol.host_command(payload.zipapp.name, words, needs=needs, is_any=payload.is_any)
    reply = _reply(session, asked, stdin, timeout_s)
    if "missing" in reply and not payload.is_any:
        uploaded = send(session, payload, reply, timeout_s)
        reply = _reply(session, protocol.host_command(payload.zipapp.name, words, uploaded=uploaded), stdin, timeout_s)
        reply = {**reply, "files": [each.name for each in uploaded]}
    if "outcome" not in reply and "missing" not in reply:
        raise senseless("its reply", reply)
    return reply


def _reply(session: Session, command: str, stdin: bytes, timeout_s: float) -> dict[str, Any]:
    reply = session.run(command, stdin=stdin, timeout_s=timeout_s, most_bytes=MOST_BYTES)
    return protocol.read_reply(reply.stdout, reply.stderr, reply.exit_code)


def send(session: Session, payload: Payload, reply: Mapping[str, Any], timeout_s: float) -> list[UploadedFile]:
    """Upload what a host said is missing, under temporary names; it checks the hashes and renames. Raises HostError."""
    missing = reply["missing"]
    files: list[tuple[Path, str, str]] = []
    if payload.zipapp.name in missing:
        files.append((payload.zipapp.path, payload.zipapp.name, payload.zipapp.sha256))
    if payload.bundle and f"bundles/{payload.bundle.digest}" in missing:
        archive, sha256 = payload.bundle.archive()
        files.append((archive, f"bundle-{payload.bundle.digest}.tgz", sha256))
    uploaded = []
    with session.files(timeout_s) as sftp:
        for local, name, sha256 in files:
            temporary = f".{name}-{secrets.token_hex(6)}"
            try:
                remote = sftp.open(f"{reply['home']}/{temporary}", "wx")
            except OSError as error:
                raise HostError(Problem.UPLOAD, f"{name}: {error}") from error
            # SFTP says no more of a full disk than "Failure"; the host, which finds another hash, knows why.
            with suppress(OSError), remote, local.open("rb") as content:
                remote.chmod(0o600)
                remote.set_pipelined(True)
                while chunk := content.read(1 << 18):
                    remote.write(chunk)
            uploaded.append(UploadedFile(temporary, name, sha256))
    return uploaded


# Verbs.


def push(runner: FleetRunner, hosts: Sequence[Host], payload: Payload) -> list[Report]:
    """Put Waiter and the command's files on each host, unless they are there."""
    sent = {"bundle": payload.bundle.digest if payload.bundle else None}

    def act(host: Host) -> Report:
        with runner.network.session(host) as session:
            reply = ask(session, payload, ["push"], sent=sent, timeout_s=runner.timeout_s)
        return Report(host, "pushed" if "files" in reply else "already there", reply)

    return runner.each(hosts, act)


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What hosts are to do. Without settings, what they did the last time."""

    settings: HostSettings | None
    kitchen: str | None = field(repr=False, default=None)  # may hold a password
    is_boot: bool = False

    def to_json(self) -> dict[str, Any]:
        settings = self.settings.to_json() if self.settings else None
        return {"settings": settings, "kitchen": self.kitchen, "boot": self.is_boot}


def start(runner: FleetRunner, hosts: Sequence[Host], payload: Payload, request: StartRequest) -> list[Report]:
    """Start one waiter on each host, where none runs. Where one is leaving, the next begins when its orders end."""

    def act(host: Host) -> Report:
        with runner.network.session(host) as session:
            reply = ask(session, payload, ["start"], sent=request.to_json(), timeout_s=runner.timeout_s)
        return started(host, reply, request.settings)

    return runner.each(hosts, act)


def started(host: Host, reply: Mapping[str, Any], wanted: HostSettings | None) -> Report:
    """A waiter that runs something else than what was asked for is no success."""
    if reply["outcome"] == "already running" and wanted and (other := difference(reply, wanted)):
        problem, words = other
        remedy = fix(problem, host) if wanted.words else f"{fix(problem, host)} --own-commands"
        return Report(host, "already running", reply, (Finding(problem, words, remedy),))
    old = None if wanted else remark_on_script(reply)
    return Report(host, str(reply["outcome"]), reply, remarks=(old,) if old else ())


def stop(runner: FleetRunner, hosts: Sequence[Host], payload: Payload, *, grace_s: float, is_now: bool) -> list[Report]:
    """Have each waiter finish its orders and leave, and wait for it; or stop them and give them back at once."""
    words = ["stop", "--grace", str(grace_s), *(["--now"] if is_now else [])]

    def act(host: Host) -> Report:
        with runner.network.session(host) as session:
            reply = ask(session, payload, words, timeout_s=runner.timeout_s + grace_s)
        return stopped(host, reply)

    return runner.each(hosts, act)


def stopped(host: Host, reply: Mapping[str, Any]) -> Report:
    if "missing" in reply:
        return Report(host, "not running", {})
    if reply["outcome"] == "still draining":
        finding = Finding(Problem.TIMEOUT, "it still has orders to finish", "wait, or waiter fleet stop --now")
        return Report(host, "still draining", reply, (finding,))
    return Report(host, str(reply["outcome"]), reply)


def restart(
    runner: FleetRunner, hosts: Sequence[Host], payload: Payload, request: StartRequest, *, batch: int, grace_s: float
) -> list[Report]:
    """Rolling: so many hosts at a time finish their orders and start anew, each by itself when its orders have ended.

    When no host of a batch is back, the hosts that are left keep their old waiters: the new script may be to blame, or
    orders take longer than the grace, and the whole fleet must not drain at once.
    """
    words = ["restart", "--grace", str(grace_s)]

    def act(host: Host) -> Report:
        with runner.network.session(host) as session:
            reply = ask(session, payload, words, sent=request.to_json(), timeout_s=runner.timeout_s + grace_s)
        return (
            not_yet_back(host, reply)
            if reply["outcome"] == "still draining"
            else started(host, reply, request.settings)
        )

    reports: list[Report] = []
    for first in range(0, len(hosts), batch):
        done = runner.each(hosts[first : first + batch], act)
        reports += done
        if all(report.findings and report.findings[0].problem in _NOT_BACK for report in done):
            reports += [left_alone(host) for host in hosts[first + batch :]]
            break
    return reports


_NOT_BACK = (Problem.NOT_STARTED, Problem.STILL_DRAINING)
"""Troubles of a host that worked before this verb and does not now."""


def not_yet_back(host: Host, reply: Mapping[str, Any]) -> Report:
    """A restart whose grace ended before the host's orders did."""
    if not reply.get("is_next_ready"):
        return stopped(host, reply)
    words = "it still has orders to finish; the new waiter starts by itself when they end"
    return failed(host, Finding(Problem.STILL_DRAINING, words, fix(Problem.STILL_DRAINING, host)), facts=reply)


def left_alone(host: Host) -> Report:
    words = "the hosts before it have not started again"
    return failed(host, Finding(Problem.LEFT_ALONE, words, fix(Problem.LEFT_ALONE, host)))


def status(runner: FleetRunner, hosts: Sequence[Host], payload: Payload) -> list[Report]:
    """What each host knows of its waiter. A host where nothing was ever started is a good answer too."""

    def act(host: Host) -> Report:
        with runner.network.session(host) as session:
            # "look": the word that hosts with an earlier version of Waiter know.
            reply = ask(session, payload, ["look"], timeout_s=runner.timeout_s)
        if "missing" in reply:
            return Report(host, "not running", {})
        return Report(host, str(reply["outcome"]), reply)

    return runner.each(hosts, act)


def run(runner: FleetRunner, hosts: Sequence[Host], words: Sequence[str], on_line: OnLine | None) -> list[Report]:
    """Run a command on each host, in the user's home. Where nobody hears its lines, the reports have all of them.

    A command that takes too long, or that nobody waits for any more, is ended there.
    """
    command, program = protocol.user_command(words)
    return _streamed(runner, hosts, command, runner.timeout_s, on_line, stdin=program)


def logs(
    runner: FleetRunner, hosts: Sequence[Host], lines: int, *, is_following: bool, on_line: OnLine | None
) -> list[Report]:
    """The end of each waiter's log, and with `is_following` what is added to it until somebody interrupts."""
    command = protocol.logs_command(lines, follow=is_following)
    timeout_s = None if is_following else runner.timeout_s
    reports = _streamed(runner, hosts, command, timeout_s, on_line, stdin=b"" if is_following else None)
    return [Report(each.host, "no log yet") if is_without_log(each) else each for each in reports]


def is_without_log(report: Report) -> bool:
    """Whether nothing was ever started there, which is no failure."""
    return report.facts.get("exit_code") == protocol.NO_LOG


def _streamed(
    runner: FleetRunner,
    hosts: Sequence[Host],
    command: str,
    timeout_s: float | None,
    on_line: OnLine | None,
    *,
    stdin: bytes | None,
) -> list[Report]:
    """`stdin`: what is sent to the command before its stdin is left open; None ends it at once."""

    def act(host: Host) -> Report:
        lines = Lines(host, on_line) if on_line else None
        take = lines.take if lines else None
        with runner.network.session(host) as session:
            reply = session.run(
                command, stdin=stdin or b"", timeout_s=timeout_s, on_chunk=take, is_stdin_open=stdin is not None
            )
        if lines:
            lines.end()
        said = (reply.stdout + reply.stderr[-2000:]).decode("utf-8", "replace")
        if reply.exit_code and (wrong := protocol.wrong_user(said)):
            raise wrong
        facts = {
            "exit_code": reply.exit_code,
            "stdout": reply.stdout.decode("utf-8", "replace"),
            "stderr": reply.stderr.decode("utf-8", "replace"),
        }
        if reply.exit_code == 0:
            return Report(host, "exit code 0", facts)
        ending = "ended by a signal" if reply.exit_code is None else f"exit code {reply.exit_code}"
        last = next(iter(reply.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]), "")
        return Report(host, ending, facts, (Finding(Problem.FAILED, f"{ending}: {last}" if last else ending, ""),))

    return runner.each(hosts, act)
