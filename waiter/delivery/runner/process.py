"""The runner: a small process that spawns commands, waits for them, and leaves nothing of them behind.

It is the parent of every command and, on Linux, the subreaper of what they daemonise. The waiter talks to it over a
socket (see `messages` and `client`); when the waiter's end closes, for whatever reason, the runner kills
all its descendants and goes. Should the runner itself be killed, its parent sweeps up (`guard`).

One thread, one poll. Only light modules are imported: this process should weigh no more than Python itself. What is
here shares one state, the slots and the queue. `connection` speaks to the waiter, `orphans` knows what has daemonised.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import struct
from collections import deque
from math import inf

from waiter import processes
from waiter.delivery.runner import containment, memory_groups
from waiter.delivery.runner.connection import Sender
from waiter.delivery.runner.descriptors import OpenFiles
from waiter.delivery.runner.event_buffer import EventBuffer
from waiter.delivery.runner.memory import MemoryWatch
from waiter.delivery.runner.messages import unpacked
from waiter.delivery.runner.orphans import Orphans
from waiter.delivery.runner.output_files import take_back
from waiter.delivery.runner.signals import ends_of_children, leave_signals_to_the_waiter
from waiter.delivery.runner.slot import Running, Slot, files_per_slot, make_slots, with_slot
from waiter.delivery.runner.spawn import Streams, spawner
from waiter.delivery.runner.start_errors import (
    PASSING,
    THE_JOBS_OWN,
    THE_OUTPUTS_OWN,
    Delay,
    why_no_file,
    why_not_started,
)

TYPE_CHECKING = False  # `typing` itself would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

TRY_SPAWN_AGAIN_S = 0.1
KILL_AGAIN_S = 2.0
LEAVE_S = 5.0
_note_number = struct.Struct("<q").pack_into  # into the table, where others read it


class RunnerProcess:
    """All that the process knows. `loop` returns when the waiter is gone; then everything has to be killed."""

    def __init__(
        self,
        control: int,
        table: mmap.mmap,
        folder: str,
        guard_fd: int,
        tag: containment.ProcessTag,
        options: dict[str, Any],
    ):
        self.control = control
        self.table = table
        self.guard_fd = guard_fd
        self.program: str = options["program"]
        self.grace_s: float = options["grace_s"]
        self.deadline = 0.0
        self.timeout_s: float | None = None
        self.queue: deque[list[Any]] = deque()
        self.refusal: str | None = None  # why nothing can be started
        self.spawn_again_at = 0.0
        self.memory = MemoryWatch()
        self.groups = memory_groups.delegated() if options["has_limits"] else memory_groups.MemoryGroups(None)
        self.delay = Delay()
        self.received = b""
        self.buffer = EventBuffer(options["capture"])
        self.poll = select.poll()
        self.sender = Sender(control, self.poll, self.buffer)
        self.files = OpenFiles(options["slots"], files_per_slot(options["capture"]))
        self.slots = make_slots(folder, self.files, options)
        self.free = self.slots[::-1]
        self.by_pid: dict[int, Slot] = {}
        self.lingering: list[Slot] = []  # told to end; the first process has, others of the job still may
        self.stop_at = inf  # no job is to be stopped before
        self.unpolled: set[int] = set()
        self.by_fd = {fd: (slot, stream) for slot in self.slots for stream, fd in slot.pipes()}
        self.tag = tag
        self.is_reaper = containment.become_subreaper()
        self.orphans = Orphans(tag, self.by_pid.keys())
        self._settle(options, folder)

    def _settle(self, options: dict[str, Any], folder: str) -> None:
        try:
            os.nice(options["nice"])
            os.chdir(options["cwd"] or ".")
        except OSError as error:
            self.refusal = f"{error.filename or 'nice'}: {error.strerror}"
        self.wake, self.defaulted = ends_of_children(), leave_signals_to_the_waiter()
        self.spawn = spawner(self.program, self.defaulted)
        os.set_blocking(self.control, False)
        for fd in (self.control, self.wake, self.guard_fd, *self.by_fd):
            self.poll.register(fd, select.POLLIN)
        self.buffer.events.append(("hello", os.getpid(), folder))
        self._flush()

    def begin(self, received: bytes) -> None:
        """Heed what the waiter sent together with the options."""
        self._handle_all(received)
        self._start_queued()

    def loop(self) -> None:
        while True:
            for fd, _ in self.poll.poll(self._wait_ms()):
                if fd in self.by_fd:
                    slot, stream = self.by_fd[fd]
                    slot.read(stream, self.buffer)
                elif fd == self.wake:
                    os.read(self.wake, 4096)
                elif not self._hear(fd):
                    return
            self._reap()
            self._stop_overdue()
            self._kill_what_has_too_much()
            self._start_queued()
            self._flush()
            self._throttle()  # by what is still unsent: whoever reads nothing has to wait for something else

    def _wait_ms(self) -> float | None:
        """Until the next thing that happens by itself."""
        at = min(self.stop_at, self.memory.at, self.sender.flush_at)
        if self.queue and self.free and not self.sender.is_behind():
            at = min(at, self.spawn_again_at)
        return max(0.0, (at - processes.boottime()) * 1000 + 1) if at != inf else None

    def _hear(self, fd: int) -> bool:
        """Heed what was said there; False when it is time to go: without its guard it must not go on."""
        return fd != self.guard_fd and self._receive()

    # The waiter's words.

    def _receive(self) -> bool:
        """Read what the waiter sends; False when it is gone."""
        try:
            received = os.read(self.control, 1 << 20)
        except BlockingIOError:
            received = None
        except ConnectionResetError:
            received = b""
        if received == b"":
            return False
        if received:
            self._handle_all(received)
        if self.sender.unsent:
            self.sender.send()
        return True

    def _handle_all(self, received: bytes) -> None:
        messages, self.received = unpacked(self.received + received)
        for message in messages:
            self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        self.deadline = message.get("deadline", self.deadline)
        if "timeout" in message:
            self._set_timeout(message["timeout"])
        self.queue.extend(message.get("jobs", ()))
        if message.get("give_back"):
            self._return_queue()
        if stopped := set(message.get("stop", ())):
            self._stop(stopped)

    def _set_timeout(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        for slot in self.by_pid.values():
            if slot.running and slot.running.end == "exited":
                slot.running.stop_at = self._times_out_at(slot.running.started)
        self.stop_at = 0.0  # to be looked for

    def _times_out_at(self, started: float) -> float | None:
        return None if self.timeout_s is None else started + self.timeout_s

    def _return_queue(self) -> None:
        if self.queue:
            self.buffer.events.append(("returned", [job[0] for job in self.queue]))
            self.queue.clear()

    def _stop(self, ids: set[str]) -> None:
        waiting = [job[0] for job in self.queue if job[0] in ids]
        if waiting:
            self.queue = deque(job for job in self.queue if job[0] not in ids)
            self.buffer.events.append(("returned", waiting))
        for slot in self.by_pid.values():
            if slot.running and slot.running.id in ids and slot.running.end == "exited":
                self._terminate(slot.running, "stopped")

    # Starting.

    def _start_queued(self) -> None:
        while self.queue and self.free:
            if processes.boottime() >= self.deadline:
                self._return_queue()
            elif self.refusal is not None:
                self.buffer.events.append(("refused", self.queue.popleft()[0], self.refusal))
                self._return_queue()
            elif processes.boottime() < self.spawn_again_at or self.sender.is_behind():
                return
            else:
                self.spawn_again_at = 0.0
                self._start(self.queue.popleft(), self.free[-1])

    def _start(self, job: list[Any], slot: Slot) -> None:
        job_id, serial, argv, env, stdin, out_path, err_path, spare, _, limit = job
        try:
            streams, opened, paths = slot.streams(stdin, (out_path, err_path), spare)
        except OSError as error:
            self._not_started(job, error, why_no_file(error), THE_OUTPUTS_OWN)
            return
        self.tag.apply(serial)
        # Before it starts: a job that kills us at once must be known to have begun.
        _note_number(self.table, 0, serial)
        started = processes.boottime()
        self.files.give_back()
        group = self.groups.enter(serial, limit)
        try:
            pid = self._spawned_in(group, argv, env, slot, streams)
        except OSError as error:
            _note_number(self.table, 0, serial - 1)  # it has not begun after all
            take_back(paths, spare)
            self.groups.remove(group)
            self._not_started(job, error, why_not_started(self.program, error), THE_JOBS_OWN)
            return
        finally:
            self.files.raise_()
            for fd in opened:
                os.close(fd)
        if self.delay.ends():
            self.buffer.events.append(("delayed", None))
        self.free.pop()
        self.by_pid[pid] = slot
        stop_at = self._times_out_at(started)
        self._runs(slot, Running(job_id, serial, pid, started, stop_at, *paths, memory=limit, group=group))
        _note_number(self.table, 8 * slot.number, pid)

    def _runs(self, slot: Slot, running: Running) -> None:
        slot.running = running
        if running.stop_at is not None:
            self.stop_at = min(self.stop_at, running.stop_at)
        self.memory.begins(running.memory if running.group is None else None, running.started)

    def _spawned_in(self, group: str | None, argv: list[str], env: dict[str, str], slot: Slot, to: Streams) -> int:
        try:
            return self.spawn(with_slot(argv, slot.number), slot.environment(env), to)
        finally:
            self.groups.leave(group)

    def _not_started(self, job: list[Any], error: OSError, why: str, own: set[int]) -> None:
        if error.errno in PASSING:
            self.queue.appendleft(job)
            self.spawn_again_at = processes.boottime() + TRY_SPAWN_AGAIN_S
            if self.delay.begins_to_matter(processes.boottime()):
                self.buffer.events.append(("delayed", why))
        elif error.errno in own:
            self.buffer.unstartable(job[0], processes.boottime(), why)
        else:
            self.refusal = why
            self.queue.appendleft(job)

    # Ending.

    def _stop_overdue(self) -> None:
        if self.stop_at == inf and not self.lingering:
            return  # the usual case, and this runs with every event
        for slot in self._busy():
            running = slot.running
            if running and running.stop_at is not None and processes.boottime() >= running.stop_at:
                if running.end == "exited":
                    self._terminate(running, "timeout")
                elif slot not in self.lingering:
                    self._signal(running, signal.SIGKILL)
                    running.stop_at = processes.boottime() + KILL_AGAIN_S
        for slot in self.lingering[:]:
            running = slot.running
            if running and (processes.boottime() >= (running.stop_at or 0) or not self.orphans.of(running)):
                self.lingering.remove(slot)
                self._ended(slot, running)
        self.stop_at = min((slot.running.stop_at or inf for slot in self._busy() if slot.running), default=inf)

    def _kill_what_has_too_much(self) -> None:
        if self.memory.at == inf or (now := processes.boottime()) < self.memory.at:
            return
        running = [slot.running for slot in self.by_pid.values() if slot.running and slot.running.is_watched()]
        for at in self.memory.look([(self._family(one), one.memory or 0) for one in running], now):
            running[at].end, running[at].stop_at = "memory", now + KILL_AGAIN_S
            self.stop_at = min(self.stop_at, now + KILL_AGAIN_S)
            self._signal(running[at], signal.SIGKILL)

    def _family(self, running: Running) -> list[int]:
        return containment.trees([running.pid, *self.orphans.of(running)])

    def _terminate(self, running: Running, end: str) -> None:
        running.end = end
        running.stop_at = processes.boottime() + self.grace_s
        self.stop_at = min(self.stop_at, running.stop_at)
        self._signal(running, signal.SIGTERM)
        self._signal(running, signal.SIGCONT)  # a stopped process hears nothing before it continues

    def _signal(self, running: Running, number: int) -> None:
        """To each process of the job once: some take a second TERM for impatience."""
        facts = {pid: processes.facts_of(pid) for pid in self._family(running)}
        containment.send([pid for pid, fact in facts.items() if fact and fact.group != running.pid], number)
        containment.send_group(running.pid, number)

    def _reap(self) -> None:
        while reaped := containment.reap(self._before_reaping):
            pid, status, peak = reaped
            self.orphans.reaped(pid)
            slot = self.by_pid.pop(pid, None)
            if slot is not None:  # else an orphan
                _note_number(self.table, 8 * slot.number, 0)
                self._first_has_ended(slot, status, peak)

    def _before_reaping(self, pid: int) -> None:
        slot = self.by_pid.get(pid)
        if slot is None or (slot.running and self._may_linger(slot.running)):
            return
        # Whatever a job has left is a child of this process by now.
        if not (is_clean := self.is_reaper and self.orphans.are_none()):
            containment.send_group(pid, signal.SIGKILL)
        if slot.running:
            slot.running.has_left_none = is_clean

    def _first_has_ended(self, slot: Slot, status: int, peak: int) -> None:
        if running := slot.running:
            running.status, running.peak = status, peak
            if self._may_linger(running):
                self.lingering.append(slot)  # the loop looks at it in a moment
            else:
                self._ended(slot, running)

    def _may_linger(self, running: Running) -> bool:
        # A shell dies of TERM at once; what it had started may need its time of grace to save its work.
        return self.is_reaper and running.end != "exited" and processes.boottime() < (running.stop_at or 0)

    def _ended(self, slot: Slot, running: Running) -> None:
        tail = self._what_is_left(slot, running)
        if running.memory is not None and (running.had_too_much() or self.groups.has_killed(running.group)):
            running.end = "memory"
        self.groups.remove(running.group)
        code = os.waitstatus_to_exitcode(running.status)
        exit_code, number = (None, -code) if code < 0 else (code, None)
        facts = (running.id, slot.number, running.started, processes.boottime(), exit_code, number, running.end)
        self.buffer.events.append(("ended", *facts, tail, running.peak, *slot.words()))
        slot.running = None
        self.free.append(slot)

    def _what_is_left(self, slot: Slot, running: Running) -> bytes:
        """Kill what the ended process leaves behind; the end of its output."""
        if not running.has_left_none and self.orphans.all():
            slot.running = None  # it does not live any more
            self.orphans.kill_strays(self._alive())
        slot.running = running
        return slot.finish(self.buffer)

    def _alive(self) -> list[Running]:
        """Who may have children that are to live on."""
        return [slot.running for slot in self._busy() if slot.running]

    def _busy(self) -> tuple[Slot, ...]:
        """The slots whose job runs, or is told to end."""
        return (*self.by_pid.values(), *self.lingering)

    # Sending.

    def _throttle(self) -> None:
        is_full = self.sender.is_full()
        if not (is_full or self.unpolled or self.buffer.live):
            return
        for fd, (slot, _) in self.by_fd.items():
            is_wanted = not is_full and not slot.is_held_back(self.buffer)
            if is_wanted == (fd in self.unpolled):
                self.unpolled ^= {fd}
                self.poll.modify(fd, select.POLLIN if is_wanted else 0)

    def _flush(self) -> None:
        if self.buffer.events and not self.sender.may_wait(processes.boottime(), len(self.queue) if self.by_pid else 0):
            self.sender.flush(processes.boottime())

    def kill_everything(self) -> None:
        for leader in self.by_pid:
            containment.send_group(leader, signal.SIGKILL)
        if self.is_reaper:
            containment.kill_children(lambda: containment.children(os.getpid()), LEAVE_S)
