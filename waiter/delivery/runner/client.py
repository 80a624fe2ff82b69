"""What a waiter delivers with: jobs go in, events come out. It knows no kitchen.

`ProcessRunner` is the waiter's side of a small child process (`process`) that holds the commands and kills
what is left of them when the waiter goes, however it goes. Jobs are sent ahead, so that the next one starts without
a round trip.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from enum import StrEnum
from signal import SIGCONT, SIGKILL
from typing import Any, Protocol

from waiter.delivery.runner.child import has_ended_within, take
from waiter.delivery.runner.messages import packed, unpacked
from waiter.light_dataclass import dataclass, field

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
    MEMORY = "memory"  # it had more than it may
    STOPPED = "stopped"  # `stop` was asked for
    UNSTARTABLE = "unstartable"  # the kernel takes no such arguments: this job's own fault; `message` says why


_ENDS = {end.value: end for end in End}


@dataclass(frozen=True, slots=True)
class Job:
    """One command to run. `env` comes on top of the runner's; surrogate escapes stand for bytes that are no UTF-8."""

    id: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None  # None: nothing, /dev/null
    stdout_path: str | None = None  # with Capture.FILES
    stderr_path: str | None = None
    spare_path: str | None = None  # without its ending, for when one of these files exists; None: it is written over
    memory: int | None = None  # bytes that its processes may have together
    is_alone: bool = False  # for workers: no other job is to be in the same call


@dataclass(frozen=True, slots=True)
class Workers:
    """That the program is a worker, which stays from job to job: see `workers`."""

    argv: tuple[str, ...]  # of the program, for each worker
    setup: str  # one line of JSON that each worker is told first
    many: int = 1  # so many jobs at most in one call
    is_forked: bool = False  # from one process that has read the setup


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """What all jobs of a runner share."""

    slots: int
    program: str  # the absolute path of what is executed
    env: Mapping[str, str]
    kitchen: str | None = None  # its address, which a command finds in a private file that WAITER_KITCHEN_FILE names
    cwd: str | None = None
    nice: int = 0
    grace_s: float = 10.0  # between TERM and KILL
    capture: Capture = Capture.DISCARD
    workers: Workers | None = None  # None: one process for each job
    has_limits: bool = False  # of memory: some jobs come with one


@dataclass(frozen=True, slots=True)
class Ended:
    """A job ended, and nothing of it lives any more. Times on CLOCK_BOOTTIME.

    `exit_code` and `signal` are its first process's; `stopped` is when the last one was gone.
    """

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
    peak_memory: int | None = None  # bytes; at least the runner's own 13 MB, where Linux begins to count
    cut_from: int | None = None  # bytes that it wrote to $WAITER_RESULT, if that was more than is kept


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
class Entangled:
    """A call of several jobs was stopped or took its process down, and nobody knows for which of them."""

    ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The program itself cannot be started: no job's fault. The runner starts nothing more."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Delayed:
    """For a while now nothing can be started; it is tried again and again. Without a reason: now it can."""

    why: str | None


@dataclass(frozen=True, slots=True)
class RunnerDied:
    """The runner is gone, and so is everything that these jobs had started.

    They were started and their ends are unknown. Jobs that still waited are not named.
    """

    ids: tuple[str, ...]
    why: str | None = None  # what on this machine did not even let it begin


Event = Ended | Entangled | Output | Returned | Refused | Delayed | RunnerDied


class Runner(Protocol):
    """Runs jobs in its slots, in the order in which they are submitted."""

    @property
    def pid(self) -> int | None:
        """The process that holds the commands, once `events` has heard of it."""

    @property
    def folder(self) -> str | None:
        """A folder that is locked until nothing of the commands lives, whoever dies; None where they die with us."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue the jobs. Each ends in exactly one Ended, Entangled, Returned, Refused or RunnerDied."""

    def set_deadline(self, at: float) -> None:
        """Start nothing after this time on CLOCK_BOOTTIME, when the lease ends: what still waits then is returned."""

    def set_timeout(self, timeout_s: float | None) -> None:
        """Stop every job that runs for longer, also those that run already. None, as at first: no job."""

    def stop(self, ids: Sequence[str]) -> None:
        """TERM to all processes of these jobs, KILL to those that are left after the grace period.

        Jobs that wait are returned.
        """

    def give_back(self) -> None:
        """Return every job that has not started."""

    def waiting(self) -> list[str]:
        """The jobs that have not started, those that are next first."""

    def events(self, timeout_s: float) -> list[Event]:
        """What happened; waits up to `timeout_s` for the first event."""

    def leave(self) -> None:
        """Begin to go, for nothing runs or waits; `close` waits until it has gone."""

    def close(self) -> Collection[str]:
        """Kill what runs, and go. Returns the jobs that had begun and whose end has not been dealt with.

        That an end was dealt with is known when `events` is called again.
        """


