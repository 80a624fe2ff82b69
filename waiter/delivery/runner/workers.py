"""The runner for functions: each slot has a worker, a process that stays from call to call.

A worker is contained as commands are, with all that it starts. It says when it is ready, is given one job after the
other, or several for one call, over a socket (JSON, a line a message), and another one takes its place when it ends.
Only light modules are imported, see `process`.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from waiter import processes
from waiter.delivery.runner import containment
from waiter.delivery.runner.output_files import open_files
from waiter.delivery.runner.process import TRY_SPAWN_AGAIN_S, RunnerProcess
from waiter.delivery.runner.slot import Running, Slot
from waiter.delivery.runner.spawn import by_posix_spawn
from waiter.delivery.runner.start_errors import PASSING, why_no_file, why_not_started
from waiter.light_dataclass import dataclass, field
from waiter.limits import TAIL_BYTES

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

SOCKET = 3
"""The number of a worker's end of its socket."""

_IS_ALONE, _LIMIT = 8, 9
"""Where a job says that no other is to be in one call with it, and how much memory it may have."""

SERVER = "server"
"""The word that tells a worker's program to be the one that others are forked from."""


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process, and the call that it is in."""

    slot: Slot
    socket: socket.socket
    life: Running  # of the process, not of a job: it tells whose orphans are whose
    received: bytes = b""
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    jobs: list[list[Any]] = field(default_factory=list)
    passed_over: set[str] = field(default_factory=set)  # of these jobs: told to stop, while others in the call go on
    is_ready: bool = False
    is_leaving: bool = False


class WorkerRunner(RunnerProcess):
    """Slots without a job are `free` while their worker waits for one, and `bare` without a worker."""

    def __init__(
        self,
        control: int,
        table: mmap.mmap,
        folder: str,
        guard_fd: int,
        tag: containment.ProcessTag,
        options: dict[str, Any],
    ):
        super().__init__(control, table, folder, guard_fd, tag, options)
        workers = options["workers"]
        self.argv: list[str] = workers["argv"]
        self.setup = workers["setup"].encode("ascii") + b"\n"
        self.many: int = workers["many"]
        self.bare, self.free = self.free, []
        self.workers: dict[int, Worker] = {}  # by the descriptor of our end
        self.serial = 0

    def _wait_ms(self) -> float | None:
        usual = super()._wait_ms()
        if not (self.queue and self.spawn_again_at):
            return usual
        held_up = max(0.0, (self.spawn_again_at - processes.boottime()) * 1000 + 1)
        return held_up if usual is None else min(usual, held_up)

    def _hear(self, fd: int) -> bool:
        worker = self.workers.get(fd)
        if worker is None:
            return super()._hear(fd)
        if not self._listen_to(worker):
            self._cut_off(worker)
        return True

    def _alive(self) -> list[Running]:
        return [worker.life for worker in self.workers.values()]

    def _of(self, slot: Slot) -> Worker:
        return next(worker for worker in self.workers.values() if worker.slot is slot)

    # Starting workers, and calls.

    def _start_queued(self) -> None:
        while self.queue:
            if processes.boottime() >= self.deadline:
                self._return_queue()
            elif self.refusal is not None:
                self.buffer.events.append(("refused", self.queue.popleft()[0], self.refusal))
                self._return_queue()
            elif self.sender.is_behind():
                return
            elif self.free:
                self._call(self.free.pop())
            else:
                self._hire()
                if self.refusal is None:
                    return

    def _hire(self) -> None:
        """Start as many workers as there are calls that wait for one."""
        if processes.boottime() < self.spawn_again_at:
            return
        self.spawn_again_at = 0.0
        coming = sum(not worker.is_ready for worker in self.workers.values())
        for _ in range(min(len(self.bare), -(-len(self.queue) // self.many) - coming)):
            try:
                self._start_worker(self.bare[-1])
            except OSError as error:
                self._not_hired(error)
                return
            self.bare.pop()

    def _start_worker(self, slot: Slot) -> None:
        self.serial += 1
        self.tag.apply(self.serial)
        ours, theirs = socket.socketpair()
        try:
            pid = self._spawned(slot, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.by_pid[pid] = slot
        struct.pack_into("<q", self.table, 8 * slot.number, pid)
        ours.setblocking(False)
        life = Running("", self.serial, pid, processes.boottime(), None, None, None)
        worker = self.workers[ours.fileno()] = Worker(slot, ours, life)
        self.poll.register(ours, select.POLLIN)
        self._send(worker, self.setup)
        if self.delay.ends():
            self.buffer.events.append(("delayed", None))

    def _spawned(self, slot: Slot, theirs: socket.socket, *words: str) -> int:
        streams, opened, _ = slot.streams(None, (None, None), None)
        self.files.give_back()
        spawn = by_posix_spawn(self.program, self.defaulted)
        try:
            return spawn([*self.argv, *words], slot.environment({}), (*streams, theirs.fileno()))  # which is SOCKET
        finally:
            self.files.raise_()
            for fd in opened:
                os.close(fd)

    def _not_hired(self, error: OSError) -> None:
        why = why_not_started(self.program, error)
        if error.errno not in PASSING:
            self.refusal = why
            return
        self.spawn_again_at = processes.boottime() + TRY_SPAWN_AGAIN_S
        if self.delay.begins_to_matter(processes.boottime()):
            self.buffer.events.append(("delayed", why))

    def _taken(self) -> list[list[Any]]:
        """The jobs of the next call."""
        jobs = [self.queue.popleft()]
        while len(jobs) < self.many and self.queue and not (jobs[0][_IS_ALONE] or self.queue[0][_IS_ALONE]):
            jobs.append(self.queue.popleft())
        return jobs

    def _call(self, slot: Slot) -> None:
        jobs, worker = self._taken(), self._of(slot)
        _, _, _, _, _, out_path, err_path, spare, *_ = jobs[0]
        try:
            writes, paths = open_files((out_path, err_path), spare)
        except OSError as error:
            self.free.append(slot)
            self._no_call(jobs, why_no_file(error))
            return
        # Before it begins: a job that kills us at once must be known to have begun.
        struct.pack_into("<q", self.table, 0, jobs[-1][1])
        started = processes.boottime()
        worker.jobs, life = jobs, worker.life
        limit = max((job[_LIMIT] for job in jobs if job[_LIMIT] is not None), default=None)
        stop_at = self._times_out_at(started)
        self._runs(slot, Running(jobs[0][0], life.serial, life.pid, started, stop_at, *paths, memory=limit))
        line = (
            json.dumps([[argv, env, facts.decode("ascii")] for _, _, argv, env, facts, *_ in jobs]).encode("ascii")
            + b"\n"
        )
        self._send(worker, line, list(writes.values()))

    def _no_call(self, jobs: Sequence[list[Any]], why: str) -> None:
        at = processes.boottime()
        for job in jobs:
            self.buffer.unstartable(job[0], at, why)

    def _send(self, worker: Worker, line: bytes, descriptors: Sequence[int] = ()) -> None:
        """As much as the worker takes now; the rest when it has room. The descriptors go with the first byte."""
        worker.unsent = memoryview(bytes(worker.unsent) + line)
        sent = 0
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # of its end we hear elsewhere
            sent = socket.send_fds(worker.socket, [worker.unsent], list(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        worker.unsent = worker.unsent[sent:]
        if worker.unsent:
            self.poll.modify(worker.socket, select.POLLIN | select.POLLOUT)

    # What workers say.

    def _listen_to(self, worker: Worker) -> bool:
        """Read what it has said, and go on telling it; False when it has closed its end."""
        if worker.unsent:
            self.poll.modify(worker.socket, select.POLLIN)
            self._send(worker, b"")
        try:
            received = worker.socket.recv(1 << 20)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        *lines, worker.received = (worker.received + received).split(b"\n")
        for line in lines:
            self._heed(worker, *json.loads(line))
        return bool(received)

    def _heed(self, worker: Worker, what: str, *facts: Any) -> None:
        if what == "hello":
            self._has_begun(worker, *facts)
        elif what == "ready":
            self._is_ready(worker)
        elif what == "refused":
            self.refusal = facts[0]
        elif (running := worker.slot.running) and running.end == "exited":  # else it is told to end, and will
            self._call_ended(worker, running, *facts)

    def _has_begun(self, worker: Worker, pid: int) -> None:
        """A worker has said its number, which is known of those that are started here."""

    def _is_ready(self, worker: Worker) -> None:
        worker.is_ready = True
        self.free.append(worker.slot)

    def _call_ended(self, worker: Worker, running: Running, ends: list[list[Any]], is_leaving: bool, peak: int) -> None:
        slot, stopped = worker.slot, processes.boottime()
        output = slot.finish(self.buffer)
        for job, (code, message, result, cut_from, traceback) in zip(worker.jobs, ends, strict=True):
            end = "stopped" if job[0] in worker.passed_over else "exited"
            tail = (output + traceback.encode("latin-1"))[-TAIL_BYTES:]
            facts = (job[0], slot.number, running.started, stopped, code, None, end, tail, peak or None)
            self.buffer.events.append(("ended", *facts, message, result, cut_from))
        slot.running = None
        worker.jobs, worker.passed_over = [], set()
        worker.is_leaving = is_leaving
        if not is_leaving:
            self.free.append(slot)

    def _cut_off(self, worker: Worker) -> None:
        """It has closed its end: if it is not dead, nor told to end, it is of no use any more."""
        self.poll.unregister(worker.socket)
        running = worker.slot.running
        if worker.life.pid in self.by_pid and not (running and running.end != "exited"):
            containment.send_group(worker.life.pid, signal.SIGKILL)

    # Stopping and ending.

    def _stop(self, ids: set[str]) -> None:
        for worker in self.workers.values():
            called = {job[0] for job in worker.jobs}
            if not called <= ids:
                worker.passed_over |= called & ids
                ids = ids - called
        super()._stop(ids)

    def _first_has_ended(self, slot: Slot, status: int, peak: int) -> None:
        worker = self._of(slot)
        self._listen_to(worker)  # its last words may have come since
        if slot.running:
            super()._first_has_ended(slot, status, peak)
            return
        if not (worker.is_ready or self.refusal):
            self.refusal = f"its process {_how_it_ended(status)} before it was ready"
        self._leave(worker)
        self._what_is_left(slot, worker.life)
        slot.running = None

    def _ended(self, slot: Slot, running: Running) -> None:
        """The process has ended, and the call in it has not."""
        worker = self._of(slot)
        self._leave(worker)
        tail = self._what_is_left(slot, running)
        slot.running = None
        jobs, how = [job[0] for job in worker.jobs], _how_it_ended(running.status)
        if len(jobs) > 1 and running.end != "stopped":
            ways = {"timeout": "took too long", "memory": "had more memory than its limit"}
            how = ways.get(running.end, f"did not return: its process {how}")
            self.buffer.events.append(("entangled", jobs, f"a call of {len(jobs)} orders {how}"))
            return
        code = os.waitstatus_to_exitcode(running.status)
        exit_code, number = (None, -code) if code < 0 else (code or 1, None)  # it was to return, not to leave
        message = None if running.end != "exited" else f"its process {how}"
        for job in jobs:
            facts = (job, slot.number, running.started, processes.boottime(), exit_code, number, running.end)
            self.buffer.events.append(("ended", *facts, tail, running.peak, message, None, None))

    def _leave(self, worker: Worker) -> None:
        """Its slot is without a worker from now on."""
        del self.workers[worker.socket.fileno()]
        with suppress(KeyError):
            self.poll.unregister(worker.socket)
        worker.socket.close()
        if worker.slot in self.free:
            self.free.remove(worker.slot)
        self.bare.append(worker.slot)


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
