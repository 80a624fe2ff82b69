"""What a waiter delivers with: jobs go in, events come out. It knows no kitchen.

`ProcessRunner` is the waiter's side of a small child process (`runner_process`) that holds the commands and kills
what is left of them when the waiter goes, however it goes. Jobs are sent ahead, so that the next one starts without
a round trip.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

CLOSE_S = 15.0
"""How long `close` waits for the runner to kill everything and go."""


class Capture(StrEnum):
    """What becomes of the commands' output. The last 4 KiB are always kept."""

    STREAM = "stream"  # sent on as it comes
    GROUP = "group"  # each job's as one piece, when it ends
    LINE = "line"  # whole lines, mixed
    DISCARD = "discard"
    FILES = "files"  # straight into the job's files


class End(StrEnum):
    """How a job ended."""

    EXITED = "exited"  # by itself, or by a signal from elsewhere
    TIMEOUT = "timeout"
    STOPPED = "stopped"  # `stop` was asked for
    UNSTARTABLE = "unstartable"  # the kernel takes no such arguments: this job's own fault


@dataclass(frozen=True, slots=True)
class Job:
    """One command to run. `env` comes on top of the runner's; surrogate escapes stand for bytes that are no UTF-8."""

    id: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    stdin: bytes | None = None  # None: nothing, /dev/null
    stdout_path: str | None = None  # with Capture.FILES
    stderr_path: str | None = None


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """What all jobs of a runner share."""

    slots: int
    program: str  # the absolute path of what is executed
    env: Mapping[str, str]
    cwd: str | None = None
    nice: int = 0
    grace_s: float = 10.0  # between TERM and KILL
    capture: Capture = Capture.DISCARD


@dataclass(frozen=True, slots=True)
class Ended:
    """A job ended, and nothing of it lives any more. Times on CLOCK_BOOTTIME."""

    id: str
    slot: int
    started: float
    stopped: float
    exit_code: int | None
    signal: int | None
    end: End
    tail: bytes = b""  # the last 4 KiB of its output
    message: str | None = None  # what it wrote to $WAITER_ERROR
    result: str | None = None  # what it wrote to $WAITER_RESULT
    peak_memory: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a job's output; `stream` is 1 or 2."""

    id: str
    stream: int
    chunk: bytes


@dataclass(frozen=True, slots=True)
class Returned:
    """Jobs that never started, and never will here."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The program itself cannot be started: no job's fault. The runner starts nothing more."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class RunnerDied:
    """The runner is gone, and so is everything that these jobs had started. Jobs that still waited are not named."""

    ids: tuple[str, ...]


Event = Ended | Output | Returned | Refused | RunnerDied


class Runner(Protocol):
    """Runs jobs in its slots, in the order in which they are submitted."""

    @property
    def pid(self) -> int | None:
        """The process that holds the commands, if there is one."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue the jobs. Each ends in exactly one Ended, Returned, Refused or RunnerDied."""

    def set_deadline(self, at: float) -> None:
        """Start nothing after this time on CLOCK_BOOTTIME [6]: what still waits then is returned."""

    def stop(self, ids: Sequence[str]) -> None:
        """TERM to all processes of these jobs, KILL after the grace period; those that wait are returned."""

    def give_back(self) -> None:
        """Return every job that has not started."""

    def events(self, timeout_s: float) -> list[Event]:
        """What happened; waits up to `timeout_s` for the first event."""

    def close(self) -> None:
        """Kill what runs, and go."""


class ProcessRunner:
    """The runner for commands: a child process. Raises OSError when it cannot be started."""

    def __init__(self, options: RunnerOptions) -> None:
        self._slots = options.slots
        self._in_flight: dict[str, None] = {}  # in the order in which they start
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, _package_root(), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours
        self._received = b""
        self._deadline = 0.0
        self._is_dead = False
        self._send(
            slots=options.slots,
            program=options.program,
            env=dict(options.env),
            cwd=options.cwd,
            nice=options.nice,
            grace_s=options.grace_s,
            capture=options.capture.value,
        )

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def submit(self, jobs: Sequence[Job]) -> None:
        self._in_flight.update((job.id, None) for job in jobs)
        self._send(
            jobs=[
                (
                    job.id,
                    job.argv,
                    dict(job.env),
                    job.timeout_s,
                    None if job.stdin is None else job.stdin.decode("latin-1"),
                    job.stdout_path,
                    job.stderr_path,
                )
                for job in jobs
            ]
        )

    def set_deadline(self, at: float) -> None:
        if at != self._deadline:
            self._deadline = at
            self._send(deadline=at)

    def stop(self, ids: Sequence[str]) -> None:
        self._send(stop=list(ids))

    def give_back(self) -> None:
        self._send(give_back=True)

    def events(self, timeout_s: float) -> list[Event]:
        if self._is_dead:
            return []
        readable, _, _ = select.select([self._socket], [], [], timeout_s)
        if not readable:
            return []
        try:
            received = self._socket.recv(1 << 20)
        except ConnectionResetError:
            received = b""
        if not received:
            return [self._died()]
        *lines, self._received = (self._received + received).split(b"\n")
        return [self._event(json.loads(line)) for line in lines]

    def close(self) -> None:
        self._socket.close()  # it kills everything and leaves when our end is closed
        if self._process.returncode is not None:
            return
        if not _has_ended_within(self._process, CLOSE_S):
            self._process.kill()
        self._process.wait()

    def _send(self, **message: Any) -> None:
        if self._is_dead:
            return
        # If it died, `events` reads the end of the stream and says so.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(json.dumps(message).encode("ascii") + b"\n")

    def _died(self) -> RunnerDied:
        self._is_dead = True
        self._process.wait()
        return RunnerDied(tuple(self._in_flight)[: self._slots])

    def _event(self, message: list[Any]) -> Event:
        kind, *facts = message
        match kind:
            case "ended":
                job, slot, started, stopped, code, signal, end, tail, words, result, peak = facts
                self._in_flight.pop(job, None)
                return Ended(
                    job, slot, started, stopped, code, signal, End(end), tail.encode("latin-1"), words, result, peak
                )
            case "output":
                return Output(facts[0], facts[1], facts[2].encode("latin-1"))
            case "refused":
                self._in_flight.pop(facts[0], None)
                return Refused(facts[0], facts[1])
            case _:
                for job in facts[0]:
                    self._in_flight.pop(job, None)
                return Returned(tuple(facts[0]))


def _has_ended_within(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)
        try:
            return bool(select.select([descriptor], [], [], timeout_s)[0])
        finally:
            os.close(descriptor)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from waiter.delivery.runner_process import main; main()"


def _package_root() -> str:
    """The folder, or the zipapp, that this package is imported from."""
    return os.fspath(Path(__file__).parents[2])