class ProcessRunner:
    """The runner for commands: a child process. Raises OSError when it cannot be started."""

    def __init__(self, options: RunnerOptions) -> None:
        child = take()
        self._process, self._socket, self._table_fd = child.process, child.socket, child.table_fd
        os.ftruncate(self._table_fd, 8 * (1 + options.slots))
        self._table = mmap.mmap(self._table_fd, 0)
        self._serial = 0
        self._in_flight: dict[str, int] = {}  # id → serial, in the order in which they start
        self._told: set[str] = set()  # of those, whose end was in the last `events`
        self._pid: int | None = None
        self._folder: str | None = None
        self._poll = select.poll()  # select() takes no descriptor above 1023
        self._poll.register(self._socket, select.POLLIN)
        self._received, self._messages = b"", list[Any]()  # a part of a message, and what `events` has not seen
        self._deadline = 0.0
        self._timeout_s: float | None = None
        self._is_over = False  # nothing more will be received
        self._is_dead = False  # and RunnerDied has been returned
        self._cannot: str | None = None  # why it did not begin
        self._send(
            slots=options.slots,
            program=options.program,
            env=dict(options.env),
            kitchen=options.kitchen,
            cwd=options.cwd,
            nice=options.nice,
            grace_s=options.grace_s,
            capture=options.capture.value,
            workers=options.workers and asdict(options.workers),
            has_limits=options.has_limits,
        )

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def folder(self) -> str | None:
        """As above; waits for the runner's first word if need be."""
        while self._folder is None and not self._is_over and not self._messages:
            self._receive(1.0)
        if self._folder is None and self._messages:
            self._event(self._messages[0])  # which `events` will find again
        return self._folder

    def submit(self, jobs: Sequence[Job]) -> None:
        self._send(jobs=[self._numbered(job) for job in jobs])

    def _numbered(self, job: Job) -> tuple[object, ...]:
        self._serial += 1
        self._in_flight[job.id] = self._serial
        self._told.discard(job.id)
        paths = job.stdout_path, job.stderr_path, job.spare_path
        return job.id, self._serial, job.argv, dict(job.env), job.stdin, *paths, job.is_alone, job.memory

    def set_deadline(self, at: float) -> None:
        if at != self._deadline:
            self._deadline = at
            self._send(deadline=at)

    def set_timeout(self, timeout_s: float | None) -> None:
        if timeout_s != self._timeout_s:
            self._timeout_s = timeout_s
            self._send(timeout=timeout_s)

    def stop(self, ids: Sequence[str]) -> None:
        self._send(stop=list(ids))

    def give_back(self) -> None:
        self._send(give_back=True)

    def waiting(self) -> list[str]:
        if self._table.closed:
            return []
        last = self._last_begun()
        # An end without a beginning: the kernel did not take its arguments.
        return [job for job, serial in self._in_flight.items() if serial > last and job not in self._told]

    def events(self, timeout_s: float) -> list[Event]:
        if self._is_dead:
            return []
        for job in self._told:
            self._in_flight.pop(job, None)
        self._told.clear()
        if not self._messages and not self._is_over:
            self._receive(timeout_s)
        messages, self._messages = self._messages, []
        events = [event for message in messages if (event := self._event(message)) is not None]
        return [*events, self._died()] if self._is_over else events

    def leave(self) -> None:
        self._socket.close()  # it kills everything and leaves when our end is closed

    def close(self) -> Collection[str]:
        self.leave()
        if self._process.returncode is None and not has_ended_within(self._process, CLOSE_S):
            self._force()
        self._process.wait()
        if self._table.closed:
            return ()
        begun = self._begun()
        self._table.close()
        os.close(self._table_fd)
        return begun

    def _force(self) -> None:
        """The runner or its guard is frozen, or has to do with what cannot be killed."""
        with suppress(ProcessLookupError):
            os.kill(self._pid or self._process.pid, SIGKILL)
        self._process.send_signal(SIGCONT)
        if not has_ended_within(self._process, CLOSE_S):
            self._process.kill()

    def _receive(self, timeout_s: float) -> None:
        if not self._poll.poll(timeout_s * 1000):
            return
        try:
            received = self._socket.recv(1 << 20)
        except ConnectionResetError:
            received = b""
        messages, self._received = unpacked(self._received + received)
        self._messages += messages
        self._is_over = not received

    def _send(self, **message: Any) -> None:
        if self._is_dead:
            return
        # If it died, `events` reads the end of the stream and says so.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(packed(message))

    def _died(self) -> RunnerDied:
        self._is_dead = True
        self._process.wait()
        return RunnerDied(tuple(job for job in self._begun() if job not in self._told), self._cannot)

    def _last_begun(self) -> int:
        """The serial of what was started last, although the runner may not have told us yet, or can no more."""
        return int(struct.unpack_from("<q", self._table)[0])

    def _begun(self) -> tuple[str, ...]:
        last = self._last_begun()
        return tuple(job for job, serial in self._in_flight.items() if serial <= last)

    def _event(self, message: list[Any]) -> Event | None:
        kind, *facts = message
        match kind:
            case "hello":
                self._pid, self._folder = facts
                return None
            case "cannot":
                self._cannot = facts[0]
                return None
            case "ended":
                job, slot, started, stopped, code, signal, end, tail, peak, words, result, cut_from = facts
                self._told.add(job)
                return Ended(job, slot, started, stopped, code, signal, _ENDS[end], tail, words, result, peak, cut_from)
            case "entangled":
                self._told.update(facts[0])
                return Entangled(tuple(facts[0]), facts[1])
            case "delayed":
                return Delayed(facts[0])
            case "output":
                return Output(*facts)
            case "refused":
                self._in_flight.pop(facts[0], None)
                return Refused(facts[0], facts[1])
            case _:
                for job in facts[0]:
                    self._in_flight.pop(job, None)
                return Returned(tuple(facts[0]))
